"""The most confident errors of the test part: where to look first for wrong labels."""

from collections.abc import Collection, Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from trapline.data.groups import numbered
from trapline.data.prepared import PackedPart, Split, sites_and_sequences
from trapline.errors import TraplineError
from trapline.evaluation.result_files import TEST_COLUMNS
from trapline.images.canonical import encode_jpeg
from trapline.names import Kind, keys
from trapline.tables import read_strings

MAX_PICTURES = 12
MAX_SIDE = 256  # pixels
QUALITY = 82


def most_confident_errors(
    table: Path,
    part: PackedPart,
    limit: int = MAX_PICTURES,
    without: Collection[str] = (),
    split: Split | None = None,
) -> pd.DataFrame:
    """The `limit` errors of test_predictions.csv with the highest confidence, one of each sequence.

    Images that are of one of the classes `without`, or taken for one, are not among them. `split`: of the
    data set, which says whether equal names of sequences at two sites are one sequence; None: they are.
    Beside that table's columns `jpeg` holds a small picture of each image.
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
    if without:
        wrong = wrong[~(wrong["label"].isin(without) | wrong["predicted"].isin(without))]
    missing = [name for name in wrong["id"] if name not in row_of]
    if missing:
        raise TraplineError(f"{table}: {missing[0]} is not in the test part of the data set; evaluate again")
    # Of each burst of frames, which look alike and are mistaken alike, the first row.
    named = numbered(keys(part.table["sequence"].to_pylist(), Kind.SEQUENCE))
    sequences = named if split is None else sites_and_sequences(part.table, split)[1].number
    ordered = wrong.sort_values(["confidence", "id"], ascending=[False, True])
    rows_of = ordered["id"].map(row_of.__getitem__)
    bursts = rows_of.map(lambda row: sequences[row] if sequences[row] >= 0 else -1 - row)
    chosen = ordered[~bursts.duplicated()][:limit]
    return chosen.assign(jpeg=[_small(part, row_of[name]) for name in chosen["id"]])


def _small(part: PackedPart, row: int) -> bytes:
    pixels = part.pixels(row)
    height, width = pixels.shape[:2]
    scale = min(1.0, MAX_SIDE / max(height, width))
    size: Sequence[int] = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return encode_jpeg(np.asarray(small, dtype=np.uint8), QUALITY)
