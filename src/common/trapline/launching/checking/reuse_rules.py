"""What a step that comes from the cache means for the others: its properties are of an earlier execution.

Joined to what is of the current one, or of another step, they name a place where nothing lies. And a step
whose key holds what each execution has anew is never found. Those are rules of AWS's documentation ("Caching
pipeline steps", "Default cache key attributes by pipeline step type").
"""

from collections.abc import Iterator, Mapping
from typing import Any

from trapline.launching.checking.findings import Finding
from trapline.launching.checking.pipeline_steps import Step, references

OF_THE_EXECUTION = (
    "PipelineExecutionId", "PipelineExecutionArn", "StartDateTime", "CurrentDateTime", "TrainingJobName",
    "ProcessingJobName",
)  # fmt: skip
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


def is_cached(step: Step) -> bool:
    """Whether a step may come from the cache."""
    return bool(step.body.get("CacheConfig", {}).get("Enabled"))


def check_reuse(steps: Mapping[str, Step]) -> Iterator[Finding]:
    """A finding for each join of what may be of two executions, and each cache that cannot hit."""
    for step in steps.values():
        yield from _mixed(step, steps)
        yield from _never_found(step, steps)


def _mixed(step: Step, steps: Mapping[str, Step]) -> Iterator[Finding]:
    for field, value in _joins(step.arguments):
        targets = [target for _, target in references(value)]
        origins = {found for target in targets if (found := _origin(target, steps))}
        # A place of this execution that is read was to be written by a step: its own properties say where.
        guessed = field.startswith(READ) and any(target.startswith("Execution.") for target in targets)
        if len(origins) > 1 or (guessed and origins):
            said = (
                f"is a place of {' and of '.join(sorted(origins))}, but a step from the cache wrote in an "
                "earlier execution; take the whole of it from the properties of one step"
            )
            yield Finding(f"step {step.name}", f"Arguments.{field}", "executions", said)


def _joins(value: Any, field: str = "") -> Iterator[tuple[str, Any]]:
    """Field and content of each outermost Std:Join; what a condition reads from a file is no part of one."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if name == JOIN:
                yield field, _without_files(item)
            elif name != JSON_GET:
                yield from _joins(item, f"{field}.{name}" if field else name)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _joins(item, f"{field}[{number}]")


def _without_files(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_files(item) for name, item in value.items() if name != JSON_GET}
    return [_without_files(item) for item in value] if isinstance(value, list) else value


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
    if not is_cached(step):
        return
    for member in KEYS.get(step.kind, ()):
        for field, target in references({member: step.arguments.get(member)}):
            if _origin(target, steps) == CURRENT:
                said = f"{target} is new in each execution, so the step is never found; leave the cache out"
                yield Finding(f"step {step.name}", "CacheConfig.Enabled", "cache", f"{field}: {said}")
                return
