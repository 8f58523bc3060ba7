"""The references of a pipeline's definition: whether each leads to something, and whether the steps can be
put into an order."""

import graphlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trapline.launching.checking.findings import Finding
from trapline.launching.checking.pipeline_steps import OPERATIONS, OTHERS, Step, references, waits_for
from trapline.launching.checking.service_model import service

EXECUTION = {
    "StartDateTime", "CurrentDateTime", "PipelineName", "PipelineArn", "PipelineExecutionId",
    "PipelineExecutionArn", "TrainingJobName", "ProcessingJobName",
}  # fmt: skip
FILES = "PropertyFiles"
PART = re.compile(r"(?P<name>[A-Za-z0-9]+)|\[(?P<number>\d+)\]|\['(?P<key>[^']*)'\]|\.")
# Lists of a request whose items a path may call by name -> the member that is the name.
NAMED = {"Outputs": "OutputName", "ProcessingInputs": "InputName", "InputDataConfig": "ChannelName"}


@dataclass(frozen=True)
class Known:
    """What references may lead to."""

    parameters: frozenset[str]
    steps: Mapping[str, Step]


def check_references(known: Known) -> Iterator[Finding]:
    """A finding for each reference or dependency that leads nowhere, and one for a cycle."""
    sound = True
    for step in known.steps.values():
        for field, target in references({"Arguments": step.arguments}):
            problem = _problem(target, step, known)
            if problem:
                sound = sound and not target.startswith("Steps.")
                yield Finding(f"step {step.name}", field, "reference", f"{target}: {problem}")
        for number, name in enumerate(step.body.get("DependsOn", [])):
            if name not in known.steps:
                sound = False
                said = f"{name}: no such step; there are {', '.join(known.steps)}"
                yield Finding(f"step {step.name}", f"DependsOn[{number}]", "reference", said)
    if sound:
        yield from _cycle(known)


def _problem(target: str, source: Step, known: Known) -> str | None:
    """What is wrong with a reference, or None."""
    kind, _, rest = target.partition(".")
    if kind == "Parameters":
        return None if rest in known.parameters else "no such parameter; declare it"
    if kind == "Execution":
        return None if rest in EXECUTION else f"must be one of {', '.join(sorted(EXECUTION))}"
    if kind != "Steps":
        return "must begin with Parameters, Execution or Steps"
    name, _, path = rest.partition(".")
    if name not in known.steps:
        return f"no such step; there are {', '.join(known.steps)}"
    step = known.steps[name]
    if _exclude_each_other(source, step):
        return f"only one of the steps {source.name} and {name} ever runs"
    return _problem_of_path(step, path)


def _exclude_each_other(one: Step, other: Step) -> bool:
    mine = dict(one.branches)
    return any(mine.get(condition, branch) != branch for condition, branch in other.branches)


def _problem_of_path(step: Step, path: str) -> str | None:
    if path.startswith(f"{FILES}."):
        name = path.removeprefix(f"{FILES}.")
        files = [file.get("PropertyFileName") for file in step.body.get(FILES, [])]
        return None if name in files else f"step {step.name} has no property file {name}"
    if step.kind in OTHERS:
        return None if step.kind not in ("Condition", "Fail") else f"a {step.kind} step has no properties"
    if step.kind not in OPERATIONS:
        return None  # a finding of its own
    shape = service().operation_model(OPERATIONS[step.kind][2]).output_shape
    return _walk(shape, list(PART.finditer(path)), path, step.arguments)


def _walk(shape: Any, parts: list[re.Match[str]], path: str, value: Any) -> str | None:
    """Follow a path through what Describe answers; `value`: the same place of the request, if there."""
    if not parts or "".join(part[0] for part in parts) != path:
        return "is no path, as in ModelArtifacts.S3ModelArtifacts"
    above = ""
    for part in parts:
        if part["name"]:
            if shape.type_name != "structure" or part["name"] not in shape.members:
                return f"its description has no {part['name']}"
            shape, above = shape.members[part["name"]], part["name"]
            value = value.get(above) if isinstance(value, Mapping) else None
        elif part["number"] or part["key"] is not None:
            problem, value = _item(shape, above, part, value)
            if problem:
                return problem
            shape = shape.value if shape.type_name == "map" else shape.member
    return None if shape.type_name not in ("structure", "list", "map") else "is not a single value"


def _item(shape: Any, above: str, part: re.Match[str], value: Any) -> tuple[str | None, Any]:
    """What is wrong with an index, and the item of the request that it means."""
    if shape.type_name not in ("list", "map"):
        return f"{above} has no items", None
    if shape.type_name == "map" or not isinstance(value, list):
        return None, None
    if part["number"]:
        number = int(part["number"])
        return (None, value[number]) if number < len(value) else (f"{above} has {len(value)} items", None)
    by_name = {item.get(NAMED.get(above, "")): item for item in value if isinstance(item, Mapping)}
    if part["key"] in by_name:
        return None, by_name[part["key"]]
    return f"{above} has no {part['key']}, only {', '.join(str(name) for name in by_name)}", None


def _cycle(known: Known) -> Iterator[Finding]:
    graph = {name: waits_for(step) & known.steps.keys() for name, step in known.steps.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        around = list(reversed(error.args[1]))
        said = f"waits for itself: {' <- '.join(reversed(around))}; break the circle"
        yield Finding(f"step {around[0]}", "DependsOn", "cycle", said)
