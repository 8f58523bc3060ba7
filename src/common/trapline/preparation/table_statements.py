"""From the columns of a table to statements of images: what a CSV of any program has in common with others.

A person may say what columns are called (`--columns`); a name that no column has is refused. Labels may stand
in several columns. Cells such as NA say nothing.
"""

import difflib
import itertools
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from trapline.column_names import KNOWN, LABELS, named_columns, plain_column
from trapline.data.quarantine import MISSING, Quarantined
from trapline.errors import TraplineError, UsageError
from trapline.job_contract import prepare_option
from trapline.names import clean, shown
from trapline.preparation.facts import is_nothing, rows_of
from trapline.preparation.label_tables import label_lists
from trapline.preparation.listed_rows import STATEMENT
from trapline.preparation.listing import GROUP, Reading
from trapline.storage import joined, restored
from trapline.tables import Table

TABLES = (".csv", ".tsv", ".txt")  # suffixes of what may be given itself
LABEL, PATH, DELETED = "label", "filepath", "deleted"
TAKEN = "class_"  # before the name of a class that another column has
EXAMPLE = 40  # characters of a cell that is shown
TRUE, FALSE = ("true", "t", "yes", "y", "1", "1.0"), ("false", "f", "no", "n", "0", "0.0")
COLUMNS_SHOWN = 20
CLOSE = 0.5  # of two names, as difflib measures it
Cells = list[str | None]


def is_table(reading: Reading) -> bool:
    """Whether a table, and no JSON, was given itself."""
    return reading.table is not None and reading.table.name.lower().endswith(TABLES)


def refuse_other_labels(reading: Reading) -> None:
    """Raise UsageError for an option that says what a table says; of several inputs another may be meant."""
    for name, value in (("folders", reading.folders), ("label-tag", reading.label_tag)):
        if value and not reading.among_others:
            raise UsageError(
                f"{prepare_option(name, value)}: a table says labels and sites itself; leave it out, and "
                f"name its columns with {prepare_option('columns', 'label=COLUMN site=COLUMN')}"
            )


# --- which columns ------------------------------------------------------------------------------------------


def check_given(tables: Sequence[Table], given: Mapping[str, str], reading: Reading) -> list[str]:
    """Notes on names of `--columns` that no column of the `tables` has, where there are several inputs.

    Raises UsageError for such a name where there is one input: with the columns there are, and the closest.
    """
    notes = []
    for known, column in given.items():
        if known == GROUP or any(named_columns(list(table.written), {known: column}) for table in tables):
            continue
        own = "path" if known == PATH else known.partition(" ")[0]
        asked, place = prepare_option("columns", f"{own}={column}"), tables[0].path.name
        if not reading.among_others:
            raise UsageError(
                f"{asked}: {place} has no such column ({_has(tables)}){_closest(tables, column)}"
            )
        notes.append(f"{asked}: {place} has no such column; the usual names are looked for")
    return notes


def _has(tables: Sequence[Table]) -> str:
    names = list(dict.fromkeys(name for table in tables for name in table.written))
    more = f" and {len(names) - COLUMNS_SHOWN} more" if len(names) > COLUMNS_SHOWN else ""
    return f"its columns: {', '.join(names[:COLUMNS_SHOWN])}{more}"


def _closest(tables: Sequence[Table], column: str) -> str:
    names = {name.casefold(): name for table in tables for name in table.written}
    found = difflib.get_close_matches(clean(column).casefold(), list(names), n=1, cutoff=CLOSE)
    return f"; is {names[found[0]]} meant?" if found else ""


def check_columns(tables: Sequence[Table], *, paths: bool = True, labels: bool = True) -> None:
    """Raise TraplineError where no table has a column of `labels`, or one has none of `paths`.

    With the columns there are.
    """
    for table in tables if paths else ():
        if PATH not in table.columns:
            raise TraplineError(
                f"{table.path}: has no column of paths that is known ({_has([table])}); name it with "
                f"{prepare_option('columns', 'path=COLUMN')}"
            )
    if labels and not any(label_columns(table) for table in tables):
        raise TraplineError(
            f"{tables[0].path}: has no column of labels that is known ({_has(tables)}); name it with "
            f"{prepare_option('columns', 'label=COLUMN')}"
        )


