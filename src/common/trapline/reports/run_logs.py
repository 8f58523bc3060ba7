"""What trainings have left, read back as curves: metrics.csv, and logs, also those of other trainers.

The curves of runs come out as text and as a file, too: a row for each epoch, a summary of each run, one value
a line.

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

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

from trapline.console import table
from trapline.errors import TraplineError
from trapline.metrics import (
    BATCH_NUMBER,
    BY_NAME,
    END,
    LONGEST,
    START,
    BatchPoint,
    format_value,
    is_better,
    read_batch,
    read_line,
)
from trapline.storage import write_table

History = Sequence[Mapping[str, float]]
Item = TypeVar("Item")
TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
LINE_ENDS = re.compile(r"[\r\n]+")
# Blanks and digits are bounded: else a long run of them would be looked through from each of its places.
GAP, COUNT = r"\s{0,8}", r"\d{1,12}"
FOREIGN = re.compile(
    rf"\bloss{GAP}[=:]{GAP}(?P<loss>{BATCH_NUMBER})"
    rf"(?P<between>[^=:]{{0,3}}(?:batch(?:_?id|_idx)?{GAP}[=:]?{GAP}{COUNT}[,;\s]{{0,8}})?)"
    rf"\bacc(?:uracy)?{GAP}[=:]{GAP}(?:{COUNT}/{COUNT}{GAP}\()?(?P<accuracy>{BATCH_NUMBER}){GAP}(?P<percent>%?)",
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


# --- metrics.csv --------------------------------------------------------------------------------------------


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics.csv, one for each epoch. Raises TraplineError, naming the file and the line."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise TraplineError(f"{path}: no such file; a training job writes it after its first epoch") from None
    except UnicodeDecodeError:
        raise TraplineError(f"{path}: not text; it is damaged, or no metrics.csv") from None
    return parse_history(text, str(path))


def parse_history(text: str, shown_as: str) -> list[dict[str, float]]:
    """The same from the file's content, called `shown_as` in messages.

    Unknown columns are passed over, and so are the empty cells of an epoch without validation.
    """
    reader = csv.DictReader(io.StringIO(text))
    rows = [_row(record, f"{shown_as}: line {reader.line_num}") for record in reader]
    if not rows:
        raise TraplineError(f"{shown_as}: no epoch in it; the job ended before its first one was done")
    if not rows[0]:
        raise TraplineError(f"{shown_as}: none of its columns is a known metric; it is no metrics.csv")
    return rows


def _row(record: Mapping[str, str | None], where: str) -> dict[str, float]:
    row = {}
    for name in record.keys() & BY_NAME.keys():
        if record[name] == "" and name.startswith("val_"):
            continue
        try:
            row[name] = float(record[name] or "")
        except ValueError:
            raise TraplineError(f"{where}: {name} is {record[name]!r}, not a number") from None
    return row


def kept_row(history: History, metric: str = "val_loss") -> int | None:
    """The index of the row whose epoch's weights training has kept; None where it has kept none.

    Training says it in the rows themselves, as best_epoch. Where they do not, as in the logs of other
    trainers, or the row is missing, it is the one that is best by `metric`.
    """
    said = [row["best_epoch"] for row in history if "best_epoch" in row][-1:]
    if said == [0]:
        return None
    kept = (index for index, row in enumerate(history) if row.get("epoch") in said)
    return next(kept, best_row(history, metric))


def best_row(history: History, metric: str = "val_loss") -> int | None:
    """The index of the row that is best by `metric`, the first of equals; None where no value is a number."""
    best: int | None = None
    for index, row in enumerate(history):
        if is_better(metric, row.get(metric, float("nan")), None if best is None else history[best][metric]):
            best = index
    return best


# --- logs ---------------------------------------------------------------------------------------------------


def parse_log(text: str, name: str) -> Curves:
    """The curves in the text of a log; empty where it has no line that is understood.

    An epoch or batch that comes twice, as after an interruption, counts as it came last.
    """
    rows: dict[float, dict[str, float]] = {}
    batches: dict[tuple[int, int], BatchPoint] = {}
    foreign: list[_Foreign | None] = []
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
            foreign.append(_foreign(line, epoch))
    if rows or batches:
        return Curves(name, _in_order(rows), _in_order(batches))
    return _from_foreign([line for line in foreign if line is not None], name)


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


def _foreign(line: str, epoch: int | None) -> _Foreign | None:
    found = FOREIGN.search(line)
    if found is None:
        return None
    number, bar = BATCH_ID.search(found["between"]) or BATCH_ID.search(line), BAR.search(line)
    return _Foreign(
        epoch=epoch,
        loss=float(found["loss"]),
        accuracy=float(found["accuracy"]),
        percent=bool(found["percent"]),
        validation=bool(VALIDATION.search(line[: found.start()])),
        batch=int(number[1]) + 1 if number else int(bar[1]) if bar else None,
        of=int(bar[2]) if bar else None,
    )


def _from_foreign(lines: Sequence[_Foreign], name: str) -> Curves:
    whole = 100.0 if any(line.percent or line.accuracy > 1 for line in lines) else 1.0  # means all right
    first = 1 if any(line.epoch == 0 for line in lines) else 0
    rows: dict[int, dict[str, float]] = {}
    batches: dict[tuple[int, int], BatchPoint] = {}
    epoch, is_marked = 1, False
    last_batch, validated = 0, False
    for line in lines:
        accuracy = line.accuracy / whole
        if line.epoch is not None and not (is_marked and line.epoch + first == epoch):
            epoch, is_marked = line.epoch + first, True
            last_batch = 0
        if line.validation:
            rows.setdefault(epoch, {}).update(val_loss=line.loss, val_acc=accuracy)
            validated = True
            continue
        batch = last_batch + 1 if line.batch is None else line.batch
        if not is_marked and (batch < last_batch or validated):
            epoch += 1
            batch = 1 if line.batch is None else line.batch
        last_batch, validated = batch, False
        batches[epoch, batch] = BatchPoint(epoch, batch, line.loss, accuracy, line.of)
    points = _in_order(batches)
    for number in {point.epoch for point in points}:
        own = [point for point in points if point.epoch == number]
        row = rows.setdefault(number, {})
        row.update(train_loss=fmean(point.loss for point in own), train_acc=own[-1].accuracy)
    return Curves(name, tuple({"epoch": float(number), **rows[number]} for number in sorted(rows)), points)


def _in_order(found: Mapping[Any, Item]) -> tuple[Item, ...]:
    return tuple(found[place] for place in sorted(found))


# --- text and files -----------------------------------------------------------------------------------------

MAX_EPOCHS = 24  # rows of a run in the table; more are thinned out, never the best or the last
SHOWN = {
    "epoch": "{:.0f}",
    "train_loss": "{:.4f}",
    "train_acc": "{:.4f}",
    "val_loss": "{:.4f}",
    "val_acc": "{:.4f}",
    "val_macro_f1": "{:.4f}",
    "lr": "{:.3g}",
    "epoch_s": "{:.1f}",
}


@dataclass(frozen=True)
class Summary:
    """A run in a few numbers; None where they are not known. Accuracies 0 to 1, time in seconds."""

    best_epoch: float | None  # whose weights were kept; without validation by training loss
    best_val_loss: float | None  # on validation in that epoch, as the next one
    acc_at_best: float | None
    last_val_loss: float | None
    last_val_acc: float | None
    last_train_loss: float | None
    seconds: float | None  # of all epochs


def summarise(curves: Curves) -> Summary:
    """The numbers of a run."""
    rows = curves.epochs
    last = rows[-1] if rows else {}
    best = chosen = kept_row(rows)
    if best is None and "best_epoch" not in last:
        chosen = best_row(rows, "train_loss")
    validated = next((row for row in reversed(rows) if "val_loss" in row or "val_acc" in row), last)
    at_best = rows[best] if best is not None else {}
    timed = [row["epoch_s"] for row in rows if "epoch_s" in row]
    return Summary(
        best_epoch=None if chosen is None else rows[chosen].get("epoch", chosen + 1.0),
        best_val_loss=at_best.get("val_loss"),
        acc_at_best=at_best.get("val_acc"),
        last_val_loss=validated.get("val_loss"),
        last_val_acc=validated.get("val_acc"),
        last_train_loss=last.get("train_loss"),
        seconds=sum(timed) if timed else None,
    )


def summary_table(runs: Sequence[Curves]) -> str:
    """A row for each run."""
    header = ["run", "epochs", "best epoch", "val loss there", "acc there", "last val loss", "last val acc",
              "last train loss", "minutes"]  # fmt: skip
    rows = [
        [
            run.name,
            str(len(run.epochs)),
            _shown("{:.0f}", summary.best_epoch),
            *(
                _shown("{:.4f}", value)
                for value in (summary.best_val_loss, summary.acc_at_best, summary.last_val_loss,
                              summary.last_val_acc, summary.last_train_loss)
            ),
            _shown("{:.1f}", None if summary.seconds is None else summary.seconds / 60),
        ]
        for run, summary in zip(runs, map(summarise, runs), strict=True)
    ]  # fmt: skip
    return table(header, rows)


def epoch_table(curves: Curves) -> str:
    """A row for each epoch of a run, at most MAX_EPOCHS; `*` marks the one whose weights were kept."""
    names = [name for name in SHOWN if any(name in row for row in curves.epochs)]
    best = kept_row(curves.epochs)
    kept = _kept(len(curves.epochs), best)
    rows = [
        [f"{'*' if index == best else ' '} {row.get('epoch', index + 1):.0f}"]
        + [_shown(SHOWN[name], row.get(name)) for name in names if name != "epoch"]
        for index, row in ((index, curves.epochs[index]) for index in kept)
    ]
    text = table(["  epoch", *(name.replace("_", " ") for name in names if name != "epoch")], rows)
    left_out = len(curves.epochs) - len(kept)
    return f"{text}\n({left_out} epochs between these are in the CSV file)" if left_out else text


def _kept(count: int, best: int | None) -> list[int]:
    if count <= MAX_EPOCHS:
        return list(range(count))
    spread = {round(index * (count - 1) / (MAX_EPOCHS - 2)) for index in range(MAX_EPOCHS - 1)}
    return sorted(spread | ({best} if best is not None else set()))


def _shown(form: str, value: float | None) -> str:
    return "-" if value is None else form.format(value)


def write_long_csv(runs: Sequence[Curves], path: Path) -> None:
    """Write one value a line: run, epoch, step (the batch within the epoch, empty for an epoch's own value),
    metric, value. The metrics of batches are batch_loss, batch_accuracy and batch_lr. Raises OSError."""
    write_table(
        path,
        ("run", "epoch", "step", "metric", "value"),
        (record for curves in runs for record in _records(curves)),
    )


def _records(curves: Curves) -> Iterator[tuple[str, str, str, str, str]]:
    for number, row in enumerate(curves.epochs, 1):
        epoch = f"{row.get('epoch', number):.0f}"
        for name, value in row.items():
            if name != "epoch":
                yield curves.name, epoch, "", name, format_value(value)
    for point in curves.batches:
        for name, known in (("loss", point.loss), ("accuracy", point.accuracy), ("lr", point.lr)):
            if known is not None:
                yield curves.name, str(point.epoch), str(point.batch), f"batch_{name}", format_value(known)
