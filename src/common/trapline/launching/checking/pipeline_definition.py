"""A pipeline's definition, checked as AWS would when it is created, and as its steps would when they run.

AWS publishes no complete schema of it; the rules here are those of its documentation ("Pipeline definition
JSON schema", "Retry policy for pipeline steps", "Caching pipeline steps").
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trapline.launching.checking.field_rules import check_rules
from trapline.launching.checking.findings import Finding, shown
from trapline.launching.checking.pipeline_steps import OPERATIONS, OTHERS, Step, all_steps
from trapline.launching.checking.reuse_rules import check_reuse
from trapline.launching.checking.service_model import check_request, check_value, count_values, settle
from trapline.launching.checking.settled_requests import Request
from trapline.launching.checking.step_references import Known, check_references
from trapline.storage import parse_json

VERSION = "2020-12-01"
PIPELINE = "pipeline"
TYPES: dict[str, tuple[type, ...]] = {
    "String": (str,), "Integer": (int,), "Float": (int, float), "Boolean": (bool,),
}  # fmt: skip
MAX_PARAMETERS = 200
DURATION = re.compile(r"P(?=\w)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+S)?)?", re.ASCII)
RETRIED = {"Step.SERVICE_FAULT", "Step.THROTTLING", "SageMaker.JOB_INTERNAL_ERROR",
           "SageMaker.CAPACITY_ERROR", "SageMaker.RESOURCE_LIMIT"}  # fmt: skip
RETRY_LIMITS = {"IntervalSeconds": (1, 43_200), "MaxAttempts": (1, 20), "ExpireAfterMin": (1, 14_400)}
COMPARISONS = {"Equals", "GreaterThan", "GreaterThanOrEqualTo", "LessThan", "LessThanOrEqualTo"}
MEMBERS = {
    **dict.fromkeys(COMPARISONS, ("LeftValue", "RightValue")),
    "In": ("QueryValue", "Values"), "Not": ("Condition",), "Or": ("Conditions",),
}  # fmt: skip


@dataclass(frozen=True)
class Context:
    """What a step's check must know of its pipeline: the parameters' defaults, and as `check_definition`."""

    defaults: Mapping[str, Any]
    region: str | None
    current: bool


def check_definition(
    text: str, region: str | None = None, *, current: bool = True
) -> tuple[list[Finding], int]:
    """What is wrong with a definition, and how many values were looked at.

    `current`: it was made by the code here, and not perhaps by an earlier version.
    """
    findings = check_value("PipelineDefinition", text, PIPELINE, "PipelineDefinition")
    try:
        definition = parse_json(text)
        steps = list(all_steps(definition["Steps"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        said = "must be JSON with a list of steps"
        return [*findings, Finding(PIPELINE, "PipelineDefinition", "type", said)], 1
    findings += [*_check_head(definition), *_check_names(steps)]
    defaults = _defaults(definition)
    for step in steps:
        findings += _check_step(step, Context(defaults, region, current))
    names = frozenset(str(item.get("Name")) for item in definition.get("Parameters", []))
    by_name = {step.name: step for step in steps}
    findings += check_references(Known(names, by_name))
    findings += check_reuse(by_name) if current else ()
    return findings, count_values(definition)


def _defaults(definition: Mapping[str, Any]) -> dict[str, Any]:
    declared = definition.get("Parameters", [])
    return {str(item.get("Name")): item["DefaultValue"] for item in declared if "DefaultValue" in item}


def _check_head(definition: Mapping[str, Any]) -> Iterator[Finding]:
    if definition.get("Version") != VERSION:
        yield Finding(PIPELINE, "Version", "enum", f"must be {VERSION}")
    parameters = definition.get("Parameters", [])
    if len(parameters) > MAX_PARAMETERS:
        yield Finding(PIPELINE, "Parameters", "max", f"{len(parameters)}: at most {MAX_PARAMETERS}")
    if not definition["Steps"]:
        yield Finding(PIPELINE, "Steps", "min", "must have a step")
    names: set[str] = set()
    for number, item in enumerate(parameters):
        yield from _check_parameter(item, f"Parameters[{number}]")
        name = str(item.get("Name"))
        if name in names:
            yield Finding(PIPELINE, f"Parameters[{number}].Name", "unique", f"{name}: declared twice")
        names.add(name)


def _check_parameter(item: Mapping[str, Any], field: str) -> Iterator[Finding]:
    name, kind = str(item.get("Name")), item.get("Type")
    yield from check_value("PipelineParameterName", name, PIPELINE, f"{field}.Name")
    if kind not in TYPES:
        said = f"{name}: {shown(kind)} must be one of {', '.join(TYPES)}"
        yield Finding(PIPELINE, f"{field}.Type", "enum", said)
        return
    default = item.get("DefaultValue")
    choices = item.get("EnumValues")
    if default is None:
        return
    if not isinstance(default, TYPES[kind]) or (isinstance(default, bool) and kind != "Boolean"):
        said = f"{name}: {shown(default)} is no {kind}"
        yield Finding(PIPELINE, f"{field}.DefaultValue", "type", said)
    elif choices and default not in choices:
        said = f"{name}: {shown(default)} must be one of {', '.join(map(str, choices))}"
        yield Finding(PIPELINE, f"{field}.DefaultValue", "enum", said)


def _check_names(steps: list[Step]) -> Iterator[Finding]:
    seen: set[str] = set()
    for step in steps:
        where = f"step {step.name}"
        if not step.body.get("Name"):
            yield Finding(where, "Name", "required", "is missing; give it")
        yield from check_value("StepName", step.name, where, "Name") if step.body.get("Name") else ()
        if step.name in seen:
            said = "another step, perhaps behind a condition, has this name; steps need names of their own"
            yield Finding(where, "Name", "unique", said)
        seen.add(step.name)
        for field, shape in (("DisplayName", "StepDisplayName"), ("Description", "StepDescription")):
            if field in step.body:
                yield from check_value(shape, step.body[field], where, field)


def _check_step(step: Step, context: Context) -> Iterator[Finding]:
    where = f"step {step.name}"
    if step.kind in OPERATIONS:
        yield from _check_request_of(step, context)
    elif step.kind not in OTHERS:
        known = ", ".join(sorted({*OPERATIONS, *OTHERS}))
        yield Finding(where, "Type", "enum", f"{shown(step.kind)} must be one of {known}")
    if step.kind == "Condition":
        if step.branches:
            said = f"stands behind the condition {step.branches[-1][0]}, which AWS does not support; let it"
            yield Finding(where, "Type", "nested", f"{said} wait for a step of that branch instead")
        yield from _check_conditions(step.arguments.get("Conditions", []), where, "Arguments.Conditions")
    yield from _check_cache(step, where)
    yield from _check_retries(step, where)
    yield from _check_files(step, where)


def _check_request_of(step: Step, context: Context) -> Iterator[Finding]:
    operation, name, _ = OPERATIONS[step.kind]
    given = {**step.arguments, **({name: "x"} if name else {})}
    settled = settle(given, context.defaults)
    request = Request(f"step {step.name}", operation, settled, context.region, current=context.current)
    found = [*check_request(operation, given, request.step, context.defaults), *check_rules(request)]
    yield from (Finding(one.step, f"Arguments.{one.field}", one.rule, one.detail) for one in found)


def _check_conditions(conditions: Any, where: str, field: str) -> Iterator[Finding]:
    if not isinstance(conditions, list) or not conditions:
        yield Finding(where, field, "required", "must list at least one condition")
        return
    for number, condition in enumerate(conditions):
        place = f"{field}[{number}]"
        kind = condition.get("Type")
        if kind not in MEMBERS:
            said = f"{shown(kind)} must be one of {', '.join(sorted(MEMBERS))}"
            yield Finding(where, f"{place}.Type", "enum", said)
            continue
        for name in MEMBERS[kind]:
            if name not in condition:
                yield Finding(where, f"{place}.{name}", "required", "is missing; give it")
        if kind == "Or" and "Conditions" in condition:
            yield from _check_conditions(condition["Conditions"], where, f"{place}.Conditions")
        if kind == "Not" and "Condition" in condition:
            yield from _check_conditions([condition["Condition"]], where, f"{place}.Condition")


def _check_cache(step: Step, where: str) -> Iterator[Finding]:
    cache = step.body.get("CacheConfig")
    if cache is None:
        return
    if not isinstance(cache.get("Enabled"), bool):
        yield Finding(where, "CacheConfig.Enabled", "type", "must be true or false")
    after = cache.get("ExpireAfter")
    if after is not None and not (isinstance(after, str) and DURATION.fullmatch(after)):
        said = f"{shown(after)} must be a duration of ISO 8601, as in P30D or PT12H"
        yield Finding(where, "CacheConfig.ExpireAfter", "pattern", said)


def _check_retries(step: Step, where: str) -> Iterator[Finding]:
    seen: set[str] = set()
    for number, policy in enumerate(step.body.get("RetryPolicies", [])):
        field = f"RetryPolicies[{number}]"
        for place, kind in enumerate(policy.get("ExceptionType", [])):
            if kind not in RETRIED or kind in seen:
                said = "stands in two policies" if kind in seen else f"must be one of {sorted(RETRIED)}"
                yield Finding(where, f"{field}.ExceptionType[{place}]", "enum", f"{shown(kind)}: {said}")
            seen.add(kind)
        if not policy.get("ExceptionType"):
            yield Finding(where, f"{field}.ExceptionType", "required", "must name what is tried again")
        for name, (low, high) in RETRY_LIMITS.items():
            value = policy.get(name)
            if value is not None and not (isinstance(value, int) and low <= value <= high):
                said = f"{shown(value)} must be from {low} to {high}"
                yield Finding(where, f"{field}.{name}", "limits", said)
        if policy.get("BackoffRate", 1.0) < 0:
            yield Finding(where, f"{field}.BackoffRate", "limits", "must not be negative")
        if "MaxAttempts" in policy and "ExpireAfterMin" in policy:
            yield Finding(
                where, f"{field}.ExpireAfterMin", "limits", "excludes MaxAttempts; give one of them"
            )


def _check_files(step: Step, where: str) -> Iterator[Finding]:
    configured = step.arguments.get("ProcessingOutputConfig", {})
    outputs = {item.get("OutputName") for item in configured.get("Outputs", [])}
    seen: set[str] = set()
    for number, file in enumerate(step.body.get("PropertyFiles", [])):
        field, name = f"PropertyFiles[{number}]", file.get("PropertyFileName")
        if name in seen or not name:
            yield Finding(where, f"{field}.PropertyFileName", "unique", f"{shown(name)}: must be its own")
        seen.add(name)
        if file.get("OutputName") not in outputs:
            said = f"{shown(file.get('OutputName'))}: the step has no such output"
            yield Finding(where, f"{field}.OutputName", "reference", said)
        if not file.get("FilePath"):
            yield Finding(where, f"{field}.FilePath", "required", "is missing; give it")
