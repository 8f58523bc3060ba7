"""Requests against AWS's own description of them, as botocore ships it. Nothing is asked.

botocore itself checks types, required members and some minimums, of a request that it sends. AWS also
refuses what breaks a pattern, a maximum, an enumeration, sizes of lists and maps, and unions. What only a
pipeline's execution knows (`Get`, `Std:Join`, `Std:JsonGet`) counts as right, but a parameter's default is
checked where it stands.
"""

import difflib
import functools
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from trapline.launching.checking.findings import Finding, below, redacted, shown

Fault = tuple[str, str, str]  # field, rule, detail of a finding

VARIABLES = ("Get", "Std:Join", "Std:JsonGet")
FEW = 12  # choices that a finding lists
UNKNOWN = object()  # a value that only the execution knows
SERVICES = ("sagemaker", "s3", "scheduler")  # whose requests are checked, looked through in this order
# Java's classes of characters, as wide as Python's own that hold them.
CLASSES = {"Z": r"\s", "L": r"\w", "N": r"\w", "M": r"\w", "A": r"\w"}
TYPES: dict[str, tuple[type, ...]] = {
    "structure": (Mapping,), "map": (Mapping,), "list": (list, tuple), "string": (str,), "boolean": (bool,),
    "integer": (int,), "long": (int,), "float": (int, float), "double": (int, float),
    "timestamp": (str, int, float, datetime), "blob": (str, bytes, bytearray),
}  # fmt: skip


@functools.cache
def service(name: str = "sagemaker") -> Any:
    """botocore's model of a service; the first call of SageMaker's takes 0.3 s."""
    import botocore.session

    return botocore.session.get_session().get_service_model(name)


def input_of(operation: str) -> Any:
    """The shape of an operation's request. Raises KeyError for one that no known service has."""
    for name in SERVICES:
        if operation in service(name).operation_names:
            return service(name).operation_model(operation).input_shape
    raise KeyError(f"no operation of {', '.join(SERVICES)}: {operation}")


def check_request(
    operation: str, parameters: Mapping[str, Any], step: str, defaults: Mapping[str, Any] | None = None
) -> list[Finding]:
    """What AWS would refuse in a request; one finding for each value, in the order of the request.

    `defaults`: of the pipeline's parameters where it is the request of a step; None: variables mean nothing.
    """
    return [
        Finding(step, field or "request", rule, detail)
        for field, rule, detail in _faults(input_of(operation), parameters, "", defaults)
    ]


def check_value(shape: str, value: object, step: str, field: str) -> list[Finding]:
    """What AWS would refuse in a single value of one of SageMaker's named shapes, as in StepName."""
    return [Finding(step, *fault) for fault in _faults(service().shape_for(shape), value, field, None)]


def is_variable(value: object) -> bool:
    """Whether a value is one of a pipeline's: a reference, or a function of some."""
    return isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in VARIABLES


def resolve(value: Any, defaults: Mapping[str, Any]) -> Any:
    """The plain value of a variable where the parameters' defaults tell it, else UNKNOWN."""
    if not is_variable(value):
        return value
    match value:
        case {"Get": str(target)} if target.startswith("Parameters."):
            return defaults.get(target.removeprefix("Parameters."), UNKNOWN)
        case {"Std:Join": {"Values": list(values), **others}}:
            parts = [resolve(part, defaults) for part in values]
            if UNKNOWN not in parts:
                return str(others.get("On", "")).join(map(str, parts))
    return UNKNOWN


def settle(value: Any, defaults: Mapping[str, Any]) -> Any:
    """A copy of a step's arguments in which each variable is its value, or UNKNOWN."""
    value = resolve(value, defaults)
    if isinstance(value, Mapping):
        return {name: settle(item, defaults) for name, item in value.items()}
    return [settle(item, defaults) for item in value] if isinstance(value, list) else value


