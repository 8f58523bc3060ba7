"""Rules that hold between the fields of a request, which the service model cannot say.

They are those of AWS's documentation of each field, and for trainings and tuners also those of this project's
own code in the container: each regex of a metric must read its value from the line that the job prints; a
hyperparameter must survive the way into the container and mean something there, as must each end of a tuner's
ranges.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

from trapline.config import ShellSafe, TrainingConfig, make_config
from trapline.errors import UsageError
from trapline.launching.checking.findings import (
    Finding,
    Request,
    Training,
    all_parts,
    at,
    items_at,
    secrets_in,
    shown,
    texts,
    trainings,
    value_at,
)
from trapline.launching.checking.service_model import UNKNOWN
from trapline.metrics import BY_NAME, format_line, format_value

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
        _transform, _places, _secrets, _regions, _disks, _isolated_processing, _tuning,
    )  # fmt: skip
    of_training = (_settings, _metrics, _hyperparameters)
    return [
        *(finding for rule in rules for finding in rule(request)),
        *(finding for training in trainings(request) for rule in of_training for finding in rule(training)),
    ]


def _transform(request: Request) -> Iterator[Finding]:
    if request.operation != "CreateTransformJob":
        return
    concurrent = at(request.parameters, "MaxConcurrentTransforms", int) or 1
    payload = at(request.parameters, "MaxPayloadInMB", int)
    payload = DEFAULT_PAYLOAD_MB if payload is None else payload
    if concurrent * payload > CONCURRENT_MB:
        yield request.found(
            "MaxConcurrentTransforms",
            "concurrency x payload",
            f"{concurrent} at once of {payload} MB: their product must be at most {CONCURRENT_MB}",
        )


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
    said = "whoever may describe the job could read it: use the job's role"
    found = ((field, kind) for field, text in texts(request.parameters) for kind, _ in secrets_in(text))
    yield from (request.found(field, "secret", f"looks like {kind}; {said}") for field, kind in found)


def partition_of(region: str) -> str:
    """What ARNs of a region begin with, after arn:"""
    return next((name for start, name in PARTITIONS.items() if region.startswith(start)), "aws")


def _regions(request: Request) -> Iterator[Finding]:
    """A role is of the region's partition; an image of ECR is pulled from the job's own region alone."""
    region = request.region
    if region is None:
        return
    wanted = partition_of(region)
    for field in ("RoleArn", "ExecutionRoleArn", "TrainingJobDefinition.RoleArn"):
        arn = at(request.parameters, field, str) or ""
        if arn.startswith("arn:") and arn.split(":")[1] != wanted:
            yield request.found(
                field, "role's partition", f"{shown(arn)} must begin with arn:{wanted}: in {region}"
            )
    for field, text in texts(request.parameters):
        host = REGISTRY_HOST.match(text)
        if host and host[1] != region and field.rpartition(".")[2] in ("TrainingImage", "ImageUri", "Image"):
            yield request.found(
                field,
                "image's region",
                f"the image lies in {host[1]}, the job would run in {region}; push it there",
            )


def _disks(request: Request) -> Iterator[Finding]:
    """A disk that is the machine's own takes no key: its hardware encrypts it."""
    for above, part in all_parts(request.parameters):
        kind = at(part, "InstanceType", str)
        if kind and "VolumeKmsKeyId" in part and OWN_DISKS.match(kind):
            said = f"{kind} has disks of its own, which take no key; leave it out, or take another instance"
            yield request.found(f"{above}.VolumeKmsKeyId", "disk's key", said)


def _isolated_processing(request: Request) -> Iterator[Finding]:
    if value_at(request.parameters, "NetworkConfig.EnableNetworkIsolation") is not True:
        return
    for number, word in enumerate(items_at(request.parameters, "AppSpecification.ContainerEntrypoint")):
        if isinstance(word, str) and INSTALLS.search(word):
            said = "installs packages, but the job reaches no network; use an image that has them"
            yield request.found(f"AppSpecification.ContainerEntrypoint[{number}]", "network isolation", said)


