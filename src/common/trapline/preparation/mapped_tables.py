"""A CSV that names images and their labels, in columns of any name: one row an image, or several.

The columns are known by the usual names, or a person says them (`--columns path=filename label=species`).
Where the table names no site, the folder of an image's camera is its site, if folders tell cameras apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from trapline.column_names import LABELS, known_columns, named_columns, plain_column
from trapline.data.quarantine import Quarantined
from trapline.errors import TraplineError
from trapline.job_contract import prepare_option
from trapline.names import Kind, key
from trapline.preparation.camera_folders import sites_of
from trapline.preparation.facts import is_nothing
from trapline.preparation.input_folder import InputFolder, is_image_name
from trapline.preparation.label_tables import NUMBER
from trapline.preparation.listed_rows import source_of
from trapline.preparation.listing import (
    CAPTION,
    GIVEN,
    TRAIN,
    UNLABELED,
    Reading,
    Source,
    is_unlabeled,
    part_folders,
    part_of,
    printable,
)
from trapline.preparation.machine_labels import with_told, without_machines
from trapline.preparation.media import SAMPLE, Media
from trapline.preparation.table_statements import (
    DELETED,
    FALSE,
    LABEL,
    PATH,
    TRUE,
    Cells,
    check_columns,
    check_given,
    is_table,
    label_cells,
    label_columns,
    refuse_other_labels,
    rows_said,
    silent,
    texts,
    texts_or_empty,
    together,
    told,
    truths,
)
from trapline.storage import restored
from trapline.tables import Table, header_of, read_table, read_text

LAYOUT = "csv"
BLANK = "blank"
TRUTH = ("filePath", "scientificName", "genus", "family", "order", "class")  # of CamTrapTools' truth files
NOT_READ = ("submission", "prediction")  # in a table's name: answers of a model, or an example of them
FOLDERS = ("directory", "folder", "dir", "folderpath", "directorypath", "subfolder")  # beside a file's name
ANY_LABELS = {LABEL, LABELS}
MOSTLY = 0.95  # of the images must have an id of their own, where a column is called so


# --- recognising --------------------------------------------------------------------------------------------


def is_mapped_table(folder: InputFolder, reading: Reading) -> bool:
    """Whether a table was given itself, or one at the top of `folder` names images and their labels.

    Not where the images lie in class folders that the labels name, or that the table does not name: then it
    says more of those, or is about something else.
    """
    if reading.table is not None:
        return is_table(reading)
    if reading.layout == LAYOUT:
        return bool(folder.tables())
    if (reading.folders or reading.label_tag) and not reading.among_others:
        return False
    tables_of_images = _tables_of_images(folder)
    if not reading.needs_labels:
        return bool(tables_of_images)
    labelled = [path for path in tables_of_images if ANY_LABELS & _columns_of(path, folder).keys()]
    if not labelled:
        is_asked = bool(ANY_LABELS & folder.columns.keys())
        return is_asked and bool(folder.tables()) and not reading.among_others
    classes = _class_folders(folder)
    if not classes:
        return True
    tables = {path: read_table(path, [], folder.columns) for path in labelled}
    is_mapped = not any(classes & _labels_of(table) for table in tables.values()) and any(
        _names_images(table, reading.media or folder) for table in tables.values()
    )
    folder.read = tables if is_mapped else {}
    return is_mapped


def _tables_of_images(folder: InputFolder) -> list[Path]:
    """The tables at the top of `folder` that have a column of paths, but for answers of a model."""
    tables = (path for path in folder.tables() if not _is_answers(path))
    return [path for path in tables if PATH in _columns_of(path, folder)]


def _is_answers(path: Path) -> bool:
    return any(word in path.name.casefold() for word in NOT_READ)


def _columns_of(path: Path, folder: InputFolder) -> dict[str, str]:
    """What the columns of a table are called, by what they are known as; none where it cannot be read."""
    try:
        cells = header_of(read_text(path)[0], [PATH])[0]
    except TraplineError:  # whoever reads the table says so
        return {}
    return {**known_columns(cells), **named_columns(cells, folder.columns)}


def _class_folders(folder: InputFolder) -> set[str]:
    """The keys of the folders that would be classes, at the top or below the parts of a split."""
    try:
        parts = part_folders(folder)
    except TraplineError:  # half a split: the table says more than it does
        return set()
    names = folder.folders(parts[TRAIN] if parts else "")
    classes = {key(name, Kind.CLASS) for name in names if not is_unlabeled(name)}
    return classes if len(classes) > 1 else set()


def _names_images(table: Table, folder: InputFolder) -> bool:
    """Whether any of a sample of a table's images is in the folder."""
    paths, alternatives, _ = _paths(table)
    sample = paths[:: len(paths) // SAMPLE + 1]
    tried = (sample, [alternatives[path] for path in sample if path in alternatives])
    return any(
        not place.problem for names in tried for place in Media(folder).find(names, table.path.name).values()
    )


def _labels_of(table: Table) -> set[str]:
    labels = {cell for name in label_columns(table) for cell in set(table.cells[name])}
    return {key(label, Kind.CLASS) for label in labels if not is_nothing(label)}


# --- reading ------------------------------------------------------------------------------------------------


@dataclass
class _Said:
    """What the tables say: statements of each, rows without a path, other names of files, and notes.

    `of_machines`: notes on labels that a machine gave, and that are left out.
    """

    rows: list[pd.DataFrame] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    alternatives: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    of_machines: list[str] = field(default_factory=list)


def read_mapped_table(folder: InputFolder, reading: Reading) -> Source:
    """List the images of the table that was given, or of those at the top of `folder`.

    The id of an image is that of its row, else its path as it is written. Images that no row names are
    counted in a note. Raises TraplineError where a table cannot be read, has no column of paths or labels, or
    names no image that is there; UsageError for a column that is named and not there.
    """
    refuse_other_labels(reading)
    said = _Said()
    tables = sorted(_read(folder, reading, said.notes), key=lambda table: not label_columns(table))
    said.notes += check_given(tables, folder.columns, reading)
    check_columns(tables, labels=reading.needs_labels)
    media = Media(reading.media or folder, reading.origin, reading.copies)
    titles = [table.path.name for table in tables]
    while tables:  # a table goes when its rows are taken up: a million rows take half a gigabyte
        _add(tables.pop(0), folder, media, said, reading)
    rows = together(said.rows, titles)
    source = source_of(rows, media, classes=_order(rows), alternatives=said.alternatives, notes=said.notes)
    source = replace(source, quarantined=[*said.quarantined, *source.quarantined])
    source = with_folders(with_told(source, said.of_machines), media)
    source = replace(source, notes=[*source.notes, *unnamed(media, titles)])
    return source if reading.needs_labels else _without_labels(source)


def _without_labels(source: Source) -> Source:
    """`source` without its labels, which have told cameras from classes."""
    images = source.images.drop(columns=[LABELS, CAPTION, GIVEN], errors="ignore").assign(label=UNLABELED)
    return replace(source, images=images, classes=[], merged={}, undecided=False)


def _read(folder: InputFolder, reading: Reading, notes: list[str]) -> list[Table]:
    if reading.table is not None:
        return [read_table(reading.table, [], folder.columns)]
    answers = [path.name for path in folder.tables() if _is_answers(path)]
    notes += [
        f"{name}: not read, for by its name it holds answers; give it itself, if it does not"
        for name in answers
    ]
    paths = _tables_of_images(folder) or [path for path in folder.tables() if path.name not in answers]
    return [
        folder.read.pop(path) if path in folder.read else read_table(path, [], folder.columns)
        for path in paths or folder.tables()
    ]


def _add(table: Table, folder: InputFolder, media: Media, said: _Said, reading: Reading) -> None:
    """Take up what a table says; one without labels may be about something else, which is said."""
    paths, alternatives, beside = _paths(table)
    columns = label_columns(table) if reading.needs_labels else []
    if not columns and all(place.problem for place in media.find(paths, table.path.name).values()):
        said.notes.append(f"{table.path.name}: names none of the images; not read")
        return
    is_asked = bool(ANY_LABELS & folder.columns.keys())
    labels = label_cells(table, said.notes, is_asked=is_asked) if columns else _different(table)
    if _is_truth_file(table):
        labels = [[BLANK if cell is None else cell for cell in cells] for cells in labels]
        said.notes.append(
            f"{table.path.name}: a list of labels by CamTrapTools, where an empty scientificName is {BLANK}"
        )
    if columns:
        _refuse_flags(table, columns, labels)
        labels, left_out = without_machines(table, labels, reading)
        said.of_machines += left_out
    ids = _ids(table, paths, "id" in folder.columns, said.notes)
    name = table.columns.get(DELETED)
    deleted = truths(list(table.cells[name]), name, table) if name else None
    rows, quarantined = rows_said(table, paths, labels, id=ids, deleted=deleted)
    said.rows.append(rows)
    said.quarantined += quarantined
    said.alternatives |= alternatives
    path_column = f"{beside} and {table.columns[PATH]}" if beside else table.columns[PATH]
    said.notes += [*table.notes, told(table, path=path_column, id=table.columns.get("id") if ids else None)]
    said.notes += silent(table) if columns else []


def _different(table: Table) -> list[Cells]:
    """The first of the columns of labels, with a number for each different one: whatever they are called."""
    columns = [texts(list(table.cells[name])) for name in label_columns(table)[:1]]
    numbers = [pd.factorize(pd.Series(cells, dtype=object))[0].tolist() for cells in columns]
    return [[None if number < 0 else str(number) for number in column] for column in numbers]


def _is_truth_file(table: Table) -> bool:
    """Whether a table has just the columns that `camtraptools labels` writes, in their order."""
    return list(table.written) == list(TRUTH)


def _paths(table: Table) -> tuple[list[str], dict[str, str], str | None]:
    """The image of each row, another name that it may have, and the column of folders where there is one.

    camtrapR and others write Directory and FileName: the other name is the latter alone. An apostrophe before
    what a spreadsheet would take for a formula is left out: the other name has it.
    """
    written = list(table.cells[table.columns[PATH]])
    names = [restored(name) for name in written]
    beside = next((name for name in table.written if plain_column(name) in FOLDERS), None)
    if beside is None or any("/" in name or "\\" in name for name in names):
        return names, {name: own for name, own in zip(names, written, strict=True) if name != own}, None
    folders = [folder.strip().rstrip("/\\") for folder in texts_or_empty(list(table.cells[beside]))]
    paths = [
        f"{folder}/{name}" if folder and name.strip() else name
        for folder, name in zip(folders, names, strict=True)
    ]
    return paths, dict(zip(paths, names, strict=True)), beside


def _refuse_flags(table: Table, columns: Sequence[str], labels: Sequence[Sequence[str | None]]) -> None:
    """Raise TraplineError where several columns of labels are flags, a column for each class."""
    flags = {*TRUE, *FALSE}
    if len(columns) > 1 and all(
        (cell or "0").strip().casefold() in flags for cells in labels for cell in set(cells)
    ):
        raise TraplineError(
            f"{table.path}: its columns {' and '.join(columns)} hold 1 and 0, or true and false, and no "
            "labels; a table with a column for each class is read as NAME_labels.csv beside "
            "NAME_features.csv (id, filepath)"
        )


def _ids(table: Table, paths: Sequence[str], is_asked: bool, notes: list[str]) -> list[str | None] | None:
    """The ids of the rows' images; None where a column that is only called so does not tell images apart."""
    name = table.columns.get("id")
    if name is None:
        return None
    ids = texts(list(table.cells[name]))
    pairs = pd.DataFrame({"file": list(paths), "id": ids}, dtype=object).dropna().drop_duplicates()
    is_own = not pairs["file"].duplicated().any() and pairs["id"].nunique() >= MOSTLY * len(pairs)
    if is_asked or is_own:
        return ids
    notes.append(
        f"{table.path.name}: its column {name} does not tell images apart; their paths are their ids "
        f"({prepare_option('columns', f'id={name}')} takes it all the same)"
    )
    return None


def _order(rows: pd.DataFrame) -> list[str] | None:
    """The order of classes that are numbers: by value."""
    labels = set(rows["label"].dropna())
    if not all(NUMBER.fullmatch(label.strip()) for label in labels):
        return None
    return sorted(labels, key=lambda label: (float(label), label))


# --- what folders say ---------------------------------------------------------------------------------------


def with_folders(source: Source, media: Media, says_sites: str | None = None) -> Source:
    """`source` with the parts, and the sites, that folders say where nothing else does; both are noted.

    `says_sites`: the option that says sites instead, by default that of columns.
    """
    folders = _folders(source, media)
    images, notes = source.images, list(source.notes)
    is_labelled = images["label"] != UNLABELED
    if GIVEN not in images.columns:
        parts = pd.Series(_parts(folders), index=images.index, dtype=object).where(is_labelled, None)
        said = set(parts[is_labelled])
        if len(said) > 1 and TRAIN in said and None not in said:
            images = images.assign(**{GIVEN: parts})
            notes.append("the parts of the split are the folders of the images")
    if images["site"].isna().all():
        sites = pd.Series(sites_of(folders), index=images.index, dtype=object)
        are_cameras = _are_cameras(images, sites)
        asked = says_sites or prepare_option("columns", "site=COLUMN")
        notes += _told_of_sites(images, sites, are_cameras, asked)
        images = images.assign(site=sites) if are_cameras else images
    return replace(source, images=images, notes=notes)


def _folders(source: Source, media: Media) -> list[str]:
    """The folder of each image, relative; of one that was fetched that of its address, of a lost one none."""
    top = f"{media.folder.path}/"
    names = (
        "" if path in source.barred else path.removeprefix(top) if path.startswith(top) else filepath
        for path, filepath in zip(source.images["path"], source.images["filepath"], strict=True)
    )
    once: dict[str, str] = {}
    folders = (printable(name.rpartition("/")[0]) for name in names)
    return [once.setdefault(folder, folder) for folder in folders]


def _parts(folders: Sequence[str]) -> list[str | None]:
    found = {
        folder: next((part for name in folder.split("/") if (part := part_of(name))), None)
        for folder in dict.fromkeys(folders)
    }
    return [found[folder] for folder in folders]


def _are_cameras(images: pd.DataFrame, sites: pd.Series) -> bool:
    """Whether folders are cameras and no classes in other words: one at least has images of two labels.

    Where no image has a label, they are.
    """
    if (images["label"] == UNLABELED).all():
        return True
    pairs = pd.DataFrame({"site": sites, "label": images["label"]})[images["label"] != UNLABELED]
    return bool(pairs.dropna().drop_duplicates().duplicated("site").any())


def _told_of_sites(images: pd.DataFrame, sites: pd.Series, are_cameras: bool, asked: str) -> list[str]:
    """Whether the folders of images are taken for their sites, where there are several."""
    known = sites.dropna()
    if known.empty:
        return []
    example = f"{known.iloc[0]!r} for {images['filepath'][known.index[0]]!r}"
    way_out = f"{asked} or {prepare_option('site-regex')} says otherwise"
    if are_cameras:
        return [f"sites are the folders of cameras, as {example} ({known.nunique()} in all); {way_out}"]
    return [
        f"no sites: each folder has images of one label alone, as {example}, and is no camera's; {way_out}"
    ]


def unnamed(media: Media, tables: Sequence[str]) -> list[str]:
    """A note on the images below the folder that no row of the `tables` names, with their number."""
    try:
        files = media.folder.files()
    except TraplineError as error:
        return [f"images that no row names were not counted: {error}"]
    left = [file for file in files if file not in media.named and is_image_name(file)]
    if not left:
        return []
    return [f"{len(left)} images are named by no row of {', '.join(tables)} and are not read, as {left[0]!r}"]
