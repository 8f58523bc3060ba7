"""Image sets whose tables give an image any number of labels: ImageID, Labels and, optionally, Caption.

A table is told by its columns, whatever its name; one without Labels, or whose Labels are all empty, lists
unlabelled images. Labels are numbers or words, divided as `label_lists` says; an empty cell says that an
image has none of the classes. Captions may hold commas, quotes and line breaks, and be quoted badly. Columns
of site, sequence and split are read where there are any.
"""

import csv
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from trapline.data.quarantine import (
    AMBIGUOUS_LABEL,
    CONTRADICTORY,
    DUPLICATE_ID,
    UNKNOWN_LABEL,
    Quarantined,
)
from trapline.errors import TraplineError
from trapline.names import Kind, keys
from trapline.preparation.class_names import named
from trapline.preparation.facts import contradictions, settled
from trapline.preparation.input_folder import InputFolder
from trapline.preparation.label_files import PLACES, TABLE, Finder
from trapline.preparation.label_lists import NUMBER, label_lists
from trapline.preparation.listing import CAPTION, COLUMNS, GIVEN, LABELS, UNLABELED, Source
from trapline.preparation.split_names import parts_named
from trapline.tables import COMMENT, SEPARATOR, header_of, known_columns, read_text

IMAGE_ID, LABEL_LIST, CAPTION_TEXT = "ImageID", "Labels", "Caption"
OWN = {"imageid": IMAGE_ID, "labels": LABEL_LIST, "caption": CAPTION_TEXT}
TOLD = ("site", "sequence", "split")
NOT_READ = "submission"  # in a table's name: predictions, or an example of them
MOSTLY = 0.9  # a label that is no number is a broken row where so many labels are numbers
LOOKED_AT = 4096  # bytes of a table whose encoding is not certain, for its header


@dataclass
class Row:
    """A row of a table: its text, where it begins, and its cells by column, or what is wrong with it."""

    line: int
    text: str
    cells: dict[str, str] = field(default_factory=dict)
    problem: str = ""
    is_open: bool = False  # a quote that begins in it has not ended
    more: list[str] = field(default_factory=list)  # the lines with which it goes on

    def go_on(self, line: str) -> None:
        """Take in one line more."""
        self.more.append(line)
        self.is_open ^= bool(line.count('"') % 2)


@dataclass(frozen=True)
class Listed:
    """An image of a table: as the table calls it, the file relative to the set's folder, labels, caption.

    table, line: where it stands. site, sequence, part: what the table says of it, None where nothing.
    """

    id: str
    filepath: str
    labels: tuple[str, ...] | None  # None: unlabelled
    caption: str
    table: str
    line: int
    site: str | None = None
    sequence: str | None = None
    part: str | None = None

    @property
    def place(self) -> str:
        """Table and line, for messages."""
        return f"{self.table}, line {self.line}"


@dataclass(frozen=True)
class _Header:
    """The columns of a table, what divides its cells, and the known columns by their names in it."""

    columns: list[str]
    delimiter: str
    known: dict[str, str]


def is_label_tables(folder: InputFolder) -> bool:
    """Whether `folder` holds a table with the columns ImageID and Labels."""
    return any(LABEL_LIST in header.columns for header in _tables(folder).values())


def read_label_tables(folder: InputFolder) -> Source:
    """List the images of all tables in `folder`; the id is the ImageID.

    An image lies at its ImageID relative to `folder` or to data/, images/, train/, test/ or a folder of the
    table's name, with or without its suffix. The classes are all labels, sorted, by value where they are
    numbers. Rows that cannot be read or contradict each other, absent images and repeated ids are
    quarantined. Raises TraplineError where a table cannot be read, none of its images is found, or there is
    no label.
    """
    finder = Finder.of(folder)
    quarantined: list[Quarantined] = []
    notes: list[str] = []
    listed: list[Listed] = []
    for path, header in _tables(folder).items():
        listed += _listed(path, header, finder, quarantined, notes)
    everything = listed
    listed = _with_sound_labels(_one_row_a_file(listed, quarantined), quarantined)
    used = [label for image in listed for label in image.labels or ()]
    classes = named(_sorted_labels(set(used)), used, folder.path)
    if not classes.names:
        raise TraplineError(f"{folder.path}: the column {LABEL_LIST} of its tables holds no label")
    source = Source(
        _frame(folder, listed, classes.index),
        classes.names,
        quarantined,
        merged={Kind.CLASS: classes.spellings} if classes.spellings else {},
        notes=notes,
    )
    return _with_facts(source, everything)


def _with_facts(source: Source, listed: Sequence[Listed]) -> Source:
    """`source` with one site, sequence and part an image, by all rows that name it."""
    said = pd.DataFrame(
        [
            (image.filepath, image.site, image.sequence, image.part, image.table, image.line)
            for image in listed
        ],
        columns=["file", "site", "sequence", "part", "table", "line"],
        dtype=object,
    )
    said_of = settled(said).said.reindex(source.images["filepath"]).astype(object)
    said_of = said_of.where(said_of.notna(), None)
    images = source.images.assign(site=list(said_of["site"]), sequence=list(said_of["sequence"]))
    if said_of["part"].notna().any():
        parts = pd.Series(list(said_of["part"]), index=images.index, dtype=object)
        images[GIVEN] = parts.where(images["label"] != UNLABELED, None)
    return replace(source, images=images)