# --- trainings and tuners -----------------------------------------------------------------------------------

# Older training toolkits join the command line through a shell without quoting it.
SAFE = re.compile(get_args(ShellSafe)[1].pattern)
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
NOT_PASSED_ON = ("sagemaker_", "_")  # what the toolkit and the tuner keep for themselves begins so
ISOLATION = "EnableNetworkIsolation"
WAIT = "StoppingCondition.MaxWaitTimeInSeconds"
WARM = "ResourceConfig.KeepAlivePeriodInSeconds"
DEFINITIONS = "AlgorithmSpecification.MetricDefinitions"
TUNING = "HyperParameterTuningJobConfig"
NUMBERS = ("IntegerParameterRanges", "ContinuousParameterRanges")
CATEGORIES = "CategoricalParameterRanges"
SCALES = {"Logarithmic": "must be above 0", "ReverseLogarithmic": "must be from 0 to below 1"}


def _settings(training: Training) -> Iterator[Finding]:
    """Time, spot machines, and what a job without network would have to fetch by itself.

    Spot without checkpoints is refused, not only warned of: an interruption would pay twice.
    """
    longest = at(training.body, "StoppingCondition.MaxRuntimeInSeconds", int)
    wait = at(training.body, WAIT, int)
    spot = training.body.get("EnableManagedSpotTraining") is True
    isolated = training.body.get(ISOLATION) is True
    weights = decoded(training.values.get("weights"))
    fetched = weights == "imagenet" or (isinstance(weights, str) and weights.startswith("s3://"))
    channels = [value_at(item, "ChannelName") for item in items_at(training.body, "InputDataConfig")]
    rules = (
        (longest is not None and wait is not None and wait < longest, WAIT, "max_wait >= max_run",
         f"{wait} s must be at least MaxRuntimeInSeconds, {longest} s, which it includes"),
        (spot and value_at(training.body, WAIT) is None, WAIT, "spot",
         "a spot job must say how long it may wait: give --max-wait"),
        (wait is not None and not spot, WAIT, "spot",
         "only spot jobs wait: give --spot, or leave out --max-wait"),
        (spot and at(training.body, WARM, int), WARM, "spot excludes warm pools",
         "a warm pool holds no spot machines: leave out --spot or --keep-alive"),
        (spot and value_at(training.body, "CheckpointConfig.S3Uri") is None, "CheckpointConfig",
         "spot needs checkpoints",
         "a spot job that is interrupted would begin again from nothing: give it a checkpoint prefix"),
        (isolated and training.request.installs, ISOLATION, "network isolation",
         "AWS's image lacks packages, which the job could not install; leave out --dlc"),
        (isolated and fetched and "weights" not in channels, f"{training.hyperparameters}.weights",
         "network isolation",
         f"weights={weights} is fetched by the job, which reaches no network; "
         "launch/stage_weights.py puts it into S3, and --weights makes it an input"),
    )  # fmt: skip
    yield from (training.found(*finding) for broken, *finding in rules if broken)


def _printed_lines() -> list[tuple[str, dict[str, float]]]:
    """Lines as a job prints them, and what must be read: values that tell the metrics apart."""
    plain = {name: 11.5 + number for number, name in enumerate(BY_NAME)}
    signed = {name: -1.25e-05 * (number + 1) for number, name in enumerate(BY_NAME)}
    whole: dict[str, float] = {name: 3 + number for number, name in enumerate(BY_NAME)}
    return [
        (format_line(plain), plain),
        (f"\r algo-1-x | {format_line(signed)}\r", signed),
        (f"epoch 3 {format_line(whole)} said", whole),
    ]


LINES = _printed_lines()
NOT_A_NUMBER = format_line(dict.fromkeys(BY_NAME, math.nan))


