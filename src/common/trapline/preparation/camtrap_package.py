"""The files of a Camtrap DP: datapackage.json, and the three tables that it names, as columns of text."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trapline.errors import TraplineError
from trapline.names import shown
from trapline.preparation.facts import is_nothing
from trapline.preparation.input_folder import ADDRESS, InputFolder, NotInside
from trapline.preparation.listing import Reading
from trapline.storage import read_json
from trapline.tables import header_of, read_table, read_text

PACKAGE = "datapackage.json"
# The tables, with the columns that they must have, and others that are read where they are there.
TABLES = {
    "deployments": (("deploymentID",), ("locationID", "latitude", "longitude")),
    "media": (("mediaID", "deploymentID", "timestamp", "filePath"), ("fileName", "fileMediatype")),
    "observations": (
        ("deploymentID", "observationLevel", "observationType"),
        ("mediaID", "eventID", "eventStart", "eventEnd", "scientificName", "classificationMethod"),
    ),
}
VERSION = re.compile(r"camtrap-dp/v?((\d+)\.[0-9A-Za-z.-]+)/")  # in the address of the profile
READ_VERSION = 1
OLD_NAME = "multimedia"  # of media, before version 1
LONGEST_NOTHING = 16  # characters of a cell that may say nothing


@dataclass(frozen=True)
class Rows:
    """A table: its file's name, its cells by column, None where they say nothing, and where rows stand."""

    name: str
    columns: Mapping[str, list[str | None]]
    tables: list[str]
    lines: list[int]
    notes: list[str]

    def place(self, row: int) -> str:
        """A row as messages call it."""
        return f"{self.tables[row]}, line {self.lines[row]}"

    def chosen(self, rows: Sequence[int]) -> "Rows":
        """Some of the rows, in the order of `rows`."""
        columns = {name: [cells[row] for row in rows] for name, cells in self.columns.items()}
        return Rows(
            self.name,
            columns,
            [self.tables[row] for row in rows],
            [self.lines[row] for row in rows],
            self.notes,
        )


# --- recognising --------------------------------------------------------------------------------------------


def is_camtrap_dp(folder: InputFolder, reading: Reading) -> bool:
    """Whether a folder, or the datapackage.json that was given itself, is a Camtrap DP of any version."""
    if reading.table is not None:
        return reading.table.name.lower() == PACKAGE
    path = folder.table(PACKAGE)
    return (path is not None and _is_of_camera_traps(path)) or _has_usual_tables(folder)


def _is_of_camera_traps(path: Path) -> bool:
    try:
        package = read_json(path)
    except TraplineError:  # the tables tell what it is, and whoever reads them says what is wrong with it
        return False
    if not isinstance(package, dict):
        return False
    return "camtrap-dp" in str(package.get("profile")) or {"deployments", "observations"} <= set(
        _resources(package)
    )


def _resources(package: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The resources of a package that have a name, by their names; the first of several alike."""
    listed = package.get("resources")
    named = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    return {each["name"]: each for each in reversed(named) if isinstance(each.get("name"), str)}


def _has_usual_tables(folder: InputFolder) -> bool:
    paths = {name: folder.table(f"{name}.csv") for name in TABLES}
    media = paths["media"]
    if media is None or None in paths.values():
        return False
    try:
        return {"mediaID", "deploymentID"} <= set(header_of(read_text(media)[0])[0])
    except TraplineError:
        return False


# --- reading ------------------------------------------------------------------------------------------------


def read_package(folder: InputFolder, reading: Reading) -> dict[str, Rows]:
    """The tables of a Camtrap DP, by the names in TABLES.

    Raises TraplineError for another version than 1, a datapackage.json that cannot be read, a table that is
    not there, lies outside of the folder or in the web, cannot be read, or lacks a column.
    """
    path = reading.table or folder.table(PACKAGE)
    package = {} if path is None else read_json(path)
    place = folder.path / PACKAGE if path is None else path
    if not isinstance(package, dict):
        raise TraplineError(f"{place}: is no object, {{ ... }}; write or download it again")
    _check_version(package, place)
    resources = _resources(package)
    return {
        name: _rows(
            [_inside(folder, text, place) for text in _paths(name, resources.get(name), place)], *columns
        )
        for name, columns in TABLES.items()
    }


def _check_version(package: Mapping[str, Any], place: Path) -> None:
    found = VERSION.search(str(package.get("profile")))
    is_other = int(found[2]) != READ_VERSION if found else OLD_NAME in _resources(package)
    if is_other:
        called = f"version {shown(found[1])}" if found else f"a version before {READ_VERSION}"
        raise TraplineError(
            f"{place}: is a Camtrap DP of {called}, and {READ_VERSION} is read; export it anew as Camtrap DP "
            f"{READ_VERSION}.0"
        )


def _paths(name: str, resource: Mapping[str, Any] | None, place: Path) -> list[str]:
    """What the package calls the files of a table, by default as the standard does."""
    if resource is None:
        return [f"{name}.csv"]
    if "path" not in resource and "data" in resource:
        raise TraplineError(f"{place}: its table {name} stands in it as data; write it as {name}.csv")
    given = resource.get("path", f"{name}.csv")
    paths = given if isinstance(given, list) else [given]
    if not paths or not all(isinstance(each, str) and each.strip() for each in paths):
        raise TraplineError(f"{place}: the path of its table {name} is no name of a file; write {name}.csv")
    return paths


def _inside(folder: InputFolder, text: str, place: Path) -> Path:
    """A file that the package names. Raises TraplineError where it is not in the folder."""
    if ADDRESS.match(text):
        raise TraplineError(
            f"{place}: names {shown(text)}, an address, and nothing is fetched from the web; download it "
            f"beside {place.name}, and write its name there"
        )
    try:
        return folder.path / folder.find(text)
    except NotInside as problem:
        raise TraplineError(
            f"{place}: its table {shown(text)}: {problem.detail}; put it beside {PACKAGE}"
        ) from None


def _rows(paths: Sequence[Path], required: Sequence[str], further: Sequence[str]) -> Rows:
    """The tables of `paths`, one below another, with the columns that are read."""
    columns: dict[str, list[str | None]] = {name: [] for name in (*required, *further)}
    tables: list[str] = []
    lines: list[int] = []
    notes: list[str] = []
    for path in paths:
        table = read_table(path, required, only=columns)
        for name, cells in columns.items():
            cells += _said(list(table.cells[name])) if name in table.cells else [None] * len(table.lines)
        tables += [path.name] * len(table.lines)
        lines += table.lines
        notes += table.notes
    return Rows(paths[0].name, columns, tables, lines, notes)


def _said(cells: Sequence[str]) -> list[str | None]:
    """Cells without blanks around them; None where they say nothing."""
    different = set(cells)
    if 2 * len(different) < len(cells):
        says = {cell: _text(cell) for cell in different}
        return [says[cell] for cell in cells]
    return [_text(cell) for cell in cells]


def _text(cell: str) -> str | None:
    text = cell.strip()
    return text if len(text) >= LONGEST_NOTHING or not is_nothing(text) else None
