"""The competition's layout: `*_features.csv` (id, filepath, site), `*_labels.csv` (one column a class)."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from trapline.data.quarantine import (
    AMBIGUOUS_LABEL,
    CONTRADICTORY,
    DUPLICATE_ID,
    MISSING,
    UNKNOWN_LABEL,
    Quarantined,
)
from trapline.errors import TraplineError
from trapline.names import Kind, clean, key, keys, refuse
from trapline.preparation.facts import (
    FACTS,
    contradictions,
    place_in,
    problems_of,
    rows_of,
    set_aside,
    settled,
    with_facts,
)
from trapline.preparation.input_folder import InputFolder, NotInside
from trapline.preparation.listing import (
    COLUMNS,
    GIVEN,
    GROUP,
    TIME,
    UNLABELED,
    Classes,
    Source,
    first,
    named,
)
from trapline.tables import Table, read_rows, read_table

NO_CLASS, SEVERAL = -2, -3  # what a row of the labels may say instead of one class
FEATURES, LABELS = "_features.csv", "_labels.csv"
SUBMISSION_FORMAT = "submission_format.csv"
# Columns of a table of labels that are no classes; others of their names may be, where they are 0 and 1.
OTHER_COLUMNS = ("filepath", "site", "sequence", "split", "time", "date", GROUP)
CERTAINLY_OTHER = ("filepath", "path", "site", "location", "sequence", "seq_id", "split", "datetime")
BOOLEANS = {"true": 1.0, "t": 1.0, "yes": 1.0, "y": 1.0, "false": 0.0, "f": 0.0, "no": 0.0, "n": 0.0}
MIN_ONE_HOT = 0.75  # of its cells are 0 or 1 in a column that is a class
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Labels:
    """A table of labels: `index` (rows,), the class of each row, or NO_CLASS or SEVERAL.

    features: the name of the table that it belongs to. ids: keys. used: where the labels are the cells of one
    column, and the classes those that come there, the names as often as they come.
    """

    features: str
    table: Table
    ids: list[str]
    index: Integers
    classes: list[str]
    used: list[str] | None


def read_competition(folder: InputFolder) -> Source:
    """List the features (id, filepath, optional site, sequence and split) with their labels, one-hot.

    Features without a labels file are unlabelled. Class names and their order come from the labels' columns;
    a table with a column of labels is read as well. Rows that contradict each other are quarantined.
    Raises TraplineError where a table cannot be read, or nothing is labelled.
    """
    features = {
        path: read_table(path, ["id", "filepath"], folder.columns) for path in folder.tables(FEATURES)
    }
    labels_of, unread = _label_tables(folder, list(features))
    rows = pd.concat([_rows(table, folder, path in labels_of) for path, table in features.items()])
    rows = rows.reset_index(drop=True)
    own = pd.Series([own or "" for own in keys(rows["id"], Kind.ID)], dtype=object)
    rows = rows.assign(label=UNLABELED, key=own, joined=own)
    labels = [_labels_of(rows, path, table) for path, table in labels_of.items()]
    classes = _agreed(labels)
    notes = [note for table in (*features.values(), *labels_of.values()) for note in table.notes]
    source = Source(rows, classes.names, notes=notes + unread, merged=classes.merged)
    for found in labels:
        source = _with_labels(source, found, classes)
    source = _one_row_a_file(_with_facts(source, labels))
    columns = [*COLUMNS, *_said(source.images)]
    submission_format = folder.table(SUBMISSION_FORMAT)
    if submission_format is not None:
        read_rows(submission_format, ["id"])  # what cannot be read is said before the work
    return replace(source, images=source.images[columns], submission_format=submission_format)


def _said(images: pd.DataFrame) -> list[str]:
    """The further columns of a source in which anything is said."""
    return [name for name in (GIVEN, TIME, GROUP) if name in images.columns and images[name].notna().any()]


def _label_tables(folder: InputFolder, features: Sequence[Path]) -> tuple[dict[Path, Table], list[str]]:
    """The table of labels of each table of features that has one, and notes on those without features."""
    tables = folder.tables(LABELS)
    by_name = {path.name.lower(): path for path in tables}
    wanted = {path: path.name.lower().removesuffix(FEATURES) + LABELS for path in features}
    found = {
        path: read_table(by_name[name], ["id"], folder.columns)
        for path, name in wanted.items()
        if name in by_name
    }
    if not found:
        raise TraplineError(
            f"{folder.path}: no *{LABELS} beside the *{FEATURES}: there is nothing to learn from"
        )
    return found, [
        f"{path.name}: not read, for there is no {path.name.lower().removesuffix(LABELS)}{FEATURES}"
        for path in tables
        if path.name.lower() not in wanted.values()
    ]


def _rows(table: Table, folder: InputFolder, is_labelled: bool) -> pd.DataFrame:
    """A row an image: the columns of COLUMNS but label, what tells its file, and why it is not opened."""
    filepaths = table.cells[table.columns["filepath"]]
    found = pd.DataFrame(
        [_place(folder, given) for given in filepaths], columns=["path", "file", "problem"], dtype=object
    )
    return rows_of(table, list(found["file"])).assign(
        id=table.cells[table.columns["id"]],
        filepath=filepaths,
        path=found["path"],
        problem=found["problem"],
        is_labelled=is_labelled,
    )


def _place(folder: InputFolder, given: str) -> tuple[str, str, tuple[str, str] | None]:
    """Where a file lies, what its paths have in common, and why it may not be opened."""
    try:
        relative = folder.find(given)
    except NotInside as problem:
        # What leads out cannot be opened by this path, whoever tries.
        shown = given if problem.reason == MISSING and ".." not in given else f"\0{given}"
        return folder.full(shown), f"?{key(given, Kind.PATH)}", (problem.reason, problem.detail)
    return folder.full(relative), folder.identity(relative), None


def _labels_of(rows: pd.DataFrame, features: Path, table: Table) -> _Labels:
    """The labels of one table of features; `rows` gets the keys by which its ids are joined with theirs.

    The keys of both are made together: one of the tables may write 12 as 12.0.
    """
    mine = rows["table"] == features.name
    count = int(mine.sum())
    both = [own or "" for own in keys([*rows.loc[mine, "id"], *table.cells[table.columns["id"]]], Kind.ID)]
    rows.loc[mine, "joined"] = both[:count]
    return _Labels(features.name, table, both[count:], *_classes_of(table))


# --- labels -------------------------------------------------------------------------------------------------


def _classes_of(table: Table) -> tuple[Integers, list[str], list[str] | None]:
    """The class index of each row of a table of labels, the classes, and the cells of their one column.

    Without such a column they are its columns but those that say something else. Raises TraplineError for a
    column that is no class.
    """
    cells, columns = table.cells, table.columns
    facts = {columns[name] for name in OTHER_COLUMNS if name in columns}
    certain = {columns[name] for name in OTHER_COLUMNS if columns.get(name, "").casefold() in CERTAINLY_OTHER}
    values = {str(name): _numbers(cells[name]) for name in cells.columns if name != columns["id"]}
    one_hot = {
        name: not len(found) or np.isin(found, (0.0, 1.0)).mean() >= MIN_ONE_HOT
        for name, found in values.items()
    }
    classes = [name for name in values if name not in facts or (one_hot[name] and name not in certain)]
    for name in [name for name in OTHER_COLUMNS if columns.get(name) in classes]:
        del columns[name]  # a class that is called as a fact might be
    if len(classes) == 1 and classes == [columns.get("label")]:
        return _from_column(cells[classes[0]], table.path)
    if foreign := [name for name in classes if not one_hot[name]]:
        wrong = cells[foreign[0]][~np.isin(values[foreign[0]], (0.0, 1.0))]
        raise TraplineError(
            f"{table.path}: its column {foreign[0]!r} is no class, whose cells are 0 and 1 "
            f"({wrong.iloc[0]!r}, ...); remove it"
        )
    refuse((table.written.get(name, name) for name in classes), Kind.CLASS, str(table.path))
    matrix = [values[name] for name in classes] or [np.zeros(len(table.lines))]
    return _one_hot_index(np.column_stack(matrix)), classes, None


def _from_column(cells: pd.Series, path: Path) -> tuple[Integers, list[str], list[str]]:
    used = [str(cell) for cell in cells if clean(cell)]
    spelt = named(sorted(set(used)), used, path)
    index = np.array([spelt.index.get(str(cell), NO_CLASS) for cell in cells], dtype=np.int64)
    return index, spelt.names, used


def _numbers(cells: Sequence[str] | pd.Series) -> Floats:
    """The cells as numbers, NaN where they are none; True and False, and a comma for the point, count too."""
    codes, different = pd.factorize(np.asarray(cells, dtype=object))
    plain = [cell.strip().casefold().replace(",", ".") for cell in different]
    numbers = pd.Series([BOOLEANS.get(cell, cell) for cell in plain], dtype=object)
    return pd.to_numeric(numbers, errors="coerce").to_numpy(dtype=float)[codes]


def _one_hot_index(values: Floats) -> Integers:
    """The column of the one 1 in each row, NO_CLASS where there is none, SEVERAL where there is more."""
    ones = np.isclose(values, 1.0)
    clean = np.isclose(np.where(ones, 0.0, values), 0.0).all(axis=1)
    index = np.where((ones.sum(axis=1) == 1) & clean, ones.argmax(axis=1), SEVERAL)
    return np.where(ones.any(axis=1), index, NO_CLASS)


def _agreed(labels: Sequence[_Labels]) -> Classes:
    """The classes that all tables of labels have. Raises TraplineError where their columns differ."""
    every = [name for each in labels for name in each.classes]
    if all(each.used is not None for each in labels):
        return named(sorted(set(every)), [name for each in labels for name in each.used or ()])
    first_keys = [key(name, Kind.CLASS) for name in labels[0].classes]
    for other in labels[1:]:
        if [key(name, Kind.CLASS) for name in other.classes] != first_keys:
            raise TraplineError(f"{other.table.path}: its classes differ from those of the other *{LABELS}")
    return named(every)


def _with_labels(source: Source, labels: _Labels, classes: Classes) -> Source:
    """`source` with the labels of one table of features; what cannot be told is quarantined."""
    images, path = source.images, labels.table.path
    mine = images["table"] == labels.features
    ids = images.loc[mine, "joined"]
    if not ids.isin(labels.ids).any():
        own = first(labels.table.cells[labels.table.columns["id"]])
        raise TraplineError(
            f"{path}: none of its ids is in {labels.features} ({own} against {first(images.loc[mine, 'id'])})"
        )
    # The last places stand for the negative ones.
    of_class = np.array([*(classes.index[name] for name in labels.classes), SEVERAL, NO_CLASS, UNLABELED])
    labels = replace(labels, index=of_class[labels.index])
    index = pd.Series(labels.index, index=pd.Index(labels.ids, dtype=object))
    said = [classes.names[i] if i >= 0 else "none" if i == NO_CLASS else "several" for i in labels.index]
    facts = {"label": (said, [str(number) for number in labels.index])}
    conflicting = contradictions(labels.ids, facts, labels.table.place)
    unique = index[~index.index.duplicated()]
    images.loc[mine, "label"] = ids.map(unique).fillna(NO_CLASS).astype(int)
    problems = [
        (~ids.isin(unique.index), UNKNOWN_LABEL, f"no row in {path.name}"),
        (ids.map(unique) == NO_CLASS, UNKNOWN_LABEL, f"no 1 in its row in {path.name}"),
        (ids.map(unique) == SEVERAL, AMBIGUOUS_LABEL, f"not a single 1 in {path.name}"),
    ]
    found = {row: (reason, detail) for rows, reason, detail in reversed(problems) for row in ids.index[rows]}
    found |= {row: (AMBIGUOUS_LABEL, conflicting[own]) for row, own in ids.items() if own in conflicting}
    return set_aside(replace(source, quarantined=[*source.quarantined, *_alone(labels, ids, path)]), found)


def _alone(labels: _Labels, of_images: pd.Series, path: Path) -> list[Quarantined]:
    """The labels that no image has."""
    known = set(of_images)
    ids = zip(labels.ids, labels.table.cells[labels.table.columns["id"]], strict=True)
    alone = {own: name for own, name in reversed(list(ids)) if own not in known}
    return [
        Quarantined(name, "", MISSING, f"{path.name} has it, its features file does not")
        for name in reversed(alone.values())
    ]


# --- one row a file -----------------------------------------------------------------------------------------


def _with_facts(source: Source, labels: Sequence[_Labels]) -> Source:
    """`source` with one site, sequence and part for each file, also from the tables of labels."""
    images = source.images
    rows = [images]
    for each in labels:
        mine = images[images["table"] == each.features]
        file_of = dict(zip(mine["joined"], mine["file"], strict=True))
        rows.append(rows_of(each.table, [file_of.get(own) for own in each.ids]))
    together = pd.concat([each[["file", *FACTS, "table", "line"]] for each in rows])
    facts = settled(together[together["file"].notna()].reset_index(drop=True))
    return set_aside(
        replace(source, images=with_facts(images, facts.of(images["file"]))),
        problems_of((CONTRADICTORY, images["file"], facts.contradictory)),
    )


def _one_row_a_file(source: Source) -> Source:
    """`source` without rows that repeat another, that share an id, or that give a file two ids.

    Of equal rows one stays, a labelled one if there is. Of an id with several files, or a file with several
    ids, none does: the order of rows must not decide which of them the label belongs to.
    """
    labelled_first = source.images.sort_values("is_labelled", ascending=False, kind="stable")
    repeated = labelled_first.duplicated(["key", "file"]).sort_index()
    quarantined = [
        Quarantined(
            str(row.id), str(row.filepath), DUPLICATE_ID, f"{row.table}, line {row.line} says it again"
        )
        for row in source.images[repeated].itertuples()
    ]
    images = source.images[~repeated].reset_index(drop=True)
    source = replace(source, images=images, quarantined=[*source.quarantined, *quarantined])
    place = functools.partial(place_in, images)
    ids, files = list(images["key"]), list(images["file"])
    ids_of = contradictions(files, {"id": (list(images["id"]), ids)}, place)
    files_of = contradictions(ids, {"file": (list(images["filepath"]), files)}, place)
    source = set_aside(source, problems_of((CONTRADICTORY, files, ids_of), (DUPLICATE_ID, ids, files_of)))
    barred = {
        str(path): problem
        for path, problem in zip(source.images["path"], source.images["problem"], strict=True)
        if problem is not None
    }
    return replace(source, barred={**source.barred, **barred})  # what must not be opened goes first
