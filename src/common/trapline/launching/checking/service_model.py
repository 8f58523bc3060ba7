"""Requests against AWS's own description of them, as botocore ships it. Nothing is asked.

botocore itself checks types, required members and some minimums, of a request that it sends. AWS also
refuses what breaks a pattern, a maximum, an enumeration, sizes of lists and maps, and unions. What only a
pipeline's execution knows (`Get`, `Std:Join`, `Std:JsonGet`) counts as right, but a parameter's default is
checked where it stands.
"""

import difflib
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from trapline.launching.checking.findings import Finding, shown
from trapline.launching.checking.secret_patterns import redacted

VARIABLES = ("Get", "Std:Join", "Std:JsonGet")
FEW = 12  # choices that a finding lists
UNKNOWN = object()  # a value that only the execution knows
SERVICES = ("sagemaker", "s3", "scheduler")  # whose requests are checked, looked through in this order
# Java's classes of characters, as wide as Python's own that hold them.
CLASSES = {"Z": r"\s", "L": r"\w", "N": r"\w", "M": r"\w", "A": r"\w"}


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
    return list(Walk(step, defaults).faults(input_of(operation), parameters, ""))


def check_value(shape: str, value: object, step: str, field: str) -> list[Finding]:
    """What AWS would refuse in a single value of one of SageMaker's named shapes, as in StepName."""
    return list(Walk(step, None).faults(service().shape_for(shape), value, field))


def is_variable(value: object) -> bool:
    """Whether a value is one of a pipeline's: a reference, or a function of some."""
    return isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in VARIABLES


def resolve(value: Any, defaults: Mapping[str, Any]) -> Any:
    """The plain value of a variable where the parameters' defaults tell it, else UNKNOWN."""
    if not is_variable(value):
        return value
    ((kind, content),) = value.items()
    if kind == "Get" and isinstance(content, str) and content.startswith("Parameters."):
        return defaults.get(content.removeprefix("Parameters."), UNKNOWN)
    if kind == "Std:Join" and isinstance(content, Mapping) and isinstance(content.get("Values"), list):
        parts = [resolve(part, defaults) for part in content["Values"]]
        if not any(part is UNKNOWN for part in parts):
            return str(content.get("On", "")).join(str(part) for part in parts)
    return UNKNOWN


def settle(value: Any, defaults: Mapping[str, Any]) -> Any:
    """A copy of a step's arguments in which each variable is its value, or UNKNOWN."""
    if is_variable(value):
        return resolve(value, defaults)
    if isinstance(value, Mapping):
        return {name: settle(item, defaults) for name, item in value.items()}
    if isinstance(value, list):
        return [settle(item, defaults) for item in value]
    return value


def count_values(value: Any) -> int:
    """How many single values a request has."""
    if isinstance(value, Mapping) and not is_variable(value):
        return sum(count_values(item) for item in value.values())
    if isinstance(value, list | tuple):
        return sum(count_values(item) for item in value)
    return 1


def python_pattern(pattern: str) -> re.Pattern[str] | None:
    """A pattern of the service model for Python; None for the few whose characters only Java can name."""
    text = re.sub(r"\\p\{(\w)\w*\}", lambda found: CLASSES.get(found[1], r"\S"), pattern)
    text = re.sub(r"\)\$\{\d+,\d+\}$", ")", text)  # a slip in the model; sizes are given apart from it
    try:
        return re.compile(text, re.DOTALL)
    except re.error:
        return None


