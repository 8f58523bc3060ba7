"""Raw images in a folder: a listing of them, whatever their layout.

A folder for each class is read here, the competition's tables in `preparation.competition`, image sets that
come with a split of their own in `preparation.image_sets`, those with several labels an image in
`preparation.label_tables`, and what camera-trap programs write in modules of its own. To add a layout, write
its reader and enter it in LAYOUTS.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from trapline.data.quarantine import AMBIGUOUS_LABEL, BAD_NAME, OUTSIDE
from trapline.errors import TraplineError, UsageError
from trapline.job_contract import prepare_option
from trapline.names import Kind, fault, merged, refuse, shown, told
from trapline.preparation.archives import READ_ARCHIVES, is_archive
from trapline.preparation.camtrap_dp import read_camtrap_dp
from trapline.preparation.camtrap_package import is_camtrap_dp
from trapline.preparation.coco import JSON, is_coco, read_coco
from trapline.preparation.competition import FEATURES, read_competition
from trapline.preparation.facts import (
    contradictions,
    is_nothing,
    problems_of,
    set_aside,
    with_sites,
)
from trapline.preparation.folder_levels import doubt
from trapline.preparation.image_sets import (
    is_tiny_imagenet,
    loose_images,
    read_parts,
    read_tiny_imagenet,
)
from trapline.preparation.image_tags import is_tagged, read_tagged
from trapline.preparation.input_folder import TABLE, InputFolder
from trapline.preparation.label_tables import is_label_table, is_label_tables, read_label_tables
from trapline.preparation.listing import (
    COLUMNS,
    GIVEN,
    TRAIN,
    UNLABELED,
    Reading,
    SiteRule,
    Source,
    is_unlabeled,
    named,
    part_folders,
    part_of,
    printable,
    refuse_asked,
)
from trapline.preparation.mapped_tables import is_mapped_table, read_mapped_table
from trapline.preparation.sorted_folders import LAYOUT as SORTED
from trapline.preparation.sorted_folders import is_sorted, read_sorted
from trapline.preparation.station_folders import below_wrappers, is_station_folders, read_station_folders
from trapline.preparation.tables_beside import with_tables
from trapline.preparation.timelapse import is_timelapse, read_timelapse

SKIPPED_SHOWN = 5
SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")


# --- the layouts, and what all have in common ---------------------------------------------------------------


def read_source(
    folder: Path,
    rule: SiteRule,
    *,
    follow_links: bool = False,
    columns: Mapping[str, str] | None = None,
    reading: Reading | None = None,
) -> Source:
    """List the inputs in `folder`, whichever layout it has, or the one that `reading` asks for.

    Sites, sequences and classes that are spelt in several ways are one each. `follow_links`: whether links
    may lead out of the folder. `columns`: what a person says that columns of its tables are called.

    Raises TraplineError when there is no such folder, when it has none of the layouts, when its tables cannot
    be read, or a folder in it cannot be opened; UsageError where it has not the layout that is asked for.
    """
    if not folder.is_dir():
        raise TraplineError(f"{folder}: no such folder; give the folder that holds the raw images")
    top, reading = InputFolder(folder, follow_links, columns or {}), reading or Reading()
    place = unwrapped(top) if reading.table is None else top
    layout = _layout(place, reading)
    if layout.has_levels and reading.folders:
        place = below_wrappers(top, reading.folders)
    if not layout.takes_reading:
        refuse_asked(place, reading, ("folders", "label-tag"), f"the input lies as {layout.name}")
    source = layout.read(place, reading) if layout.takes_reading else layout.read(place)
    if layout.has_tables_beside:
        source = with_tables(_without_twins(source, place), place)
    holds_images = place if layout.has_levels or not layout.takes_reading else reading.media or place
    source = _with_own_split(with_sites(source, holds_images, rule))
    source = _with_one_spelling(_with_sound_names(source))
    outside = {path: (OUTSIDE, detail) for path, detail in place.outside.items()}
    notes = [printable(note) for note in (*source.notes, *_left_out(place))]
    return replace(source, barred={**source.barred, **outside}, notes=notes)


def _layout(folder: InputFolder, reading: Reading) -> "Layout":
    """The layout that is asked for, else the first that recognises the folder."""
    if reading.layout is None:
        return next(layout for layout in LAYOUTS if layout.fits(folder, reading))
    layout = next(layout for layout in LAYOUTS if layout.name == reading.layout)
    asked = prepare_option("layout", reading.layout)
    if not layout.fits(folder, reading):
        given = reading.table or folder.path
        raise UsageError(f"{asked}: {given} does not lie so: {layout.needs}; leave it out, or give another")
    return layout


def unwrapped(folder: InputFolder) -> InputFolder:
    """The folder within a folder that holds nothing else, where that has class folders, or a table, in it.

    A data set is often handed on so; a part of a split, or a single class, is none.
    """
    inner = folder.folders()
    if len(inner) != 1 or folder.loose() or part_of(inner[0]) or is_unlabeled(inner[0]):
        return folder
    within = InputFolder(folder.path / inner[0], folder.follow_links, folder.columns)
    return unwrapped(within) if len(within.folders()) > 1 or _has_list(within) else folder


def _has_list(folder: InputFolder) -> bool:
    """Whether a table, or a JSON, lies at the top of the folder."""
    return any(name.lower().endswith((TABLE, JSON)) for name in folder.loose())


def _without_twins(source: Source, folder: InputFolder) -> Source:
    """`source` without the images that links put into two classes: both paths are quarantined."""
    if not folder.linked:
        return source
    start = len(str(folder.path)) + 1
    files = [folder.identity(path[start:]) for path in source.images["path"]]
    labels = [None if label == UNLABELED else source.classes[label] for label in source.images["label"]]
    paths = list(source.images["filepath"])
    found = contradictions(files, {"class": (labels, labels)}, paths.__getitem__)
    return set_aside(source, problems_of((AMBIGUOUS_LABEL, files, found)))


def _with_own_split(source: Source) -> Source:
    """`source` without a column of the split that says the same of all labelled images."""
    if not source.has_split:
        return source
    given = source.images[GIVEN].astype(object)
    given = given.where(given.notna(), None)
    parts = set(given[source.images["label"] != UNLABELED]) - {None}
    if len(parts) > 1:
        return replace(source, images=source.images.assign(**{GIVEN: given}))
    notes = [
        f"all labelled images that have a part are of {only}: that is no split, and one is made"
        for only in parts
    ]
    return replace(source, images=source.images.drop(columns=GIVEN), notes=[*source.notes, *notes])


def _with_sound_names(source: Source) -> Source:
    """`source` without the images whose id, site or sequence is a name that none may be: see `fault`.

    Raises TraplineError for such a class, whose images would all be lost.
    """
    refuse([*source.classes, *(source.class_codes or [])], Kind.CLASS, "the input")
    found: list[tuple[str, pd.Series, dict[Hashable, str]]] = []
    for kind in (Kind.ID, Kind.SITE, Kind.SEQUENCE):
        column = source.images[kind]
        bad: dict[Hashable, str] = {
            name: f"its {kind} {shown(name)} {problem}"
            for name in set(column)
            if isinstance(name, str) and (problem := fault(name, kind))
        }
        found.append((BAD_NAME, column, bad))
    return set_aside(source, problems_of(*found))


def _with_one_spelling(source: Source) -> Source:
    """`source` with one spelling for each site and each sequence, and notes that say what was merged."""
    images, spellings = source.images.copy(), dict(source.merged)
    for kind in (Kind.SITE, Kind.SEQUENCE):
        values = [value if isinstance(value, str) else None for value in images[kind.value]]
        found = merged(values, kind)
        images[kind.value] = pd.Series(found.names, index=images.index, dtype=object)
        if found.spellings:
            spellings[kind.value] = found.spellings
    notes = [note for kind in Kind for note in told(kind, spellings.get(kind.value, {}))]
    unclear = sorted({name for name in images["site"] if name and is_nothing(name)})
    notes += [
        f"site {name!r} is taken for a camera of that name; leave the cell empty where none is known"
        for name in unclear
    ]
    return replace(source, images=images, merged=spellings, notes=[*source.notes, *notes])


def _left_out(folder: InputFolder) -> list[str]:
    """Notes on what was not read: closed folders, spreadsheets, and what is nobody's image."""
    notes = [
        f"{path}: {folder.outside[folder.full(path)]}; the images in that folder are not read"
        for path in sorted(folder.closed)[:SKIPPED_SHOWN]
    ]
    notes += [f"{name}: a spreadsheet, which is not read; save it as CSV" for name in _spreadsheets(folder)]
    names = Counter(path.rpartition("/")[2] for path in folder.skipped)
    if not names:
        return notes
    shown = ", ".join(f"{name} ({count})" for name, count in names.most_common(SKIPPED_SHOWN))
    more = f" and {len(names) - SKIPPED_SHOWN} more" if len(names) > SKIPPED_SHOWN else ""
    return [*notes, f"left out, as files of systems and not of people: {shown}{more}"]


