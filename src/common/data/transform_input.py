"""The folder that batch transform reads: the unlabelled images as they came, flat, and an index of them."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from common.data.packing import read_file
from common.data.quarantine import OUTSIDE, Quarantined
from common.data.signatures import is_image
from common.storage import atomic_file

TRANSFORM_FOLDER = "transform"
INDEX = "index.csv"
COLUMNS = ["name", "id", "filepath", "site", "sequence", "reason", "detail"]
LONGEST_STEM, LONGEST_SUFFIX = 80, 12


def write_transform_input(folder: Path, unlabeled: pd.DataFrame, quarantined: Sequence[Quarantined]) -> None:
    """Copy the original bytes of `unlabeled` (id, filepath, path, site, sequence) into `folder`, flat.

    `index.csv` has a row for each input: the name of its copy (empty where there is none), its id and, for an
    input in quarantine, the reason. Damaged images are copied as well: whoever predicts must answer for them
    too; what is no image, or leads out of the input folder, is not. Batch transform reads `folder/images`.
    """
    (folder / "images").mkdir(parents=True)
    problems = {(row.id, row.filepath): row for row in quarantined}
    with atomic_file(folder / INDEX, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number, row in enumerate(unlabeled.itertuples(index=False)):
            name = flat_name(number, str(row.filepath))
            problem = problems.get((str(row.id), str(row.filepath)))
            barred = problem is not None and problem.reason == OUTSIDE
            if barred or not _copy(str(row.path), folder / "images" / name):
                name = ""
            reasons = [problem.reason, problem.detail] if problem else ["", ""]
            writer.writerow([name, row.id, row.filepath, row.site or "", row.sequence or "", *reasons])


def flat_name(number: int, filepath: str) -> str:
    """A unique file name that S3, a URL and a shell all take: the row's number, then the original name."""
    path = Path(filepath)
    stem, suffix = (re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-") for text in (path.stem, path.suffix))
    return f"{number:07d}-{stem[:LONGEST_STEM]}" + (f".{suffix[:LONGEST_SUFFIX].lower()}" if suffix else "")


def _copy(source: str, target: Path) -> bool:
    """Copy an image, damaged or not; False where there is nothing to copy, or something else."""
    try:
        data = read_file(source)
    except (OSError, ValueError):
        return False
    if not is_image(data):
        return False
    target.write_bytes(data)
    return True
