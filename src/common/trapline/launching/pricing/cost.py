"""What a launch can cost at most: an estimate from its requests and `trapline.launching.pricing.prices`.

A ceiling, not a forecast: every job is taken to run until AWS would stop it. Most end long before.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
TRANSFORM_LIMIT = 5 * DAY  # assumed: a transform job's request has no limit, an account's quota has
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
    """The ceiling of a launch or of a pipeline's execution."""

    jobs: Sequence[JobCost]

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
        """The key `cost` in the JSON of a dry run."""
        spot = self.spot_usd
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
        }

    def sentence(self) -> str:
        """One line for a person."""
        parts = [f"estimate: at most {self.once_usd:.2f} USD if every job runs to its limit"]
        unlimited = [job for job in self.jobs if not job.limited]
        if unlimited:
            usd, names = sum(job.usd for job in unlimited), ", ".join(job.job for job in unlimited)
            parts.append(f"{usd:.2f} USD of it for {names}, which its request does not limit")
        if self.ceiling_usd > self.once_usd:
            parts.append(f"{self.ceiling_usd:.2f} USD with every retry")
        if self.spot_usd:
            low, high = self.spot_usd
            parts.append(f"with spot usually {low:.2f} to {high:.2f} USD")
        if self.without_price:
            parts.append(f"no price known for {', '.join(self.without_price)}, which comes on top")
        return f"{'; '.join(parts)} (prices of {AS_OF} in {REGION}; not included: {EXCLUDED})"


def estimate(requests: Iterable[Request]) -> Cost:
    """The cost of requests as botocore takes them; those that start no machine cost nothing here."""
    found = []
    for request in requests:
        for operation, body in request.items():
            if operation in _READERS:
                found.append(_READERS[operation](body))
    return Cost(found)


def say(cost: Cost) -> None:
    """Print the line for a person on standard error: standard output may hold JSON."""
    print(cost.sentence(), file=sys.stderr, flush=True)


def _training(body: Mapping[str, Any]) -> JobCost:
    machines = body.get("ResourceConfig") or body["HyperParameterTuningResourceConfig"]
    limit = body.get("StoppingCondition", {})
    run, by = _limit(limit, "--max-run")
    kept = int(machines.get("KeepAlivePeriodInSeconds", 0))
    return JobCost(
        job=str(body.get("TrainingJobName", "training")),
        instance_type=str(machines["InstanceType"]),
        instance_count=int(machines["InstanceCount"]),
        seconds=run + kept,
        bounded_by=f"{by}{f', and {kept} s that the machine is kept' if kept else ''}",
        usd_per_hour=HOURLY.get(machines["InstanceType"]),
        volume_gb=int(machines.get("VolumeSizeInGB", 0)),
        spot=bool(body.get("EnableManagedSpotTraining")),
    )


def _limit(stopping: Mapping[str, Any], flag: str) -> tuple[int, str]:
    given = stopping.get("MaxRuntimeInSeconds")
    if given is None:
        return DAY, "SageMaker's default of one day"
    return int(given), f"MaxRuntimeInSeconds {int(given)} ({flag})"


def _processing(body: Mapping[str, Any]) -> JobCost:
    machines = body["ProcessingResources"]["ClusterConfig"]
    run, by = _limit(body.get("StoppingCondition", {}), "--max-run")
    return JobCost(
        job=str(body.get("ProcessingJobName", "processing")),
        instance_type=str(machines["InstanceType"]),
        instance_count=int(machines["InstanceCount"]),
        seconds=run,
        bounded_by=by,
        usd_per_hour=HOURLY.get(machines["InstanceType"]),
        volume_gb=int(machines.get("VolumeSizeInGB", 0)),
    )


def _transform(body: Mapping[str, Any]) -> JobCost:
    machines = body["TransformResources"]
    return JobCost(
        job=str(body.get("TransformJobName", "transform")),
        instance_type=str(machines["InstanceType"]),
        instance_count=int(machines["InstanceCount"]),
        seconds=TRANSFORM_LIMIT,
        bounded_by="nothing in the request; five days are assumed, look at the account's quota",
        usd_per_hour=HOURLY.get(machines["InstanceType"]),
        volume_gb=0,
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
    return JobCost(
        job=str(body.get("HyperParameterTuningJobName", "tuning")),
        instance_type=one.instance_type,
        instance_count=one.instance_count,
        seconds=seconds,
        bounded_by=f"{by}, for each of {jobs} jobs",
        usd_per_hour=one.usd_per_hour,
        volume_gb=one.volume_gb,
        jobs=jobs,
        spot=one.spot,
    )


_READERS = {
    "CreateTrainingJob": _training,
    "CreateProcessingJob": _processing,
    "CreateTransformJob": _transform,
    "CreateHyperParameterTuningJob": _tuning,
}
