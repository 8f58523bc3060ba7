"""What the code asks of AWS, recorded as it is asked, and which permission each question needs."""

import fnmatch
import re
from dataclasses import dataclass, field

import boto3
import botocore.handlers
from botocore.awsrequest import AWSResponse

from tests.support.account import BUCKET, JOB_ROLE, REGION, ROLE
from trapline.launching.commands.policies import filled, read_values

ACCOUNT = "123456789012"
VALUES = {
    "account": ACCOUNT,
    "region": REGION,
    "bucket": BUCKET,
    "prefix": "out",
    "repository": "trapline",
    "role": ROLE.partition(":role/")[2],
    "job_role": JOB_ROLE.partition(":role/")[2],
    "schedule_role": "Scheduler",
    "key": "0a1b-2c3d",
}
SAGEMAKER = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:"
KINDS = {  # name of a parameter -> kind of resource
    "TrainingJobName": "training-job",
    "ProcessingJobName": "processing-job",
    "TransformJobName": "transform-job",
    "HyperParameterTuningJobName": "hyper-parameter-tuning-job",
    "ModelName": "model",
    "PipelineName": "pipeline",
    "ModelPackageGroupName": "model-package-group",
}
WHOLE = (
    "PipelineExecutionArn",
    "ModelPackageArn",
    "ModelPackageName",
    "ResourceArn",
)  # parameters that are ARNs
OBJECTS = {
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
}
BUCKETS = {"HeadBucket": "s3:ListBucket", "ListObjectsV2": "s3:ListBucket"}
FREE = {("sts", "GetCallerIdentity")}  # everybody may ask who he is


@dataclass(frozen=True)
class Need:
    """One permission. passed_to: of iam:PassRole, the service that gets the role."""

    action: str
    resource: str
    passed_to: str | None = None


@dataclass
class Recorder:
    """Everything that is asked, and answers for what moto has no answer to."""

    asked: list[tuple[str, str, dict]] = field(default_factory=list)  # service, operation, parameters
    answers: dict[str, dict] = field(default_factory=dict)

    def ask(self, params, model, **_):
        """A handler of botocore's event before-parameter-build."""
        self.asked.append((model.service_model.endpoint_prefix, model.name, dict(params)))

    def answer(self, model, **_):
        """A handler of botocore's event before-call, which sends the question if this returns None."""
        found = self.answers.get(model.name)
        return found and (AWSResponse("", 200, {}, b""), found)

    def listen(self, monkeypatch):
        """Hear of every client that is made from now on."""
        handlers = [("before-parameter-build", self.ask), ("before-call", self.answer)]
        known = [*botocore.handlers.BUILTIN_HANDLERS, *handlers]
        monkeypatch.setattr(botocore.handlers, "BUILTIN_HANDLERS", known)
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)

    def needs(self):
        """What the questions need, each once."""
        return {need for question in self.asked for need in needs_of(*question)}

    def requests(self, operation):
        """The parameters of each question of a kind."""
        return [params for _, name, params in self.asked if name == operation]


def needs_of(service, operation, params):
    """The permissions that one question needs."""
    if (service, operation) in FREE:
        return
    yield Need(*NEEDS[ALIASES.get(service, service)](operation, params))
    yield from _besides(service, operation, params)


def _besides(service, operation, params):
    creates = operation.startswith(("Create", "Update"))
    if service.endswith("sagemaker") and creates:
        if params.get("Tags"):
            yield Need("sagemaker:AddTags", _sagemaker(operation, params)[1])
        for role in _roles(params):
            yield Need("iam:PassRole", role, "sagemaker.amazonaws.com")
    if service == "scheduler" and creates:
        yield Need("iam:PassRole", params["Target"]["RoleArn"], "scheduler.amazonaws.com")


def _roles(params):
    inner = params.get("TrainingJobDefinition", {})
    found = (params.get("RoleArn"), params.get("ExecutionRoleArn"), inner.get("RoleArn"))
    return [role for role in found if role]


def _s3(operation, params):
    bucket = f"arn:aws:s3:::{params['Bucket']}"
    if operation in BUCKETS:
        return BUCKETS[operation], bucket
    return OBJECTS[operation], f"{bucket}/{params['Key']}"


def _sagemaker(operation, params):
    action = f"sagemaker:{operation}"
    for name in WHOLE:
        if name in params:
            return action, params[name]
    for name, kind in KINDS.items():
        if name in params:
            return action, f"{SAGEMAKER}{kind}/{params[name]}"
    return action, "*"  # questions about all jobs


def _logs(operation, params):
    return f"logs:{operation}", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{params['logGroupName']}"


def _ecr(operation, params):
    return f"ecr:{operation}", f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{params['repositoryName']}"


def _iam(operation, params):
    path = "service-role/" if params["RoleName"].startswith("Trapline") else ""
    return f"iam:{operation}", f"arn:aws:iam::{ACCOUNT}:role/{path}{params['RoleName']}"


def _scheduler(operation, params):
    return (
        f"scheduler:{operation}",
        f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/default/{params['Name']}",
    )


NEEDS = {
    "s3": _s3, "sagemaker": _sagemaker, "logs": _logs, "ecr": _ecr, "iam": _iam, "scheduler": _scheduler,
}  # fmt: skip
ALIASES = {"api.sagemaker": "sagemaker", "api.ecr": "ecr"}


def policies(*names):
    """The statements of some policies, filled in."""
    known = filled(read_values(VALUES))
    return [statement for name in names for statement in known[name]["Statement"]]


def actions(*names):
    """All actions that some policies allow."""
    allowed = [statement for statement in policies(*names) if statement["Effect"] == "Allow"]
    return {action for statement in allowed for action in statement["Action"]}


def allows(statements, need):
    """Whether a statement allows what is needed, on its resource and for its service, and none denies it."""
    about = [
        statement["Effect"]
        for statement in statements
        if need.action in statement["Action"]
        and any(matches(pattern, need.resource) for pattern in statement["Resource"])
        and _passed_to(statement) == need.passed_to
    ]
    return bool(about) and set(about) == {"Allow"}


def matches(pattern, resource):
    """Whether a resource of a policy, where * is any text, covers an ARN."""
    return bool(re.fullmatch(fnmatch.translate(pattern.replace("[", "[[]")), resource))


def _passed_to(statement):
    return statement.get("Condition", {}).get("StringEquals", {}).get("iam:PassedToService")
