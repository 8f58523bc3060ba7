"""The tables by which a person changes labels: corrections of single images, and a map of classes.

A table says everything or is refused: rows that contradict each other, an empty name, or a table that is
about another set end the run, with the lines that are meant.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from trapline.column_names import known_columns
from trapline.errors import TraplineError
from trapline.names import Kind, as_written, clean, fault, keys, merged, shown, told
from trapline.preparation.label_tables import label_lists
from trapline.tables import Table, read_table

REMOVED = -1  # in the place of a class index: images of that label are left out
LABEL, LABELS, CLASS = "label", "labels", "class"
OWN_COLUMNS = (LABELS, CLASS)  # beside those that every table may have
KINDS = {"id": Kind.ID, "filepath": Kind.PATH}  # what images are named by, best first
NAMES_SHOWN = 5
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Corrections:
    """What a table says of single images.

    column: `id` or `filepath`, by which it names them. names, lines: (rows,). row, label: (pairs,), the
    labels of the rows, as indices of `classes`: those of the source, then new ones.
    """

    column: str
    names: list[str]
    lines: list[int]
    row: Integers
    label: Integers
    classes: list[str]
    notes: list[str]

    @property
    def kind(self) -> Kind:
        """What the names of its rows are the names of."""
        return KINDS[self.column]


@dataclass(frozen=True)
class ClassMap:
    """What becomes of each class of a source: `index`, (classes,), the index in `classes`, or REMOVED.

    rows: how many rows of the table name one of these classes.
    """

    classes: list[str]
    index: Integers
    rows: int
    notes: list[str]


def read_corrections(
    path: Path, called: str, classes: Sequence[str], codes: Sequence[str] | None, several: str | None
) -> Corrections:
    """The corrections in the CSV `path` (id or filepath, label or labels), which messages call `called`.

    `classes`, `codes`: of the source; either may be written. `several`: whether an image may have several
    labels: None where not, `rows` where each has a row of its own, `cells` where a cell may also hold several
    (as `label_lists` divides it), or none.

    Raises TraplineError for a table that cannot be read or lacks a column, an empty cell, or a name that none
    may have.
    """
    table = _read(path, called)
    own = table.columns.get(LABEL) or table.columns.get(LABELS)
    if own is None:
        raise TraplineError(
            f"{called}: no column {LABEL}{_columns_of(table)}; give it the columns id and label"
        )
    column = next((name for name in KINDS if name in table.columns), None)
    if column is None:
        raise TraplineError(
            f"{called}: no column id, nor filepath{_columns_of(table)}; give it the columns id and label"
        )
    names, cells = list(table.cells[table.columns[column]]), list(table.cells[own])
    _refuse_empty(names, table, called, column, f"write the {column} of the image, or remove the row")
    _refuse_faults(cells, table, called)
    if several == "cells":
        lists = _divided(cells, table, path, called, [*classes, *(codes or ())])
    else:
        way_out = "write the label, or remove the row; to leave an image out give it a label that --classes "
        _refuse_empty(cells, table, called, LABEL, f"{way_out}removes")
        lists = [(cell,) for cell in cells]
    row = np.repeat(np.arange(len(lists)), [len(labels) for labels in lists])
    spelt = [label for labels in lists for label in labels]
    label, every = numbered_labels(spelt, classes, codes)
    return Corrections(column, names, table.lines, row, label, every, table.notes)


def read_class_map(path: Path, called: str, classes: Sequence[str], codes: Sequence[str] | None) -> ClassMap:
    """What the CSV `path` (label, class) makes of `classes`; messages call it `called`.

    A label without a row keeps its name; one with an empty class is removed. Classes come in the order in
    which `classes` has their first labels. Raises TraplineError for a table that cannot be read or lacks a
    column, names no label of the set, gives a label two classes, or a name that none may have.
    """
    table = _read(path, called)
    of_classes = table.columns.get(CLASS)
    own = known_columns([name for name in table.cells.columns if name != of_classes]).get(LABEL)
    if own is None or of_classes is None:
        missing = LABEL if of_classes else CLASS
        raise TraplineError(
            f"{called}: no column {missing}{_columns_of(table)}; give it the columns label and class"
        )
    labels, targets = list(table.cells[own]), list(table.cells[of_classes])
    _refuse_empty(labels, table, called, LABEL, "write the label, or remove the row")
    _refuse_faults([*labels, *targets], table, called)
    index, every = numbered_labels(labels, classes, codes)
    target_keys = keys([*classes, *targets], Kind.CLASS)
    said = target_keys[len(classes) :]
    _refuse_two(index, pd.factorize(np.array(said, dtype=object))[0], labels, targets, table.lines, called)
    known = {int(label): row for row, label in enumerate(index.tolist()) if label < len(classes)}
    if not known:
        raise TraplineError(
            f"{called}: names none of the set's labels ({listed(every[len(classes) :])} against "
            f"{listed(classes)}); write them as the set does"
        )
    name_of = _spellings(said, targets)
    becomes = [said[known[label]] if label in known else target_keys[label] for label in range(len(classes))]
    order = list(dict.fromkeys(name for name in becomes if name is not None))
    place = {name: number for number, name in enumerate(order)}
    first = dict(reversed(list(zip(becomes, classes, strict=True))))
    notes = [*table.notes, *told(Kind.CLASS, merged(targets, Kind.CLASS).spellings)]
    notes += _notes_on_labels(Path(called).name, classes, known, every[len(classes) :])
    return ClassMap(
        [name_of.get(name) or first[name] for name in order],
        np.array([REMOVED if name is None else place[name] for name in becomes], dtype=np.int64),
        int((index < len(classes)).sum()),
        notes,
    )


def numbered_labels(
    names: Sequence[str], classes: Sequence[str], codes: Sequence[str] | None
) -> tuple[Integers, list[str]]:
    """The index of each of `names` among `classes`, known by name or code, and then new ones, sorted."""
    before = [*classes, *(codes or ())]
    row_of, different = pd.factorize(np.array(names, dtype=object))
    own = keys([*before, *different], Kind.CLASS)
    numbers = [*range(len(classes)), *(range(len(codes)) if codes else ())]
    # Of a name that is also another class's code the name counts.
    known = dict(reversed(list(zip(own, numbers, strict=False))))
    of_row = [own[len(before) + number] for number in row_of.tolist()]
    fresh = [(each, name) for each, name in zip(of_row, names, strict=True) if each not in known]
    new = (
        sorted((name, each) for each, name in _spellings(*zip(*fresh, strict=True)).items()) if fresh else []
    )
    known |= {each: len(classes) + number for number, (_, each) in enumerate(new)}
    index = np.array([known[each] for each in of_row], dtype=np.int64)
    return index, [*classes, *(name for name, _ in new)]


def _spellings(own: Sequence[str | None], written: Sequence[str]) -> dict[str, str]:
    """For each key the commonest of its spellings, of equally common ones the first by the alphabet."""
    counts = Counter(
        (each, as_written(name)) for each, name in zip(own, written, strict=True) if each is not None
    )
    best_first = sorted(counts, key=lambda spelt: (-counts[spelt], spelt[1]))
    return dict(reversed(best_first))


def _notes_on_labels(
    called: str, classes: Sequence[str], known: Mapping[int, int], foreign: Sequence[str]
) -> list[str]:
    notes = []
    if kept := [name for label, name in enumerate(classes) if label not in known]:
        notes.append(f"{called}: labels without a row keep their names: {listed(kept)}")
    if foreign:
        notes.append(f"{called}: labels that no image has: {listed(foreign)}")
    return notes


def listed(names: Sequence[str], counts: Sequence[int] | None = None) -> str:
    """The first few names, quoted, each with its count, if any, and how many more there are."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    counted = [f" ({number})" for number in counts] if counts is not None else [""] * len(names)
    quoted = [f"{shown(name)}{number}" for name, number in zip(names[:NAMES_SHOWN], counted, strict=False)]
    return ", ".join(quoted) + more


