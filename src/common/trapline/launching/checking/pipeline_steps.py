"""The steps of a pipeline's definition: where each leads, in which order they run, what the cache means.

The definition is plain data. Every reference must lead to something that a job answers, and the steps must
have an order. A step that comes from the cache has properties of an earlier execution: joined to what is of
the current one, or of another step, they name a place where nothing lies. And a step whose key holds what
each execution has anew is never found. Those are rules of AWS's documentation ("Caching pipeline steps",
"Default cache key attributes by pipeline step type").
"""

import graphlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trapline.launching.checking.findings import Finding, all_parts
from trapline.launching.checking.service_model import service

# Type of step -> the request that it makes, the member that the execution fills in, and what describes it.
OPERATIONS = {
    "Processing": ("CreateProcessingJob", "ProcessingJobName", "DescribeProcessingJob"),
    "Training": ("CreateTrainingJob", "TrainingJobName", "DescribeTrainingJob"),
    "Tuning": ("CreateHyperParameterTuningJob", "HyperParameterTuningJobName",
               "DescribeHyperParameterTuningJob"),
    "Transform": ("CreateTransformJob", "TransformJobName", "DescribeTransformJob"),
    "Model": ("CreateModel", "ModelName", "DescribeModel"),
    "RegisterModel": ("CreateModelPackage", None, "DescribeModelPackage"),
    "EndpointConfig": ("CreateEndpointConfig", "EndpointConfigName", "DescribeEndpointConfig"),
    "Endpoint": ("CreateEndpoint", "EndpointName", "DescribeEndpoint"),
}  # fmt: skip
# Types whose arguments are no request of SageMaker's.
OTHERS = {"Condition", "Fail", "Lambda", "Callback", "EMR", "EMRServerless", "QualityCheck", "ClarifyCheck",
          "AutoML", "NotebookJob", "Lineage", "InferenceComponent"}  # fmt: skip
BRANCHES = ("IfSteps", "ElseSteps")
# What a reference may take from the execution, and of that what each execution has anew.
OF_THE_EXECUTION = {
    "PipelineExecutionId", "PipelineExecutionArn", "StartDateTime", "CurrentDateTime", "TrainingJobName",
    "ProcessingJobName",
}  # fmt: skip
EXECUTION = OF_THE_EXECUTION | {"PipelineName", "PipelineArn"}
FILES = "PropertyFiles"
PART = re.compile(r"(?P<name>[A-Za-z0-9]+)|\[(?P<number>\d+)\]|\['(?P<key>[^']*)'\]|\.")
# Lists of a request whose items a path may call by name -> the member that is the name.
NAMED = {"Outputs": "OutputName", "ProcessingInputs": "InputName", "InputDataConfig": "ChannelName"}
KEYS = {  # type of step -> the arguments that its cache looks at
    "Processing": ("AppSpecification", "Environment", "ProcessingInputs"),
    "Training": ("AlgorithmSpecification", "CheckpointConfig", "DebugHookConfig", "DebugRuleConfigurations",
                 "Environment", "HyperParameters", "InputDataConfig"),
    "Transform": ("DataProcessing", "Environment", "ModelName", "TransformInput"),
}  # fmt: skip
READ = ("ProcessingInputs", "InputDataConfig", "TransformInput", "PrimaryContainer", "Containers",
        "InferenceSpecification", "ModelMetrics")  # fmt: skip
JOIN, JSON_GET = "Std:Join", "Std:JsonGet"
CURRENT = "the current execution"


