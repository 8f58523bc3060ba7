"""How well each class is told from the others: accuracy, precision, recall and F1, counted on one epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.metrics import confusion_matrix

from common.cells import write_table
from common.console import table
from common.metrics import format_value
from common.storage import atomic_file
from common.training.evaluation import Predictions

COLUMNS = ("class", "images", "correct", "predicted", "accuracy", "precision", "recall", "f1")
STEM = "classification_report"
MOST_PRINTED = 30  # classes; a longer report is in its files alone


@dataclass(frozen=True)
class ClassScores:
    """One class, or an average over them. Shares from 0 to 1; precision counts 0 where nothing was predicted.

    images: of the class; correct: of them; predicted: images that were taken for the class. The accuracy of a
    class is its recall.
    """

    name: str
    images: int
    correct: int
    predicted: int
    accuracy: float
    precision: float
    recall: float
    f1: float


def confusion(predictions: Predictions) -> np.ndarray:
    """Counts (classes, classes), int64: a row for each true class, a column for each predicted one."""
    classes = predictions.logits.shape[1]
    predicted = predictions.logits.argmax(axis=1)
    counts: np.ndarray = confusion_matrix(predictions.labels, predicted, labels=np.arange(classes))
    return counts


def class_scores(counts: np.ndarray, classes: Sequence[str]) -> list[ClassScores]:
    """The scores of each class, then `macro average` and `weighted average`, as scikit-learn defines them.

    `counts` is what `confusion` returns. The averages are over the classes that occur: equally, or by images.
    """
    images, predicted, correct = counts.sum(axis=1), counts.sum(axis=0), np.diag(counts)
    recall, precision = _share(correct, images), _share(correct, predicted)
    f1 = _share(2 * correct, images + predicted)
    scores = [
        ClassScores(
            name=name,
            images=int(images[row]),
            correct=int(correct[row]),
            predicted=int(predicted[row]),
            accuracy=recall[row],
            precision=precision[row],
            recall=recall[row],
            f1=f1[row],
        )
        for row, name in enumerate(classes)
    ]
    totals = (int(images.sum()), int(correct.sum()), int(predicted.sum()))
    accuracy = float(correct.sum() / max(1, images.sum()))
    for name, weights in (("macro average", (images > 0).astype(float)), ("weighted average", images)):
        means = (float(np.average(column, weights=weights)) for column in (precision, recall, f1))
        scores.append(ClassScores(name, *totals, accuracy, *means))
    return scores


def _share(part: np.ndarray, whole: np.ndarray) -> list[float]:
    return [float(one / all_) if all_ else 0.0 for one, all_ in zip(part, whole, strict=True)]


def report_text(scores: Sequence[ClassScores], epoch: int) -> str:
    """The scores as a table that says where they are from."""
    rows = [[*_cells(score)[:4], *(f"{value:.4f}" for value in _shares(score))] for score in scores]
    note = "accuracy of an average is that of all images; averages are over the classes that occur"
    return f"validation, best epoch {epoch}\n{table(list(COLUMNS), rows)}\n{note}\n"


def write_class_report(counts: np.ndarray, classes: Sequence[str], epoch: int, folder: Path) -> str:
    """Write classification_report.csv and .txt of validation at `epoch` into `folder`; return the text.

    Raises OSError when they cannot be written.
    """
    scores = class_scores(counts, classes)
    rows = ([*_cells(score)[:4], *map(format_value, _shares(score))] for score in scores)
    write_table(folder / f"{STEM}.csv", COLUMNS, rows)
    text = report_text(scores, epoch)
    with atomic_file(folder / f"{STEM}.txt", "w", encoding="utf-8") as file:
        file.write(text)
    return text


def _cells(score: ClassScores) -> list[str]:
    return [score.name, str(score.images), str(score.correct), str(score.predicted)]


def _shares(score: ClassScores) -> tuple[float, ...]:
    return score.accuracy, score.precision, score.recall, score.f1
