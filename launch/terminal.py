"""A job's output: every byte into the log, every line to the terminal, and how far it is."""

import sys
import time
from pathlib import Path
from typing import BinaryIO, TextIO

from common.metrics import read_values

CLEAR_LINE = "\r\x1b[K"


class JobOutput:
    """Follows one job. The log is written as it comes; a terminal's last line says how far the job is."""

    def __init__(self, log: Path, epochs: int | None = None, stream: TextIO | None = None) -> None:
        """`epochs`: of a training job; without them there is no progress line."""
        self.log: BinaryIO = log.open("wb")
        self.epochs = epochs
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()
        self.started = time.monotonic()
        self.first: tuple[float, float] | None = None  # epoch and time of the first one seen
        self.status = ""
        self.folders: dict[bytes, bytes] = {}  # names in the output, and what is shown for them

    def line(self, raw: bytes) -> None:
        """Take one line of output, with its end."""
        for folder, shown in self.folders.items():
            raw = raw.replace(folder, shown)
        self.log.write(raw)
        self.log.flush()
        text = raw.decode(errors="replace").rstrip("\r\n")
        values = read_values(text)
        if self.epochs and "epoch" in values:
            self.status = self._progress(values)
        if self.live:
            self.stream.write(f"{CLEAR_LINE}{text}\n{self.status}")
        else:
            self.stream.write(f"{text}\n" + (f"{self.status}\n" if "epoch" in values and self.status else ""))
        self.stream.flush()

    def _progress(self, values: dict[str, float]) -> str:
        assert self.epochs
        now, epoch = time.monotonic(), values["epoch"]
        if self.first is None:
            self.first = (epoch, now)
            seconds = values.get("epoch_s", now - self.started)
        else:
            seconds = (now - self.first[1]) / max(1, epoch - self.first[0])
        left = seconds * max(0, self.epochs - epoch)
        scores = "".join(
            f", {label} {values[name]:.3f}"
            for name, label in (("val_loss", "log loss"), ("val_acc", "accuracy"))
            if name in values
        )
        return f"progress: epoch {epoch:.0f} of {self.epochs}{scores}, at most {duration(left)} left"

    def close(self) -> None:
        """End the status line and the log."""
        if self.live and self.status:
            self.stream.write(CLEAR_LINE)
            self.stream.flush()
        self.log.close()


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as in 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