def _metrics(training: Training) -> Iterator[Finding]:
    """A regex that does not compile or misses, two of a name, a name that no line prints, a metric unread."""
    given = at(training.body, DEFINITIONS, (list, tuple))
    if given is None or not training.request.current:
        return
    names = [item.get("Name") for item in given if isinstance(item, Mapping)]
    for number, item in enumerate(given):
        # A name that is no text is the service model's to say.
        problem = _metric_problem(item, names[:number]) if at(item, "Name", str) is not None else None
        if problem:
            yield training.found(f"{DEFINITIONS}[{number}].{problem[0]}", "metric", problem[1])
    for name in BY_NAME.keys() - set(names) if all(isinstance(name, str) for name in names) else ():
        yield training.found(DEFINITIONS, "metric", f"{name}: the job prints it and no definition reads it")


def _metric_problem(item: Mapping[str, Any], before: list[Any]) -> tuple[str, str] | None:
    """The member that is wrong, and why."""
    name, regex = item["Name"], item.get("Regex")
    if name in before:
        return "Name", f"{shown(name)}: defined twice"
    if not isinstance(regex, str):
        return None
    try:
        compiled = re.compile(regex)
    except re.error as error:
        return "Regex", f"{name}: is no regular expression ({error})"
    if compiled.groups < 1:
        return "Regex", f"{name}: must have a group, which is the value"
    if name not in BY_NAME:
        return (
            "Name",
            f"{shown(name)}: no line of the job prints it; the metric registry has {', '.join(BY_NAME)}",
        )
    for line, values in LINES:
        match = compiled.search(line)
        if match is None:
            return "Regex", f"{name}: does not match the line that the job prints"
        if match[1] != format_value(values[name]):
            return (
                "Regex",
                f"{name}: reads {shown(match[1])} where the job printed {format_value(values[name])}",
            )
    return ("Regex", f"{name}: matches where the job printed nan") if compiled.search(NOT_A_NUMBER) else None


