"""Timelapse's CSV: RootFolder, File, RelativePath, DateTime, DeleteFlag, and the columns of a template.

Older versions write File, Folder, Date, Time and ImageQuality. An image lies at RelativePath/File below the
folder of the CSV, or below RootFolder there. Labels stand in a column of texts, or in counters and flags, a
column for each class (`--columns label=Fox label=Deer`).
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from trapline.column_names import LABELS, named_columns, plain_column
from trapline.data.quarantine import Quarantined
from trapline.errors import TraplineError
from trapline.job_contract import prepare_option
from trapline.preparation.camera_folders import is_no_camera, sites_of
from trapline.preparation.input_folder import InputFolder
from trapline.preparation.listed_rows import source_of
from trapline.preparation.listing import Reading, Source
from trapline.preparation.machine_labels import with_told, without_machines
from trapline.preparation.mapped_tables import unnamed
from trapline.preparation.media import Media
from trapline.preparation.table_statements import (
    PATH,
    Cells,
    check_columns,
    check_given,
    is_table,
    label_columns,
    listed_labels,
    refuse_other_labels,
    rows_said,
    side_by_side,
    silent,
    texts,
    texts_or_empty,
    together,
    told,
    truths,
)
from trapline.tables import Table, header_of, read_table, read_text

LAYOUT = "timelapse"
FILE, RELATIVE, DELETE_FLAG = "file", "relativepath", "deleteflag"
ROOTS = ("rootfolder", "folder")  # the latter in older versions
OWN = (DELETE_FLAG, "imagequality", "rootfolder")  # of which a table of Timelapse has one
NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?")
ZERO = re.compile(r"[+-]?0+([.,]0+)?")
FLAGS = ("true", "false")
SPACED = re.compile(r"^,|,\s|\s,|,,|,$")  # no comma between two choices


def is_timelapse(folder: InputFolder, reading: Reading) -> bool:
    """Whether the table that was given, or one at the top of `folder`, is Timelapse's."""
    other = (reading.folders or reading.label_tag) and reading.layout is None and not reading.among_others
    if PATH in folder.columns or other:
        return False
    return bool(_tables(folder, reading))


def _tables(folder: InputFolder, reading: Reading) -> list[Path]:
    if reading.table is not None:
        return [reading.table] if is_table(reading) and _is_timelapses(reading.table) else []
    return [path for path in folder.tables() if _is_timelapses(path)]


def _is_timelapses(path: Path) -> bool:
    """Whether a table has the columns that Timelapse writes."""
    try:
        names = {plain_column(name) for name in header_of(read_text(path)[0], [PATH])[0]}
    except TraplineError:  # whoever reads the table says so
        return False
    return FILE in names and not names.isdisjoint((RELATIVE, *ROOTS)) and not names.isdisjoint(OWN)


def read_timelapse(folder: InputFolder, reading: Reading) -> Source:
    """List the images of the CSV that was given, or of those at the top of `folder`.

    The id of an image is its path. The site is its first folder below the root, or what `--columns` names. A
    row whose DeleteFlag is true is deleted, one with an empty label unlabelled. Raises TraplineError where
    the CSV cannot be read, has no column of labels that is known, or names no image that is there; UsageError
    for a column that is named and not there.
    """
    refuse_other_labels(reading)
    tables = [read_table(path, [], folder.columns) for path in _tables(folder, reading)]
    notes = check_given(tables, folder.columns, reading)
    check_columns(tables, paths=False, labels=reading.needs_labels)
    media = Media(reading.media or folder, reading.origin, reading.copies)
    paths, alternatives = _named(tables)
    said = [_rows(table, own, folder, notes, reading) for table, own in zip(tables, paths, strict=True)]
    titles = [table.path.name for table in tables]
    rows = together([rows for rows, *_ in said], titles)
    source = source_of(rows, media, alternatives=alternatives, notes=notes)
    source = with_told(source, [note for *_, left_out in said for note in left_out])
    quarantined = [row for _, rows_aside, _ in said for row in rows_aside]
    return replace(
        source,
        quarantined=[*quarantined, *source.quarantined],
        notes=[*source.notes, *unnamed(media, titles)],
    )


def _rows(
    table: Table, paths: Sequence[str], folder: InputFolder, notes: list[str], reading: Reading
) -> tuple[pd.DataFrame, list[Quarantined], list[str]]:
    """Statements of a table, its rows without a file, and notes on labels of a machine that are left out.

    `notes` get how it was read.
    """
    flag = next((name for name in table.written if plain_column(name) == DELETE_FLAG), None)
    deleted = truths(list(table.cells[flag]), flag, table) if flag else None
    named = named_columns(list(table.written), folder.columns).values()
    columns = label_columns(table) if reading.needs_labels else []
    labels: list[Cells] = []
    for name in columns:
        labels += _labels(table, name, name in named, notes)
    labels, left_out = without_machines(table, labels, reading)
    sites = None
    if not _has_sites(table, folder):
        table.columns.pop("site", None)
        sites = _sites(table)
        notes += _told_of_sites(table, sites)
    rows, aside = rows_said(table, paths, labels, deleted=deleted, site=sites)
    of_path = [name for name in table.written if plain_column(name) in (FILE, RELATIVE)]
    notes += [*table.notes, told(table, path=" and ".join(of_path), deleted=flag)]
    notes += silent(table) if columns else []
    return rows, aside, left_out


