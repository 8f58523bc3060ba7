"""The batch-level log of a training: `[BATCH]` lines, which no metric regex matches, written and read."""

import math
import re
import sys
from dataclasses import dataclass
from typing import TextIO

from trapline.printing import unescaped

START = "[BATCH]"
END = "[/BATCH]"
NUMBER = r"[-+]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][-+]?\d{1,5})?|nan|[-+]?inf"
COUNT = r"\d{1,12}"
LINE = re.compile(
    rf"{re.escape(START)} epoch=(?P<epoch>{COUNT}) batch=(?P<batch>{COUNT}) of=(?P<of>{COUNT}) "
    rf"loss=(?P<loss>{NUMBER}) "
    rf"accuracy=(?P<accuracy>{NUMBER}) lr=(?P<lr>{NUMBER}) {re.escape(END)}"
)


@dataclass(frozen=True)
class BatchPoint:
    """Training at one batch.

    loss, accuracy (0 to 1): of the images since the last such line, or as another trainer's log counts them;
    batch: from 1 within the epoch; of: batches of the epoch, and lr: learning rate, None where not known.
    """

    epoch: int
    batch: int
    loss: float
    accuracy: float
    of: int | None = None
    lr: float | None = None


def format_batch(point: BatchPoint) -> str:
    """The line of a point that has all its values, as in
    `[BATCH] epoch=1 batch=20 of=98 loss=2.1304 accuracy=0.21875 lr=0.001 [/BATCH]`."""
    return (
        f"{START} epoch={point.epoch} batch={point.batch} of={point.of} loss={point.loss:.6g} "
        f"accuracy={point.accuracy:.6g} lr={math.nan if point.lr is None else point.lr:.6g} {END}"
    )


def emit_batch(point: BatchPoint, stream: TextIO | None = None) -> None:
    """Print the line in one write, on a line of its own, and flush it."""
    stream = unescaped(stream or sys.stdout)
    stream.write(f"{format_batch(point)}\n")
    stream.flush()


def read_batch(text: str) -> BatchPoint | None:
    """The point of the first whole `[BATCH]` line in `text`, whatever stands around it."""
    found = LINE.search(text)
    if found is None:
        return None
    return BatchPoint(
        epoch=int(found["epoch"]),
        batch=int(found["batch"]),
        loss=float(found["loss"]),
        accuracy=float(found["accuracy"]),
        of=int(found["of"]),
        lr=float(found["lr"]),
    )
