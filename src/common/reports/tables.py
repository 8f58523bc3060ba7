"""The CSV tables of evaluation and collection: a row for each image, a probability column for each class."""

import shutil
from collections.abc import Collection, Mapping, Sequence
from itertools import compress
from pathlib import Path

import numpy as np
import pandas as pd

from common.cells import IDS, restored_table, write_table
from common.errors import TraplineError
from common.inference.answers import joined
from common.reports.label_scores import LabelsScored

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
    predictions: LabelsScored,
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


def read_strings(path: Path, required: Sequence[str], exact: Collection[str] | None = IDS) -> pd.DataFrame:
    """A CSV file with every cell as text, as it was before `write_table` wrote it with the same `exact`.

    Raises TraplineError naming the file and what it lacks.
    """
    try:
        written = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise TraplineError(f"{path}: no such file") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise TraplineError(f"{path}: not a CSV file ({' '.join(str(error).split())[:120]})") from None
    table = restored_table(written, exact)
    missing = [name for name in required if name not in table.columns]
    if missing:
        raise TraplineError(
            f"{path}: lacks the column {', '.join(missing)}; it has {', '.join(table.columns)}"
        )
    return table


def some(names: Sequence[str], most: int = 3) -> str:
    """The first few of `names`, for a message."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, and {len(names) - most} more"


def remove_stale(folder: Path, names: Sequence[str]) -> None:
    """Remove what an earlier run left in `folder`, so that nothing of it is taken for this one's."""
    for name in names:
        place = folder / name
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
