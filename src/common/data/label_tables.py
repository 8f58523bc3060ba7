"""Image sets whose tables give an image any number of labels: ImageID, Labels and, optionally, Caption.

A table is told by its columns, whatever its name; one without Labels, or whose Labels are all empty, lists
unlabelled images. Labels are separated by spaces, numbers or words; an empty cell says that an image has none
of the classes. Captions may hold commas, quotes and line breaks, and be quoted badly.
"""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pandas as pd

from common.data.listing import CAPTION, COLUMNS, LABELS, UNLABELED, SiteRule, Source, files_below, with_sites
from common.data.quarantine import DUPLICATE_ID, MISSING, UNKNOWN_LABEL, Quarantined
from common.errors import TraplineError

IMAGE_ID, LABEL_LIST, CAPTION_TEXT = "ImageID", "Labels", "Caption"
TABLE = ".csv"
NOT_READ = "submission"  # in a table's name: predictions, or an example of them
PLACES = ("", "data", "images", "train", "test")
NUMBER = re.compile(r"-?\d+(\.\d+)?")
MOSTLY = 0.9  # a label that is no number is a broken row where so many labels are numbers


@dataclass
class Row:
    """A row of a table: its text, where it begins, and its cells by column, or what is wrong with it."""

    line: int
    text: str
    cells: dict[str, str] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Listed:
    """An image of a table: as the table calls it, the file relative to the set's folder, labels, caption."""

    id: str
    filepath: str
    labels: tuple[str, ...] | None  # None: unlabelled
    caption: str
    place: str  # table and line, for messages


def is_label_tables(folder: Path) -> bool:
    """Whether `folder` holds a table with the columns ImageID and Labels."""
    return any(LABEL_LIST in columns for columns in _tables(folder).values())


def read_label_tables(folder: Path, rule: SiteRule) -> Source:
    """List the images of all tables in `folder`; the id is the ImageID.

    An image lies at its ImageID relative to `folder` or to data/, images/, train/, test/ or a folder of the
    table's name, with or without its suffix. The classes are all labels, sorted, by value where they are
    numbers. Rows that cannot be read, absent images and repeated ids are quarantined. Raises TraplineError
    where a table cannot be read, none of its images is found, or there is no label.
    """
    finder = _Finder.of(folder)
    quarantined: list[Quarantined] = []
    listed: list[Listed] = []
    for path, columns in _tables(folder).items():
        listed += _listed(path, columns, finder, quarantined)
    listed = _with_sound_labels(_first_of_each_id(listed, quarantined), quarantined)
    classes = _sorted_labels({label for image in listed for label in image.labels or ()})
    if not classes:
        raise TraplineError(f"{folder}: the column {LABEL_LIST} of its tables holds no label")
    return Source(with_sites(_frame(folder, listed, classes), folder, rule), classes, quarantined)


def _frame(folder: Path, listed: Sequence[Listed], classes: Sequence[str]) -> pd.DataFrame:
    index = {name: number for number, name in enumerate(classes)}
    numbers: dict[tuple[int, ...], int] = {}
    rows = []
    for image in listed:
        labels = tuple(sorted({index[label] for label in image.labels or ()}))
        label = UNLABELED if image.labels is None else numbers.setdefault(labels, len(numbers))
        path = str(folder / image.filepath)
        rows.append((image.id, image.filepath, path, label, None, None, labels, image.caption))
    return pd.DataFrame(rows, columns=[*COLUMNS, LABELS, CAPTION], dtype=object)


def _sorted_labels(labels: set[str]) -> list[str]:
    if all(NUMBER.fullmatch(label) for label in labels):
        return sorted(labels, key=lambda label: (float(label), label))
    return sorted(labels)


# --- from tables to images ----------------------------------------------------------------------------------


def _tables(folder: Path) -> dict[Path, list[str]]:
    """The tables at the top of `folder` that have a column ImageID, and their columns."""
    found = {
        path: _columns(path) for path in sorted(folder.glob(f"*{TABLE}")) if NOT_READ not in path.name.lower()
    }
    return {path: columns for path, columns in found.items() if IMAGE_ID in columns}


def _columns(path: Path) -> list[str]:
    return [name.strip() for name in _cells(_lines(path, header=True)[0])]


