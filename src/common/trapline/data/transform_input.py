"""The folder that batch transform reads: the unlabelled images as they came, flat, and an index of them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from trapline.cells import write_table
from trapline.data.quarantine import OUTSIDE, Quarantined
from trapline.images.files import read_file
from trapline.images.signatures import is_image
from trapline.payload import MAX_FILE_BYTES

TRANSFORM_FOLDER = "transform"
INDEX = "index.csv"
COLUMNS = ["name", "id", "filepath", "site", "sequence", "reason", "detail"]
MAX_STEM_LENGTH, MAX_SUFFIX_LENGTH = 80, 12


def write_transform_input(folder: Path, unlabeled: pd.DataFrame, quarantined: Sequence[Quarantined]) -> None:
    """Copy the original bytes of `unlabeled` (id, filepath, path, site, sequence) into `folder`, flat.

    `index.csv` has a row for each input: the name of its copy (empty where there is none), its id and, for an
    input in quarantine, the reason. Damaged images are copied as well: whoever predicts must answer for them
    too. What is no image, leads out of the input folder, or is larger than batch transform sends is not: its
    reason is its answer. Batch transform reads `folder/images`.
    """
    (folder / "images").mkdir(parents=True)
    problems = {(row.id, row.filepath): row for row in quarantined}
    rows = (
        _row(folder, number, row, problems.get((str(row.id), str(row.filepath))))
        for number, row in enumerate(unlabeled.itertuples(index=False))
    )
    write_table(folder / INDEX, COLUMNS, rows, exact=None)


def _row(folder: Path, number: int, row: Any, problem: Quarantined | None) -> list[object]:
    """The row of an input in index.csv, of which a copy is then in `folder` where there is one."""
    name = flat_name(number, str(row.filepath))
    barred = problem is not None and problem.reason == OUTSIDE
    if barred or not _copy(str(row.path), folder / "images" / name):
        name = ""
    reasons = [problem.reason, problem.detail] if problem else ["", ""]
    return [name, row.id, row.filepath, row.site or "", row.sequence or "", *reasons]


def flat_name(number: int, filepath: str) -> str:
    """A unique file name that S3, a URL and a shell all take: the row's number, then the original name."""
    path = Path(filepath)
    stem, suffix = (re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-") for text in (path.stem, path.suffix))
    return f"{number:07d}-{stem[:MAX_STEM_LENGTH]}" + (
        f".{suffix[:MAX_SUFFIX_LENGTH].lower()}" if suffix else ""
    )


def _copy(source: str, target: Path) -> bool:
    """Copy an image, damaged or not; False where there is nothing to copy, or nothing that can be sent."""
    try:
        data = read_file(source)
    except (OSError, ValueError):
        return False
    if not is_image(data) or len(data) > MAX_FILE_BYTES:
        return False
    target.write_bytes(data)
    return True