def _frame(folder: InputFolder, listed: Sequence[Listed], index: Mapping[str, int]) -> pd.DataFrame:
    numbers: dict[tuple[int, ...], int] = {}
    rows = []
    for image in listed:
        labels = tuple(sorted({index[label] for label in image.labels or ()}))
        label = UNLABELED if image.labels is None else numbers.setdefault(labels, len(numbers))
        path = folder.full(image.filepath)
        rows.append((image.id, image.filepath, path, label, None, None, labels, image.caption))
    return pd.DataFrame(rows, columns=[*COLUMNS, LABELS, CAPTION], dtype=object)


def _sorted_labels(labels: set[str]) -> list[str]:
    if all(NUMBER.fullmatch(label) for label in labels):
        return sorted(labels, key=lambda label: (float(label), label))
    return sorted(labels)


# --- from tables to images ----------------------------------------------------------------------------------


def _tables(folder: InputFolder) -> dict[Path, _Header]:
    """The tables at the top of `folder` that have a column ImageID, and their headers."""
    found = {path: _header(path) for path in folder.tables(TABLE) if NOT_READ not in path.name.lower()}
    return {path: header for path, header in found.items() if IMAGE_ID in header.columns}


def _header(path: Path) -> _Header:
    try:
        text = read_text(path).text
    except TraplineError:  # whoever reads the table says so
        if not path.is_file():
            raise
        text = path.read_bytes()[:LOOKED_AT].decode("latin-1")
    cells, delimiter = header_of(text, OWN)
    known = known_columns(cells)
    return _Header([OWN.get(_plain(cell), cell) for cell in cells], delimiter, known)


def _plain(name: str) -> str:
    return "".join(name.casefold().split()).replace("_", "")


def _listed(
    path: Path, header: _Header, finder: Finder, quarantined: list[Quarantined], notes: list[str]
) -> list[Listed]:
    twice = [name for name, count in Counter(map(str.casefold, header.columns)).items() if count > 1 and name]
    if twice:
        raise TraplineError(f"{path}: has two columns of one name ({twice[0]!r}); rename or remove one")
    rows = _rows(path, header, finder, notes)
    is_labelled = LABEL_LIST in header.columns and any(row.cells.get(LABEL_LIST, "").strip() for row in rows)
    sound, absent = [], []
    for row in rows:
        name, place = row.cells.get(IMAGE_ID, row.text[:80]).strip(), f"{path.name}, line {row.line}"
        file = finder.find(name, path.stem)
        if row.problem:
            quarantined.append(Quarantined(name, file or "", UNKNOWN_LABEL, f"{place}: {row.problem}"))
        elif file is None:
            absent.append(finder.absent(name, place))
        else:
            sound.append((row, file))
    if absent and not sound:
        raise TraplineError(
            f"{path}: none of its images is in {path.parent} or its folders {', '.join(PLACES[1:])} or "
            f"{path.stem}, for instance {absent[0].id!r}; put them there, or remove the table"
        )
    quarantined += absent
    return _with_labels(path, header, sound, is_labelled, notes)


def _with_labels(
    path: Path, header: _Header, rows: Sequence[tuple[Row, str]], is_labelled: bool, notes: list[str]
) -> list[Listed]:
    cells = [row.cells.get(LABEL_LIST, "") for row, _ in rows]
    lists = label_lists(cells, path, lambda row: f"line {rows[row][0].line}") if is_labelled else []
    told = {name: [row.cells[header.known[name]] for row, _ in rows] for name in TOLD if name in header.known}
    split = told.pop("split", None)
    parts = parts_named(split, header.known["split"], path, notes) if split is not None else None
    notes += [f"{path.name}: its column {header.known[name]} is read as {name}" for name in told]
    return [
        Listed(
            row.cells[IMAGE_ID],
            file,
            lists[number] if is_labelled else None,
            row.cells.get(CAPTION_TEXT, ""),
            path.name,
            row.line,
            part=parts[number] if parts else None,
            **{name: found[number].strip() or None for name, found in told.items()},
        )
        for number, (row, file) in enumerate(rows)
    ]