# --- a folder for each class --------------------------------------------------------------------------------


def read_class_folders(folder: InputFolder) -> Source:
    """List `<class>/**/*`; a folder `unlabeled` holds unlabelled images. The id is the relative path.

    Folders whose names differ in case, blanks or Unicode form are one class. Hidden files and those of
    systems are no inputs. Image files that lie in no class folder are quarantined. Raises TraplineError
    where there are no class folders, or an empty one.
    """
    files = {name: folder.files(name) for name in folder.folders()}
    class_folders = [name for name in files if not is_unlabeled(name)]
    if len(class_folders) < 2:
        problem = f"holds neither *{FEATURES} nor a folder for each class"
        if class_folders:
            problem = f"only one class ({class_folders[0]}): a classifier needs at least two"
        raise TraplineError(f"{folder.path}: {problem}{_hints(folder)}")
    for name in class_folders:
        parts = {part: inner for inner in folder.folders(name) if (part := part_of(inner))}
        if TRAIN in parts and len(parts) > 1:
            raise TraplineError(
                f"{folder.path / name}: holds {' and '.join(sorted(parts.values()))}, by their names parts "
                f"of a split; lay them the other way round, as {parts[TRAIN]}/{name}"
            )
    if empty := [name for name, found in files.items() if not found]:
        raise TraplineError(f"{folder.path / empty[0]}: an empty class folder; fill it or remove it")
    text_of = {name: printable(name) for name in files}
    used = [text_of[name] for name in class_folders for _ in files[name]]
    classes = named([text_of[name] for name in class_folders], used, folder.path)
    doubtful = doubt(folder)
    label_of = {name: classes.index[text_of[name]] for name in class_folders}
    rows = [
        (printable(file), printable(file), folder.full(file), label_of.get(name, UNLABELED), None, None)
        for name, found in files.items()
        for file in found
    ]
    return Source(
        pd.DataFrame(rows, columns=COLUMNS, dtype=object),
        classes.names,
        loose_images(folder),
        merged=classes.merged,
        notes=[doubtful] if doubtful else [],
    )