# --- reading ------------------------------------------------------------------------------------------------


def _read(path: Path, called: str) -> Table:
    """The table at `path`, which messages call `called`; of its columns also those of OWN_COLUMNS."""
    try:
        table = read_table(path, (), {name: name for name in OWN_COLUMNS})
    except TraplineError as error:
        raise type(error)(str(error).replace(str(path), called)) from None
    if not table.lines:
        raise TraplineError(f"{called}: has a header and no row; write one, or leave the option out")
    return table


def _columns_of(table: Table) -> str:
    return f" (its columns: {listed(list(map(str, table.cells.columns)))})"


def _refuse_empty(cells: Sequence[str], table: Table, called: str, column: str, way_out: str) -> None:
    # What is plain is not cleaned, which takes long for a million cells.
    plain = (cell.isascii() and cell.strip() for cell in cells)
    empty = next((row for row, is_plain in enumerate(plain) if not (is_plain or clean(cells[row]))), None)
    if empty is not None:
        raise TraplineError(f"{called}: line {table.lines[empty]}: its {column} is empty; {way_out}")


def _refuse_faults(cells: Sequence[str], table: Table, called: str) -> None:
    """Raise TraplineError for the first label or class, of one column or two, that none may be."""
    for row, cell in enumerate(cells):
        if problem := fault(cell, Kind.CLASS):
            line = table.lines[row % len(table.lines)]
            raise TraplineError(
                f"{called}: line {line}: the class {shown(cell)} {problem}; give it another name"
            )


def refuse_contradictions(table: Corrections, images: Integers, called: str) -> None:
    """Raise TraplineError for the first image with two labels; `images`: a number for that of each row."""
    spelt = [table.classes[label] for label in table.label.tolist()]
    _refuse_two(images, table.label, table.names, spelt, table.lines, called)


def _refuse_two(
    names: Integers,
    values: Integers,
    written: Sequence[str],
    values_written: Sequence[str],
    lines: Sequence[int],
    called: str,
) -> None:
    """Raise TraplineError for the first of `names` that has two different values, one a row each."""
    rows = pd.DataFrame({"name": names, "value": values}).drop_duplicates()
    twice = rows[rows.duplicated("name", keep=False)]
    if twice.empty:
        return
    first, second = twice.index[twice["name"] == twice["name"].iloc[0]][:2]
    raise TraplineError(
        f"{called}: lines {lines[first]} and {lines[second]} contradict each other: {shown(written[first])} "
        f"is {shown(values_written[first])} and {shown(values_written[second])}; keep one"
    )


def _divided(
    cells: Sequence[str], table: Table, path: Path, called: str, known: Sequence[str]
) -> list[tuple[str, ...]]:
    """The labels of each cell: itself, where it is one of the `known`, else as `label_lists` divides it."""
    own = keys([*known, *cells], Kind.CLASS)
    names = set(own[: len(known)])
    whole = [each in names for each in own[len(known) :]]
    rows = [row for row, is_whole in enumerate(whole) if not is_whole]
    try:
        lists = label_lists([cells[row] for row in rows], path, lambda row: f"line {table.lines[rows[row]]}")
    except TraplineError as error:
        raise type(error)(str(error).replace(str(path), called)) from None
    every: list[tuple[str, ...]] = [(cell,) for cell in cells]
    for row, labels in zip(rows, lists, strict=True):
        every[row] = tuple(filter(None, labels))
    return every
