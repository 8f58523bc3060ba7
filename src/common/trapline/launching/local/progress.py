"""How far a pipeline on this machine has come: a line for each step, and pipeline.json."""

import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from trapline.launching.local.stopping import Signals
from trapline.launching.sdk.pipeline_internals import Watcher
from trapline.storage import write_json

STATE = "pipeline.json"
COMPLETED, KEPT, FAILED, STOPPED = "Completed", "Completed before", "Failed", "Stopped"


@dataclass
class StepRecord:
    """One step of a run, as it is shown and written down. seconds: of this run."""

    name: str
    state: str = "Running"
    seconds: float = 0.0
    reason: str | None = None


@dataclass
class PipelineProgress(Watcher):
    """Hears of each step, says a line about it, and keeps pipeline.json."""

    folder: Path
    record: dict[str, Any]
    stream: TextIO = field(default_factory=lambda: sys.stdout)
    steps: list[StepRecord] = field(default_factory=list)
    started: float = 0.0
    error: str | None = None  # of the job that failed, in its own words
    kept: bool = False  # the step was done before
    outcome_names: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # if met, if not
    signals: Signals | None = None

    @property
    def step(self) -> StepRecord:
        """The step that is running, or ran last."""
        return self.steps[-1]

    def began(self, step: str) -> None:
        """A step begins."""
        self.steps.append(StepRecord(step))
        self.started, self.error, self.kept = time.monotonic(), None, False
        self.write("Executing")

    def ended(self, step: str, answer: dict[str, Any]) -> None:
        """A step ended well."""
        state = KEPT if self.kept else COMPLETED
        if "Outcome" in answer:
            met, not_met = self.outcome_names.get(step, ("Passed", "Not met"))
            state = met if answer["Outcome"] else not_met
        self._close(state)

    def failed(self, step: str, reason: str) -> None:
        """A step failed."""
        self.step.reason = self.error or reason
        self._close(STOPPED if self.signals and self.signals.caught else FAILED)

    def _close(self, state: str) -> None:
        self.step.state, self.step.seconds = state, round(time.monotonic() - self.started, 2)
        self.stream.write(f"== {self.step.name}: {state}, {self.step.seconds:.1f} s\n")
        self.stream.flush()
        self.write("Executing")

    def write(self, status: str, reason: str | None = None) -> None:
        """Write pipeline.json."""
        steps = [asdict(step) for step in self.steps]
        content = {**self.record, "status": status, "failure_reason": reason, "steps": steps}
        write_json(self.folder / STATE, content)
