"""Image sets whose tables give an image any number of labels: ImageID, Labels and, optionally, Caption.

A table is told by its columns, whatever its name; one without Labels, or whose Labels are all empty, lists
unlabelled images. Labels are numbers or words, divided as `label_lists` says; an empty cell says that an
image has none of the classes. Captions may hold commas, quotes and line breaks, and be quoted badly. Columns
of site, sequence and split are read where there are any.
"""

import ast
import csv
import functools
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from trapline.column_names import known_columns, named_columns
from trapline.data.quarantine import (
    AMBIGUOUS_LABEL,
    CONTRADICTORY,
    DUPLICATE_ID,
    UNKNOWN_LABEL,
    Quarantined,
)
from trapline.errors import TraplineError
from trapline.names import Kind, clean, fault, keys, shown
from trapline.preparation.facts import (
    Facts,
    Problems,
    contradictions,
    place_in,
    problems_of,
    settled,
    taken,
    with_facts,
)
from trapline.preparation.input_folder import PLACES, Finder, InputFolder
from trapline.preparation.listing import (
    CAPTION,
    COLUMNS,
    GROUP,
    LABELS,
    UNLABELED,
    Source,
    named,
    named_rows,
    parts_named,
)
from trapline.tables import COMMENT, SEPARATOR, header_of, read_text

IMAGE_ID, LABEL_LIST, CAPTION_TEXT = "ImageID", "Labels", "Caption"
OWN = {"imageid": IMAGE_ID, "labels": LABEL_LIST, "caption": CAPTION_TEXT}
NOT_READ = "submission"  # in a table's name: predictions, or an example of them
MOSTLY = 0.9  # a label that is no number is a broken row where so many labels are numbers
LOOKED_AT = 4096  # bytes of a table whose encoding is not certain, for its header
MAX_LIST_LENGTH = 1 << 16  # characters of a list that is written as Python or JSON does
SEPARATORS = ",|;"
NUMBER = re.compile(r"-?\d+(\.\d+)?")


@dataclass(frozen=True)
class Row:
    """A row of a table: the line where it begins, its text, and its cells by column, or what is wrong."""

    line: int
    text: str
    cells: dict[str, str] = field(default_factory=dict)
    problem: str = ""


def is_label_table(path: Path) -> bool:
    """Whether the table at `path` has the columns ImageID and Labels."""
    is_json = path.suffix.lower() == ".json"  # which may be long, and has no header
    return not is_json and {IMAGE_ID, LABEL_LIST} <= set(_header(path)[0])


def is_label_tables(folder: InputFolder) -> bool:
    """Whether `folder` holds a table with the columns ImageID and Labels."""
    return any(LABEL_LIST in columns for columns, _ in _tables(folder).values())


def read_label_tables(folder: InputFolder) -> Source:
    """List the images of all tables in `folder`; the id is the ImageID.

    An image lies at its ImageID relative to `folder` or to data/, images/, train/, test/ or a folder of the
    table's name, with or without its suffix. The classes are all labels, sorted, by value where they are
    numbers. Rows that cannot be read or contradict each other, absent images and repeated ids are
    quarantined. Raises TraplineError where a table cannot be read, none of its images is found, or there is
    no label.
    """
    finder = Finder(folder)
    quarantined: list[Quarantined] = []
    notes: list[str] = []
    tables = (_listed(path, *header, finder, quarantined, notes) for path, header in _tables(folder).items())
    rows = pd.concat(tables, ignore_index=True)
    facts = settled(rows)
    listed = _with_sound_labels(_one_row_a_file(rows, facts, quarantined), quarantined)
    used = [label for labels in listed["labels"] for label in labels or ()]
    are_numbers = all(NUMBER.fullmatch(label) for label in set(used))
    order = sorted(set(used), key=lambda label: (float(label) if are_numbers else 0.0, label))
    classes = named(order, used, folder.path)
    if not classes.names:
        raise TraplineError(f"{folder.path}: the column {LABEL_LIST} of its tables holds no label")
    images = with_facts(_images(folder, listed, classes.index), facts.of(listed["file"]))
    return Source(images, classes.names, quarantined, merged=classes.merged, notes=notes)


