"""What a run has reached: its values at the best epoch, read without unpacking its archives."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trapline.errors import TraplineError
from trapline.launching.fetching import DESCRIPTION, METRICS, FoundRun, opened
from trapline.metrics import format_value
from trapline.reports.history import parse_history, read_history
from trapline.storage import parse_json
from trapline.unpacking import read_text

TESTED = ("test_loss", "test_acc", "test_macro_f1", "test_micro_f1")
HISTORY_MEMBERS = (METRICS, f"data/{METRICS}")


@dataclass(frozen=True)
class Result:
    """One run; None where a value is not known. Metrics are those of `metrics`, at the best epoch."""

    run: str
    model: str  # the architecture
    parameters: int | None
    train_acc: float | None
    val_acc: float | None
    log_loss: float | None
    macro_f1: float | None
    best_epoch: int | None
    epochs: int | None
    s_per_epoch: float | None  # median, s
    rss_mb: float | None  # peak, MiB
    gpu_mb: float | None  # peak, MiB; None without a GPU
    split: str | None  # "site" or "random"
    test_loss: float | None = None  # of the test part, where the job has scored it
    test_acc: float | None = None
    test_macro_f1: float | None = None
    test_micro_f1: float | None = None  # where an image may have several labels
    notes: tuple[str, ...] = ()  # what a reader of these values has to know

    @property
    def gap(self) -> float | None:
        """Training accuracy less validation accuracy."""
        known = self.train_acc is not None and self.val_acc is not None
        return self.train_acc - self.val_acc if known else None  # type: ignore[operator]


def read_result(source: FoundRun) -> Result:
    """Read model.json and the history of a finished run.

    Values come from metrics.csv; without it from model.json, which has those of the best epoch; for a model
    that records none, from what SageMaker read from the job's last log line. Raises TraplineError when the
    model cannot be read, OSError when a file cannot.
    """
    description = description_of(source)
    history, notes = history_of(source)
    best = at_best_epoch(description, history)
    if not best and source.metrics:
        best, notes = dict(source.metrics), [*notes, "its metrics are those of its last epoch"]
    last = history[-1] if history else best
    seconds = [row["epoch_s"] for row in history or [best] if finite(row.get("epoch_s")) is not None]
    return Result(
        run=source.name,
        model=str(description["architecture"]),
        parameters=_whole(description.get("parameters")),
        train_acc=finite(best.get("train_acc")),
        val_acc=finite(best.get("val_acc")),
        log_loss=finite(best.get("val_loss")),
        macro_f1=finite(best.get("val_macro_f1")),
        best_epoch=_whole(description.get("best_epoch")),
        epochs=_whole(description.get("epochs")),
        s_per_epoch=statistics.median(seconds) if seconds else None,
        rss_mb=finite(last.get("rss_mb")),
        gpu_mb=finite(last.get("gpu_mb")) or None,
        split=_text(description.get("split")),
        **tested(description),
        notes=tuple(notes),
    )


def tested(description: Mapping[str, Any]) -> dict[str, float | None]:
    """The scores of the test part in a model.json, under their names in the registry; None where unknown."""
    metrics = description.get("metrics")
    found = metrics.get("test") if isinstance(metrics, dict) else None
    return {name: finite(found.get(name) if isinstance(found, dict) else None) for name in TESTED}


def description_of(source: FoundRun) -> dict[str, Any]:
    """The content of model.json. Raises TraplineError where there is none.

    Not by `read_description`: torch would take seconds to load.
    """
    if source.model is None:
        raise TraplineError(f"{source.name}: the job has left no model; its log may say why")
    shown = f"{source.model}: {DESCRIPTION}"
    try:
        content = parse_json(_description_text(source.model))
    except ValueError as error:
        raise TraplineError(f"{shown}: not valid JSON ({error})") from None
    if not isinstance(content, dict) or "architecture" not in content:
        raise TraplineError(f"{shown}: names no architecture; it is no model of Trapline")
    return content


def _description_text(model: Path | str) -> str:
    if isinstance(model, Path) and model.is_dir():
        return (model / DESCRIPTION).read_text(encoding="utf-8")
    with opened(model) as stream:
        text = read_text(stream, str(model), (DESCRIPTION,))
    if text is None:
        raise TraplineError(f"{model}: holds no {DESCRIPTION}; it is no model of Trapline")
    return text


def history_of(source: FoundRun) -> tuple[list[dict[str, float]], list[str]]:
    """The rows of metrics.csv, or none and why: a run without a history still has its model."""
    if source.history is None:
        return [], []
    try:
        if isinstance(source.history, Path) and source.history.name == METRICS:
            return read_history(source.history), []
        with opened(source.history) as stream:
            text = read_text(stream, str(source.history), HISTORY_MEMBERS)
        return (parse_history(text, f"{source.history}: {METRICS}") if text else []), []
    except TraplineError as error:
        return [], [f"history not read ({error})"]


def at_best_epoch(description: Mapping[str, Any], history: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """The metrics of the epoch whose weights are kept, which model.json names: nobody chooses it again."""
    kept = description.get("best_epoch")
    matching = [row for row in history if kept is not None and row.get("epoch") == kept]
    if matching:
        return dict(matching[-1])
    metrics = description.get("metrics")
    best = metrics.get("best") if isinstance(metrics, dict) else None
    return best if isinstance(best, dict) else {}


def cell(value: Any) -> str:
    """A value as a cell of a table; nothing where it is not known."""
    if value is None:
        return ""
    return format_value(value) if isinstance(value, float) else str(value)


def finite(value: Any) -> float | None:
    """`value` where it is a finite number: NaN cannot be ranked."""
    plain = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if plain else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
