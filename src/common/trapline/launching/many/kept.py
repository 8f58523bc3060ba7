"""What is kept on this machine of a training job that has ended on AWS: all but the model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trapline.errors import TraplineError
from trapline.launching.aws.job_kinds import COMPLETED, TRAINING, bill, reason
from trapline.launching.fetching import DESCRIPTION, METRICS, RECORD, opened, run_of_job
from trapline.launching.many.job_list import LabelledPlan
from trapline.launching.many.outcomes import TEST
from trapline.storage import atomic_file, write_json
from trapline.unpacking import read_text


def keep_end(job: LabelledPlan, folder: Path, described: Mapping[str, Any]) -> str:
    """Write into `folder` how a job has ended, and what it has left. Returns that in a line.

    A job whose results cannot be read counts as failed until they can.
    """
    status = TRAINING.status(described)
    said = bill(described) or "the time it took is not known"
    failure: str | None = None
    if status != COMPLETED:
        failure = reason(TRAINING, described)
    else:
        try:
            _keep_results(folder, described)
        except TraplineError as error:
            failure, status = f"its results cannot be read ({error})", "Failed"
    write_json(folder / RECORD, {**_record(job, described), "status": status, "failure_reason": failure})
    return f"{status}; {said}" if failure is None else f"{status} ({failure}); {said}"


def _keep_results(folder: Path, described: Mapping[str, Any]) -> None:
    run = run_of_job(described)
    for place, name in ((run.model, DESCRIPTION), (run.history, METRICS), (run.history, TEST)):
        if place is None:
            raise TraplineError(f"training job {run.name}: AWS does not say where its {name} lies")
        with opened(place) as stream:
            text = read_text(stream, str(place), (name, f"data/{name}"))
        if text is None and name != TEST:
            raise TraplineError(f"{place}: holds no {name}")
        if text is not None:
            with atomic_file(folder / name, "w", encoding="utf-8") as file:
                file.write(text)


def _record(job: LabelledPlan, described: Mapping[str, Any]) -> dict[str, Any]:
    """job.json, as a launch here writes it, and what the machines cost."""
    machines = described.get("ResourceConfig") or {}
    return {
        "job_name": described["TrainingJobName"],
        "experiment": job.plan.experiment.name,
        "backend": "aws",
        "hyperparameters": job.plan.config.record(),
        "instance_type": machines.get("InstanceType"),
        "instance_count": machines.get("InstanceCount", 1),
        "billable_s": described.get("BillableTimeInSeconds"),
        "training_s": described.get("TrainingTimeInSeconds"),
        "metrics": dict(run_of_job(described).metrics),
        "model": (described.get("ModelArtifacts") or {}).get("S3ModelArtifacts"),
    }