def _spreadsheets(folder: InputFolder) -> list[str]:
    return [name for name in folder.loose() if name.lower().endswith(SPREADSHEETS)]


def _hints(folder: InputFolder) -> str:
    """What lies beside and may be what was meant."""
    closed = [f"{name} is {folder.outside[folder.full(name)]}" for name in sorted(folder.closed)]
    archives = [
        f"unpack {name}, or give it as the input ({READ_ARCHIVES})"
        for name in folder.loose()
        if is_archive(name)
    ]
    sheets = [f"{name} is a spreadsheet: save it as CSV" for name in _spreadsheets(folder)]
    names = prepare_option("columns", "path=COLUMN label=COLUMN")
    tables = [
        f"if {name} names the images, say which of its columns does, with {names}"
        for name in folder.loose()
        if name.lower().endswith(TABLE)
    ]
    return "".join(f"; {hint}" for hint in (*closed[:1], *archives[:1], *sheets[:1], *tables[:1]))


@dataclass(frozen=True)
class Layout:
    """A way in which raw images can lie in a folder: how it is seen, and how they are listed.

    has_tables_beside: whether tables among the images may say sites, sequences and parts. name: what --layout
    calls it. needs: what a folder must hold to lie so, as words for a message. takes_reading: whether
    `recognises` and `read` also take what a person says of it. has_levels: whether --folders says what its
    folders are. owns: whether a table that was given itself is
    one of this layout, for those that take no reading.
    """

    recognises: Callable[..., bool]
    read: Callable[..., Source]
    has_tables_beside: bool = True
    name: str = ""
    needs: str = ""
    takes_reading: bool = False
    has_levels: bool = False
    owns: Callable[[Path], bool] = lambda table: False

    def fits(self, folder: InputFolder, reading: Reading) -> bool:
        """Whether the folder lies so, as far as can be seen, or as a person says."""
        if self.takes_reading:
            return self.recognises(folder, reading)
        return (reading.table is None or self.owns(reading.table)) and self.recognises(folder)


