"""The most confident errors on the test part, as small pictures: where to look first for wrong labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from trapline.data.prepared import PackedPart
from trapline.errors import TraplineError
from trapline.evaluation.result_tables import TEST_COLUMNS
from trapline.images.canonical import encode_jpeg
from trapline.names import Kind, keys
from trapline.tables import read_strings

MAX_PICTURES = 12
MAX_SIDE = 256  # pixels
QUALITY = 82


@dataclass(frozen=True)
class Mistake:
    """One wrongly classified test image; `jpeg` holds a small picture of it."""

    id: str
    site: str
    label: str
    predicted: str
    confidence: float
    jpeg: bytes


def most_confident_errors(table: Path, part: PackedPart, limit: int = MAX_PICTURES) -> list[Mistake]:
    """The `most` errors of test_predictions.csv with the highest confidence, one of each sequence.

    Raises TraplineError when the file is damaged, or of other images than those of `part`.
    """
    rows = read_strings(table, TEST_COLUMNS)
    try:
        wrong = rows[rows["label"] != rows["predicted"]].assign(
            confidence=lambda frame: pd.to_numeric(frame["confidence"])
        )
    except ValueError as error:
        raise TraplineError(f"{table}: confidence: {error}; evaluate again") from None
    row_of = {name: row for row, name in enumerate(part.table["id"].to_pylist())}
    missing = [name for name in wrong["id"] if name not in row_of]
    if missing:
        raise TraplineError(f"{table}: {missing[0]} is not in the test part of the data set; evaluate again")
    chosen = _one_of_each_sequence(wrong.sort_values(["confidence", "id"], ascending=[False, True]), part)[
        :limit
    ]
    return [
        Mistake(
            id=str(row.id),
            site=str(row.site),
            label=str(row.label),
            predicted=str(row.predicted),
            confidence=float(str(row.confidence)),
            jpeg=_small(part, row_of[row.id]),
        )
        for row in chosen.itertuples(index=False)
    ]


def _one_of_each_sequence(wrong: pd.DataFrame, part: PackedPart) -> pd.DataFrame:
    """The first row of each burst of frames, which look alike and are mistaken alike."""
    names = part.table["id"].to_pylist()
    sequences = keys(part.table["sequence"].to_pylist(), Kind.SEQUENCE)
    sequence_of = {name: sequence or name for name, sequence in zip(names, sequences, strict=True)}
    return wrong[~wrong["id"].map(sequence_of).duplicated()]


def _small(part: PackedPart, row: int) -> bytes:
    pixels = part.pixels(row)
    height, width = pixels.shape[:2]
    scale = min(1.0, MAX_SIDE / max(height, width))
    size: Sequence[int] = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return encode_jpeg(np.asarray(small, dtype=np.uint8), QUALITY)
