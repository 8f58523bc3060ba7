"""What an execution of a pipeline can cost at most, read from its definition.

Three cases: one in which every job runs; one that a schedule starts and that finds nothing new, so that what
waits for a condition does not run; and one that a person starts while nothing is new, in which every step
that has a cache takes what it made before.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trapline.launching.checking.pipeline_steps import Step, all_steps, waits_for
from trapline.launching.checking.reuse_rules import is_cached
from trapline.launching.pricing.cost import Cost, JobCost, estimate

OPERATIONS = {
    "Training": "CreateTrainingJob",
    "Processing": "CreateProcessingJob",
    "Transform": "CreateTransformJob",
    "Tuning": "CreateHyperParameterTuningJob",
}
PARAMETER = re.compile(r"Parameters\.(\w+)")
# Where a retry follows an attempt that has started no machine.
UNPAID = ("SageMaker.CAPACITY_ERROR", "SageMaker.RESOURCE_LIMIT", "Step.SERVICE_FAULT", "Step.THROTTLING")


@dataclass(frozen=True)
class PipelineCost(Cost):
    """The ceiling of an execution.

    before_conditions: the jobs, by name, that run whatever the conditions say. without_cache: those that run
    in every execution that comes to them.
    """

    before_conditions: Sequence[str] = ()
    without_cache: Sequence[str] = ()

    @property
    def cases(self) -> dict[str, Cost]:
        """What the three kinds of execution cost."""
        return {
            "everything_new": Cost(self.jobs),
            "scheduled_nothing_new": self._of(self.before_conditions),
            "started_nothing_new": self._of(self.without_cache),
        }

    def _of(self, names: Sequence[str]) -> Cost:
        return Cost([job for job in self.jobs if job.job in names])

    def record(self) -> dict[str, Any]:
        """The key `cost` in JSON, with the jobs and the ceiling of each case; money in USD."""
        cases = {
            name: {
                "ceiling_usd": round(cost.ceiling_usd, 2),
                "each_job_once_usd": round(cost.once_usd, 2),
                "jobs": [job.job for job in cost.jobs],
            }
            for name, cost in self.cases.items()
        }
        return {**super().record(), "cases": cases}

    def sentence(self) -> str:
        """One line for a person."""
        ended, reused = self.cases["scheduled_nothing_new"], self.cases["started_nothing_new"]
        return (
            f"{super().sentence()}; where nothing is new: at most {ended.once_usd:.2f} USD when a schedule "
            f"starts it ({_names(ended)}), {reused.once_usd:.2f} USD when you do ({_names(reused)}; the rest "
            "is taken from the last 30 days)"
        )


def _names(cost: Cost) -> str:
    return ", ".join(job.job for job in cost.jobs) or "no job"


def estimate_pipeline(definition: Mapping[str, Any], values: Mapping[str, Any]) -> PipelineCost:
    """The cost of an execution with the parameters `values`, by the defaults where one is not given.

    Every step counts, those behind a condition too: a ceiling supposes that it is met.
    """
    defaults = {item["Name"]: item.get("DefaultValue") for item in definition.get("Parameters", [])}
    settled = {**defaults, **values}
    steps = {step.name: step for step in all_steps(definition["Steps"])}
    jobs = [step for step in steps.values() if step.kind in OPERATIONS]
    return PipelineCost(
        [_job(step.body, settled) for step in jobs],
        [step.name for step in jobs if not _waits_for_condition(step, steps)],
        [step.name for step in jobs if not is_cached(step)],
    )


def _waits_for_condition(step: Step, steps: Mapping[str, Step]) -> bool:
    """Whether a step waits for a condition, or for a step that does."""
    above = [steps[name] for name in waits_for(step) if name in steps]
    return any(other.kind == "Condition" or _waits_for_condition(other, steps) for other in above)


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