def together(rows: Sequence[pd.DataFrame], tables: Sequence[str]) -> pd.DataFrame:
    """The statements of several tables, by their names. Raises TraplineError where they name no image."""
    if not rows:
        raise TraplineError(f"{', '.join(tables)}: names none of the images")
    every = pd.concat(rows, ignore_index=True)
    if every.empty:
        raise TraplineError(
            f"{', '.join(tables)}: names no image: no row has a path; fill its column of paths"
        )
    return every


def label_columns(table: Table) -> list[str]:
    """The columns that hold labels: those that a person names, else the one that is known."""
    return [name for known, name in table.columns.items() if known.partition(" ")[0] in (LABEL, LABELS)]


def label_cells(table: Table, notes: list[str], *, is_asked: bool) -> list[Cells]:
    """What the columns of labels say of each row; one whose cells hold several comes as several.

    `is_asked`: whether a person names such columns. Else a column `labels` is divided in which each word is
    the name of another column, as in Trapline's own predictions, and goes before the one label beside it.
    """
    listed = table.columns.get(LABELS)
    own = None if is_asked else _of_own_columns(table)
    if own is not None:
        table.columns.pop(LABEL)
        table.columns[LABELS] = LABELS
        notes.append(f"{table.path.name}: its column {LABELS} holds any number of labels a cell")
        return side_by_side(own)
    said: list[Cells] = []
    for name in label_columns(table):
        said += listed_labels(table, name, notes) if name == listed else [texts(list(table.cells[name]))]
    return said


def listed_labels(table: Table, name: str, notes: list[str]) -> list[Cells]:
    """The labels of the column `name`, whose cells hold any number of them, as `label_lists` divides them."""
    cells = texts_or_empty(list(table.cells[name]))
    lists = label_lists(cells, table.path, lambda row: f"line {table.lines[row]}")
    notes.append(f"{table.path.name}: {name} holds any number of labels a cell{_example(cells, lists)}")
    return side_by_side(lists)


def _of_own_columns(table: Table) -> list[tuple[str, ...]] | None:
    """The labels of a column `labels` whose words are names of other columns; None where that is not so."""
    if LABELS not in table.cells.columns or LABEL not in table.columns:
        return None
    label_of: dict[str, str] = {}
    for name in map(restored, table.written.values()):
        label_of |= {joined([own]): own for own in _without_prefixes(name)}
    lists = [cell.split() for cell in table.cells[LABELS]]
    if not any(lists) or any(word not in label_of for word in set(itertools.chain(*lists))):
        return None
    return [tuple(label_of[word] for word in words) for words in lists]


def _without_prefixes(name: str) -> Iterator[str]:
    """What the class may be called that has the column `name`."""
    yield name
    while name.startswith(TAKEN):
        name = name.removeprefix(TAKEN)
        yield name


def side_by_side(lists: Sequence[Sequence[str]]) -> list[Cells]:
    """Of lists of labels, one a row, the first of each, the second, ... as columns; None where one ends."""
    return [list(cells) for cells in itertools.zip_longest(*lists)]


def _example(cells: Sequence[str], lists: Sequence[tuple[str, ...]]) -> str:
    found = next((row for row, labels in enumerate(lists) if len(labels) > 1), None)
    return "" if found is None else f", as {cells[found][:EXAMPLE]!r}: {', '.join(lists[found])}"


def told(table: Table, **read: str | None) -> str:
    """A note on which columns of a table were `read` as what, beside those of labels and facts."""
    facts = ("site", "sequence", "split", "time", "date", GROUP, DELETED)
    labels = [f"{name} as label" for name in label_columns(table)]
    others = [f"{table.columns[known]} as {known}" for known in facts if known in table.columns]
    own = [f"{name} as {known}" for known, name in read.items() if name]
    read_kinds = (*((LABEL,) if labels else ()), *(("site",) if "site" in table.columns else ()))
    unread = [
        name for known in read_kinds for name in table.written
        if plain_column(name) in KNOWN[known] and name not in table.columns.values()
    ]  # fmt: skip
    more = f"; not read, though known as labels or sites: {', '.join(unread)}" if unread else ""
    return f"{table.path.name}: read: its columns {', '.join([*own, *labels, *others])}{more}"