def count_values(value: Any) -> int:
    """How many single values a request has."""
    if isinstance(value, Mapping) and not is_variable(value):
        return sum(map(count_values, value.values()))
    return sum(map(count_values, value)) if isinstance(value, list | tuple) else 1


def python_pattern(pattern: str) -> re.Pattern[str] | None:
    """A pattern of the service model for Python; None for the few whose characters only Java can name."""
    text = re.sub(r"\\p\{(\w)\w*\}", lambda found: CLASSES.get(found[1], r"\S"), pattern)
    text = re.sub(r"\)\$\{\d+,\d+\}$", ")", text)  # a slip in the model; sizes are given apart from it
    try:
        return re.compile(text, re.DOTALL)
    except re.error:
        return None


def _faults(shape: Any, value: Any, field: str, defaults: Mapping[str, Any] | None) -> Iterator[Fault]:
    """What is wrong at and below `field`."""
    if defaults is not None:
        value = resolve(value, defaults)
    if value is UNKNOWN:
        return
    kinds = TYPES[shape.type_name]
    fits = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
    if not fits:
        yield field, "type", f"must be a {shape.type_name}, not {shown(value)}"
        return
    match shape.type_name:
        case "structure":
            yield from _of_structure(shape, value, field, defaults)
        case "list":
            yield from _of_size(shape, len(value), field, "items")
            for number, item in enumerate(value):
                yield from _faults(shape.member, item, f"{field}[{number}]", defaults)
        case "map":
            yield from _of_map(shape, value, field, defaults)
        case "string":
            yield from _of_text(shape, value, field)
        case "integer" | "long" | "float" | "double":
            yield from _of_size(shape, value, field)


def _of_structure(
    shape: Any, value: Mapping[str, Any], field: str, defaults: Mapping[str, Any] | None
) -> Iterator[Fault]:
    yield from (
        (below(field, name), "required", "is missing; give it")
        for name in shape.required_members
        if name not in value
    )
    if getattr(shape, "is_tagged_union", False) and len(value) != 1:
        yield field, "union", f"must have exactly one of {', '.join(shape.members)}"
    for name, item in value.items():
        if name in shape.members:
            yield from _faults(shape.members[name], item, below(field, name), defaults)
        else:
            yield (
                below(field, name),
                "unknown",
                f"{shape.name} has no such member; its name may be mistyped, or boto3 too old for it",
            )


def _of_map(
    shape: Any, value: Mapping[str, Any], field: str, defaults: Mapping[str, Any] | None
) -> Iterator[Fault]:
    yield from _of_size(shape, len(value), field, "entries")
    for name, item in value.items():
        wrong = list(_faults(shape.key, name, below(field, redacted(str(name))), defaults))
        yield from wrong or _faults(shape.value, item, below(field, name), defaults)


def _of_text(shape: Any, value: str, field: str) -> Iterator[Fault]:
    if shape.enum and value not in shape.enum:
        yield field, "enum", f"{shown(value)} {_choices(value, shape.enum)}"
        return
    wrong = list(_of_size(shape, len(value), field, "characters"))
    yield from wrong
    pattern = shape.metadata.get("pattern")
    compiled = python_pattern(pattern) if pattern and not wrong else None
    if compiled and not compiled.fullmatch(value):
        yield field, "pattern", f"{shown(value)} must be of the form {pattern}"


def _of_size(shape: Any, size: float, field: str, unit: str = "") -> Iterator[Fault]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    number = f"{size} {unit}".strip()
    rules = (
        (low is not None and size < low, "min", f"must be at least {low}"),
        (high is not None and size > high, "max", f"must be at most {high}"),
    )
    yield from ((field, rule, f"{number}: {said}") for broken, rule, said in rules if broken)


def _choices(value: str, enum: list[str]) -> str:
    """What a value may be: all where they are few, else the nearest."""
    if len(enum) <= FEW:
        return f"must be one of {', '.join(enum)}"
    near = difflib.get_close_matches(value, enum, n=3, cutoff=0.7)
    meant = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"is none of the {len(enum)} that this boto3 knows{meant}"
