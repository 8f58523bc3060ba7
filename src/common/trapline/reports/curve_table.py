"""The curves of runs as text and as a file: a row for each epoch, a summary of each run, one value a line."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trapline.cells import write_table
from trapline.console import table
from trapline.metrics import format_value
from trapline.reports.history import best_row, kept_row
from trapline.reports.run_logs import Curves

UNKNOWN = "-"
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
COLUMNS = ("run", "epoch", "step", "metric", "value")


@dataclass(frozen=True)
class Summary:
    """A run in a few numbers; None where they are not known. Accuracies 0 to 1, time in seconds."""

    run: str
    epochs: int
    batches: int  # with a line of their own
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
        run=curves.name,
        epochs=len(rows),
        batches=len(curves.batches),
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
    rows = []
    for summary in map(summarise, runs):
        minutes = None if summary.seconds is None else summary.seconds / 60
        values = (summary.best_val_loss, summary.acc_at_best, summary.last_val_loss, summary.last_val_acc,
                  summary.last_train_loss)  # fmt: skip
        rows.append([
            summary.run,
            str(summary.epochs),
            _shown("{:.0f}", summary.best_epoch),
            *(_shown("{:.4f}", value) for value in values),
            _shown("{:.1f}", minutes),
        ])  # fmt: skip
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
    return UNKNOWN if value is None else form.format(value)


def write_long_csv(runs: Sequence[Curves], path: Path) -> None:
    """Write one value a line: run, epoch, step (the batch within the epoch, empty for an epoch's own value),
    metric, value. The metrics of batches are batch_loss, batch_accuracy and batch_lr. Raises OSError."""
    write_table(path, COLUMNS, (record for curves in runs for record in _records(curves)))


def _records(curves: Curves) -> Iterator[tuple[str, str, str, str, str]]:
    for number, row in enumerate(curves.epochs, 1):
        epoch = f"{row.get('epoch', number):.0f}"
        for name, value in row.items():
            if name != "epoch":
                yield curves.name, epoch, "", name, format_value(value)
    for point in curves.batches:
        values = {"batch_loss": point.loss, "batch_accuracy": point.accuracy, "batch_lr": point.lr}
        for name, known in values.items():
            if known is not None:
                yield curves.name, str(point.epoch), str(point.batch), name, format_value(known)
