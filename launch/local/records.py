"""job.json: what a local run was asked for, and how it ended."""

import contextlib
import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.console import FAILURE_LENGTH
from common.storage import write_json
from launch.flags import Plan


class Record:
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
            "prepare_options": plan.prepare_options,
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
    def kept(self) -> Iterator["Record"]:
        """Write the record now, and at the end with how the block ended."""
        self.note()
        try:
            yield self
        except KeyboardInterrupt:
            self.note(status="Stopped", ended=_now())
            raise
        except BaseException as error:
            self.note(status="Failed", ended=_now(), failure_reason=str(error)[:FAILURE_LENGTH])
            raise
        self.note(status="Completed", ended=_now())


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
