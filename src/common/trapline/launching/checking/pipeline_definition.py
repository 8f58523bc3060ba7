"""A pipeline's definition, checked as AWS would when it is created, and as its steps would when they run.

AWS publishes no complete schema of it; the rules here are those of its documentation ("Pipeline definition
JSON schema", "Retry policy for pipeline steps", "Caching pipeline steps").
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from trapline.launching.checking.field_rules import check_rules
from trapline.launching.checking.findings import Finding, Request, shown
from trapline.launching.checking.pipeline_steps import (
    FILES,
    OPERATIONS,
    OTHERS,
    Step,
    all_steps,
    check_references,
    check_reuse,
)
from trapline.launching.checking.service_model import check_request, check_value, count_values, settle
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
MEMBERS = {
    **dict.fromkeys(("Equals", "GreaterThan", "GreaterThanOrEqualTo", "LessThan", "LessThanOrEqualTo"),
                    ("LeftValue", "RightValue")),
    "In": ("QueryValue", "Values"), "Not": ("Condition",), "Or": ("Conditions",),
}  # fmt: skip
MISSING = "is missing; give it"


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
        unread = Finding(PIPELINE, "PipelineDefinition", "type", "must be JSON with a list of steps")
        return [*findings, unread], 1
    parameters = definition.get("Parameters", [])
    findings += [*_check_head(definition, parameters), *_check_names(steps)]
    defaults = {str(item.get("Name")): item["DefaultValue"] for item in parameters if "DefaultValue" in item}
    for step in steps:
        findings += [*_check_request_of(step, defaults, region, current=current), *_check_step(step)]
    by_name = {step.name: step for step in steps}
    findings += check_references(by_name, {str(item.get("Name")) for item in parameters})
    findings += check_reuse(by_name) if current else ()
    return findings, count_values(definition)


def _check_head(definition: Mapping[str, Any], parameters: list[Mapping[str, Any]]) -> Iterator[Finding]:
    rules = (
        (definition.get("Version") != VERSION, "Version", "enum", f"must be {VERSION}"),
        (len(parameters) > MAX_PARAMETERS, "Parameters", "max",
         f"{len(parameters)}: at most {MAX_PARAMETERS}"),
        (not definition["Steps"], "Steps", "min", "must have a step"),
    )  # fmt: skip
    yield from (Finding(PIPELINE, *finding) for broken, *finding in rules if broken)
    names = [str(item.get("Name")) for item in parameters]
    for number, (name, item) in enumerate(zip(names, parameters, strict=True)):
        field = f"Parameters[{number}]"
        yield from check_value("PipelineParameterName", name, PIPELINE, f"{field}.Name")
        yield from (
            Finding(PIPELINE, f"{field}.{member}", rule, f"{name}: {said}")
            for member, rule, said in _parameter_problems(item)
        )
        if name in names[:number]:
            yield Finding(PIPELINE, f"{field}.Name", "unique", f"{name}: declared twice")


def _parameter_problems(item: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The member of a parameter that is wrong, the rule, and why."""
    kind, default, choices = item.get("Type"), item.get("DefaultValue"), item.get("EnumValues")
    if kind not in TYPES:
        yield "Type", "enum", f"{shown(kind)} must be one of {', '.join(TYPES)}"
    elif default is None:
        return
    elif not isinstance(default, TYPES[kind]) or (isinstance(default, bool) and kind != "Boolean"):
        yield "DefaultValue", "type", f"{shown(default)} is no {kind}"
    elif choices and default not in choices:
        yield "DefaultValue", "enum", f"{shown(default)} must be one of {', '.join(map(str, choices))}"


def _check_names(steps: list[Step]) -> Iterator[Finding]:
    for number, step in enumerate(steps):
        where = f"step {step.name}"
        if step.body.get("Name"):
            yield from check_value("StepName", step.name, where, "Name")
        else:
            yield step.found("Name", "required", MISSING)
        if any(step.name == earlier.name for earlier in steps[:number]):
            yield step.found(
                "Name",
                "unique",
                "another step, perhaps behind a condition, has this name; steps need names of their own",
            )
        for field, shape in (("DisplayName", "StepDisplayName"), ("Description", "StepDescription")):
            if field in step.body:
                yield from check_value(shape, step.body[field], where, field)


def _check_request_of(
    step: Step, defaults: Mapping[str, Any], region: str | None, *, current: bool
) -> Iterator[Finding]:
    """What is wrong with the request that a step makes, if it makes one."""
    if step.kind not in OPERATIONS:
        return
    operation, name, _ = OPERATIONS[step.kind]
    given = {**step.arguments, **({name: "x"} if name else {})}
    request = Request(f"step {step.name}", operation, settle(given, defaults), region, current=current)
    for found in [*check_request(operation, given, request.step, defaults), *check_rules(request)]:
        yield step.found(f"Arguments.{found.field}", found.rule, found.detail)


