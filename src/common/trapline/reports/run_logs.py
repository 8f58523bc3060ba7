"""Logs of trainings read back as curves: this project's lines, and the batch lines of other trainers.

Our own lines count where they begin a line, or follow what CloudWatch, local mode and the toolkit put before
it (`metrics.PREFIX`); those of other trainers wherever they stand. Lines end with `\\n`, `\\r` or both
(a progress bar redraws its line after `\\r`), and may have the colours of a terminal:

- `[METRICS] epoch=4 train_loss=0.2881 ... [/METRICS]`, an epoch of this project, also torn in two;
- `[BATCH] epoch=1 batch=20 of=98 loss=2.13 accuracy=0.22 lr=0.001 [/BATCH]`, its batch-level log;
- `Loss=2.13, Accuracy=21.88`, a batch of another trainer: `=` or `:`, with or without the comma, `%`, and a
  number of the batch in between or before (`Batch_id=97`, counted from 0, or tqdm's ` 97/391 [`). Accuracy is
  in percent where it has a percent sign, or where any of the log's is above 1; else it is a share;
- `Test set: Average loss: 1.9104, Accuracy: 4821/10000 (48.21%)`, or the line above after a word with `val`,
  `test` or `eval`: validation after the epoch;
- `Epoch 3`, `EPOCH: 3`, `Epoch [3/50]`, `epoch=3`: the epoch, as numbered there (from 0: it becomes 1).
  Without it an epoch begins where the batch numbers begin again, or after validation.

In another trainer's log an epoch's `train_loss` is the mean of its batch lines and `train_acc` the accuracy
in the last of them, which such trainers count from the epoch's beginning.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from trapline.batch_lines import NUMBER, BatchPoint, read_batch
from trapline.metrics import BY_NAME, END, LONGEST, START, read_line

TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
LINE_ENDS = re.compile(r"[\r\n]+")
# Blanks and digits are bounded: else a long run of them would be looked through from each of its places.
GAP, COUNT = r"\s{0,8}", r"\d{1,12}"
FOREIGN = re.compile(
    rf"\bloss{GAP}[=:]{GAP}(?P<loss>{NUMBER})"
    rf"(?P<between>[^=:]{{0,3}}(?:batch(?:_?id|_idx)?{GAP}[=:]?{GAP}{COUNT}[,;\s]{{0,8}})?)"
    rf"\bacc(?:uracy)?{GAP}[=:]{GAP}(?:{COUNT}/{COUNT}{GAP}\()?(?P<accuracy>{NUMBER}){GAP}(?P<percent>%?)",
    re.IGNORECASE,
)
BATCH_ID = re.compile(rf"\bbatch(?:_?id|_idx)?{GAP}[=:]?{GAP}({COUNT})", re.IGNORECASE)
BAR = re.compile(rf"\b({COUNT})/({COUNT}){GAP}\[")
EPOCH = re.compile(rf"\bepochs?\b{GAP}[=:]?{GAP}\[?({COUNT})", re.IGNORECASE)
TESTED = {name for name in BY_NAME if name.startswith("test_")}
VALIDATION = re.compile(
    r"(?<![a-z])(?:val|valid|validation|test|testing|eval|evaluation)(?![a-z])", re.IGNORECASE
)


@dataclass(frozen=True)
class Curves:
    """A run as curves: a row of metrics for each epoch (see `trapline.metrics`), and its logged batches."""

    name: str
    epochs: tuple[dict[str, float], ...] = ()
    batches: tuple[BatchPoint, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.epochs or self.batches)


@dataclass(frozen=True)
class _Foreign:
    """A batch or validation line of another trainer; percent: None where the line does not say."""

    epoch: int | None
    loss: float
    accuracy: float
    percent: bool
    validation: bool
    batch: int | None = None
    of: int | None = None


@dataclass
class _Epochs:
    """Which epoch the lines of another trainer belong to, as one reads on."""

    marked: int | None = None
    counted: int = 1
    last_batch: int = 0
    validated: bool = False
    batches: dict[tuple[int, int], BatchPoint] = field(default_factory=dict)
    rows: dict[int, dict[str, float]] = field(default_factory=dict)

    def add(self, line: _Foreign, whole: float) -> None:
        """Take in a line; an accuracy of `whole` (1 or 100) means all right."""
        accuracy = line.accuracy / whole
        if line.epoch is not None and line.epoch != self.marked:
            self.marked, self.last_batch = line.epoch, 0
        if line.validation:
            self.rows.setdefault(self.epoch, {}).update(val_loss=line.loss, val_acc=accuracy)
            self.validated = True
            return
        batch = self.last_batch + 1 if line.batch is None else line.batch
        if self.marked is None and (batch < self.last_batch or self.validated):
            self.counted += 1
            batch = batch if line.batch is not None else 1
        self.last_batch, self.validated = batch, False
        self.batches[self.epoch, batch] = BatchPoint(self.epoch, batch, line.loss, accuracy, line.of)

    @property
    def epoch(self) -> int:
        return self.counted if self.marked is None else self.marked


def parse_log(text: str, name: str) -> Curves:
    """The curves in the text of a log; empty where it has no line that is understood.

    An epoch or batch that comes twice, as after an interruption, counts as it came last.
    """
    rows: dict[float, dict[str, float]] = {}
    batches: dict[tuple[int, int], BatchPoint] = {}
    foreign: list[_Foreign] = []
    epoch: int | None = None
    for line in _whole_lines(text):
        values, point = read_line(line), read_batch(line)
        if values and values.keys() <= TESTED:
            continue  # of no epoch: the test part, read when all are over
        if values:
            rows[values.get("epoch", len(rows) + 1.0)] = values
        elif point is not None:
            batches[point.epoch, point.batch] = point
        else:
            mark = EPOCH.search(line)
            epoch = int(mark[1]) if mark else epoch
            foreign.extend(_foreign(line, epoch))
    if rows or batches:
        return Curves(name, tuple(rows[epoch] for epoch in sorted(rows)), _sorted(batches.values()))
    return _from_foreign(foreign, name)


def _whole_lines(text: str) -> Iterator[str]:
    """The lines, with a metric line that was torn in two put together where that makes it whole."""
    held = ""
    for line in LINE_ENDS.split(TERMINAL_CODES.sub("", text)):
        if held:
            joined, held = held + line, ""
            if read_line(joined) and not read_line(line):
                yield joined
                continue
        if START in line and END not in line and len(line) <= LONGEST:
            held = line
        yield line


def _foreign(line: str, epoch: int | None) -> Iterator[_Foreign]:
    found = FOREIGN.search(line)
    if found is None:
        return
    number, bar = BATCH_ID.search(found["between"]) or BATCH_ID.search(line), BAR.search(line)
    yield _Foreign(
        epoch=epoch,
        loss=float(found["loss"]),
        accuracy=float(found["accuracy"]),
        percent=bool(found["percent"]),
        validation=bool(VALIDATION.search(line[: found.start()])),
        batch=int(number[1]) + 1 if number else int(bar[1]) if bar else None,
        of=int(bar[2]) if bar else None,
    )


def _from_foreign(lines: Sequence[_Foreign], name: str) -> Curves:
    shares = not any(line.percent or line.accuracy > 1 for line in lines)
    zero = any(line.epoch == 0 for line in lines)
    epochs = _Epochs()
    for line in lines:
        shifted = replace(line, epoch=line.epoch + 1) if zero and line.epoch is not None else line
        epochs.add(shifted, 1.0 if shares else 100.0)
    points = _sorted(epochs.batches.values())
    for number in {point.epoch for point in points}:
        own = [point for point in points if point.epoch == number]
        row = epochs.rows.setdefault(number, {})
        row.update(train_loss=fmean(point.loss for point in own), train_acc=own[-1].accuracy)
    rows = tuple({"epoch": float(number), **epochs.rows[number]} for number in sorted(epochs.rows))
    return Curves(name, rows, points)


def _sorted(points: Iterable[BatchPoint]) -> tuple[BatchPoint, ...]:
    return tuple(sorted(points, key=lambda point: (point.epoch, point.batch)))
