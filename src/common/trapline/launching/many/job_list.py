"""Many jobs as plain data, and the folder that says which they are."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from trapline.config import TrainingConfig
from trapline.errors import UsageError
from trapline.launching.plan import Plan
from trapline.storage import read_json, write_json

RUNS = "runs"
STATE = "many.json"
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
    for name, value in now.items():
        earlier = before.get(name)
        if earlier == value:
            continue
        if isinstance(earlier, dict) and isinstance(value, dict):
            pairs = [(earlier, value)]
            if name == "jobs" and earlier.keys() == value.keys():
                name, pairs = "hyperparameters", [(earlier[label], value[label]) for label in value]
            inner = {key for old, new in pairs for key in {*old, *new} if old.get(key) != new.get(key)}
            name += f" ({', '.join(sorted(inner))})"
        found.append(name)
    return found
