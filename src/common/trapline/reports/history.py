"""The history of a training job: metrics.csv read back, and the epoch whose weights were kept."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from trapline.errors import TraplineError
from trapline.metrics import BY_NAME, is_better

VALIDATION = "val_"
History = Sequence[Mapping[str, float]]


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
        if record[name] == "" and name.startswith(VALIDATION):
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
        value = row.get(metric, float("nan"))
        if is_better(metric, value, None if best is None else history[best][metric]):
            best = index
    return best
