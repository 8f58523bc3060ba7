"""Rules between the fields of a tuner's request."""

from collections.abc import Iterator, Mapping
from typing import Any

from trapline.config import TrainingConfig, make_config
from trapline.errors import UsageError
from trapline.launching.checking.findings import Finding, shown
from trapline.launching.checking.hyperparameter_rules import decoded, own_hyperparameters
from trapline.launching.checking.settled_requests import Request, Training, at, trainings

CONFIG = "HyperParameterTuningJobConfig"
NUMBERS = ("IntegerParameterRanges", "ContinuousParameterRanges")
CATEGORIES = "CategoricalParameterRanges"
SCALES = {"Logarithmic": "must be above 0", "ReverseLogarithmic": "must be from 0 to below 1"}


def check_tuning(request: Request) -> Iterator[Finding]:
    """Limits of jobs, the objective, the ranges, each end of which the training must accept."""
    if request.operation != "CreateHyperParameterTuningJob":
        return
    config = at(request.parameters, CONFIG, Mapping) or {}
    yield from _limits(request, config)
    many_definitions = "TrainingJobDefinitions" in request.parameters
    for training in trainings(request):
        body = training.body if many_definitions else config
        place = training.prefix if many_definitions else f"{CONFIG}."
        ranges = "HyperParameterRanges" if many_definitions else "ParameterRanges"
        objective = "TuningObjective" if many_definitions else "HyperParameterTuningJobObjective"
        yield from _objective(request, training, body.get(objective), f"{place}{objective}")
        yield from _ranges(request, training, body.get(ranges), f"{place}{ranges}")


def _limits(request: Request, config: Mapping[str, Any]) -> Iterator[Finding]:
    most = at(config, "ResourceLimits.MaxNumberOfTrainingJobs", int)
    at_once = at(config, "ResourceLimits.MaxParallelTrainingJobs", int)
    if most is not None and at_once is not None and at_once > most:
        said = f"{at_once} at once must be at most MaxNumberOfTrainingJobs, {most}"
        yield request.found(f"{CONFIG}.ResourceLimits.MaxParallelTrainingJobs", "parallel <= jobs", said)
    strategy = at(config, "Strategy", str)
    ranges = at(config, "ParameterRanges", Mapping) or {}
    for kind in NUMBERS if strategy == "Grid" else ():
        if ranges.get(kind):
            said = "a grid has categorical ranges alone: list the values, as in lr=1e-4,1e-3"
            yield request.found(f"{CONFIG}.ParameterRanges.{kind}", "grid", said)


def _objective(request: Request, training: Training, objective: Any, field: str) -> Iterator[Finding]:
    name = at(objective, "MetricName", str)
    defined = at(training.body, "AlgorithmSpecification.MetricDefinitions", (list, tuple))
    if name is None or defined is None:
        return
    names = [item.get("Name") for item in defined if isinstance(item, Mapping)]
    if name not in names:
        said = f"{shown(name)}: no metric definition has this name; there are {', '.join(map(str, names))}"
        yield request.found(f"{field}.MetricName", "objective", said)


def _ranges(request: Request, training: Training, ranges: Any, field: str) -> Iterator[Finding]:
    static = at(training.body, training.hyperparameters, Mapping) or {}
    seen: set[str] = set()
    if not isinstance(ranges, Mapping):
        return
    for kind in (*NUMBERS, CATEGORIES):
        for number, item in enumerate(at(ranges, kind, (list, tuple)) or ()):
            name = at(item, "Name", str)
            place = f"{field}.{kind}[{number}]"
            if name is None:
                continue
            if name in static or name in seen:
                said = f"{name}: is also {'static' if name in static else 'another range'}; leave one out"
                yield request.found(f"{place}.Name", "range", said)
            seen.add(name)
            yield from _ends(request, static, name, item, kind, place)


def _ends(
    request: Request, static: Mapping[str, Any], name: str, item: Mapping[str, Any], kind: str, place: str
) -> Iterator[Finding]:
    if name not in TrainingConfig.model_fields:
        yield request.found(
            f"{place}.Name", "range", f"{name}: no hyperparameter; train.py --help lists them"
        )
        return
    if kind == CATEGORIES:
        values = at(item, "Values", (list, tuple)) or ()
        ends = {f"Values[{number}]": decoded(value) for number, value in enumerate(values)}
    else:
        ends = {member: decoded(item.get(member)) for member in ("MinValue", "MaxValue")}
        wrong = [member for member, value in ends.items() if not isinstance(value, int | float)]
        for member in wrong:
            yield request.found(f"{place}.{member}", "range", f"{shown(item.get(member))} must be a number")
        if wrong:
            return
        yield from _order(request, item, ends, place)
    for member, value in ends.items():
        try:
            make_config({**own_hyperparameters(static), name: value})
        except UsageError as error:
            yield request.found(f"{place}.{member}", "range", str(error).splitlines()[0])


def _order(
    request: Request, item: Mapping[str, Any], ends: Mapping[str, Any], place: str
) -> Iterator[Finding]:
    low, high = ends["MinValue"], ends["MaxValue"]
    scale = at(item, "ScalingType", str) or "Auto"
    if low >= high:
        yield request.found(f"{place}.MinValue", "range", f"{low} must be below MaxValue, {high}")
    elif scale in SCALES and (low <= 0 if scale == "Logarithmic" else not 0 <= low < high < 1):
        yield request.found(f"{place}.ScalingType", "range", f"{scale}: {low} {SCALES[scale]}")
