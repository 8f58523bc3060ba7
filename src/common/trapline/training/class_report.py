"""How well each class is told from the others, or each label found, counted on one epoch of validation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trapline.cells import write_table
from trapline.console import table
from trapline.metrics import format_value
from trapline.scoring.counts import CORRECT, IMAGES, PREDICTED, averaged, occurring, precision_recall_f1
from trapline.storage import atomic_file

COUNTS = ("class", "images", "correct", "predicted")
CLASS_SHARES = ("accuracy", "precision", "recall", "f1")
LABEL_SHARES = ("precision", "recall", "f1", "average_precision", "threshold", "tuned_f1")
STEM = "classification_report"
MAX_PRINTED = 30  # classes; a longer report is in its files alone


@dataclass(frozen=True)
class ClassReport:
    """A row for each class and for each average over them.

    rows: the cells of COUNTS, then a value for each of `shares`, from 0 to 1, NaN where it has no meaning.
    note: what a reader should know, in lines.
    """

    shares: Sequence[str]
    rows: Sequence[tuple[list[str], list[float]]]
    note: str

    @property
    def columns(self) -> list[str]:
        """The columns of both files."""
        return [*COUNTS, *self.shares]

    def text(self, epoch: int) -> str:
        """The rows as a table that says where they are from."""
        shown = [
            [*cells, *("-" if np.isnan(of) else f"{of:.4f}" for of in values)] for cells, values in self.rows
        ]
        return f"validation, best epoch {epoch}\n{table(self.columns, shown)}\n{self.note}\n"

    def write(self, epoch: int, folder: Path) -> str:
        """Write classification_report.csv and .txt of validation at `epoch` into `folder`; return the text.

        Raises OSError when they cannot be written.
        """
        rows = (
            [*cells, *("" if np.isnan(of) else format_value(of) for of in values)]
            for cells, values in self.rows
        )
        write_table(folder / f"{STEM}.csv", self.columns, rows)
        with atomic_file(folder / f"{STEM}.txt", "w", encoding="utf-8") as file:
            file.write(text := self.text(epoch))
        return text


def class_report(counts: np.ndarray, classes: Sequence[str]) -> ClassReport:
    """The report on one label an image, from `counts` (classes, 3) as `trapline.scoring.counts` counts.

    The accuracy of a class is its recall. `macro average` and `weighted average` are over the classes that
    occur, equally or by images, as scikit-learn defines them; their accuracy is that of all images.
    """
    precision, recall, f1 = precision_recall_f1(counts)
    values = np.stack([recall, precision, recall, f1], axis=1)
    total = counts.sum(axis=0)
    means = [averaged(values.T, weights) for weights in (occurring(counts), counts[:, IMAGES])]
    for mean in means:
        mean[0] = total[CORRECT] / max(1, total[IMAGES])
    names = [*classes, "macro average", "weighted average"]
    note = "accuracy of an average is that of all images; averages are over the classes that occur"
    return ClassReport(CLASS_SHARES, _rows(names, [*counts, total, total], [*values, *means]), note)


def label_report(outcome: Mapping[str, np.ndarray], classes: Sequence[str], threshold: float) -> ClassReport:
    """The report on images with several labels; `outcome` is what `label_outcome` returns.

    `threshold` is the one that the epochs were compared at. `macro average` is over the labels that occur.
    """
    counts, tuned = outcome["counts"], outcome["tuned_counts"]
    columns = [outcome["average_precision"], outcome["thresholds"], precision_recall_f1(tuned)[2]]
    values = np.stack([*precision_recall_f1(counts), *columns], axis=1)
    macro = averaged(values.T, occurring(counts))
    macro[LABEL_SHARES.index("threshold")] = np.nan
    total, tuned_total = counts.sum(axis=0), tuned.sum(axis=0)
    micro = np.array([*precision_recall_f1(total), np.nan, np.nan, precision_recall_f1(tuned_total)[2]])
    names = [*classes, "macro average", "micro average"]
    note = (
        f"precision, recall and f1 are at {threshold:g}; tuned_f1 is at each label's threshold, which was "
        "chosen on these\nimages, so that it is optimistic; macro averages are over the labels that occur"
    )
    return ClassReport(LABEL_SHARES, _rows(names, [*counts, total, total], [*values, macro, micro]), note)


def _rows(
    names: Sequence[str], counts: Sequence[np.ndarray], values: Sequence[np.ndarray]
) -> list[tuple[list[str], list[float]]]:
    return [
        ([name, *(str(own[column]) for column in (IMAGES, CORRECT, PREDICTED))], shares.tolist())
        for name, own, shares in zip(names, counts, values, strict=True)
    ]
