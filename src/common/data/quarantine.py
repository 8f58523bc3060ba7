"""What cannot be used: one row per input that is in none of the parts, with a reason and a way to see why."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.cells import write_table
from common.data.canonical import Reason as PixelReason
from common.errors import TraplineError

# Reasons that are known before, or without, decoding; those of decoding are canonical.Reason.
MISSING = "missing"  # listed, but there is no such file
UNREADABLE = "unreadable"  # the file cannot be opened, or is no regular file
DECODER_CRASHED = "decoder_crashed"  # the decoder's process died on it, twice
DUPLICATE_ID = "duplicate_id"  # an id that another row has
UNKNOWN_LABEL = "unknown_label"  # no label, or one that is not among the classes
AMBIGUOUS_LABEL = "ambiguous_label"  # more than one class, or two different labels for one id
UNKNOWN_SITE = "unknown_site"  # no site, though the split is by site
UNKNOWN_PART = "unknown_part"  # no part, though the split is the data set's own
CONTRADICTORY = "contradictory"  # rows of one file that say different things of it
OUTSIDE = "outside"  # a path that leads out of the input folder
REASONS = (
    *(str(reason) for reason in PixelReason),
    MISSING,
    UNREADABLE,
    DECODER_CRASHED,
    DUPLICATE_ID,
    UNKNOWN_LABEL,
    AMBIGUOUS_LABEL,
    UNKNOWN_SITE,
    UNKNOWN_PART,
    CONTRADICTORY,
    OUTSIDE,
)
FILE_NAME = "quarantine.csv"


@dataclass(frozen=True)
class Quarantined:
    """One input that cannot be used. `filepath` is as the source names it; `detail` is one line."""

    id: str
    filepath: str
    reason: str
    detail: str


def write_quarantine(folder: Path, rows: Sequence[Quarantined]) -> Path:
    """Write `quarantine.csv` in `folder`; names that are not valid UTF-8 are written with escapes."""
    path = folder / FILE_NAME
    columns = ("id", "filepath", "reason", "detail")
    write_table(path, columns, ([row.id, row.filepath, row.reason, row.detail] for row in rows))
    return path


def counts_by_reason(rows: Sequence[Quarantined]) -> dict[str, int]:
    """How many rows each reason has, most frequent first."""
    return dict(Counter(row.reason for row in rows).most_common())


def check_share(rows: Sequence[Quarantined], inputs: int, most: float, path: Path) -> None:
    """Raise TraplineError when more than the share `most` of `inputs` is in quarantine."""
    if len(rows) > most * inputs:
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts_by_reason(rows).items())
        raise TraplineError(
            f"{path}: {len(rows)} of {inputs} inputs cannot be used ({reasons})\n"
            f"that is more than --max-quarantine {most:g}: mend the source, or allow a greater share"
        )
