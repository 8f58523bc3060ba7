"""Rules that hold between the fields of a request, which the service model cannot say.

They are those of AWS's documentation of each field, and of this project's own code in the container.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from trapline.launching.checking.findings import Finding, shown
from trapline.launching.checking.hyperparameter_rules import check_hyperparameters, decoded
from trapline.launching.checking.metric_rules import check_metrics
from trapline.launching.checking.secret_patterns import secrets_in
from trapline.launching.checking.service_model import UNKNOWN
from trapline.launching.checking.settled_requests import (
    Request,
    Training,
    at,
    structures,
    switched_on,
    texts,
    trainings,
)
from trapline.launching.checking.tuning_rules import check_tuning

CONCURRENT_MB = 100  # of batch transform: requests at once times the size of each
DEFAULT_PAYLOAD_MB = 6
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
REGISTRY_HOST = re.compile(r"\d{12}\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/")
PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}
# Families with disks of their own, as of ml.g4dn and ml.g5; a "d" in the name says so, or they are these.
OWN_DISKS = re.compile(r"ml\.(?:[a-z0-9]*\d[a-z]*d[a-z]*|(?:g5|g6|p5|trn)[a-z0-9]*)\.")
INSTALLS = re.compile(r"\b(?:pip3?|conda|apt(?:-get)?) install\b")


def check_rules(request: Request) -> list[Finding]:
    """What breaks a rule between fields, in any request."""
    rules: tuple[Callable[[Request], Iterator[Finding]], ...] = (
        _transform, _places, _secrets, _role, _images, _disks, _isolated_processing, check_tuning,
    )  # fmt: skip
    of_training: tuple[Callable[[Training], Iterator[Finding]], ...] = (
        _time, _spot, _isolated_training, check_metrics, check_hyperparameters,
    )  # fmt: skip
    findings = [finding for rule in rules for finding in rule(request)]
    return findings + [finding for one in trainings(request) for rule in of_training for finding in rule(one)]


def _transform(request: Request) -> Iterator[Finding]:
    if request.operation != "CreateTransformJob":
        return
    concurrent = at(request.parameters, "MaxConcurrentTransforms", int) or 1
    payload = at(request.parameters, "MaxPayloadInMB", int)
    payload = DEFAULT_PAYLOAD_MB if payload is None else payload
    if concurrent * payload > CONCURRENT_MB:
        said = f"{concurrent} at once of {payload} MB: their product must be at most {CONCURRENT_MB}"
        yield request.found("MaxConcurrentTransforms", "concurrency x payload", said)


def _places(request: Request) -> Iterator[Finding]:
    """S3 URIs: the service model lets any bucket's name through."""
    for field, text in texts(request.parameters):
        if not text.startswith(("s3:", "S3:")) or field.startswith(("Environment", "Tags")):
            continue
        bucket = text.removeprefix("s3://").partition("/")[0]
        if not text.startswith("s3://") or not BUCKET.fullmatch(bucket) or ".." in bucket:
            said = f"{shown(text)} must be s3://BUCKET/PREFIX; a bucket has 3 to 63 small letters, digits, .-"
            yield request.found(field, "S3 URI", said)
        elif re.search(r"[\x00-\x1f\x7f]", text):
            yield request.found(field, "S3 URI", f"{shown(text)} holds a control character")


def _secrets(request: Request) -> Iterator[Finding]:
    for field, text in texts(request.parameters):
        for kind, _ in secrets_in(text):
            said = f"looks like {kind}; whoever may describe the job could read it: use the job's role"
            yield request.found(field, "secret", said)


def partition_of(region: str) -> str:
    """What ARNs of a region begin with, after arn:"""
    return next((name for start, name in PARTITIONS.items() if region.startswith(start)), "aws")


def _role(request: Request) -> Iterator[Finding]:
    if request.region is None:
        return
    wanted = partition_of(request.region)
    for field in ("RoleArn", "ExecutionRoleArn", "TrainingJobDefinition.RoleArn"):
        arn = at(request.parameters, field, str) or ""
        if arn.startswith("arn:") and arn.split(":")[1] != wanted:
            said = f"{shown(arn)} must begin with arn:{wanted}: in {request.region}"
            yield request.found(field, "role's partition", said)