def _images(folder: InputFolder, listed: pd.DataFrame, index: Mapping[str, int]) -> pd.DataFrame:
    numbers: dict[tuple[int, ...], int] = {}
    rows = []
    for image in named_rows(listed):
        labels = tuple(sorted({index[label] for label in image.labels or ()}))
        label = UNLABELED if image.labels is None else numbers.setdefault(labels, len(numbers))
        rows.append((image.id, image.file, folder.full(image.file), label, None, None, labels, image.caption))
    return pd.DataFrame(rows, columns=[*COLUMNS, LABELS, CAPTION], dtype=object)


# --- from tables to images ----------------------------------------------------------------------------------


def _tables(folder: InputFolder) -> dict[Path, tuple[list[str], str]]:
    """The tables at the top of `folder` that have a column ImageID: columns, and what divides the cells."""
    found = {path: _header(path) for path in folder.tables() if NOT_READ not in path.name.lower()}
    return {path: (columns, mark) for path, (columns, mark) in found.items() if IMAGE_ID in columns}


def _header(path: Path) -> tuple[list[str], str]:
    try:
        text, _ = read_text(path)
    except TraplineError:  # whoever reads the table says so
        if not path.is_file():
            raise
        text = path.read_bytes()[:LOOKED_AT].decode("latin-1")
    cells, delimiter = header_of(text, OWN)
    return [OWN.get("".join(cell.casefold().split()).replace("_", ""), cell) for cell in cells], delimiter


def _listed(
    path: Path,
    columns: list[str],
    delimiter: str,
    finder: Finder,
    quarantined: list[Quarantined],
    notes: list[str],
) -> pd.DataFrame:
    """The images of a table, as `_told` says."""
    if twice := [name for name, count in Counter(map(str.casefold, columns)).items() if count > 1 and name]:
        raise TraplineError(f"{path}: has two columns of one name ({twice[0]!r}); rename or remove one")
    rows = _rows(path, columns, delimiter, finder, notes)
    is_labelled = any(row.cells.get(LABEL_LIST, "").strip() for row in rows)
    sound: list[tuple[Row, str]] = []
    absent = []
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
    known = {**known_columns(columns), **named_columns(columns, finder.folder.columns)}
    return _told(path, sound, is_labelled, known, notes)


def _told(
    path: Path, rows: Sequence[tuple[Row, str]], is_labelled: bool, known: Mapping[str, str], notes: list[str]
) -> pd.DataFrame:
    """The images of a table: as it calls them, the file relative to the set's folder, labels, caption.

    labels: None where an image is unlabelled. table, line: where it stands. site, sequence, part: what the
    table says of it, None where nothing.
    """
    cells = [row.cells.get(LABEL_LIST, "") for row, _ in rows]
    told = {
        name: [row.cells[known[name]] for row, _ in rows]
        for name in ("site", "sequence", "split", GROUP, "time", "date")
        if name in known
    }
    lists = label_lists(cells, path, lambda row: f"line {rows[row][0].line}") if is_labelled else None
    split = told.pop("split", None)
    parts = parts_named(split, known["split"], path, notes) if split is not None else None
    notes += [f"{path.name}: its column {known[name]} is read as {name}" for name in told]
    times = taken(told.pop("time", None), told.pop("date", None))
    return pd.DataFrame(
        {
            "id": [row.cells[IMAGE_ID] for row, _ in rows],
            "file": [file for _, file in rows],
            "labels": lists,
            "caption": [row.cells.get(CAPTION_TEXT, "") for row, _ in rows],
            "table": path.name,
            "line": [row.line for row, _ in rows],
            "site": None,
            "sequence": None,
            "part": parts,
            "time": times,
            "group": None,
            **{name: [cell.strip() or None for cell in found] for name, found in told.items()},
        },
        dtype=object,
    )


