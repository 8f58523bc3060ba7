"""What cannot be used: one row per input that is in none of the parts, with a reason and a way to see why."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trapline.cells import write_table
from trapline.errors import TraplineError
from trapline.images.problems import Reason as PixelReason
from trapline.printing import printable, printable_lines
from trapline.typed import prepare_option

# Reasons that are known before, or without, decoding; those of decoding are canonical.Reason.
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
REASONS = (
    *(str(reason) for reason in PixelReason),
    MISSING,
    UNREADABLE,
    DUPLICATE_ID,
    UNKNOWN_LABEL,
    AMBIGUOUS_LABEL,
    UNKNOWN_SITE,
    UNKNOWN_PART,
    BAD_NAME,
    CONTRADICTORY,
    OUTSIDE,
    PAYLOAD_TOO_LARGE,
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
    """Write `quarantine.csv` in `folder`; names that terminals obey are written with escapes."""
    path = folder / FILE_NAME
    columns = ("id", "filepath", "reason", "detail")
    shown = (
        [*map(printable_lines, (row.id, row.filepath)), row.reason, printable(row.detail)] for row in rows
    )
    write_table(path, columns, shown)
    return path


def counts_by_reason(rows: Sequence[Quarantined]) -> dict[str, int]:
    """How many rows each reason has, most frequent first."""
    return dict(Counter(row.reason for row in rows).most_common())


def check_share(rows: Sequence[Quarantined], inputs: int, max_share: float, path: Path) -> None:
    """Raise TraplineError when more than the share `most` of `inputs` cannot be used.

    Whole images that batch transform cannot send are no sign of a damaged source, and do not count.
    """
    useless = [row for row in rows if row.reason != PAYLOAD_TOO_LARGE]
    if len(useless) > max_share * inputs:
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts_by_reason(useless).items())
        raise TraplineError(
            f"{path}: {len(useless)} of {inputs} inputs cannot be used ({reasons})\n"
            f"that is more than {prepare_option('max-quarantine', f'{max_share:g}')}: mend the "
            "source, or allow a greater share"
        )