def decoded(value: object) -> object:
    """A hyperparameter's value as the toolkit decodes it: JSON, or the text itself."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _own_values(training: Training) -> dict[str, Any]:
    """The decoded hyperparameters that reach train.py."""
    return {
        name: decoded(value)
        for name, value in training.values.items()
        if not str(name).startswith(NOT_PASSED_ON)
    }


def _hyperparameters(training: Training) -> Iterator[Finding]:
    """What a shell would change, and what the training would refuse after minutes that cost money."""
    own = _own_values(training)
    unsafe = {name: problem for name, value in own.items() if (problem := _unsafe(name, value))}
    place = training.hyperparameters
    yield from (training.found(f"{place}.{name}", "shell", problem) for name, problem in unsafe.items())
    of_texts = all(isinstance(value, str) or value is UNKNOWN for value in training.values.values())
    if training.request.current and of_texts and not unsafe:
        yield from _impossible(training, own)


def _unsafe(name: str, value: object) -> str | None:
    if not NAME.fullmatch(name):
        return "the name must be letters, digits, _ and -, to be an option of train.py"
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and text and not SAFE.search(text):
            return f"{shown(text)}: only letters, digits and _./:@+,=- survive a shell on the way to train.py"
        if isinstance(text, dict | list):
            return "must be a plain value, or a list of plain values"
    return None


def _impossible(training: Training, own: Mapping[str, Any]) -> Iterator[Finding]:
    known = {name: value for name, value in own.items() if value is not UNKNOWN}
    try:
        make_config(known)
    except UsageError as error:
        for line in str(error).splitlines():
            name = line.removeprefix("hyperparameter ").partition(":")[0]
            if name not in TrainingConfig.model_fields and len(known) < len(own) and name not in own:
                continue  # of several fields, one of which only the execution knows
            field = f".{name}" if name in {*known, *TrainingConfig.model_fields} else ""
            yield training.found(f"{training.hyperparameters}{field}", "hyperparameter", line)


def _tuning(request: Request) -> Iterator[Finding]:
    """Limits of jobs, the objective, the ranges, each end of which the training must accept."""
    if request.operation != "CreateHyperParameterTuningJob":
        return
    config = at(request.parameters, TUNING, Mapping) or {}
    yield from _limits(request, config)
    many = "TrainingJobDefinitions" in request.parameters
    ranges = "HyperParameterRanges" if many else "ParameterRanges"
    objective = "TuningObjective" if many else "HyperParameterTuningJobObjective"
    for training in trainings(request):
        body, place = (training.body, training.prefix) if many else (config, f"{TUNING}.")
        yield from _objective(training, body.get(objective), f"{place}{objective}")
        yield from _ranges(training, body.get(ranges), f"{place}{ranges}")


def _limits(request: Request, config: Mapping[str, Any]) -> Iterator[Finding]:
    most = at(config, "ResourceLimits.MaxNumberOfTrainingJobs", int)
    at_once = at(config, "ResourceLimits.MaxParallelTrainingJobs", int)
    rules = [
        (most is not None and at_once is not None and at_once > most,
         "ResourceLimits.MaxParallelTrainingJobs", "parallel <= jobs",
         f"{at_once} at once must be at most MaxNumberOfTrainingJobs, {most}"),
        *((config.get("Strategy") == "Grid" and value_at(config, f"ParameterRanges.{kind}"),
           f"ParameterRanges.{kind}", "grid",
           "a grid has categorical ranges alone: list the values, as in lr=1e-4,1e-3") for kind in NUMBERS),
    ]  # fmt: skip
    yield from (
        request.found(f"{TUNING}.{field}", rule, said) for broken, field, rule, said in rules if broken
    )


def _objective(training: Training, objective: Any, field: str) -> Iterator[Finding]:
    name = at(objective, "MetricName", str)
    defined = at(training.body, DEFINITIONS, (list, tuple))
    if name is None or defined is None:
        return
    names = [item.get("Name") for item in defined if isinstance(item, Mapping)]
    if name not in names:
        said = f"{shown(name)}: no metric definition has this name; there are {', '.join(map(str, names))}"
        yield training.request.found(f"{field}.MetricName", "objective", said)


def _ranges(training: Training, ranges: Any, field: str) -> Iterator[Finding]:
    seen: set[str] = set()
    for kind in (*NUMBERS, CATEGORIES):
        for number, item in enumerate(items_at(ranges, kind)):
            name = at(item, "Name", str)
            place = f"{field}.{kind}[{number}]"
            if name is None:
                continue
            if name in training.values or name in seen:
                other = "static" if name in training.values else "another range"
                yield training.request.found(
                    f"{place}.Name", "range", f"{name}: is also {other}; leave one out"
                )
            seen.add(name)
            yield from (
                training.request.found(f"{place}.{member}", "range", problem)
                for member, problem in _range_problems(training, item, kind)
            )


def _range_problems(training: Training, item: Mapping[str, Any], kind: str) -> Iterator[tuple[str, str]]:
    """The members of a range that are wrong, and why."""
    name = item["Name"]
    if name not in TrainingConfig.model_fields:
        yield "Name", f"{name}: no hyperparameter; train.py --help lists them"
        return
    if kind == CATEGORIES:
        ends = {f"Values[{number}]": decoded(value) for number, value in enumerate(items_at(item, "Values"))}
    else:
        ends = {member: decoded(item.get(member)) for member in ("MinValue", "MaxValue")}
        wrong = [member for member, value in ends.items() if not isinstance(value, int | float)]
        if wrong:
            yield from ((member, f"{shown(item.get(member))} must be a number") for member in wrong)
            return
        yield from _order(item, ends)
    for member, value in ends.items():
        try:
            make_config({**_own_values(training), name: value})
        except UsageError as error:
            yield member, str(error).splitlines()[0]


def _order(item: Mapping[str, Any], ends: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    low, high = ends["MinValue"], ends["MaxValue"]
    scale = at(item, "ScalingType", str) or "Auto"
    if low >= high:
        yield "MinValue", f"{low} must be below MaxValue, {high}"
    elif scale in SCALES and (low <= 0 if scale == "Logarithmic" else not 0 <= low < high < 1):
        yield "ScalingType", f"{scale}: {low} {SCALES[scale]}"
