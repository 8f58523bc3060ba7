"""A job's output: every byte into the log, every line to the terminal, and how far it is."""

import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, TextIO

from trapline.console import relayed, unescaped
from trapline.metrics import read_line

CLEAR_LINE = "\r\x1b[K"
SCORES = {"val_loss": "log loss", "val_acc": "accuracy"}


class Screen:
    """Lines, and how far the job is: a terminal's last line, drawn in place; elsewhere a line each time.

    Of a job's lines colours, tabs and carriage returns are shown, and no other control character obeyed.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream: TextIO = unescaped(stream or sys.stdout)
        self.live = self.stream.isatty()
        self.status = ""

    def line(self, text: str) -> None:
        """Show one line; on a terminal the status stays below it."""
        text = relayed(text)
        self.stream.write(f"{CLEAR_LINE}{text}\n{self.status}" if self.live else f"{text}\n")
        self.stream.flush()

    def progress(self, status: str) -> None:
        """Show how far the job is."""
        if not self.live:
            self.line(status)
            return
        # A status that wraps would leave its first row behind.
        self.status = relayed(status)[: shutil.get_terminal_size().columns - 1]
        self.stream.write(f"{CLEAR_LINE}{self.status}")
        self.stream.flush()

    def close(self) -> None:
        """End the status line."""
        if self.live and self.status:
            self.status = ""
            self.stream.write(CLEAR_LINE)
            self.stream.flush()


class TrainingProgress:
    """How far a training job is, and how long it takes at most, from the epochs seen so far."""

    def __init__(self, epochs: int, started: float) -> None:
        """`started`: on the clock of `status`'s moments, in seconds."""
        self.epochs, self.started = epochs, started
        self.first: tuple[float, float] | None = None  # epoch and moment of the first one seen

    def restart(self, moment: float) -> None:
        """Leave out of the estimate what was before; the job begins again or goes on after a gap."""
        self.first, self.started = None, moment

    def status(self, values: Mapping[str, float], moment: float) -> str:
        """The status after an epoch with these metric values, which came at `moment`, in seconds."""
        epoch = values["epoch"]
        if self.first is None:
            self.first = (epoch, moment)
            seconds = values.get("epoch_s", moment - self.started)
        else:
            seconds = (moment - self.first[1]) / max(1, epoch - self.first[0])
        left = duration(seconds * max(0, self.epochs - epoch))
        scores = "".join(f", {label} {values[name]:.3f}" for name, label in SCORES.items() if name in values)
        return f"progress: epoch {epoch:.0f} of {self.epochs}{scores}, at most {left} left"


class JobOutput:
    """Follows one job. The log is written as it comes; a terminal's last line says how far the job is."""

    def __init__(self, log: Path, epochs: int | None = None, stream: TextIO | None = None) -> None:
        """`epochs`: of a training job; without them there is no progress line."""
        self.log: BinaryIO = log.open("wb")
        self.screen = Screen(stream)
        self.how_far = TrainingProgress(epochs, time.monotonic()) if epochs else None
        self.folders: dict[bytes, bytes] = {}  # names in the output, and what is shown for them

    def line(self, raw: bytes) -> None:
        """Take one line of output, with its end."""
        for folder, shown in self.folders.items():
            raw = raw.replace(folder, shown)
        self.log.write(raw)
        self.log.flush()
        text = raw.decode(errors="replace").rstrip("\r\n")
        self.screen.line(text)
        values = read_line(text.rpartition("\r")[2])
        if self.how_far and "epoch" in values:
            self.screen.progress(self.how_far.status(values, time.monotonic()))

    def close(self) -> None:
        """End the status line and the log."""
        self.screen.close()
        self.log.close()


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as in 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def prefixed(name: str, line: str) -> str:
    """A line of one of several, with its name before it."""
    return f"{name} | {line}"


class Prefixed:
    """A stream that begins each line with a step's name."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self.name, self.stream = name, unescaped(stream)

    def write(self, text: str) -> int:
        """Write whole lines."""
        self.stream.write("".join(prefixed(self.name, line) for line in text.splitlines(keepends=True)))
        return len(text)

    def flush(self) -> None:
        """Write out."""
        self.stream.flush()

    def isatty(self) -> bool:
        """No status line: lines of several steps follow one another."""
        return False
