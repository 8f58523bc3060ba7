"""Many jobs under one name: which they are, the folder that says so, and what has become of each.

Here they run one after another, each by a backend that runs one job to its end, and are taken up where they
were left. On AWS `trapline.launching.many.fleet` runs them.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from trapline.config import TrainingConfig
from trapline.errors import TraplineError, UsageError
from trapline.launching.fetching import COMPLETED, RECORD, local_run
from trapline.launching.plan import Plan
from trapline.launching.pricing.cost import print_requests
from trapline.launching.results import at_best_epoch, description_of, history_of
from trapline.storage import read_json, write_json

RUNS = "runs"
STATE, TEST = "many.json", "test.json"
NOT_RUN = "NotRun"
PARALLEL = 4  # jobs at a time on AWS, unless told otherwise


@dataclass(frozen=True)
class LabelledPlan:
    """The plan of one of many jobs: `label` names its folder, `shown` says what is special about it."""

    label: str
    plan: Plan
    shown: str = ""


@dataclass(frozen=True)
class Many:
    """Jobs that are run under one name. `what` they are in messages; `lead`: the launch that they vary."""

    name: str
    what: str
    lead: Plan
    jobs: Sequence[LabelledPlan]

    @property
    def folder(self) -> Path:
        """Where the state and the results lie; of jobs on AWS all but the models."""
        output = self.lead.output if self.lead.backend != "aws" else None
        return Path(output or RUNS) / self.name

    @property
    def parallel(self) -> int:
        """How many jobs run at a time on AWS."""
        return self.lead.parallel or PARALLEL

    def record(self) -> dict[str, Any]:
        """What two commands must have in common to be the same one."""
        place = {"backend": self.lead.backend, "instance_type": self.lead.instance_type}
        if self.lead.backend == "aws":
            place["output"] = self.lead.output or ""
        jobs = {job.label: _changed_settings(job.plan.config) for job in self.jobs}
        return {**launch_record(self.lead), **place, "jobs": jobs}


class Runner(Protocol):
    """What runs many jobs, or shows their requests."""

    def check(self, many: Many) -> None:
        """Raise UsageError where the jobs cannot be run."""

    def run(self, many: Many, ended: Callable[[str], None]) -> None:
        """Run the jobs that are not complete, and call `ended` with the label of each that is."""

    def show_requests(self, many: Many) -> None:
        """Print the requests of all jobs, as one JSON object; start nothing."""


def _changed_settings(config: TrainingConfig) -> dict[str, Any]:
    """The hyperparameters that are not at their defaults: a later version may have more of those."""
    defaults = TrainingConfig().record()
    return {name: value for name, value in config.record().items() if value != defaults[name]}


def launch_record(plan: Plan) -> dict[str, Any]:
    """What a launch reads and runs on, hyperparameters apart."""
    return {
        "experiment": plan.experiment.name,
        "data": plan.data,
        "prepared": plan.prepared,
        "prepare_options": plan.prepare_options,
        "channels": plan.channels,
        "instance_count": plan.instance_count,
    }


def open_folder(path: Path, said: Mapping[str, Any], what: str, size: str) -> None:
    """Make the folder of the state file `path`, or check that what is run in it is `said`; say which.

    `what`: a search, a sweep; `size`: how many jobs. Raises UsageError where it holds something else.
    """
    folder = path.parent
    if not path.is_file():
        if folder.exists():
            raise UsageError(f"--job-name {folder.name}: {folder} exists and is no {what}; choose another")
        write_json(path, {"asked": said})
        print(f"{what}: {folder}/ ({size})", flush=True)
        return
    before = read_json(path)
    changed = _changed(before.get("asked", before), json.loads(json.dumps(said)))
    if changed:
        raise UsageError(
            f"--job-name {folder.name}: the {what} in {folder} has other {', '.join(changed)}; give the "
            "same flags to go on with it, or another name"
        )
    print(f"{what}: {folder}/ is there; going on with it", flush=True)


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The names of what differs: of jobs that are the same which hyperparameters, else which jobs."""
    found = []
    changed = {name: (before.get(name), value) for name, value in now.items() if before.get(name) != value}
    for name, (earlier, value) in changed.items():
        if isinstance(earlier, dict) and isinstance(value, dict):
            pairs = [(earlier, value)]
            if name == "jobs" and earlier.keys() == value.keys():
                name, pairs = "hyperparameters", [(earlier[label], value[label]) for label in value]
            inner = {key for old, new in pairs for key in {*old, *new} if old.get(key) != new.get(key)}
            name += f" ({', '.join(sorted(inner))})"
        found.append(name)
    return found


