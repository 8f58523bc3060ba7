"""The CSV tables of evaluation and collection: a row for each image, a probability column for each class."""

import shutil
from collections.abc import Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trapline.cells import joined, write_table

if TYPE_CHECKING:  # only for annotations: collection needs no scores
    from trapline.scoring.label_scores import LabelsScored

EVALUATION = "evaluation.json"
TEST_PREDICTIONS = "test_predictions.csv"
TEST_COLUMNS = ("id", "site", "label", "predicted", "confidence")


def probability_columns(classes: Sequence[str], fixed: Sequence[str]) -> list[str]:
    """Names of the probability columns: the classes, with `class_` before one that a `fixed` column has."""
    return [f"class_{name}" if name in fixed else name for name in classes]


def number(value: float) -> str:
    """A probability for a CSV file: nine significant digits, so that eight classes sum to 1 within 1e-8."""
    return f"{value:.9g}"


def write_test_predictions(
    path: Path,
    facts: Mapping[str, Sequence[str | None]],
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
) -> None:
    """Write test_predictions.csv; `facts`: id and site, labels (images,), probabilities (images, classes)."""
    rows = (
        [
            identifier or "",
            site or "",
            classes[label],
            classes[int(values.argmax())],
            number(values.max()),
            *map(number, values),
        ]
        for identifier, site, label, values in zip(
            facts["id"], facts["site"], labels, probabilities, strict=True
        )
    )
    write_table(path, [*TEST_COLUMNS, *probability_columns(classes, TEST_COLUMNS)], rows)


def write_test_labels(
    path: Path,
    facts: Mapping[str, Sequence[str | None]],
    predictions: "LabelsScored",
    classes: Sequence[str],
) -> None:
    """Write test_predictions.csv of images with several labels: `label` and `predicted` hold them all.

    A decision about a label is as sure as the probability of what was decided. `confidence` is the sureness
    of the surest wrong decision about an image, and where all are right, of the least sure one.
    """
    sureness = np.where(predictions.decided, predictions.probabilities, 1 - predictions.probabilities)
    wrong = predictions.decided != predictions.labels
    surest = np.where(wrong, sureness, 0).max(axis=1)
    confidences = np.where(wrong.any(axis=1), surest, sureness.min(axis=1))
    rows = (
        [
            identifier or "",
            site or "",
            joined(list(compress(classes, true))),
            joined(list(compress(classes, decided))),
            number(confidence),
            *map(number, values),
        ]
        for identifier, site, true, decided, confidence, values in zip(
            facts["id"], facts["site"], predictions.labels, predictions.decided, confidences,
            predictions.probabilities, strict=True,
        )
    )  # fmt: skip
    write_table(path, [*TEST_COLUMNS, *probability_columns(classes, TEST_COLUMNS)], rows)


def some(names: Sequence[str], limit: int = 3) -> str:
    """The first few of `names`, for a message."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown}, and {len(names) - limit} more"


def remove_stale(folder: Path, names: Sequence[str]) -> None:
    """Remove what an earlier run left in `folder`, so that nothing of it is taken for this one's."""
    for name in names:
        place = folder / name
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
