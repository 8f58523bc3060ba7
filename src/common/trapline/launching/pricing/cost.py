"""What a launch, or an execution of a pipeline, can cost at most: an estimate from its requests and `prices`.

A ceiling, not a forecast: every job is taken to run until AWS would stop it. Most end long before.
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from trapline.launching.checking.pipeline_steps import Step, all_steps, is_cached, waits_for
from trapline.launching.pricing.prices import (
    AS_OF,
    HOURLY,
    HOURS_PER_MONTH,
    REGION,
    SOURCE,
    SPOT_SAVING,
    STORAGE_GB_MONTH,
)

HOUR = 3600
DAY = 24 * HOUR
EXCLUDED = "S3 storage and requests, data transfer, logs, tax, and any discount of the account"
Request = Mapping[str, Mapping[str, Any]]  # one operation, and its body


@dataclass(frozen=True)
class JobCost:
    """The ceiling of one job, or of several that are alike.

    seconds: of one attempt of one job. usd_per_hour: None where the table has no price. spot: whether it may
    be cheaper. attempts: how often a pipeline would run it at most. limited: by its request.
    """

    job: str
    instance_type: str
    instance_count: int
    seconds: int
    bounded_by: str
    usd_per_hour: float | None
    volume_gb: int
    jobs: int = 1
    attempts: int = 1
    spot: bool = False
    limited: bool = True

    @property
    def hours(self) -> float:
        """Hours that instances can run, all jobs together, each once."""
        return self.seconds / HOUR * self.instance_count * self.jobs

    @property
    def instances_usd(self) -> float | None:
        """What the instances cost on demand; None without a price."""
        return None if self.usd_per_hour is None else self.hours * self.usd_per_hour

    @property
    def storage_usd(self) -> float:
        """What the volumes cost; machines with disks of their own cost less."""
        return self.hours * self.volume_gb * STORAGE_GB_MONTH / HOURS_PER_MONTH

    @property
    def usd(self) -> float:
        """What is known of the cost, each job once."""
        return (self.instances_usd or 0.0) + self.storage_usd

    def record(self) -> dict[str, Any]:
        """The job in the JSON of a dry run; money in USD."""
        return {
            "job": self.job,
            "jobs": self.jobs,
            "instance_type": self.instance_type,
            "instance_count": self.instance_count,
            "hours_at_most": round(self.seconds / HOUR, 3),
            "bounded_by": self.bounded_by,
            "usd_per_hour": self.usd_per_hour,
            "instances_usd": None if self.instances_usd is None else round(self.instances_usd, 2),
            "storage_usd": round(self.storage_usd, 2),
            "attempts": self.attempts,
            "spot": self.spot,
        }


@dataclass(frozen=True)
class Cost:
    """The ceiling of a launch or of a pipeline's execution.

    cases: of a pipeline, what the three kinds of execution cost. One in which every job runs; one that a
    schedule starts and that finds nothing new, so that what waits for a condition does not run; and one that
    a person starts while nothing is new, in which every step that has a cache takes what it made before.
    """

    jobs: Sequence[JobCost]
    cases: Mapping[str, "Cost"] = field(default_factory=dict)

    @property
    def once_usd(self) -> float:
        """Every job once, at the price on demand."""
        return sum(job.usd for job in self.jobs)

    @property
    def ceiling_usd(self) -> float:
        """Every job as often as it can be tried again."""
        return sum(job.usd * job.attempts for job in self.jobs)

    @property
    def spot_usd(self) -> tuple[float, float] | None:
        """Least and most of `once_usd` where spot saves what it usually does; None without a spot job."""
        if not any(job.spot for job in self.jobs):
            return None
        saved = sum(job.instances_usd or 0.0 for job in self.jobs if job.spot)
        least, most = SPOT_SAVING
        return self.once_usd - most * saved, self.once_usd - least * saved

    @property
    def without_price(self) -> list[str]:
        """Instance types that the table does not have."""
        return sorted({job.instance_type for job in self.jobs if job.usd_per_hour is None})

    def record(self) -> dict[str, Any]:
        """The key `cost` in JSON, with the jobs and the ceiling of each case; money in USD."""
        spot = self.spot_usd
        cases = {
            name: {
                "ceiling_usd": round(cost.ceiling_usd, 2),
                "each_job_once_usd": round(cost.once_usd, 2),
                "jobs": [job.job for job in cost.jobs],
            }
            for name, cost in self.cases.items()
        }
        return {
            "what": "an estimate of the most that can be charged; not a bill",
            "currency": "USD",
            "ceiling_usd": round(self.ceiling_usd, 2),
            "each_job_once_usd": round(self.once_usd, 2),
            "with_spot_usd": [round(value, 2) for value in spot] if spot else None,
            "without_price": self.without_price,
            "jobs": [job.record() for job in self.jobs],
            "prices": {"as_of": AS_OF, "region": REGION, "source": SOURCE},
            "not_included": EXCLUDED,
            **({"cases": cases} if cases else {}),
        }

    def sentence(self) -> str:
        """One line for a person."""
        unlimited = [job for job in self.jobs if not job.limited]
        low, high = self.spot_usd or (0.0, 0.0)
        parts = [
            (True, f"estimate: at most {self.once_usd:.2f} USD if every job runs to its limit"),
            (
                unlimited,
                f"{sum(job.usd for job in unlimited):.2f} USD of it for "
                f"{', '.join(job.job for job in unlimited)}, which its request does not limit",
            ),
            (self.ceiling_usd > self.once_usd, f"{self.ceiling_usd:.2f} USD with every retry"),
            (self.spot_usd, f"with spot usually {low:.2f} to {high:.2f} USD"),
            (
                self.without_price,
                f"no price known for {', '.join(self.without_price)}, which comes on top",
            ),
        ]
        said = "; ".join(text for applies, text in parts if applies)
        said = f"{said} (prices of {AS_OF} in {REGION}; not included: {EXCLUDED})"
        if not self.cases:
            return said
        ended, reused = self.cases["scheduled_nothing_new"], self.cases["started_nothing_new"]
        return (
            f"{said}; where nothing is new: at most {ended.once_usd:.2f} USD when a schedule "
            f"starts it ({_names(ended)}), {reused.once_usd:.2f} USD when you do ({_names(reused)}; the rest "
            "is taken from the last 30 days)"
        )


def _names(cost: Cost) -> str:
    return ", ".join(job.job for job in cost.jobs) or "no job"


def estimate(requests: Iterable[Request]) -> Cost:
    """The cost of requests as botocore takes them; those that start no machine cost nothing here."""
    return Cost(
        [
            READERS[operation](body)
            for request in requests
            for operation, body in request.items()
            if operation in READERS
        ]
    )


def say(cost: Cost) -> None:
    """Print the line for a person on standard error: standard output may hold JSON."""
    print(cost.sentence(), file=sys.stderr, flush=True)


def _training(body: Mapping[str, Any]) -> JobCost:
    machines = body.get("ResourceConfig") or body["HyperParameterTuningResourceConfig"]
    run, by = _limit(body)
    kept = int(machines.get("KeepAlivePeriodInSeconds", 0))
    by += f", and {kept} s that the machine is kept" if kept else ""
    return replace(
        _job_cost("Training", body, machines, run + kept, by),
        spot=bool(body.get("EnableManagedSpotTraining")),
    )


def _processing(body: Mapping[str, Any]) -> JobCost:
    return _job_cost("Processing", body, body["ProcessingResources"]["ClusterConfig"], *_limit(body))


def _transform(body: Mapping[str, Any]) -> JobCost:
    return replace(
        _job_cost(
            "Transform",
            body,
            body["TransformResources"],
            5 * DAY,
            "nothing in the request; five days are assumed, look at the account's quota",
        ),
        limited=False,
    )


def _tuning(body: Mapping[str, Any]) -> JobCost:
    """All jobs of a search; a bound on the search's whole duration counts where it is lower."""
    limits = body["HyperParameterTuningJobConfig"]["ResourceLimits"]
    one = _training(body["TrainingJobDefinition"])
    jobs, parallel = int(limits.get("MaxNumberOfTrainingJobs", 1)), int(limits["MaxParallelTrainingJobs"])
    seconds, by = one.seconds, one.bounded_by
    whole = limits.get("MaxRuntimeInSeconds")
    if whole is not None and int(whole) * parallel < seconds * jobs:
        seconds, by = -(-int(whole) * parallel // jobs), f"MaxRuntimeInSeconds {whole} of the whole search"
    return replace(
        one,
        job=str(body.get("HyperParameterTuningJobName", "tuning")),
        seconds=seconds,
        bounded_by=f"{by}, for each of {jobs} jobs",
        jobs=jobs,
    )


def _limit(body: Mapping[str, Any]) -> tuple[int, str]:
    """The seconds after which a job is stopped, and what says so."""
    given = body.get("StoppingCondition", {}).get("MaxRuntimeInSeconds")
    if given is None:
        return DAY, "SageMaker's default of one day"
    return int(given), f"MaxRuntimeInSeconds {int(given)} (--max-run)"


def _job_cost(
    kind: str, body: Mapping[str, Any], machines: Mapping[str, Any], seconds: int, bounded_by: str
) -> JobCost:
    return JobCost(
        job=str(body.get(f"{kind}JobName", kind.lower())),
        instance_type=str(machines["InstanceType"]),
        instance_count=int(machines["InstanceCount"]),
        seconds=seconds,
        bounded_by=bounded_by,
        usd_per_hour=HOURLY.get(machines["InstanceType"]),
        volume_gb=int(machines.get("VolumeSizeInGB", 0)),
    )


READERS = {
    "CreateTrainingJob": _training,
    "CreateProcessingJob": _processing,
    "CreateTransformJob": _transform,
    "CreateHyperParameterTuningJob": _tuning,
}


# --- a dry run ----------------------------------------------------------------------------------------------


def print_requests(
    requests: Sequence[Request], uploads: Mapping[str, int] | None = None, cost: Cost | None = None
) -> None:
    """Print as one JSON object what would be copied, the requests in their order, and what they may cost.

    `uploads`: the number of files in each folder of S3.
    """
    content: dict[str, Any] = {"uploads": outermost(uploads or {}), "requests": requests}
    if cost is not None:
        content["cost"] = cost.record()
    print(json.dumps(content, indent=2, default=str))
    if cost is not None:
        say(cost)


def outermost(folders: Mapping[str, int]) -> dict[str, int]:
    """The folders that lie in no other one, each with the number of files in it and below it."""
    found: dict[str, int] = {}
    for folder in sorted(folders):
        above = next((name for name in found if folder.startswith(name)), folder)
        found[above] = found.get(above, 0) + folders[folder]
    return found


# --- a pipeline ---------------------------------------------------------------------------------------------

OPERATIONS = {
    "Training": "CreateTrainingJob",
    "Processing": "CreateProcessingJob",
    "Transform": "CreateTransformJob",
    "Tuning": "CreateHyperParameterTuningJob",
}
PARAMETER = re.compile(r"Parameters\.(\w+)")
# Where a retry follows an attempt that has started no machine.
UNPAID = {"SageMaker.CAPACITY_ERROR", "SageMaker.RESOURCE_LIMIT", "Step.SERVICE_FAULT", "Step.THROTTLING"}


def estimate_pipeline(definition: Mapping[str, Any], values: Mapping[str, Any]) -> Cost:
    """The cost of an execution with the parameters `values`, by the defaults where one is not given.

    Every step counts, those behind a condition too: a ceiling supposes that it is met.
    """
    defaults = {item["Name"]: item.get("DefaultValue") for item in definition.get("Parameters", [])}
    steps = {step.name: step for step in all_steps(definition["Steps"])}
    costs = {
        name: _cost_of_step(step.body, {**defaults, **values})
        for name, step in steps.items()
        if step.kind in OPERATIONS
    }
    return Cost(
        list(costs.values()),
        {
            "everything_new": Cost(list(costs.values())),
            "scheduled_nothing_new": Cost(
                [cost for name, cost in costs.items() if not _waits_for_condition(steps[name], steps)]
            ),
            "started_nothing_new": Cost([cost for name, cost in costs.items() if not is_cached(steps[name])]),
        },
    )


def _waits_for_condition(step: Step, steps: Mapping[str, Step]) -> bool:
    """Whether a step waits for a condition, or for a step that does."""
    return any(
        steps[name].kind == "Condition" or _waits_for_condition(steps[name], steps)
        for name in waits_for(step)
        if name in steps
    )


def _cost_of_step(step: Mapping[str, Any], values: Mapping[str, Any]) -> JobCost:
    cost = READERS[OPERATIONS[step["Type"]]](_resolved(step["Arguments"], values))
    attempts = 1 + sum(
        int(policy.get("MaxAttempts", 1))
        for policy in step.get("RetryPolicies", [])
        if set(policy.get("ExceptionType", [])) - UNPAID
    )
    return replace(
        cost,
        job=str(step["Name"]),
        attempts=attempts,
        bounded_by=f"{cost.bounded_by}{f'; {attempts} attempts' if attempts > 1 else ''}",
    )


def _resolved(value: Any, values: Mapping[str, Any]) -> Any:
    """The value with its references to parameters replaced; others stay, for nothing here depends on them."""
    if isinstance(value, Mapping):
        named = PARAMETER.fullmatch(str(value.get("Get", ""))) if len(value) == 1 else None
        if named and values.get(named[1]) is not None:
            return values[named[1]]
        return {key: _resolved(item, values) for key, item in value.items()}
    return [_resolved(item, values) for item in value] if isinstance(value, list) else value
