"""What one of many jobs has come to, read from its folder: here and on AWS the same files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trapline.errors import TraplineError
from trapline.launching.fetching import COMPLETED, RECORD, local_run
from trapline.launching.many.one_by_one import is_complete
from trapline.launching.results import at_best_epoch, description_of, history_of
from trapline.storage import read_json

TEST = "test.json"
NOT_RUN = "NotRun"


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


def read_outcome(label: str, folder: Path) -> Outcome:
    """The outcome of the job `label`, whose folder may be missing."""
    path = folder / RECORD
    record = read_json(path) if path.is_file() else {}
    status, reason = str(record.get("status", NOT_RUN)), str(record.get("failure_reason") or "")
    if not is_complete(folder):
        return Outcome(label, status, reason, record)
    try:
        run = local_run(folder)
        description, (history, notes) = description_of(run), history_of(run)
    except (TraplineError, OSError) as error:
        return Outcome(label, "Failed", f"its results cannot be read ({error})", record)
    return Outcome(
        label=label,
        status=status,
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
