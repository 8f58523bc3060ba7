"""Jobs on this machine, one after another by the process or local backend, taken up where they were left."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.errors import TraplineError, UsageError
from common.storage import read_json
from launch.fetching import COMPLETED, RECORD
from launch.flags import Plan
from launch.many.jobs import Job

Backend = Callable[[Plan], None]


def backend_of(plan: Plan) -> Backend:
    """What runs one job here. Raises UsageError where a folder or file that the plan names does not exist."""
    from launch.local import containers as local_backend
    from launch.local import processes as process_backend
    from launch.local.sources import check_sources

    check_sources(plan)
    return local_backend.launch if plan.backend == "local" else process_backend.launch


def one_after_another(jobs: Sequence[Job], folder: Path, backend: Backend) -> Iterator[tuple[Job, Path]]:
    """Run the jobs, but for those that are complete, and give each with its folder when it has ended.

    A job that fails ends itself, not the rest. Raises KeyboardInterrupt on Ctrl-C.
    """
    for number, job in enumerate(jobs, 1):
        own = folder / job.label
        if not is_complete(own):
            print(f"\n{job.label} ({number} of {len(jobs)}): {job.shown}", flush=True)
            _run_one(_with_prepared(job, folder), own, backend)
        yield job, own


def is_complete(folder: Path) -> bool:
    """Whether the job of this folder has ended well."""
    record = folder / RECORD
    return record.is_file() and read_json(record)["status"] == COMPLETED


def _with_prepared(job: Job, folder: Path) -> Plan:
    """The plan of one job; from the second on with the set that the first has prepared."""
    own = replace(job.plan, output=str(folder), job_name=job.label)
    if own.prepared:
        return own
    for record in sorted(folder.glob(f"*/{RECORD}")):
        prepared = read_json(record).get("prepared")
        if prepared and (Path(prepared) / "dataset.json").is_file():
            return with_set(own, prepared)
    return own


def with_set(plan: Plan, prepared: str) -> Plan:
    """The plan with a set that is prepared already."""
    return replace(plan, prepared=prepared, data=None, prepare_options={}, trial_s3=None)


def _run_one(plan: Plan, folder: Path, backend: Backend) -> None:
    """Run a job; its checkpoint lies outside of its folder."""
    if folder.exists():  # left by an interruption
        shutil.rmtree(folder)
    try:
        backend(plan)
    except UsageError:
        raise
    except TraplineError as error:
        if getattr(error, "exit_code", 1) == 130:
            raise
        print(f"{folder.name} failed: {error}", flush=True)


def requests_here(jobs: Sequence[Job], folder: Path) -> list[dict[str, Any]]:
    """The requests that the jobs would make to local mode; the set is prepared once."""
    from launch.local import processes as process_backend

    backend_of(jobs[0].plan)
    requests: list[dict[str, Any]] = []
    for job in jobs:
        own = replace(job.plan, output=str(folder), job_name=job.label)
        if requests and not own.prepared:
            own = with_set(own, str(folder / "prepared"))
        kind = process_backend.Kind(own.image) if own.backend == "local" else process_backend.PROCESSES
        requests += process_backend.requests_of(own, kind)
    return requests