def _check_step(step: Step) -> Iterator[Finding]:
    if step.kind not in {*OPERATIONS, *OTHERS}:
        yield step.found(
            "Type", "enum", f"{shown(step.kind)} must be one of {', '.join(sorted({*OPERATIONS, *OTHERS}))}"
        )
    if step.kind == "Condition":
        if step.branches:
            yield step.found(
                "Type",
                "nested",
                f"stands behind the condition {step.branches[-1][0]}, which AWS does not support; let it "
                "wait for a step of that branch instead",
            )
        yield from _check_conditions(step.arguments.get("Conditions", []), step, "Arguments.Conditions")
    for check in (_check_cache, _check_retries, _check_files):
        yield from check(step)


def _check_conditions(conditions: Any, step: Step, field: str) -> Iterator[Finding]:
    if not isinstance(conditions, list) or not conditions:
        yield step.found(field, "required", "must list at least one condition")
        return
    for number, condition in enumerate(conditions):
        place = f"{field}[{number}]"
        kind = condition.get("Type")
        if kind not in MEMBERS:
            yield step.found(
                f"{place}.Type", "enum", f"{shown(kind)} must be one of {', '.join(sorted(MEMBERS))}"
            )
        for name in MEMBERS.get(kind, ()):
            if name not in condition:
                yield step.found(f"{place}.{name}", "required", MISSING)
            elif kind in ("Or", "Not"):
                inner = condition[name] if kind == "Or" else [condition[name]]
                yield from _check_conditions(inner, step, f"{place}.{name}")


def _check_cache(step: Step) -> Iterator[Finding]:
    cache = step.body.get("CacheConfig")
    if cache is None:
        return
    after = cache.get("ExpireAfter")
    rules = (
        (not isinstance(cache.get("Enabled"), bool), "CacheConfig.Enabled", "type", "must be true or false"),
        (after is not None and not (isinstance(after, str) and DURATION.fullmatch(after)),
         "CacheConfig.ExpireAfter", "pattern",
         f"{shown(after)} must be a duration of ISO 8601, as in P30D or PT12H"),
    )  # fmt: skip
    yield from (step.found(*finding) for broken, *finding in rules if broken)


def _check_retries(step: Step) -> Iterator[Finding]:
    seen: set[str] = set()
    for number, policy in enumerate(step.body.get("RetryPolicies", [])):
        field = f"RetryPolicies[{number}]"
        for place, kind in enumerate(policy.get("ExceptionType", [])):
            if kind not in RETRIED or kind in seen:
                said = "stands in two policies" if kind in seen else f"must be one of {sorted(RETRIED)}"
                yield step.found(f"{field}.ExceptionType[{place}]", "enum", f"{shown(kind)}: {said}")
            seen.add(kind)
        limits = [
            (name, policy[name], *ends) for name, ends in RETRY_LIMITS.items() if policy.get(name) is not None
        ]
        rules = (
            (not policy.get("ExceptionType"), "ExceptionType", "required", "must name what is tried again"),
            *((not (isinstance(value, int) and low <= value <= high), name, "limits",
               f"{shown(value)} must be from {low} to {high}") for name, value, low, high in limits),
            (policy.get("BackoffRate", 1.0) < 0, "BackoffRate", "limits", "must not be negative"),
            ("MaxAttempts" in policy and "ExpireAfterMin" in policy, "ExpireAfterMin", "limits",
             "excludes MaxAttempts; give one of them"),
        )  # fmt: skip
        yield from (
            step.found(f"{field}.{member}", rule, said) for broken, member, rule, said in rules if broken
        )


def _check_files(step: Step) -> Iterator[Finding]:
    configured = step.arguments.get("ProcessingOutputConfig", {})
    outputs = [item.get("OutputName") for item in configured.get("Outputs", [])]
    seen: set[str] = set()
    for number, file in enumerate(step.body.get(FILES, [])):
        name, output = file.get("PropertyFileName"), file.get("OutputName")
        rules = (
            (name in seen or not name, "PropertyFileName", "unique", f"{shown(name)}: must be its own"),
            (output not in outputs, "OutputName", "reference",
             f"{shown(output)}: the step has no such output"),
            (not file.get("FilePath"), "FilePath", "required", MISSING),
        )  # fmt: skip
        yield from (
            step.found(f"{FILES}[{number}].{member}", rule, said)
            for broken, member, rule, said in rules
            if broken
        )
        seen.add(name)