def _rows(path: Path, header: _Header, finder: Finder, notes: list[str]) -> list[Row]:
    """The rows below the header. A line goes on with the one before it where that has an open quote.

    Unless it names an image itself: an open quote that nobody closes must not swallow the rest of the table.
    """
    at = header.columns.index(IMAGE_ID)
    text = read_text(path)
    notes += text.notes
    rows: list[Row] = []
    feeds = text.text.replace("\r\n", "\n")
    # At line feeds only, for captions hold all kinds; at carriage returns where there is nothing else.
    lines = feeds.split("\n" if "\n" in feeds else "\r")
    begin = next(number for number, line in enumerate(lines, start=1) if _begins_table(line))
    for number, line in enumerate(lines[begin:], start=begin + 1):
        cells = _cells(line, header.delimiter)
        names_image = at < len(cells) and finder.find(cells[at].strip(), path.stem) is not None
        if rows and rows[-1].is_open and not names_image:
            rows[-1].go_on(line)
        elif any(map(str.strip, cells)):
            rows.append(Row(number, line, is_open=bool(line.count('"') % 2)))
    for row in rows:
        row.text = " ".join([row.text, *row.more])
        _fill(row, header.columns, header.delimiter)
    return rows


def _begins_table(line: str) -> bool:
    """Whether a line is the header: no comment, nor Excel's own first line."""
    return bool(line.strip()) and not line.startswith(COMMENT) and not SEPARATOR.match(f"{line}\n")


def _fill(row: Row, columns: Sequence[str], delimiter: str) -> None:
    """Give `row` its cells; what is too much belongs to the caption, whose commas nobody has quoted."""
    cells = _cells(row.text, delimiter)
    surplus = len(cells) - len(columns)
    if CAPTION_TEXT in columns:
        at = columns.index(CAPTION_TEXT)
        if surplus > 0:
            cells[at : at + surplus + 1] = [delimiter.join(cells[at : at + surplus + 1])]
        elif surplus == -1 and at == len(columns) - 1:
            cells.append("")
    if len(cells) == len(columns):
        row.cells = dict(zip(columns, cells, strict=True))
    else:
        row.problem = f"{len(cells)} cells in the place of {len(columns)}"


def _cells(line: str, delimiter: str) -> list[str]:
    """The cells of one line; the line as it is where the csv module finds none."""
    try:
        return next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter), [""])
    except csv.Error:  # an endless cell
        return [line]


def _one_row_a_file(listed: Sequence[Listed], quarantined: list[Quarantined]) -> list[Listed]:
    """One row for each file and id. Of rows that say the same one stays, a labelled one if there is.

    Of rows that contradict each other none does: the order of rows must not decide. A row of a table without
    labels that is about a labelled image is no input of its own: it says more of that one.
    """
    labelled = {image.filepath for image in listed if image.labels is not None}
    ids = [name or "" for name in keys([image.id for image in listed], Kind.ID)]
    problems = _contradicting(listed, ids)
    order = sorted(range(len(listed)), key=lambda row: listed[row].labels is None)
    first: dict[str, int] = {}
    for row in order:
        first.setdefault(ids[row], row)
    for row, image in enumerate(listed):
        if row in problems:
            quarantined.append(Quarantined(image.id, image.filepath, *problems[row]))
        elif first[ids[row]] != row and (image.labels is not None or image.filepath not in labelled):
            detail = f"{image.place}: {listed[first[ids[row]]].place} has this id"
            quarantined.append(Quarantined(image.id, image.filepath, DUPLICATE_ID, detail))
    return [image for row, image in enumerate(listed) if row not in problems and first[ids[row]] == row]


def _contradicting(listed: Sequence[Listed], ids: Sequence[str]) -> dict[int, tuple[str, str]]:
    """The rows that say of their file what another does not: reason code and detail."""

    def place(row: int) -> str:
        return listed[row].place

    files: list[Hashable] = [image.filepath for image in listed]
    labels = _label_keys(listed)
    shown = [" ".join(image.labels or ()) for image in listed]
    labelled_files = [None if image.labels is None else image.filepath for image in listed]
    told = {name: [getattr(image, name) for image in listed] for name in ("site", "sequence", "part")}
    facts = {
        name: (values, keys(values, Kind.SITE if name == "site" else Kind.ID))
        for name, values in told.items()
    }
    of_ids = contradictions(files, {"id": ([image.id for image in listed], ids)}, place)
    of_labels = contradictions(files, {"labels": (shown, labels)}, place)
    of_files = contradictions(list(ids), {"file": (files, labelled_files)}, place)
    of_facts = contradictions(files, facts, place)
    found: dict[int, tuple[str, str]] = {}
    for row, file in enumerate(files):
        if file in of_ids or file in of_facts:
            found[row] = (CONTRADICTORY, of_ids.get(file) or of_facts[file])
        elif file in of_labels:
            found[row] = (AMBIGUOUS_LABEL, of_labels[file])
        elif ids[row] in of_files:
            found[row] = (DUPLICATE_ID, of_files[ids[row]])
    return found


def _label_keys(listed: Sequence[Listed]) -> list[str | None]:
    """What the labels of each row come to, however they are spelt and ordered; None for unlabelled ones."""
    every = sorted({label for image in listed for label in image.labels or ()})
    key_of = dict(zip(every, keys(every, Kind.CLASS), strict=True))
    return [
        None if image.labels is None else " ".join(sorted({key_of[label] or "" for label in image.labels}))
        for image in listed
    ]


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
