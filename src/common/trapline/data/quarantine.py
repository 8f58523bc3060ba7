"""What else of the inputs stands beside the parts: those that cannot be used, and batch transform's folder.

`quarantine.csv` has one row per input that is in none of the parts, with a reason and a way to see why.
`transform/` is what batch transform reads: the unlabelled images as they came, flat, and an index of them.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trapline.console import printable, printable_lines
from trapline.errors import TraplineError
from trapline.images.files import is_image, read_file
from trapline.job_contract import MAX_FILE_BYTES, prepare_option
from trapline.storage import write_table

if TYPE_CHECKING:  # some who need the reasons alone start fast
    import pandas as pd

# Reasons that are known before, or without, decoding; those of decoding are in `trapline.images.files`.
MISSING = "missing"  # listed, but there is no such file
UNREADABLE = "unreadable"  # the file cannot be opened, or is no regular file
DUPLICATE_ID = "duplicate_id"  # an id that another row has
UNKNOWN_LABEL = "unknown_label"  # no label, or one that is not among the classes
AMBIGUOUS_LABEL = "ambiguous_label"  # more than one class, or two different labels for one id
UNKNOWN_SITE = "unknown_site"  # no site, though the split is by site
UNKNOWN_PART = "unknown_part"  # no part, though the split is the data set's own
BAD_NAME = "bad_name"  # an id, a site or a sequence that no name may be: trapline.names.fault
CONTRADICTORY = "contradictory"  # rows of one file that say different things of it
OUTSIDE = "outside"  # a path that leads out of the input folder
PAYLOAD_TOO_LARGE = "payload_too_large"  # unlabelled, and a larger file than batch transform sends
UNKNOWN_GROUP = "unknown_group"  # none of what the split keeps together
ACROSS_PARTS = "across_parts"  # would join cameras that a division has in different parts
DELETED = "deleted"  # marked as deleted by the table
CLASS_REMOVED = "class_removed"  # of a class that a person leaves out
VIDEO = "video"  # a table of images names it, too
LEFT_OUT = (DELETED, CLASS_REMOVED, VIDEO)  # no input that could be used
INTENDED = (PAYLOAD_TOO_LARGE, *LEFT_OUT)  # no sign of a damaged source
FILE_NAME = "quarantine.csv"
TRANSFORM_FOLDER = "transform"
INDEX = "index.csv"
COLUMNS = ["name", "id", "filepath", "site", "sequence", "reason", "detail"]


@dataclass(frozen=True)
class Quarantined:
    """One input that cannot be used. `filepath` is as the source names it; `detail` is one line."""

    id: str
    filepath: str
    reason: str
    detail: str


def write_quarantine(folder: Path, rows: Sequence[Quarantined]) -> Path:
    """Write `quarantine.csv` in `folder`; names that terminals obey are written with escapes."""
    path = folder / FILE_NAME
    shown = (
        [*map(printable_lines, (row.id, row.filepath)), row.reason, printable(row.detail)] for row in rows
    )
    write_table(path, ("id", "filepath", "reason", "detail"), shown)
    return path


def counts_by_reason(rows: Sequence[Quarantined]) -> dict[str, int]:
    """How many rows each reason has, most frequent first."""
    return dict(Counter(row.reason for row in rows).most_common())


def check_share(rows: Sequence[Quarantined], inputs: int, max_share: float, path: Path) -> None:
    """Raise TraplineError when more than the share `most` of `inputs` cannot be used.

    What is left out on purpose, and whole images that batch transform cannot send, are no sign of a damaged
    source, and count neither here nor there.
    """
    useless = [row for row in rows if row.reason not in INTENDED]
    inputs -= sum(row.reason in LEFT_OUT for row in rows)
    if len(useless) > max_share * inputs:
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts_by_reason(useless).items())
        raise TraplineError(
            f"{path}: {len(useless)} of {inputs} inputs cannot be used ({reasons})\n"
            f"that is more than {prepare_option('max-quarantine', f'{max_share:g}')}: mend the "
            "source, or allow a greater share"
        )


def write_transform_input(
    folder: Path, unlabeled: "pd.DataFrame", quarantined: Sequence[Quarantined]
) -> None:
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
    return f"{number:07d}-{stem[:80]}" + (f".{suffix[:12].lower()}" if suffix else "")


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
