"""Broken variants of good requests, each with one thing wrong, made from the service model by code."""

import copy
from dataclasses import dataclass
from typing import Any

from trapline.launching.checking.findings import below
from trapline.launching.checking.service_model import is_variable, python_pattern

LONGEST = 5000  # items or characters up to which a maximum is put to the test
WRONG_TYPES = {
    "structure": "a text", "map": "a text", "list": "a text", "string": 7, "boolean": "yes",
    "integer": "seven", "long": "seven", "float": "seven", "double": "seven",
}  # fmt: skip
ODD = (
    "!",
    "",
    "a b",
    "§",
    "\n",
    "://",
    "-",
    "x" * 9,
    "a--",
    "_",
    "\u0000",
)  # one of them breaks most patterns


@dataclass(frozen=True)
class Broken:
    """A request with one thing wrong at `field`, by `rule`."""

    rule: str
    field: str
    request: Any


def broken_variants(shape, request):
    """Each constraint of the service model that applies to a value of the request, broken once."""
    for path, field, part, value in places(shape, request):
        if is_variable(value):
            continue
        for rule, where, wrong in wrongs(part, value):
            changed = copy.deepcopy(request)
            if path:
                holder = changed
                for step in path[:-1]:
                    holder = holder[step]
                holder[path[-1]] = wrong
            else:
                changed = wrong
            yield Broken(rule, below(field, where) if where else field, changed)


def places(shape, value, path=(), field=""):
    """Path, field, shape and value of the request and of everything in it."""
    yield path, field, shape, value
    if is_variable(value):
        return
    if shape.type_name == "structure":
        for name, item in value.items():
            yield from places(shape.members[name], item, (*path, name), below(field, name))
    elif shape.type_name == "list":
        for number, item in enumerate(value):
            yield from places(shape.member, item, (*path, number), f"{field}[{number}]")
    elif shape.type_name == "map":
        for name, item in value.items():
            yield from places(shape.value, item, (*path, name), below(field, name))


def wrongs(shape, value):
    """Rule, member (where it is not the value itself) and the wrong value in the place of a right one."""
    kind, limits = shape.type_name, shape.metadata
    if kind in WRONG_TYPES:
        yield "type", "", WRONG_TYPES[kind]
    if kind == "structure":
        for name in shape.required_members:
            yield "required", name, {key: item for key, item in value.items() if key != name}
        yield "unknown", "Nonsense", {**value, "Nonsense": 1}
    elif kind == "string":
        yield from wrong_texts(shape)
    elif kind in ("integer", "long"):
        yield from (("min", "", limits["min"] - 1) for _ in limits.keys() & {"min"})
        yield from (("max", "", limits["max"] + 1) for _ in limits.keys() & {"max"})
    elif kind == "list" and value:
        yield from wrong_lists(shape, value)
    elif kind == "map" and value:
        yield from wrong_maps(shape, value)


def wrong_lists(shape, value):
    """Too many items, and too few."""
    if shape.metadata.get("max", LONGEST) < LONGEST:
        yield "max", "", [value[0]] * (shape.metadata["max"] + 1)
    if shape.metadata.get("min", 0) > 0:
        yield "min", "", []


def wrong_maps(shape, value):
    """Too many entries, and a key that is too long."""
    some = next(iter(value.values()))
    if shape.metadata.get("max", LONGEST) < LONGEST:
        yield "max", "", {**value, **{f"more{number}": some for number in range(shape.metadata["max"])}}
    longest = shape.key.metadata.get("max", LONGEST)
    if longest < LONGEST:
        yield "max", "k" * (longest + 1), {**value, "k" * (longest + 1): some}


def wrong_texts(shape):
    """What a text may not be."""
    limits = shape.metadata
    if shape.enum:
        yield "enum", "", "no-such-choice"
        return
    if limits.get("max", LONGEST) < LONGEST:
        yield "max", "", "x" * (limits["max"] + 1)
    if limits.get("min", 0) > 0:
        yield "min", "", "x" * (limits["min"] - 1)
    pattern = python_pattern(limits["pattern"]) if "pattern" in limits else None
    low, high = limits.get("min", 0), limits.get("max", LONGEST)
    if pattern:
        sized = [odd * max(1, low) for odd in ODD]
        breaking = [odd for odd in sized if low <= len(odd) <= high and not pattern.fullmatch(odd)]
        if breaking:
            yield "pattern", "", breaking[0]
