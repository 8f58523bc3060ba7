"""The results of a sweep: a row for each job, the best on validation first, and which meet the limits.

The test part is reported and chooses nothing: validation ranks, and the limit on F1 is one on validation.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trapline.cells import write_table as write_cells
from trapline.config import TrainingConfig
from trapline.launching.many.outcomes import Outcome
from trapline.launching.pricing.gpus import gpus_of
from trapline.launching.pricing.prices import HOURLY
from trapline.launching.results import cell, finite
from trapline.metrics import format_value

HOUR, MEGABYTE = 3600, 1_000_000
YES, NO = "yes", "no"
COLUMNS = (
    "arch", "optimizer", "lr", "val_macro_f1", "val_micro_f1", "test_micro_f1", "parameters", "size_mb",
    "best_epoch", "epochs", "s_per_epoch", "gpu_hours", "device_hours", "cost_usd", "speed_over_fp32",
    "meets", "status",
)  # fmt: skip
PRINTED = tuple(name for name in COLUMNS if name not in ("lr", "best_epoch", "epochs", "status"))


@dataclass(frozen=True)
class Limits:
    """What a model must keep to. MB are 10^6 bytes, F1 is micro-F1 on validation, hours are of one job."""

    max_size_mb: float
    min_val_f1: float
    max_gpu_hours: float


@dataclass(frozen=True)
class Row:
    """One job of a sweep; None where a value is not known.

    speed_over_fp32: images a second of the first epoch, over those of the same architecture in fp32.
    gpu_hours: time on GPUs, on AWS as it is charged. device_hours: the same of whatever the job ran on.
    """

    arch: str
    optimizer: str
    lr: float
    status: str
    val_macro_f1: float | None = None
    val_micro_f1: float | None = None
    test_micro_f1: float | None = None
    parameters: int | None = None
    size_mb: float | None = None
    best_epoch: int | None = None
    epochs: int | None = None
    s_per_epoch: float | None = None
    gpu_hours: float | None = None
    device_hours: float | None = None
    cost_usd: float | None = None
    speed_over_fp32: float | None = None

    def missed(self, limits: Limits) -> list[str]:
        """The limits that are not met, in words; what is not known is not met."""
        bounds = (
            ("size_mb", self.size_mb, limits.max_size_mb, False),
            ("val_micro_f1", self.val_micro_f1, limits.min_val_f1, True),
            ("gpu_hours", self.gpu_hours, limits.max_gpu_hours, False),
        )
        return [
            f"{name} {'unknown' if value is None else format_value(value)}, not {word} {format_value(bound)}"
            for name, value, bound, at_least in bounds
            for word in ["at least" if at_least else "at most"]
            if value is None or (value < bound if at_least else value > bound)
        ]


def row_of(outcome: Outcome, config: TrainingConfig, fp32: Outcome | None) -> Row:
    """The row of a job; `fp32`: the job that measures its architecture without mixed precision."""
    if not outcome.complete:
        return Row(config.arch, config.optimizer, config.lr, outcome.status)
    described, record = outcome.description, outcome.record
    seconds = [row["epoch_s"] for row in outcome.history if "epoch_s" in row]
    size = described.get("size")
    gpu_hours, device_hours, cost = _bill(outcome)
    reported = record.get("metrics") or {}
    return Row(
        arch=config.arch,
        optimizer=config.optimizer,
        lr=config.lr,
        status=outcome.status,
        val_macro_f1=finite(outcome.best.get("val_macro_f1")),
        val_micro_f1=finite(outcome.best.get("val_micro_f1")),
        test_micro_f1=finite(outcome.test.get("test_micro_f1", reported.get("test_micro_f1"))),
        parameters=described.get("parameters"),
        size_mb=None if size is None else size / MEGABYTE,
        best_epoch=described.get("best_epoch"),
        epochs=described.get("epochs"),
        s_per_epoch=statistics.median(seconds) if seconds else None,
        gpu_hours=gpu_hours,
        device_hours=device_hours,
        cost_usd=cost,
        speed_over_fp32=_ratio(_first_speed(outcome), _first_speed(fp32)),
    )


def _bill(outcome: Outcome) -> tuple[float | None, float | None, float | None]:
    """GPU hours, hours of any device, and USD: what AWS charges; here the time that the epochs took."""
    record = outcome.record
    if record.get("backend") != "aws":
        hours = sum(row.get("epoch_s", 0.0) for row in outcome.history) / HOUR
        on_gpu = any(row.get("gpu_mb", 0.0) > 0 for row in outcome.history)
        return (hours if on_gpu else 0.0), hours, None
    billable, kind = record.get("billable_s"), str(record.get("instance_type"))
    if billable is None:
        return None, None, None
    hours = billable * record.get("instance_count", 1) / HOUR
    gpus, price = gpus_of(kind), HOURLY.get(kind)
    return (
        None if gpus is None else hours * gpus,
        hours,
        None if price is None else round(hours * price, 4),
    )


def _first_speed(outcome: Outcome | None) -> float | None:
    """Images a second of the first epoch, in which all jobs also start their loader processes."""
    return outcome.history[0].get("images_per_s") if outcome and outcome.history else None


def _ratio(value: float | None, base: float | None) -> float | None:
    return value / base if value and base else None


def ranked(rows: Sequence[Row]) -> list[Row]:
    """The rows, best validation macro-F1 first; equals stay in order, those without one come last."""
    return sorted(rows, key=lambda row: (row.val_macro_f1 is None, -(row.val_macro_f1 or 0.0)))


def winner(rows: Sequence[Row], limits: Limits) -> Row | None:
    """The best on validation of the rows that meet the limits; None where none does."""
    met = [row for row in ranked(rows) if row.val_macro_f1 is not None and not row.missed(limits)]
    return met[0] if met else None


def cells(row: Row, limits: Limits, columns: Sequence[str] = COLUMNS) -> list[str]:
    """The values of a row as text; nothing where one is not known."""
    missed = row.missed(limits)
    meets = f"{NO}: {'; '.join(missed)}" if missed else YES
    values: dict[str, Any] = {**vars(row), "meets": meets if row.val_macro_f1 is not None else ""}
    return [cell(values[name]) for name in columns]


def write_table(rows: Sequence[Row], limits: Limits, path: Path) -> None:
    """Write the ranked rows as CSV, atomically."""
    write_cells(path, COLUMNS, (cells(row, limits) for row in ranked(rows)), line_end="\n")
