"""Jobs one after another, each by a backend that runs one job to its end, taken up where they were left."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trapline.errors import TraplineError, UsageError
from trapline.launching.dry_run import print_requests
from trapline.launching.fetching import COMPLETED, RECORD
from trapline.launching.many.job_list import LabelledPlan, Many
from trapline.launching.plan import Plan
from trapline.storage import read_json

Launch = Callable[[Plan], None]


@dataclass(frozen=True)
class OneByOne:
    """Runs many jobs one after another.

    launch: runs one to its end. check_plan: raises UsageError for sources that are not there. requests_of:
    what `launch` would ask for.
    """

    launch: Launch
    check_plan: Callable[[Plan], None]
    requests_of: Callable[[Plan], list[dict[str, Any]]]

    def check(self, many: Many) -> None:
        """Raise UsageError where a folder or file that the jobs read does not exist."""
        self.check_plan(many.lead)

    def run(self, many: Many, ended: Callable[[str], None]) -> None:
        """Run the jobs that are not complete. Raises KeyboardInterrupt on Ctrl-C."""
        try:
            for job, _ in one_after_another(many.jobs, many.folder, self.launch):
                ended(job.label)
        except KeyboardInterrupt:
            print(f"go on: the same command (the {many.what} lies in {many.folder}/)", flush=True)
            raise

    def show_requests(self, many: Many) -> None:
        """Print the requests of all jobs; the set is prepared once."""
        self.check(many)
        requests: list[dict[str, Any]] = []
        for job in many.jobs:
            plan = replace(job.plan, output=str(many.folder), job_name=job.label)
            if requests and not plan.prepared:
                plan = with_set(plan, str(many.folder / "prepared"))
            requests += self.requests_of(plan)
        print_requests(requests)


def one_after_another(
    jobs: Sequence[LabelledPlan], folder: Path, launch: Launch
) -> Iterator[tuple[LabelledPlan, Path]]:
    """Run the jobs, but for those that are complete, and give each with its folder when it has ended.

    A job that fails ends itself, not the rest. Raises KeyboardInterrupt on Ctrl-C.
    """
    for number, job in enumerate(jobs, 1):
        own = folder / job.label
        if not is_complete(own):
            print(f"\n{job.label} ({number} of {len(jobs)}): {job.shown}", flush=True)
            _run_one(_with_prepared(job, folder), own, launch)
        yield job, own


def is_complete(folder: Path) -> bool:
    """Whether the job of this folder has ended well."""
    record = folder / RECORD
    return record.is_file() and read_json(record)["status"] == COMPLETED


def _with_prepared(job: LabelledPlan, folder: Path) -> Plan:
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


def _run_one(plan: Plan, folder: Path, launch: Launch) -> None:
    """Run a job; its checkpoint lies outside of its folder."""
    if folder.exists():  # left by an interruption
        shutil.rmtree(folder)
    try:
        launch(plan)
    except UsageError:
        raise
    except TraplineError as error:
        if getattr(error, "exit_code", 1) == 130:
            raise
        print(f"{folder.name} failed: {error}", flush=True)