def _images(request: Request) -> Iterator[Finding]:
    """An image of ECR is pulled from the job's own region alone."""
    for field, text in texts(request.parameters):
        if field.rpartition(".")[2] not in ("TrainingImage", "ImageUri", "Image") or request.region is None:
            continue
        lies_in = REGISTRY_HOST.match(text)
        if lies_in and lies_in[1] != request.region:
            said = f"the image lies in {lies_in[1]}, the job would run in {request.region}; push it there"
            yield request.found(field, "image's region", said)


def _disks(request: Request) -> Iterator[Finding]:
    """A disk that is the machine's own takes no key: its hardware encrypts it."""
    for above, part in structures(request.parameters):
        kind = at(part, "InstanceType", str)
        if kind and "VolumeKmsKeyId" in part and OWN_DISKS.match(kind):
            said = f"{kind} has disks of its own, which take no key; leave it out, or take another instance"
            yield request.found(f"{above}.VolumeKmsKeyId", "disk's key", said)


def _isolated_processing(request: Request) -> Iterator[Finding]:
    parameters = request.parameters
    if not switched_on(parameters, "NetworkConfig.EnableNetworkIsolation"):
        return
    words = at(parameters, "AppSpecification.ContainerEntrypoint", (list, tuple)) or ()
    for number, word in enumerate(words):
        if isinstance(word, str) and INSTALLS.search(word):
            said = "installs packages, but the job reaches no network; use an image that has them"
            field = f"AppSpecification.ContainerEntrypoint[{number}]"
            yield request.found(field, "network isolation", said)


def _time(training: Training) -> Iterator[Finding]:
    longest = at(training.body, "StoppingCondition.MaxRuntimeInSeconds", int)
    wait = at(training.body, "StoppingCondition.MaxWaitTimeInSeconds", int)
    field = "StoppingCondition.MaxWaitTimeInSeconds"
    if longest is not None and wait is not None and wait < longest:
        said = f"{wait} s must be at least MaxRuntimeInSeconds, {longest} s, which it includes"
        yield training.found(field, "max_wait >= max_run", said)
    spot = switched_on(training.body, "EnableManagedSpotTraining")
    if spot and wait is None and _given(training, "StoppingCondition", "MaxWaitTimeInSeconds") is None:
        yield training.found(field, "spot", "a spot job must say how long it may wait: give --max-wait")
    if wait is not None and not spot:
        yield training.found(field, "spot", "only spot jobs wait: give --spot, or leave out --max-wait")


def _given(training: Training, *names: str) -> Any:
    value: Any = training.body
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _spot(training: Training) -> Iterator[Finding]:
    """Spot without checkpoints is refused, not only warned of: an interruption would pay twice."""
    if not switched_on(training.body, "EnableManagedSpotTraining"):
        return
    if at(training.body, "ResourceConfig.KeepAlivePeriodInSeconds", int):
        said = "a warm pool holds no spot machines: leave out --spot or --keep-alive"
        yield training.found("ResourceConfig.KeepAlivePeriodInSeconds", "spot excludes warm pools", said)
    if _given(training, "CheckpointConfig", "S3Uri") is None:
        said = "a spot job that is interrupted would begin again from nothing: give it a checkpoint prefix"
        yield training.found("CheckpointConfig", "spot needs checkpoints", said)


def _isolated_training(training: Training) -> Iterator[Finding]:
    """`weights` that the job would have to fetch by itself."""
    if not switched_on(training.body, "EnableNetworkIsolation"):
        return
    if training.request.installs:
        said = "AWS's image lacks packages, which the job could not install; leave out --dlc"
        yield training.found("EnableNetworkIsolation", "network isolation", said)
    values = at(training.body, training.hyperparameters, Mapping) or {}
    weights = decoded(values.get("weights", UNKNOWN))
    channels = [
        item.get("ChannelName")
        for item in at(training.body, "InputDataConfig", (list, tuple)) or ()
        if isinstance(item, Mapping)
    ]
    fetched = weights == "imagenet" or (isinstance(weights, str) and weights.startswith("s3://"))
    if fetched and "weights" not in channels:
        said = (
            f"weights={weights} is fetched by the job, which reaches no network; "
            "launch/stage_weights.py puts it into S3, and --weights makes it an input"
        )
        yield training.found(f"{training.hyperparameters}.weights", "network isolation", said)
