"""Raw images as they come, in one of five layouts, and what all of them have in common.

A folder for each class is read here, the competition's tables in `preparation.competition`, image sets that
come with a split of their own in `trapline.preparation.image_sets`, those with several labels an image in
`trapline.preparation.label_tables`. To add a layout, write its reader and enter it in LAYOUTS.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from trapline.data.quarantine import AMBIGUOUS_LABEL, BAD_NAME, OUTSIDE
from trapline.errors import TraplineError
from trapline.names import Kind, fault, merged, refuse, shown, told
from trapline.preparation.archives import READ_ARCHIVES, is_archive
from trapline.preparation.beside import set_aside, with_sites, with_tables
from trapline.preparation.class_names import named
from trapline.preparation.competition import FEATURES, is_competition, read_competition
from trapline.preparation.facts import contradictions, is_nothing
from trapline.preparation.image_sets import (
    has_parts,
    is_tiny_imagenet,
    loose_images,
    read_parts,
    read_tiny_imagenet,
)
from trapline.preparation.input_folder import InputFolder
from trapline.preparation.label_tables import is_label_tables, read_label_tables
from trapline.preparation.listing import COLUMNS, GIVEN, UNLABELED, SiteRule, Source, printable
from trapline.preparation.split_names import TRAIN, is_unlabeled, part_of

SKIPPED_SHOWN = 5
SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")
TABLE = ".csv"


def read_source(folder: Path, rule: SiteRule, *, follow_links: bool = False) -> Source:
    """List the inputs in `folder`, whichever layout it has.

    Sites, sequences and classes that are spelt in several ways are one each. `follow_links`: whether links
    may lead out of the folder. Raises TraplineError when there is no such folder, when it has none of the
    layouts, when its tables cannot be read, or a folder in it cannot be opened.
    """
    if not folder.is_dir():
        raise TraplineError(f"{folder}: no such folder; give the folder that holds the raw images")
    place = _unwrapped(InputFolder(folder, follow_links))
    layout = next(layout for layout in LAYOUTS if layout.recognises(place))
    source = layout.read(place)
    if layout.has_tables_beside:
        source = with_tables(_without_twins(source, place), place)
    source = _with_own_split(with_sites(source, place, rule))
    source = _with_one_spelling(_with_sound_names(source))
    outside = {path: (OUTSIDE, detail) for path, detail in place.outside.items()}
    notes = [printable(note) for note in (*source.notes, *_left_out(place))]
    return replace(source, barred={**source.barred, **outside}, notes=notes)


def _unwrapped(folder: InputFolder) -> InputFolder:
    """The folder within a folder that holds nothing else, where that has class folders, or a table, in it.

    A data set is often handed on so; a part of a split, or a single class, is none.
    """
    inner = folder.folders()
    if len(inner) != 1 or folder.loose() or part_of(inner[0]) or is_unlabeled(inner[0]):
        return folder
    within = InputFolder(folder.path / inner[0], folder.follow_links)
    return _unwrapped(within) if len(within.folders()) > 1 or within.tables(TABLE) else folder


def _without_twins(source: Source, folder: InputFolder) -> Source:
    """`source` without the images that links put into two classes: both paths are quarantined."""
    if not folder.linked:
        return source
    start = len(str(folder.path)) + 1
    files = [folder.identity(path[start:]) for path in source.images["path"]]
    labels = [None if label == UNLABELED else source.classes[label] for label in source.images["label"]]
    paths = list(source.images["filepath"])
    found = contradictions(files, {"class": (labels, labels)}, paths.__getitem__)
    return set_aside(
        source, {row: (AMBIGUOUS_LABEL, found[file]) for row, file in enumerate(files) if file in found}
    )


def _with_own_split(source: Source) -> Source:
    """`source` without a column of the split that says the same of all labelled images."""
    if not source.has_split:
        return source
    images = source.images.astype({GIVEN: object})
    images[GIVEN] = images[GIVEN].where(images[GIVEN].notna(), None)
    parts = set(images.loc[images["label"] != UNLABELED, GIVEN]) - {None}
    if len(parts) > 1:
        return replace(source, images=images)
    note = (
        f"all labelled images that have a part are of {', '.join(parts)}: that is no split, and one is made"
    )
    return replace(
        source, images=images.drop(columns=GIVEN), notes=[*source.notes, *([note] if parts else [])]
    )


def _with_sound_names(source: Source) -> Source:
    """`source` without the images whose id, site or sequence is a name that none may be: see `fault`.

    Raises TraplineError for such a class, whose images would all be lost.
    """
    refuse([*source.classes, *(source.class_codes or [])], Kind.CLASS, "the input")
    problems: dict[int, tuple[str, str]] = {}
    for kind in (Kind.SEQUENCE, Kind.SITE, Kind.ID):
        column = source.images[kind.value]
        faults = {name: fault(name, kind) for name in set(column) if isinstance(name, str)}
        bad = {name: f"its {kind} {shown(name)} {problem}" for name, problem in faults.items() if problem}
        if bad:
            problems |= {row: (BAD_NAME, bad[name]) for row, name in enumerate(column) if name in bad}
    return set_aside(source, dict(sorted(problems.items())))


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
    notes += [f"site {name!r} is taken for a camera of that name; leave the cell empty where none is known"
              for name in unclear]  # fmt: skip
    return replace(source, images=images, merged=spellings, notes=[*source.notes, *notes])


def _left_out(folder: InputFolder) -> list[str]:
    """Notes on what was not read: closed folders, spreadsheets, and what is nobody's image."""
    notes = [
        f"{path}: {folder.outside[folder.full(path)]}; the images in that folder are not read"
        for path in sorted(folder.closed)[:SKIPPED_SHOWN]
    ]
    sheets = [name for name in folder.loose() if name.lower().endswith(SPREADSHEETS)]
    notes += [f"{name}: a spreadsheet, which is not read; save it as CSV" for name in sheets]
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
    if not class_folders:
        raise TraplineError(
            f"{folder.path}: holds neither *{FEATURES} nor a folder for each class{_hints(folder)}"
        )
    if len(class_folders) == 1:
        only = f"only one class ({class_folders[0]}): a classifier needs at least two"
        raise TraplineError(f"{folder.path}: {only}{_hints(folder)}")
    _refuse_inner_split(folder, class_folders)
    empty = next((name for name, found in files.items() if not found), None)
    if empty is not None:
        raise TraplineError(f"{folder.path / empty}: an empty class folder; fill it or remove it")
    text_of = {name: printable(name) for name in files}
    used = [text_of[name] for name in class_folders for _ in files[name]]
    classes = named([text_of[name] for name in class_folders], used, folder.path)
    rows = []
    for name, found in files.items():
        label = UNLABELED if is_unlabeled(name) else classes.index[text_of[name]]
        rows += [(printable(file), printable(file), folder.full(file), label, None, None) for file in found]
    return Source(
        pd.DataFrame(rows, columns=COLUMNS, dtype=object),
        classes.names,
        loose_images(folder),
        merged={Kind.CLASS: classes.spellings} if classes.spellings else {},
    )