def _rows(path: Path, columns: list[str], delimiter: str, finder: Finder, notes: list[str]) -> list[Row]:
    """The rows below the header. A line goes on with the one before it where that has an open quote.

    Unless it names an image itself: an open quote that nobody closes must not swallow the rest of the table.
    """
    at = columns.index(IMAGE_ID)
    text, noted = read_text(path)
    notes += noted
    feeds = text.replace("\r\n", "\n")
    # At line feeds only, for captions hold all kinds; at carriage returns where there is nothing else.
    lines = feeds.split("\n" if "\n" in feeds else "\r")
    # The header is no comment, nor Excel's own first line.
    begin = next(
        number
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.startswith(COMMENT) and not SEPARATOR.match(f"{line}\n")
    )
    found: list[tuple[int, list[str]]] = []
    is_open = False  # whether a quote that begins in the last row has not ended
    for number, line in enumerate(lines[begin:], start=begin + 1):
        cells = _cells(line, delimiter)
        names_image = at < len(cells) and finder.find(cells[at].strip(), path.stem) is not None
        turns = bool(line.count('"') % 2)
        if is_open and not names_image:
            found[-1][1].append(line)
            is_open ^= turns
        elif any(map(str.strip, cells)):
            found.append((number, [line]))
            is_open = turns
    return [_row(number, " ".join(parts), columns, delimiter) for number, parts in found]


def _row(line: int, text: str, columns: Sequence[str], delimiter: str) -> Row:
    """A row with its cells; what is too much belongs to the caption, whose commas nobody has quoted."""
    cells = _cells(text, delimiter)
    surplus = len(cells) - len(columns)
    if CAPTION_TEXT in columns:
        at = columns.index(CAPTION_TEXT)
        if surplus > 0:
            cells[at : at + surplus + 1] = [delimiter.join(cells[at : at + surplus + 1])]
        elif surplus == -1 and at == len(columns) - 1:
            cells.append("")
    if len(cells) == len(columns):
        return Row(line, text, dict(zip(columns, cells, strict=True)))
    return Row(line, text, problem=f"{len(cells)} cells in the place of {len(columns)}")


def _cells(line: str, delimiter: str) -> list[str]:
    """The cells of one line; the line as it is where the csv module finds none."""
    try:
        return next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter), [""])
    except csv.Error:  # an endless cell
        return [line]


def _one_row_a_file(listed: pd.DataFrame, facts: Facts, quarantined: list[Quarantined]) -> pd.DataFrame:
    """One row for each file and id. Of rows that say the same one stays, a labelled one if there is.

    Of rows that contradict each other none does: the order of rows must not decide. A row of a table without
    labels that is about a labelled image is no input of its own: it says more of that one.
    """
    ids = [name or "" for name in keys(listed["id"], Kind.ID)]
    problems = _contradicting(listed, ids, facts)
    is_labelled = listed["labels"].notna().to_numpy(dtype=bool)
    labelled = set(listed["file"][is_labelled])
    first = {ids[row]: row for row in np.argsort(~is_labelled, kind="stable")[::-1].tolist()}
    kept = []
    for row, image in enumerate(named_rows(listed)):
        if row in problems:
            quarantined.append(Quarantined(image.id, image.file, *problems[row]))
        elif first[ids[row]] == row:
            kept.append(row)
        elif is_labelled[row] or image.file not in labelled:
            both = f"{place_in(listed, row)}: {place_in(listed, first[ids[row]])} has this id"
            quarantined.append(Quarantined(image.id, image.file, DUPLICATE_ID, both))
    return listed.iloc[kept]


def _contradicting(listed: pd.DataFrame, ids: Sequence[str], facts: Facts) -> Problems:
    """The rows that say of their file what another does not: reason code and detail."""
    place = functools.partial(place_in, listed)
    files, labels = list(listed["file"]), list(listed["labels"])
    shown = [" ".join(own or ()) for own in labels]
    labelled = [None if own is None else file for own, file in zip(labels, files, strict=True)]
    of_ids = contradictions(files, {"id": (list(listed["id"]), ids)}, place)
    of_labels = contradictions(files, {"labels": (shown, _label_keys(labels))}, place)
    of_files = contradictions(ids, {"file": (files, labelled)}, place)
    return problems_of(
        (CONTRADICTORY, files, {**facts.contradictory, **of_ids}),
        (AMBIGUOUS_LABEL, files, of_labels),
        (DUPLICATE_ID, ids, of_files),
    )


def _label_keys(lists: Sequence[tuple[str, ...] | None]) -> list[str | None]:
    """What the labels of each row come to, however they are spelt and ordered; None for unlabelled ones."""
    every = sorted({label for labels in lists for label in labels or ()})
    key_of = dict(zip(every, keys(every, Kind.CLASS), strict=True))
    return [
        None if labels is None else " ".join(sorted({key_of[label] or "" for label in labels}))
        for labels in lists
    ]