@dataclass(frozen=True)
class Walk:
    """One walk through a request."""

    step: str
    defaults: Mapping[str, Any] | None

    def faults(self, shape: Any, value: Any, field: str) -> Iterator[Finding]:
        """What is wrong at and below `field`."""
        if self.defaults is not None:
            value = resolve(value, self.defaults)
        if value is UNKNOWN:
            return
        kinds = TYPES[shape.type_name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            yield self._found(field, "type", f"must be a {shape.type_name}, not {shown(value)}")
            return
        check: Callable[..., Iterator[Finding]] = getattr(self, f"_{CHECKS.get(shape.type_name, 'other')}")
        yield from check(shape, value, field)

    def _found(self, field: str, rule: str, detail: str) -> Finding:
        return Finding(self.step, field or "request", rule, detail)

    def _structure(self, shape: Any, value: Mapping[str, Any], field: str) -> Iterator[Finding]:
        for name in shape.required_members:
            if name not in value:
                yield self._found(below(field, name), "required", "is missing; give it")
        if getattr(shape, "is_tagged_union", False) and len(value) != 1:
            yield self._found(field, "union", f"must have exactly one of {', '.join(shape.members)}")
        for name, item in value.items():
            if name in shape.members:
                yield from self.faults(shape.members[name], item, below(field, name))
            else:
                hint = f"{shape.name} has no such member; its name may be mistyped, or boto3 too old for it"
                yield self._found(below(field, name), "unknown", hint)

    def _list(self, shape: Any, value: Any, field: str) -> Iterator[Finding]:
        yield from self._sized(shape, len(value), field, "items")
        for number, item in enumerate(value):
            yield from self.faults(shape.member, item, f"{field}[{number}]")

    def _map(self, shape: Any, value: Mapping[str, Any], field: str) -> Iterator[Finding]:
        yield from self._sized(shape, len(value), field, "entries")
        for name, item in value.items():
            wrong = list(self.faults(shape.key, name, below(field, redacted(str(name)))))
            yield from wrong or self.faults(shape.value, item, below(field, name))

    def _text(self, shape: Any, value: str, field: str) -> Iterator[Finding]:
        if shape.enum and value not in shape.enum:
            yield self._found(field, "enum", f"{shown(value)} {_choices(value, shape.enum)}")
            return
        wrong = list(self._sized(shape, len(value), field, "characters"))
        yield from wrong
        pattern = shape.metadata.get("pattern")
        compiled = python_pattern(pattern) if pattern and not wrong else None
        if compiled and not compiled.fullmatch(value):
            yield self._found(field, "pattern", f"{shown(value)} must be of the form {pattern}")

    def _number(self, shape: Any, value: float, field: str) -> Iterator[Finding]:
        yield from self._sized(shape, value, field, "")

    def _other(self, shape: Any, value: Any, field: str) -> Iterator[Finding]:
        yield from ()

    def _sized(self, shape: Any, size: float, field: str, unit: str) -> Iterator[Finding]:
        low, high = shape.metadata.get("min"), shape.metadata.get("max")
        number = f"{size} {unit}".strip()
        if low is not None and size < low:
            yield self._found(field, "min", f"{number}: must be at least {low}")
        if high is not None and size > high:
            yield self._found(field, "max", f"{number}: must be at most {high}")


def _choices(value: str, enum: list[str]) -> str:
    """What a value may be: all where they are few, else the nearest."""
    if len(enum) <= FEW:
        return f"must be one of {', '.join(enum)}"
    near = difflib.get_close_matches(value, enum, n=3, cutoff=0.7)
    meant = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"is none of the {len(enum)} that this boto3 knows{meant}"


def below(field: str, name: str) -> str:
    """The path of a member of `field`."""
    return f"{field}.{name}" if field else name


TYPES: dict[str, tuple[type, ...]] = {
    "structure": (Mapping,), "map": (Mapping,), "list": (list, tuple), "string": (str,), "boolean": (bool,),
    "integer": (int,), "long": (int,), "float": (int, float), "double": (int, float),
    "timestamp": (str, int, float, datetime), "blob": (str, bytes, bytearray),
}  # fmt: skip
CHECKS = {
    "structure": "structure", "map": "map", "list": "list", "string": "text",
    "integer": "number", "long": "number", "float": "number", "double": "number",
}  # fmt: skip