# In the order in which they are tried; the last takes whatever is left.
LAYOUTS = [
    Layout(
        lambda folder: bool(folder.tables(FEATURES)),
        read_competition,
        has_tables_beside=False,
        name="competition",
        needs=f"a table *{FEATURES}",
        owns=lambda table: table.name.lower().endswith(FEATURES),
    ),
    Layout(
        is_label_tables,
        read_label_tables,
        has_tables_beside=False,
        name="label-tables",
        needs="a CSV with the columns ImageID and Labels",
        owns=is_label_table,
    ),
    Layout(
        is_coco,
        read_coco,
        has_tables_beside=False,
        name="coco",
        needs="a JSON of COCO Camera Traps, with images, annotations and categories",
        takes_reading=True,
    ),
    Layout(
        is_camtrap_dp,
        read_camtrap_dp,
        has_tables_beside=False,
        name="camtrap-dp",
        needs="datapackage.json with deployments, media and observations (Camtrap DP)",
        takes_reading=True,
    ),
    Layout(
        is_timelapse,
        read_timelapse,
        has_tables_beside=False,
        name="timelapse",
        needs="a CSV of Timelapse (File, RelativePath or Folder, and DeleteFlag or ImageQuality)",
        takes_reading=True,
    ),
    Layout(
        is_sorted,
        read_sorted,
        has_tables_beside=False,
        name=SORTED,
        needs="folders by class with the sorted.csv of predict.py --sort",
        takes_reading=True,
    ),
    Layout(is_tiny_imagenet, read_tiny_imagenet, name="tiny-imagenet", needs="wnids.txt and train"),
    Layout(
        is_mapped_table,
        read_mapped_table,
        has_tables_beside=False,
        name="csv",
        needs="a CSV with a column of paths and one of labels",
        takes_reading=True,
    ),
    Layout(
        is_tagged,
        read_tagged,
        has_tables_beside=False,
        name="tags",
        needs="a folder, and the tag that the labels are below, as in --label-tag Species",
        takes_reading=True,
        has_levels=True,
    ),
    Layout(
        is_station_folders,
        read_station_folders,
        name="folders",
        needs="folders of stations and labels in one another",
        takes_reading=True,
        has_levels=True,
    ),
    Layout(
        lambda folder: part_folders(folder) is not None,
        read_parts,
        name="parts",
        needs="folders train and val or test, with a folder for each class in each",
    ),
    Layout(lambda folder: True, read_class_folders, name="class-folders", needs="a folder for each class"),
]