def _lines(path: Path, *, header: bool = False) -> list[str]:
    """The lines of a table, or the header alone; split at line feeds only, for captions hold all kinds."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return [file.readline()] if header else file.read().split("\n")
    except OSError as error:
        raise TraplineError(f"{path}: cannot be read ({error.strerror})") from None


def _listed(
    path: Path, columns: Sequence[str], finder: "_Finder", quarantined: list[Quarantined]
) -> list[Listed]:
    rows = _rows(path, columns, finder)
    is_labelled = LABEL_LIST in columns and any(row.cells.get(LABEL_LIST, "").strip() for row in rows)
    listed, absent = [], []
    for row in rows:
        name, place = row.cells.get(IMAGE_ID, row.text[:80]).strip(), f"{path.name}, line {row.line}"
        file = finder.find(name, path.stem)
        if row.problem:
            quarantined.append(Quarantined(name, file or "", UNKNOWN_LABEL, f"{place}: {row.problem}"))
        elif file is None:
            absent.append(Quarantined(name, name, MISSING, f"{place} names it; no such file"))
        else:
            labels = tuple(row.cells[LABEL_LIST].split()) if is_labelled else None
            listed.append(Listed(name, file, labels, row.cells.get(CAPTION_TEXT, ""), place))
    if absent and not listed:
        raise TraplineError(
            f"{path}: none of its images is in {path.parent} or its folders {', '.join(PLACES[1:])} or "
            f"{path.stem}, for instance {absent[0].id!r}; put them there, or remove the table"
        )
    quarantined += absent
    return listed


def _rows(path: Path, columns: Sequence[str], finder: "_Finder") -> list[Row]:
    """The rows below the header. A line goes on with the one before it where that has an open quote.

    Unless it names an image itself: an open quote that nobody closes must not swallow the rest of the table.
    """
    at = columns.index(IMAGE_ID)
    rows: list[Row] = []
    for number, line in enumerate(_lines(path)[1:], start=2):
        cells = _cells(line)
        names_image = at < len(cells) and finder.find(cells[at].strip(), path.stem) is not None
        if rows and rows[-1].text.count('"') % 2 and not names_image:
            rows[-1].text += f" {line}"
        elif line.strip():
            rows.append(Row(number, line))
    for row in rows:
        _fill(row, columns)
    return rows


def _fill(row: Row, columns: Sequence[str]) -> None:
    """Give `row` its cells; what is too much belongs to the caption, whose commas nobody has quoted."""
    cells = _cells(row.text)
    surplus = len(cells) - len(columns)
    if CAPTION_TEXT in columns:
        at = columns.index(CAPTION_TEXT)
        if surplus > 0:
            cells[at : at + surplus + 1] = [",".join(cells[at : at + surplus + 1])]
        elif surplus == -1 and at == len(columns) - 1:
            cells.append("")
    if len(cells) == len(columns):
        row.cells = dict(zip(columns, cells, strict=True))
    else:
        row.problem = f"{len(cells)} cells in the place of {len(columns)}"


def _cells(line: str) -> list[str]:
    """The cells of one line; the line as it is where the csv module finds none."""
    try:
        return next(csv.reader([line.rstrip("\n")]), [""])
    except csv.Error:  # an endless cell
        return [line]


def _first_of_each_id(listed: Sequence[Listed], quarantined: list[Quarantined]) -> list[Listed]:
    first: dict[str, Listed] = {}
    for image in listed:
        earlier = first.setdefault(image.id, image)
        if earlier is not image:
            detail = f"{image.place}: {earlier.place} has this id"
            quarantined.append(Quarantined(image.id, image.filepath, DUPLICATE_ID, detail))
    return list(first.values())


def _with_sound_labels(listed: Sequence[Listed], quarantined: list[Quarantined]) -> list[Listed]:
    """Without the rows that have words for labels where nearly all are numbers: rows that are broken."""
    counts = Counter(label for image in listed for label in image.labels or ())
    words = {label for label in counts if not NUMBER.fullmatch(label)}
    if sum(counts[word] for word in words) > (1 - MOSTLY) * counts.total():
        return list(listed)
    for image in listed:
        if wrong := words & set(image.labels or ()):
            detail = f"{image.place}: {min(wrong)!r} among the labels, which are numbers elsewhere"
            quarantined.append(Quarantined(image.id, image.filepath, UNKNOWN_LABEL, detail))
    return [image for image in listed if not words & set(image.labels or ())]


# --- the files ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Finder:
    """Where the images of a folder lie. `files`: relative paths, by themselves and without their suffix."""

    files: dict[str, str]

    @classmethod
    def of(cls, folder: Path) -> "_Finder":
        """Of all files below `folder`."""
        names = [name for name in files_below(folder) if not name.endswith(TABLE)]
        short = {str(PurePosixPath(name).with_suffix("")): name for name in reversed(names)}
        return cls({**short, **{name: name for name in names}})

    def find(self, image: str, table: str) -> str | None:
        """The file that `image` of the table named `table` means, relative to the folder, or None."""
        for place in (table, *PLACES, *(f"{place}/{table}" for place in PLACES[1:])):
            if image and (found := self.files.get(f"{place}/{image}" if place else image)) is not None:
                return found
        return None