@dataclass(frozen=True)
class Outcome:
    """One job. What it has not left is empty.

    `record`: job.json. `description`: model.json. `best`: the metrics of the epoch whose weights are kept,
    `history` those of all. `test`: what score_test has found.
    """

    label: str
    status: str  # as SageMaker words it, or NotRun
    reason: str = ""  # why it failed
    record: Mapping[str, Any] = field(default_factory=dict)
    description: Mapping[str, Any] = field(default_factory=dict)
    best: Mapping[str, float] = field(default_factory=dict)
    history: Sequence[Mapping[str, float]] = ()
    test: Mapping[str, Any] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether the job has ended well and its results could be read."""
        return self.status == COMPLETED


def is_complete(folder: Path) -> bool:
    """Whether the job of this folder has ended well."""
    record = folder / RECORD
    return record.is_file() and read_json(record)["status"] == COMPLETED


def read_outcome(label: str, folder: Path) -> Outcome:
    """The outcome of the job `label`, whose folder may be missing."""
    path = folder / RECORD
    if not path.is_file():
        return Outcome(label, NOT_RUN)
    record = read_json(path)
    if record["status"] != COMPLETED:
        return Outcome(label, str(record["status"]), str(record.get("failure_reason") or ""), record)
    try:
        run = local_run(folder)
        description, (history, notes) = description_of(run), history_of(run)
    except (TraplineError, OSError) as error:
        return Outcome(label, "Failed", f"its results cannot be read ({error})", record)
    return Outcome(
        label=label,
        status=COMPLETED,
        reason="; ".join(notes),
        record=record,
        description=description,
        best=at_best_epoch(description, history),
        history=history,
        test=read_json(folder / TEST) if (folder / TEST).is_file() else {},
    )


def require_all(outcomes: Sequence[Outcome], what: str, folder: Path) -> None:
    """Raise TraplineError naming the jobs that have failed, if any."""
    failed = [outcome for outcome in outcomes if not outcome.complete]
    if failed:
        said = "; ".join(f"{one.label}: {one.reason or one.status}" for one in failed)
        raise TraplineError(
            f"{len(failed)} of {len(outcomes)} jobs of the {what} in {folder} have failed ({said[:600]}); "
            "the same command tries them again"
        )


def run_many(many: Many, runner: Runner, watch: Callable[[list[Outcome]], None]) -> list[Outcome]:
    """Run the jobs and return an outcome for each, in order. What is complete is not run again.

    `watch` gets the outcomes of all jobs, those that have not run too, whenever one has ended. A job that
    fails ends itself alone. Raises UsageError where the folder holds other jobs, KeyboardInterrupt or
    Interrupted on Ctrl-C, TraplineError where AWS refuses.
    """
    outcomes = {job.label: Outcome(job.label, NOT_RUN) for job in many.jobs}

    def ended(label: str) -> None:
        outcomes[label] = read_outcome(label, many.folder / label)
        watch(list(outcomes.values()))

    runner.check(many)
    if many.lead.fresh and many.folder.exists():
        raise UsageError(
            f"--fresh: {many.folder} is there already; remove it, or begin another by --job-name"
        )
    open_folder(many.folder / STATE, many.record(), many.what, f"{len(many.jobs)} jobs")
    runner.run(many, ended)
    return list(outcomes.values())


@dataclass(frozen=True)
class OneByOne:
    """Runs many jobs one after another.

    launch: runs one to its end. check_plan: raises UsageError for sources that are not there. requests_of:
    what `launch` would ask for.
    """

    launch: Callable[[Plan], None]
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
    jobs: Sequence[LabelledPlan], folder: Path, launch: Callable[[Plan], None]
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


def _with_prepared(job: LabelledPlan, folder: Path) -> Plan:
    """The plan of one job; from the second on with the set that the first has prepared."""
    own = replace(job.plan, output=str(folder), job_name=job.label)
    if own.prepared:
        return own
    sets = (read_json(record).get("prepared") for record in sorted(folder.glob(f"*/{RECORD}")))
    there = next((found for found in sets if found and (Path(found) / "dataset.json").is_file()), None)
    return with_set(own, there) if there else own


def with_set(plan: Plan, prepared: str) -> Plan:
    """The plan with a set that is prepared already."""
    return replace(plan, prepared=prepared, data=None, prepare_options={}, trial_s3=None)


def _run_one(plan: Plan, folder: Path, launch: Callable[[Plan], None]) -> None:
    """Run a job; its checkpoint lies outside of its folder."""
    if folder.exists():  # left by an interruption
        shutil.rmtree(folder)
    try:
        launch(plan)
    except TraplineError as error:
        if isinstance(error, UsageError) or error.exit_code == 130:
            raise
        print(f"{folder.name} failed: {error}", flush=True)