def _refuse_inner_split(folder: InputFolder, class_folders: list[str]) -> None:
    for name in class_folders:
        parts = {part: inner for inner in folder.folders(name) if (part := part_of(inner))}
        if TRAIN in parts and len(parts) > 1:
            raise TraplineError(
                f"{folder.path / name}: holds {' and '.join(sorted(parts.values()))}, by their names parts "
                f"of a split; lay them the other way round, as {parts[TRAIN]}/{name}"
            )


def _hints(folder: InputFolder) -> str:
    """What lies beside and may be what was meant."""
    archive = next((name for name in folder.loose() if is_archive(name)), None)
    sheet = next((name for name in folder.loose() if name.lower().endswith(SPREADSHEETS)), None)
    closed = [f"; {name} is {folder.outside[folder.full(name)]}" for name in sorted(folder.closed)[:1]]
    hints = [*closed, f"; unpack {archive}, or give it as the input ({READ_ARCHIVES})" if archive else ""]
    return "".join([*hints, f"; {sheet} is a spreadsheet: save it as CSV" if sheet else ""])


@dataclass(frozen=True)
class Layout:
    """A way in which raw images can lie in a folder: how it is seen, and how they are listed.

    has_tables_beside: whether tables among the images may say sites, sequences and parts.
    """

    recognises: Callable[[InputFolder], bool]
    read: Callable[[InputFolder], Source]
    has_tables_beside: bool = True


# In the order in which they are tried; the last takes whatever is left.
LAYOUTS = [
    Layout(is_competition, read_competition, has_tables_beside=False),
    Layout(is_label_tables, read_label_tables, has_tables_beside=False),
    Layout(is_tiny_imagenet, read_tiny_imagenet),
    Layout(has_parts, read_parts),
    Layout(lambda folder: True, read_class_folders),
]
