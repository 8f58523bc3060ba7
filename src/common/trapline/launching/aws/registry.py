"""The model registry: its group of models, and the card that a registered model gets from its evaluation.

A card says what a model is for, how good it is, and what must not be read into that.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trapline.errors import TraplineError, UsageError
from trapline.launching.aws.errors import explained, suppressed
from trapline.launching.aws.jobs import list_steps
from trapline.s3 import split_uri
from trapline.storage import parse_json

MODELS = "trapline-models"  # the group of a pipeline's models
PACKAGE = ":model-package/"  # what its ARNs have


@dataclass(frozen=True)
class Described:
    """A registered model and what its card will say."""

    arn: str
    evaluation: str  # URI of evaluation.json
    card: dict[str, Any]
    properties: dict[str, str]


def ensure_group(sagemaker: Any, group: str, tags: Sequence[Mapping[str, str]]) -> bool:
    """Create the group of models where it is missing; returns whether it was."""
    with explained(f"model group {group}"):
        with suppressed("ValidationException", "ResourceNotFound"):
            sagemaker.describe_model_package_group(ModelPackageGroupName=group)
            return False
        sagemaker.create_model_package_group(
            ModelPackageGroupName=group,
            ModelPackageGroupDescription="Camera-trap models of Trapline's pipelines; the model card of each "
            "says what to expect of it",
            Tags=list(tags),
        )
    return True


def find_package(sagemaker: Any, named: str | None) -> str:
    """The ARN of the model that `named` names: its own, that of an execution; None: the latest.

    Raises UsageError for any other text, TraplineError where there is no such model.
    """
    if named and PACKAGE in named:
        return named
    if named and "/execution/" in named:
        with explained(f"execution {named}"):
            steps = list_steps(sagemaker, named)
        arns = [step.get("Metadata", {}).get("RegisterModel", {}).get("Arn") for step in steps]
        missing = f"execution {named}: has registered no model; `status` shows how far it came"
    elif named:
        raise UsageError(f"{named}: neither the ARN of a registered model nor of an execution")
    else:
        with explained(f"model group {MODELS}"):
            found = sagemaker.list_model_packages(
                ModelPackageGroupName=MODELS, SortBy="CreationTime", SortOrder="Descending", MaxResults=1
            )
        arns = [package["ModelPackageArn"] for package in found["ModelPackageSummaryList"]]
        missing = f"model group {MODELS}: holds no model yet; a pipeline whose gate is met adds one"
    for arn in filter(None, arns):
        return str(arn)
    raise TraplineError(missing)


def describe(session: Any, arn: str) -> Described:
    """Read the evaluation of a registered model, and make its card. Raises TraplineError without one."""
    with explained(f"model {arn}"):
        package = session.client("sagemaker").describe_model_package(ModelPackageName=arn)
    uri = package.get("ModelMetrics", {}).get("ModelQuality", {}).get("Statistics", {}).get("S3Uri")
    if not uri:
        raise TraplineError(f"model {arn}: names no evaluation; it was not registered by Trapline's pipeline")
    evaluation = _read_evaluation(session, uri)
    job = evaluation["champion"]["training_job"]  # it ran in the account and region of the model
    job_arn = f"{arn.partition(PACKAGE)[0]}:training-job/{job}" if job else None
    return Described(
        arn,
        uri,
        card(evaluation, job_arn),
        {**package.get("CustomerMetadataProperties", {}), **properties(evaluation)},
    )


def _read_evaluation(session: Any, uri: str) -> dict[str, Any]:
    bucket, key = split_uri(uri)
    with explained(uri, "evaluation.json, where the evaluation lies, says the same"):
        text = session.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    try:
        evaluation: dict[str, Any] = parse_json(text)
        evaluation["champion"]["training_job"], evaluation["claimed"], evaluation["bootstrap"]
    except (ValueError, KeyError, TypeError) as error:
        raise TraplineError(
            f"{uri}: is no evaluation of Trapline ({type(error).__name__}: {error})"
        ) from None
    return evaluation


def write_card(session: Any, described: Described) -> None:
    """Give a registered model its card, and the properties that the registry can be searched by."""
    with explained(f"model card of {described.arn}"):
        session.client("sagemaker").update_model_package(
            ModelPackageArn=described.arn,
            CustomerMetadataProperties=described.properties,
            ModelCard={"ModelCardContent": content(described.card), "ModelCardStatus": "PendingReview"},
        )


# --- the card -----------------------------------------------------------------------------------------------
# The JSON is of the model-package kind of SageMaker's model cards, whose overview has no text of its own.

Evaluation = Mapping[str, Any]  # the content of evaluation.json

SHORT, LONG = 1024, 2048  # characters that SageMaker takes: of observations and notes; of the other texts
# A section has those of its task: weighted F1 is of one label an image, micro F1 of several.
MULTICLASS_METRICS = (
    "log_loss",
    "accuracy",
    "macro_f1",
    "weighted_f1",
    "top3_accuracy",
    "site_balanced_accuracy",
    "micro_f1",
    "map",
)
BASELINES = ("uniform_log_loss", "prior_log_loss", "prior_accuracy")
PARTS = {
    "test": "read once, after every choice",
    "validation": "temperature, views and champion were chosen on it, which flatters it",
}
INTENDED_USES = {
    "purpose_of_model": "Classify camera-trap photographs, or the images of another set.",
    "intended_uses": (
        "Sorting images before a person looks at them: probabilities, a label, and a mark for those that need"
        " a look. Not for counts or absences without that look, and not for decisions about single animals."
    ),
    "factors_affecting_model_efficiency": (
        "Cameras, seasons, regions and species that the training images do not show; night frames in "
        "infrared; empty frames; burned-in captions."
    ),
    "risk_rating": "Unknown",
    "explanations_for_risk_rating": "Whoever uses the model rates it, and writes the reason here.",
}


def first_card(recipe: str, code: str) -> dict[str, Any]:
    """The card of a model that has just been registered, when nobody has read its evaluation."""
    trained = f"Trained with the recipe {recipe}, code {code}, on the images of the execution that made it."
    return {
        "intended_uses": INTENDED_USES,
        "training_details": {"training_observations": trained[:SHORT]},
        "additional_information": {
            "caveats_and_recommendations": (
                "The numbers stand in the evaluation's evaluation.json; `python launch/model_card.py` writes "
                "them into this card. Until then it claims nothing about unseen cameras."
            )
        },
    }


def card(evaluation: Evaluation, job_arn: str | None) -> dict[str, Any]:
    """The card of an evaluated model. `job_arn`: the training job that made it, where it was one.

    Only what the evaluation claims is claimed; accuracy at unseen cameras only after a split by site.
    """
    champion, data = evaluation["champion"], evaluation["data"]
    return {
        "intended_uses": INTENDED_USES,
        "training_details": {
            "objective_function": {"function": {"function": "Minimize", "facet": "Loss"}},
            "training_observations": fitting(
                [
                    f"Champion: {champion['phase']}, {champion['architecture']}; "
                    f"{champion['reason'].rstrip('.')}.",
                    f"Data {data['fingerprint']}, split by {data['split']}.",
                    f"Classes: {', '.join(evaluation['classes'])}.",
                ],
                SHORT,
            ),
            **({"training_job_details": {"training_arn": job_arn}} if job_arn else {}),
        },
        "evaluation_details": [_section(evaluation, name) for name in PARTS if evaluation[name]["available"]],
        "additional_information": {
            "caveats_and_recommendations": fitting(evaluation["not_claimed"], LONG),
            "custom_details": properties(evaluation),
        },
    }


def properties(evaluation: Evaluation) -> dict[str, str]:
    """What a registry can be searched by: short texts by name, all of letters, digits and plain signs."""
    data, champion = evaluation["data"], evaluation["champion"]
    unseen = "measured" if data["unseen_sites"] and evaluation["test"]["available"] else "not measured"
    known = {
        "data-fingerprint": data["fingerprint"],
        "split": data["split"],
        "unseen-cameras": unseen,
        "champion": champion["phase"],
        "champion-training-job": champion["training_job"],
        "architecture": champion["architecture"],
        "test-log-loss": _figure(evaluation["test"]["log_loss"]),
        "test-accuracy": _figure(evaluation["test"]["accuracy"]),
    }
    return {name: str(value) for name, value in known.items() if value}


def fitting(sentences: Sequence[str], length: int) -> str:
    """As many of the sentences as fit, whole, joined; says where one is left out."""
    rest = " More stands in evaluation.json."
    whole = " ".join(sentences)
    if len(whole) <= length:
        return whole
    kept: list[str] = []
    for sentence in sentences:
        if len(" ".join([*kept, sentence])) + len(rest) > length:
            break
        kept.append(sentence)
    return (" ".join(kept) + rest).strip()


def content(described: Mapping[str, Any]) -> str:
    """The card as SageMaker takes it: JSON in a string. Raises ValueError for NaN and infinity."""
    return json.dumps(described, ensure_ascii=False, allow_nan=False)


def _section(evaluation: Evaluation, name: str) -> dict[str, Any]:
    section, level = evaluation[name], evaluation["bootstrap"]["confidence"]
    sites = f" of {section['sites']} cameras" if section["sites"] else ""
    observed = f"{name.capitalize()} part: {section['images']} images{sites}; {PARTS[name]}."
    claims = evaluation["claimed"] if name == "test" else []
    return {
        "name": name,
        "evaluation_observation": fitting([observed, *claims], LONG),
        "metadata": {"data-fingerprint": evaluation["data"]["fingerprint"]},
        "metric_groups": [
            {"name": "champion", "metric_data": _numbers(section, MULTICLASS_METRICS, level)},
            {"name": "without-looking", "metric_data": _numbers(section, BASELINES, level)},
            {
                "name": "recall-per-class",
                "metric_data": [
                    {
                        "name": row["class"],
                        "type": "number",
                        "value": row["recall"],
                        "notes": f"{row['support']} images",
                    }
                    for row in section["per_class"] or []
                    if _finite(row["recall"])
                ],
            },
        ],
    }


def _numbers(section: Mapping[str, Any], names: Sequence[str], level: float) -> list[dict[str, Any]]:
    return [
        {"name": name, "type": "number", "value": section[name], **_interval(section, name, level)}
        for name in names
        if _finite(section.get(name))
    ]


def _interval(section: Mapping[str, Any], name: str, level: float) -> dict[str, str]:
    interval = (section["intervals"] or {}).get(name)
    if not interval:
        return {}
    return {
        "notes": f"{level:.0%} interval over {section['interval_unit']}s: {interval['low']:.4f} to "
        f"{interval['high']:.4f}"
    }


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _figure(value: Any) -> str | None:
    return f"{value:.4f}" if _finite(value) else None
