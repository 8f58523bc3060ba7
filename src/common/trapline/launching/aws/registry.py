"""The model registry: its group of models, and what a registered model is given from its evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trapline.errors import TraplineError, UsageError
from trapline.launching.aws.card_content import card, content, properties
from trapline.launching.aws.errors import explained
from trapline.s3 import split_uri
from trapline.storage import parse_json

MODELS = "trapline-models"  # the group of a pipeline's models
DESCRIPTION = "Camera-trap models of Trapline's pipelines; the model card of each says what to expect of it"
PACKAGE, EXECUTION = ":model-package/", "/execution/"  # what the ARNs have
HINT = "evaluation.json, where the evaluation lies, says the same"
REGISTERED = "RegisterModel"


@dataclass(frozen=True)
class Described:
    """A registered model and what its card will say."""

    arn: str
    evaluation: str  # URI of evaluation.json
    card: dict[str, Any]
    properties: dict[str, str]


def ensure_group(sagemaker: Any, group: str, tags: Sequence[Mapping[str, str]]) -> bool:
    """Create the group of models where it is missing; returns whether it was."""
    from botocore.exceptions import ClientError

    with explained(f"model group {group}"):
        try:
            sagemaker.describe_model_package_group(ModelPackageGroupName=group)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("ValidationException", "ResourceNotFound"):
                raise
        else:
            return False
        sagemaker.create_model_package_group(
            ModelPackageGroupName=group, ModelPackageGroupDescription=DESCRIPTION, Tags=list(tags)
        )
    return True


def find_package(sagemaker: Any, named: str | None, group: str = MODELS) -> str:
    """The ARN of the model that `named` names: its own, that of an execution; None: the group's latest.

    Raises UsageError for any other text, TraplineError where there is no such model.
    """
    if named and PACKAGE in named:
        return named
    if named and EXECUTION in named:
        return _package_of(sagemaker, named)
    if named:
        raise UsageError(f"{named}: neither the ARN of a registered model nor of an execution")
    with explained(f"model group {group}"):
        found = sagemaker.list_model_packages(
            ModelPackageGroupName=group, SortBy="CreationTime", SortOrder="Descending", MaxResults=1
        )["ModelPackageSummaryList"]
    if not found:
        raise TraplineError(f"model group {group}: holds no model yet; a pipeline whose gate is met adds one")
    return str(found[0]["ModelPackageArn"])


def _package_of(sagemaker: Any, execution: str) -> str:
    with explained(f"execution {execution}"):
        pages = sagemaker.get_paginator("list_pipeline_execution_steps").paginate(
            PipelineExecutionArn=execution
        )
        steps = [step for page in pages for step in page["PipelineExecutionSteps"]]
    found = [step.get("Metadata", {}).get(REGISTERED, {}).get("Arn") for step in steps]
    for arn in filter(None, found):
        return str(arn)
    raise TraplineError(f"execution {execution}: has registered no model; `status` shows how far it came")


def describe(session: Any, arn: str) -> Described:
    """Read the evaluation of a registered model, and make its card. Raises TraplineError without one."""
    with explained(f"model {arn}"):
        package = session.client("sagemaker").describe_model_package(ModelPackageName=arn)
    statistics = package.get("ModelMetrics", {}).get("ModelQuality", {}).get("Statistics", {})
    uri = statistics.get("S3Uri")
    if not uri:
        raise TraplineError(f"model {arn}: names no evaluation; it was not registered by Trapline's pipeline")
    evaluation = _read_evaluation(session, uri)
    job = evaluation["champion"]["training_job"]
    known = {**package.get("CustomerMetadataProperties", {}), **properties(evaluation)}
    return Described(arn, uri, card(evaluation, _job_arn(arn, job)), known)


def _read_evaluation(session: Any, uri: str) -> dict[str, Any]:
    bucket, key = split_uri(uri)
    with explained(uri, HINT):
        text = session.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    try:
        evaluation: dict[str, Any] = parse_json(text)
        evaluation["champion"]["training_job"], evaluation["claimed"], evaluation["bootstrap"]
    except (ValueError, KeyError, TypeError) as error:
        raise TraplineError(
            f"{uri}: is no evaluation of Trapline ({type(error).__name__}: {error})"
        ) from None
    return evaluation


def _job_arn(package: str, job: str | None) -> str | None:
    """The ARN of a training job in the account and region of a registered model."""
    account = package.partition(PACKAGE)[0]
    return f"{account}:training-job/{job}" if job else None


def write_card(session: Any, described: Described) -> None:
    """Give a registered model its card, and the properties that the registry can be searched by."""
    with explained(f"model card of {described.arn}"):
        session.client("sagemaker").update_model_package(
            ModelPackageArn=described.arn,
            CustomerMetadataProperties=described.properties,
            ModelCard={"ModelCardContent": content(described.card), "ModelCardStatus": "PendingReview"},
        )
