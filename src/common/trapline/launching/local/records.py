"""job.json: what a local run was asked for, and how it ended."""

import contextlib
import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trapline.console import FAILURE_LENGTH, words_of
from trapline.launching.plan import Plan
from trapline.launching.prepare_options import prepare_record
from trapline.storage import write_json


class RunRecord:
    """The record of one run, rewritten whole at each change."""

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path = path
        self.content: dict[str, Any] = {
            "job_name": plan.job_name,
            "experiment": plan.experiment.name,
            "status": "InProgress",
            "failure_reason": None,
            "started": _now(),
            "ended": None,
            "backend": plan.backend,
            "data": plan.data,
            "prepare_options": {} if plan.prepared else prepare_record(plan.prepare_options),
            "prepared": plan.prepared,
            "channels": dict(plan.channels),
            "instance_count": plan.instance_count,
            "hyperparameters": plan.config.record(),
        }

    def note(self, **changes: Any) -> None:
        """Change keys and write the record."""
        self.content |= changes
        write_json(self.path, self.content)

    @contextlib.contextmanager
    def kept(self) -> Iterator["RunRecord"]:
        """Write the record now, and at the end with how the block ended."""
        self.note()
        try:
            yield self
        except KeyboardInterrupt:
            self.note(status="Stopped", ended=_now())
            raise
        except BaseException as error:
            self.note(status="Failed", ended=_now(), failure_reason=words_of(error)[:FAILURE_LENGTH])
            raise
        self.note(status="Completed", ended=_now())


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
