"""What an execution of a pipeline can cost at most, read from its definition."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from launch.pricing.cost import Cost, JobCost, estimate

OPERATIONS = {
    "Training": "CreateTrainingJob",
    "Processing": "CreateProcessingJob",
    "Transform": "CreateTransformJob",
    "Tuning": "CreateHyperParameterTuningJob",
}
PARAMETER = re.compile(r"Parameters\.(\w+)")
# Where a retry follows an attempt that has started no machine.
UNPAID = ("SageMaker.CAPACITY_ERROR", "SageMaker.RESOURCE_LIMIT", "Step.SERVICE_FAULT", "Step.THROTTLING")


def estimate_pipeline(definition: Mapping[str, Any], values: Mapping[str, Any]) -> Cost:
    """The cost of an execution with the parameters `values`, by the defaults where one is not given.

    Every step counts, those behind a condition too: a ceiling supposes that it is met.
    """
    defaults = {item["Name"]: item.get("DefaultValue") for item in definition["Parameters"]}
    settled = {**defaults, **values}
    return Cost([_job(step, settled) for step in _jobs(definition["Steps"])])


def _jobs(steps: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for step in steps:
        if step["Type"] == "Condition":
            for branch in ("IfSteps", "ElseSteps"):
                yield from _jobs(step["Arguments"].get(branch, []))
        elif step["Type"] in OPERATIONS:
            yield step


def _job(step: Mapping[str, Any], values: Mapping[str, Any]) -> JobCost:
    body = _resolved(step["Arguments"], values)
    (cost,) = estimate([{OPERATIONS[step["Type"]]: body}]).jobs
    attempts = 1 + sum(_paid_attempts(policy) for policy in step.get("RetryPolicies", []))
    by = f"{cost.bounded_by}{f'; {attempts} attempts' if attempts > 1 else ''}"
    return replace(cost, job=str(step["Name"]), attempts=attempts, bounded_by=by)


def _paid_attempts(policy: Mapping[str, Any]) -> int:
    paid = [kind for kind in policy.get("ExceptionType", []) if kind not in UNPAID]
    return int(policy.get("MaxAttempts", 1)) if paid else 0


def _resolved(value: Any, values: Mapping[str, Any]) -> Any:
    """The value with its references to parameters replaced; others stay, for nothing here depends on them."""
    if isinstance(value, Mapping):
        named = PARAMETER.fullmatch(str(value.get("Get", ""))) if len(value) == 1 else None
        if named and values.get(named[1]) is not None:
            return values[named[1]]
        return {key: _resolved(item, values) for key, item in value.items()}
    return [_resolved(item, values) for item in value] if isinstance(value, list) else value
