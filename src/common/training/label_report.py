"""How well each label of images with several is found, counted on one epoch of validation."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from common.cells import write_table
from common.console import table
from common.metrics import format_value
from common.storage import atomic_file
from common.training.class_report import STEM
from common.training.multilabel import CORRECT, IMAGES, PREDICTED, occurring, shares

COUNTS = ("class", "images", "correct", "predicted")
SHARES = ("precision", "recall", "f1", "average_precision", "threshold", "tuned_f1")
COLUMNS = (*COUNTS, *SHARES)
Row = tuple[list[str], list[float]]  # the cells of COUNTS, the values of SHARES


def label_rows(outcome: Mapping[str, Tensor], classes: Sequence[str]) -> list[Row]:
    """A row for each label, then `macro average`, over the labels that occur, and `micro average`.

    `outcome` is what `label_outcome` returns. NaN stands where a value has no meaning.
    """
    arrays = {name: tensor.numpy() for name, tensor in outcome.items()}
    counts, tuned = arrays["counts"], arrays["tuned_counts"]
    columns = [*shares(counts), arrays["average_precision"], arrays["thresholds"], shares(tuned)[2]]
    values = np.stack(columns, axis=1)
    known = occurring(counts)
    macro = values[known].mean(axis=0) if known.any() else np.full(len(SHARES), np.nan)
    macro[SHARES.index("threshold")] = np.nan
    total, tuned_total = counts.sum(axis=0), tuned.sum(axis=0)
    micro = np.array([*shares(total), np.nan, np.nan, shares(tuned_total)[2]])
    names = [*classes, "macro average", "micro average"]
    cells = map(_cells, names, [*counts, total, total])
    return list(zip(cells, [*values.tolist(), macro.tolist(), micro.tolist()], strict=True))


def _cells(name: str, counts: np.ndarray) -> list[str]:
    return [name, *(str(counts[column]) for column in (IMAGES, CORRECT, PREDICTED))]


def label_report_text(rows: Sequence[Row], epoch: int, threshold: float) -> str:
    """The rows as a table that says where they are from."""
    shown = [
        [*cells, *("-" if np.isnan(value) else f"{value:.4f}" for value in values)] for cells, values in rows
    ]
    return (
        f"validation, best epoch {epoch}\n{table(list(COLUMNS), shown)}\n"
        f"precision, recall and f1 are at {threshold:g}; tuned_f1 is at each label's threshold, which was "
        "chosen on these\nimages, so that it is optimistic; macro averages are over the labels that occur\n"
    )


def write_label_report(
    outcome: Mapping[str, Tensor], classes: Sequence[str], epoch: int, threshold: float, folder: Path
) -> str:
    """Write classification_report.csv and .txt of validation at `epoch` into `folder`; return the text.

    `threshold` is the one that the epochs were compared at. Raises OSError when they cannot be written.
    """
    rows = label_rows(outcome, classes)
    written = (
        [*cells, *("" if np.isnan(value) else format_value(value) for value in values)]
        for cells, values in rows
    )
    write_table(folder / f"{STEM}.csv", COLUMNS, written)
    text = label_report_text(rows, epoch, threshold)
    with atomic_file(folder / f"{STEM}.txt", "w", encoding="utf-8") as file:
        file.write(text)
    return text