@dataclass(frozen=True)
class Step:
    """A step, and the branches of conditions that it stands in, outermost first."""

    body: Mapping[str, Any]
    branches: tuple[tuple[str, str], ...] = ()  # name of the condition step, IfSteps or ElseSteps

    @property
    def name(self) -> str:
        """Its name, or what stands for one that it lacks."""
        return str(self.body.get("Name", "(step without a name)"))

    @property
    def kind(self) -> str:
        """Its type, as in Training."""
        return str(self.body.get("Type", ""))

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What it does, without the steps behind a condition."""
        arguments = self.body.get("Arguments", {})
        if not isinstance(arguments, Mapping):
            return {}
        steps = BRANCHES if self.kind == "Condition" else ()
        return {name: item for name, item in arguments.items() if name not in steps}

    def found(self, field: str, rule: str, detail: str) -> Finding:
        """A finding of this step."""
        return Finding(f"step {self.name}", field, rule, detail)


def all_steps(
    steps: Sequence[Mapping[str, Any]], branches: tuple[tuple[str, str], ...] = ()
) -> Iterator[Step]:
    """All steps of a definition, those behind conditions too, in their order."""
    for body in steps:
        step = Step(body, branches)
        yield step
        for name in BRANCHES if step.kind == "Condition" else ():
            yield from all_steps(body.get("Arguments", {}).get(name, []), (*branches, (step.name, name)))


def references(value: Any, *, without: str = "") -> Iterator[tuple[str, str]]:
    """Field and target of each {"Get": target} in `value`, but for those in members named `without`."""
    for field, part in all_parts(value, without=without):
        if isinstance(part, Mapping) and part.keys() == {"Get"}:
            yield field, str(part["Get"])


def waits_for(step: Step) -> set[str]:
    """The steps that must have ended before one starts: by reference, by word, or the condition before it."""
    return {
        *(target.split(".")[1] for _, target in references(step.arguments) if target.startswith("Steps.")),
        *step.body.get("DependsOn", []),
        *(name for name, _ in step.branches[-1:]),
    }


def check_references(steps: Mapping[str, Step], parameters: Collection[str]) -> Iterator[Finding]:
    """A finding for each reference or dependency that leads nowhere, and one for a cycle.

    `steps`, by name, and the names of `parameters` are what references may lead to.
    """
    sound = True
    for step in steps.values():
        wrong = [
            (field, target, problem)
            for field, target in references({"Arguments": step.arguments})
            if (problem := _problem(target, step, steps, parameters))
        ] + [
            (f"DependsOn[{number}]", name, f"no such step; there are {', '.join(steps)}")
            for number, name in enumerate(step.body.get("DependsOn", []))
            if name not in steps
        ]
        yield from (
            step.found(field, "reference", f"{target}: {problem}") for field, target, problem in wrong
        )
        sound = sound and all(
            field.startswith("Arguments") and not target.startswith("Steps.") for field, target, _ in wrong
        )
    if sound:
        yield from _cycle(steps)


def _problem(target: str, source: Step, steps: Mapping[str, Step], parameters: Collection[str]) -> str | None:
    """What is wrong with a reference, or None."""
    kind, _, rest = target.partition(".")
    if kind == "Parameters":
        return None if rest in parameters else "no such parameter; declare it"
    if kind == "Execution":
        return None if rest in EXECUTION else f"must be one of {', '.join(sorted(EXECUTION))}"
    if kind != "Steps":
        return "must begin with Parameters, Execution or Steps"
    name, _, path = rest.partition(".")
    if name not in steps:
        return f"no such step; there are {', '.join(steps)}"
    mine = dict(source.branches)
    if any(mine.get(condition, branch) != branch for condition, branch in steps[name].branches):
        return f"only one of the steps {source.name} and {name} ever runs"
    return _problem_of_path(steps[name], path)


def _problem_of_path(step: Step, path: str) -> str | None:
    if path.startswith(f"{FILES}."):
        name = path.removeprefix(f"{FILES}.")
        files = [file.get("PropertyFileName") for file in step.body.get(FILES, [])]
        return None if name in files else f"step {step.name} has no property file {name}"
    if step.kind not in OPERATIONS:  # one of no known type is a finding of its own
        return f"a {step.kind} step has no properties" if step.kind in ("Condition", "Fail") else None
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
    return f"{above} has no {part['key']}, only {', '.join(map(str, by_name))}", None


def _cycle(steps: Mapping[str, Step]) -> Iterator[Finding]:
    graph = {name: waits_for(step) & steps.keys() for name, step in steps.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        around = error.args[1]
        yield steps[around[-1]].found(
            "DependsOn", "cycle", f"waits for itself: {' <- '.join(around)}; break the circle"
        )


def is_cached(step: Step) -> bool:
    """Whether a step may come from the cache."""
    return bool(step.body.get("CacheConfig", {}).get("Enabled"))


def check_reuse(steps: Mapping[str, Step]) -> Iterator[Finding]:
    """A finding for each join of what may be of two executions, and each cache that cannot hit."""
    for step in steps.values():
        yield from _mixed(step, steps)
        yield from _never_found(step, steps)


def _mixed(step: Step, steps: Mapping[str, Step]) -> Iterator[Finding]:
    """What a condition reads from a file is no part of a join."""
    for field, part in all_parts(step.arguments, without=JSON_GET):
        if not isinstance(part, Mapping) or JOIN not in part or JOIN in field:
            continue  # only the outermost joins
        targets = [target for _, target in references(part[JOIN], without=JSON_GET)]
        origins = {found for target in targets if (found := _origin(target, steps))}
        # A place of this execution that is read was to be written by a step: its own properties say where.
        guessed = field.startswith(READ) and any(target.startswith("Execution.") for target in targets)
        if len(origins) > 1 or (guessed and origins):
            yield step.found(
                f"Arguments.{field}",
                "executions",
                f"is a place of {' and of '.join(sorted(origins))}, but a step from the cache wrote in an "
                "earlier execution; take the whole of it from the properties of one step",
            )


def _origin(target: str, steps: Mapping[str, Step]) -> str | None:
    """Of which execution a reference is: the current one, or that of a step from the cache; None: of all."""
    kind, _, rest = target.partition(".")
    if kind == "Execution":
        return CURRENT if rest in OF_THE_EXECUTION else None
    if kind != "Steps":
        return None
    name = rest.partition(".")[0]
    return f"step {name}" if name in steps and is_cached(steps[name]) else CURRENT


def _never_found(step: Step, steps: Mapping[str, Step]) -> Iterator[Finding]:
    keys = {name: step.arguments.get(name) for name in KEYS.get(step.kind, ())} if is_cached(step) else {}
    for field, target in references(keys):
        if _origin(target, steps) == CURRENT:
            yield step.found(
                "CacheConfig.Enabled",
                "cache",
                f"{field}: {target} is new in each execution, so the step is never found; "
                "leave the cache out",
            )
            return
