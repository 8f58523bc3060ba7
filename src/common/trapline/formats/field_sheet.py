"""The field sheet of --deployments as a table of text: a CSV or an Excel workbook."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from trapline.column_names import plain_column
from trapline.errors import TraplineError, UsageError
from trapline.formats.camtrap_fields import DEPLOYMENTS, REQUIRED
from trapline.names import shown
from trapline.tables import read_table

EXCEL = (".xlsx", ".xlsm")
OTHER_WORKBOOKS = (".xls", ".xlsb", ".ods", ".numbers")
MAX_UNPACKED_BYTES = 256 << 20
CAMERA_TIME, ACTUAL_TIME = "cameraTime", "actualTime"
COLUMNS = (*DEPLOYMENTS, CAMERA_TIME, ACTUAL_TIME)
EXAMPLE = (
    "--deployments deployments.csv, a table with a row for each placement of a camera: "
    f"{', '.join(REQUIRED)}; locationID too, where the site has another name than the deployment"
)


@dataclass(frozen=True)
class FieldSheet:
    """The rows of a field sheet by the standard's names of columns; `lines`: where each stands.

    notes: what a person should know of how it was read.
    """

    path: Path
    rows: list[dict[str, str]]
    lines: list[int]
    notes: list[str]


def read_field_sheet(path: Path | None) -> FieldSheet:
    """Read the table at `path`; the case of its columns' names, and blanks in them, make no difference.

    Columns that Camtrap DP does not have are left out, which is said. Raises UsageError where no file is
    given or there is none, TraplineError for one that cannot be read, that lacks a column or has it twice, or
    without rows.
    """
    if path is None:
        raise UsageError(f"the places and times of the cameras are missing; give {EXAMPLE}")
    if not path.is_file():
        raise UsageError(f"--deployments {path}: no such file; it is {EXAMPLE.partition(', ')[2]}")
    cells, lines, notes = _cells(path)
    known = {plain_column(name): name for name in COLUMNS}
    names = [known.get(plain_column(str(column))) for column in cells.columns]
    notes += _check_columns(path, [str(column) for column in cells.columns], names)
    columns = [(place, name) for place, name in enumerate(names) if name]
    rows = [{name: row[place] for place, name in columns} for row in cells.itertuples(index=False, name=None)]
    if not rows:
        raise TraplineError(f"{path}: has no rows; write one for each placement of a camera")
    return FieldSheet(path, rows, lines, notes)


def _check_columns(path: Path, columns: Sequence[str], names: Sequence[str | None]) -> list[str]:
    """Raise TraplineError for columns that are missing or come twice; a note of those that are not known."""
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise TraplineError(
            f"{path}: lacks the columns {', '.join(missing)}; it has {', '.join(map(shown, columns[:12]))}"
        )
    twice = next((name for name in COLUMNS if names.count(name) > 1), None)
    if twice:
        raise TraplineError(f"{path}: has two columns {twice}; rename or remove one")
    other = [column for column, name in zip(columns, names, strict=True) if name is None]
    what = f"{path.name}: columns that Camtrap DP does not have are left out of the package: "
    return [what + ", ".join(map(shown, other[:12]))] if other else []


def _cells(path: Path) -> tuple[pd.DataFrame, list[int], list[str]]:
    """A table of text with the line of each row, and notes."""
    suffix = path.suffix.lower()
    if suffix in OTHER_WORKBOOKS:
        raise UsageError(
            f"--deployments {path}: workbooks of this kind are not read here; save it as CSV (UTF-8) and "
            "give that"
        )
    if suffix not in EXCEL:
        table = read_table(path, ())
        return table.cells, table.lines, list(table.notes)
    try:
        _check_size(path)
        read = pd.read_excel(path, dtype=str, keep_default_na=False, engine="openpyxl")
    except TraplineError:
        raise
    except Exception as error:  # whatever a foreign file makes of its reader
        said = " ".join(str(error).split())[:120]
        raise TraplineError(f"{path}: cannot be read as a workbook ({said}); save it as CSV") from error
    filled = read[read.map(str.strip).astype(bool).any(axis=1)]
    return filled, [int(row) + 2 for row in filled.index], []


def _check_size(path: Path) -> None:
    """Raise TraplineError for a workbook that is far larger unpacked than a field sheet can be."""
    with zipfile.ZipFile(path) as workbook:
        size = sum(member.file_size for member in workbook.infolist())
    if size > MAX_UNPACKED_BYTES:
        raise TraplineError(f"{path}: {size} bytes unpacked are more than a field sheet has; save it as CSV")