# --- what cells say -----------------------------------------------------------------------------------------


def texts(cells: Sequence[str]) -> Cells:
    """The cells as they are written, None where one says nothing."""
    said = {cell: None if is_nothing(cell) else cell for cell in set(cells)}
    return [said[cell] for cell in cells]


def texts_or_empty(cells: Sequence[str]) -> list[str]:
    """The cells as they are written, empty where one says nothing."""
    return [cell or "" for cell in texts(cells)]


def truths(cells: Sequence[str], column: str, table: Table) -> list[bool | None]:
    """Whether cells say true or false, in any case, or 1 or 0; None where one says nothing.

    Raises TraplineError, naming file, line and column, for what is neither.
    """
    values = {
        cell: None if is_nothing(cell) else clean(cell).casefold() in TRUE for cell in dict.fromkeys(cells)
    }
    wrong = [cell for cell, value in values.items() if value is False and clean(cell).casefold() not in FALSE]
    if wrong:
        line = table.lines[list(cells).index(wrong[0])]
        raise TraplineError(
            f"{table.path}: line {line}: {shown(wrong[0])} in its column {column} is neither true nor false"
        )
    return [values[cell] for cell in cells]


def silent(table: Table) -> list[str]:
    """A note on each word among a table's labels that is taken for nothing, such as NA."""
    counts = pd.concat([table.cells[name] for name in label_columns(table)]).value_counts()
    return [
        f"{table.path.name}: {count} cells say {word!r} as label and are read as none; if it is a class, "
        "call it otherwise"
        for word, count in counts.items()
        if is_nothing(str(word)) and clean(str(word))
    ]


# --- statements ---------------------------------------------------------------------------------------------


def rows_said(
    table: Table, paths: Sequence[str], labels: Sequence[Cells], **said: Sequence[object] | None
) -> tuple[pd.DataFrame, list[Quarantined]]:
    """Statements of a table: a row for each of its rows, more where several of the `labels` say something.

    `paths`: the image of each row. `labels`: of each column of labels what each row says. `said`: what goes
    before the facts that the table's columns give. Rows without a path are quarantined.
    """
    own: dict[str, Sequence[object] | None] = {"id": None, "deleted": None, "site": _of(table, "site")}
    own["label"] = labels[0] if labels else None
    own |= {name: values for name, values in said.items() if values is not None}
    facts = _with(rows_of(table, list(paths)), own)
    rest = [
        _with(facts[["file", "table", "line"]], {"label": cells})[[cell is not None for cell in cells]]
        for cells in labels[1:]
    ]
    rows = pd.concat([facts, *rest], ignore_index=True)[list(STATEMENT)]
    rows = rows.astype(object).where(rows.notna(), None) if rest else rows
    is_empty = pd.Series([not path.strip() for path in rows["file"]], index=rows.index, dtype=bool)
    lines = list(dict.fromkeys(rows["line"][is_empty]))
    quarantined = [
        Quarantined(f"{table.path.name}, line {line}", "", MISSING, "no path in its row") for line in lines
    ]
    return rows[~is_empty], quarantined


def _with(rows: pd.DataFrame, said: Mapping[str, Sequence[object] | None]) -> pd.DataFrame:
    """The rows with columns more, as objects: None stays None."""
    nothing = [None] * len(rows)
    columns = {name: nothing if values is None else list(values) for name, values in said.items()}
    return rows.assign(**{name: pd.Series(own, rows.index, dtype=object) for name, own in columns.items()})


def _of(table: Table, known: str) -> Cells | None:
    cells = table.column(known)
    return None if cells is None else texts(list(cells))
