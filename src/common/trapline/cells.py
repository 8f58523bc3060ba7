"""The CSV tables that people open: what a spreadsheet would run as a formula is text, and stays text.

Excel and LibreOffice take a cell for a formula that begins with `=`, `+`, `-`, `@`, a tab, the end of a line,
or a wide form of the signs: a class or a file called `=HYPERLINK(...)` would be one. Such a cell is written
with an apostrophe before it, and one that has apostrophes there already with one more, so that whoever reads
takes exactly one away. Plain numbers stay numbers.
"""

import csv
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trapline.storage import atomic_file

if TYPE_CHECKING:  # only for annotations: the launchers answer before pandas would be loaded
    import pandas as pd

IDS = ("id", "ImageID")  # columns that other tables are joined by: their cells are never touched
FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
NUMBER = re.compile(r"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|nan|inf)")


def neutralised(text: str) -> str:
    """`text`, with an apostrophe before it where a spreadsheet would take it for a formula."""
    return f"'{text}" if FORMULA.match(text) and not NUMBER.fullmatch(text) else text


def restored(cell: str) -> str:
    """The text of which `neutralised` made `cell`."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def joined(labels: Sequence[str]) -> str:
    """Labels in one cell: a space between them, and an underscore for a space in one."""
    return " ".join("_".join(label.split()) for label in labels)


def write_table(
    path: Path,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    exact: Collection[str] | None = IDS,
    line_end: str = "\r\n",
) -> None:
    """Write a CSV file in UTF-8, atomically, with its texts neutralised but for the columns in `exact`.

    `exact` None: nothing is touched, for what programs alone read. A cell of None is empty. Names that are
    not valid UTF-8 are written with escapes. Raises OSError.
    """
    kept = [exact is None or column in exact for column in columns]
    with atomic_file(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file, lineterminator=line_end)
        writer.writerow(_cells(columns, kept))
        writer.writerows(_cells(row, kept) for row in rows)


def _cells(row: Sequence[object], kept: Sequence[bool]) -> list[object]:
    return [
        neutralised(cell) if isinstance(cell, str) and not exact else cell
        for cell, exact in zip(row, kept, strict=True)
    ]


def restored_table(table: "pd.DataFrame", exact: Collection[str] | None = IDS) -> "pd.DataFrame":
    """A table of texts as it was before `write_table` wrote it with the same `exact`."""
    if exact is None:
        return table
    names = [name for name in map(str, table.columns) if name not in exact]
    texts = {name: table[name].map(restored) for name in names}
    return table.assign(**texts).rename(columns={name: restored(name) for name in names})