# --- where images lie ---------------------------------------------------------------------------------------


def _cells(table: Table, names: Sequence[str]) -> list[str]:
    """The cells of the first of the columns `names` that there is, with slashes; else empty ones."""
    found = next((name for own in names for name in table.written if plain_column(name) == own), None)
    if found is None:
        return [""] * len(table.lines)
    return [cell.replace("\\", "/").strip("/ ") for cell in texts_or_empty(list(table.cells[found]))]


def _paths(table: Table) -> list[str]:
    """The path of each row below the root; empty where the row names no file."""
    files = _cells(table, (FILE,))
    return [
        ""
        if not file
        else folder
        if folder.endswith(f"/{file}") or folder == file
        else f"{folder}/{file}".lstrip("/")
        for folder, file in zip(_cells(table, (RELATIVE,)), files, strict=True)
    ]


def _named(tables: Sequence[Table]) -> tuple[list[list[str]], dict[str, str]]:
    """The image of each row of each table, and its other name: below the root's folder, or in it.

    With the root before it where there are several: the same path below another one is another image.
    """
    roots = [_cells(table, ROOTS) for table in tables]
    inside = [_paths(table) for table in tables]
    below = [
        [f"{root}/{path}" if root and path else path for root, path in zip(*both, strict=True)]
        for both in zip(roots, inside, strict=True)
    ]
    several = len({root for own in roots for root in own}) > 1
    names, others = (below, inside) if several else (inside, below)
    pairs = zip(itertools.chain(*names), itertools.chain(*others), strict=True)
    return names, {name: other for name, other in pairs if name != other}


def _has_sites(table: Table, folder: InputFolder) -> bool:
    """Whether a column of sites is named, or is filled in every row and says several."""
    name = table.columns.get("site")
    cells = set(texts(list(table.cells[name]))) if name else {None}
    is_named = "site" in named_columns(list(table.written), folder.columns)
    return is_named or (None not in cells and len(cells) > 1)


def _sites(table: Table) -> Cells:
    """The camera of each row: the first folder of its RelativePath that tells images apart.

    Where none does, its first one, or that of the root.
    """
    roots = [root.rpartition("/")[2] for root in _cells(table, ROOTS)]
    places = [f"{root}/{folder}" for root, folder in zip(roots, _cells(table, (RELATIVE,)), strict=True)]
    first = {place: _first_camera(place) for place in dict.fromkeys(places)}
    return [site or first[place] for site, place in zip(sites_of(places), places, strict=True)]


def _first_camera(place: str) -> str | None:
    root, _, folder = place.partition("/")
    names = [name for name in folder.split("/") if name and not is_no_camera(name)]
    return next(iter(names), root or None)


def _told_of_sites(table: Table, sites: Cells) -> list[str]:
    known = next(((row, site) for row, site in enumerate(sites) if site), None)
    way_out = prepare_option("columns", "site=COLUMN")
    if known is None:
        return [f"{table.path.name}: no sites: its folders tell no cameras; {way_out} names them"]
    example = f"{known[1]!r} for {_paths(table)[known[0]]!r}"
    return [
        f"{table.path.name}: sites are the folders of {RELATIVE}, as {example} ({len(set(sites))} in all); "
        f"{way_out} says otherwise"
    ]


# --- labels -------------------------------------------------------------------------------------------------


def _labels(table: Table, name: str, is_asked: bool, notes: list[str]) -> list[Cells]:
    """The labels that a column gives each row: its text, or its own name where a counter or flag is set.

    Several columns of them where its cells hold several, as those of a MultiChoice do.
    """
    if name == table.columns.get(LABELS):
        return listed_labels(table, name, notes)
    cells = texts(list(table.cells[name]))
    if not is_asked and _are_choices(cells):
        notes.append(
            f"{table.path.name}: {name} holds several labels a cell, with commas between them; "
            f"{prepare_option('columns', f'label={name}')} takes each cell for one"
        )
        return side_by_side([() if cell is None else cell.split(",") for cell in cells])
    different = {cell for cell in cells if cell is not None}
    counts = all(NUMBER.fullmatch(cell.strip()) for cell in different)
    flags = all(cell.strip().casefold() in FLAGS for cell in different)
    if not is_asked or not different or not (counts or flags):
        return [cells]
    is_set = {
        cell: not ZERO.fullmatch(cell.strip()) if counts else cell.strip().casefold() == FLAGS[0]
        for cell in different
    }
    kind, rule = ("counter", "it is not zero") if counts else ("flag", "it is true")
    notes.append(f"{table.path.name}: {name} is a {kind}: where {rule}, the label is {name!r}")
    return [[name if cell is not None and is_set[cell] else None for cell in cells]]


def _are_choices(cells: Cells) -> bool:
    """Whether cells are of a MultiChoice, which writes a comma, and no blank, between its choices."""
    several = [cell for cell in {*cells} if cell is not None and "," in cell]
    return bool(several) and not any(SPACED.search(cell) or NUMBER.fullmatch(cell) for cell in several)