def _with_sound_labels(listed: pd.DataFrame, quarantined: list[Quarantined]) -> pd.DataFrame:
    """Without the rows that have words for labels where nearly all are numbers: rows that are broken."""
    counts = Counter(label for labels in listed["labels"] for label in labels or ())
    words = {label for label in counts if not NUMBER.fullmatch(label)}
    if sum(counts[word] for word in words) > (1 - MOSTLY) * counts.total():
        return listed
    wrong = [min(words & set(labels or ()), default=None) for labels in listed["labels"]]
    others = "among the labels, which are numbers elsewhere"
    quarantined += [
        Quarantined(image.id, image.file, UNKNOWN_LABEL, f"{place_in(listed, row)}: {word!r} {others}")
        for row, (image, word) in enumerate(zip(named_rows(listed), wrong, strict=True))
        if word is not None
    ]
    return listed.iloc[[row for row, word in enumerate(wrong) if word is None]]


# --- the labels in a cell -----------------------------------------------------------------------------------


def label_lists(cells: Sequence[str], path: Path, place: Callable[[int], str]) -> list[tuple[str, ...]]:
    """The labels in each cell of a column. `place` calls a row as a message does.

    Blanks divide them, unless a cell has a comma, a bar or a semicolon: then that does, and blanks belong to
    the names. Lists as Python and JSON write them are read as such. Raises TraplineError, naming the file at
    `path` and rows, where it is not certain which.
    """
    for row, cell in enumerate(cells):
        if problem := fault(" ".join(cell.split()), Kind.CLASS):
            raise TraplineError(f"{path}: {place(row)}: {shown(cell)} {problem}; give the labels other names")
    cleaned = [clean(cell) for cell in cells]
    if any(cell.startswith("[") for cell in cleaned):
        return [_written_list(cell, path, place(row)) for row, cell in enumerate(cleaned)]
    found = {
        mark: next(row for row, cell in enumerate(cleaned) if mark in cell)
        for mark in SEPARATORS
        if any(mark in cell for cell in cleaned)
    }
    if len(found) > 1:
        (one, first), (other, second) = list(found.items())[:2]
        raise TraplineError(
            f"{path}: {one} divides labels in {place(first)} ({cleaned[first]!r}), "
            f"{other} in {place(second)} ({cleaned[second]!r}); use one of them"
        )
    if not found:
        return [tuple(cell.split()) for cell in cleaned]
    mark = next(iter(found))
    lists = [tuple(filter(None, map(str.strip, cell.split(mark)))) for cell in cleaned]
    if _blanks_divide_too(lists, path, mark, place):
        return [tuple(label for part in parts for label in part.split()) for parts in lists]
    return lists


def _written_list(cell: str, path: Path, place: str) -> tuple[str, ...]:
    """The labels of a cell that a program wrote as a list: ['fox', 'owl']."""
    try:
        # What is longer is no list of labels, and to nest brackets in it would exhaust the parser.
        found = ast.literal_eval(cell or "[]") if len(cell) <= MAX_LIST_LENGTH else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(label, str | int | float) for label in found):
        raise TraplineError(
            f"{path}: {place}: {cell[:80]!r} is no list of labels, though other cells are lists"
        )
    return tuple(clean(str(label)) for label in found)


def _blanks_divide_too(
    lists: Sequence[tuple[str, ...]], path: Path, mark: str, place: Callable[[int], str]
) -> bool:
    """Whether blanks divide labels beside `mark`: where the words are numbers, or labels of their own."""
    single = {label for labels in lists for label in labels if " " not in label}
    spaced = [(row, label) for row, labels in enumerate(lists) for label in labels if " " in label]
    divided = [all(NUMBER.fullmatch(word) or word in single for word in label.split()) for _, label in spaced]
    if all(divided):
        return bool(divided)
    if any(divided):
        row, label = spaced[divided.index(True)]
        other, name = spaced[divided.index(False)]
        raise TraplineError(
            f"{path}: {mark} divides labels, and {label!r} in {place(row)} would be two more, but {name!r} "
            f"in {place(other)} one with a blank; put {mark} between all labels"
        )
    return False
