"""Raw images: from what a person names to a listing of them, whatever their layout.

They become local files first: unpacked from an archive or batches, copied from S3, or drawn. Copies lie
beside the results and not in them (a platform may upload what lies there while it is made), and go when the
block ends. Then they are listed. A folder for each class is read here, the competition's tables in
`preparation.competition`, image sets that come with a split of their own in `preparation.image_sets`, those
with several labels an image in `preparation.label_tables`. To add a layout, write its reader and enter it in
LAYOUTS.
"""

import contextlib
import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from trapline.data.quarantine import AMBIGUOUS_LABEL, BAD_NAME, MISSING, OUTSIDE, UNREADABLE
from trapline.errors import TraplineError
from trapline.job_options import PrepareOptions
from trapline.names import Kind, fault, merged, refuse, shown, told
from trapline.preparation.archives import READ_ARCHIVES, archive_in, is_archive, raw_place, unpack_images
from trapline.preparation.cifar_batches import batches_in, write_class_folders
from trapline.preparation.competition import FEATURES, read_competition
from trapline.preparation.demo import DemoSettings, draw_demo
from trapline.preparation.facts import (
    contradictions,
    is_nothing,
    problems_of,
    set_aside,
    with_sites,
    with_tables,
)
from trapline.preparation.image_sets import (
    is_tiny_imagenet,
    loose_images,
    read_parts,
    read_tiny_imagenet,
)
from trapline.preparation.input_folder import InputFolder
from trapline.preparation.label_tables import is_label_tables, read_label_tables
from trapline.preparation.listing import (
    COLUMNS,
    GIVEN,
    TRAIN,
    UNLABELED,
    SiteRule,
    Source,
    is_unlabeled,
    named,
    part_folders,
    part_of,
    printable,
)
from trapline.s3 import fetch, is_s3
from trapline.s3_copies import fetch_folder, remove_copy

DEMO = "demo"
MAX_NAME_LENGTH = 200  # bytes; a file system takes 255, and more is added
SKIPPED_SHOWN = 5
SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")


@contextlib.contextmanager
def raw_input(options: PrepareOptions, work: Path) -> Iterator[tuple[Source, InputFolder, bool]]:
    """List what `input` names, a folder, an archive, an S3 URI of either, or `demo`, as local files.

    Gives the listing, its folder, and whether the images came as pixels, small and uncompressed, and are
    worth packing without loss. `work` is a folder for what is unfinished. Messages name originals, not their
    copies. Raises TraplineError where it cannot be read.
    """
    output, original = Path(options.output).resolve(), options.input.rstrip("/")
    copy, unpacked, single = (_beside(output, what) for what in ("s3", "unpacked", "images"))
    called: dict[str, str] = {}  # copies, and what messages call them
    csv: Path | str | None = options.site_csv
    if is_s3(str(csv)):
        called[str(work / "sites.csv")] = str(csv)
        csv = fetch(str(csv), work / "sites.csv")
    rule = SiteRule(csv, re.compile(options.site_regex) if options.site_regex else None)
    for folder in (unpacked, single):
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    try:
        folder, lost = _found(options, copy, work)
        if is_s3(options.input):
            called[str(folder)] = original
        with _naming_originals(called):
            if archive := archive_in(folder):
                _check_inside(folder, [archive], options.follow_links)
                folder = unpack_images(archive, unpacked)
                called[str(folder)] = original
            if batches := batches_in(folder):
                _check_inside(folder, sorted(batches.iterdir()), options.follow_links)
                folder = write_class_folders(batches, single)
                called[str(folder)] = original
            source = read_source(folder, rule, follow_links=options.follow_links)
        source = replace(source, barred={**source.barred, **lost})
        yield source, InputFolder(folder, options.follow_links), batches is not None
    finally:
        remove_copy(copy)
        for folder in (unpacked, single):
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _naming_originals(called: Mapping[str, str]) -> Iterator[None]:
    """Let messages name the originals of copies, as `called` says."""
    try:
        yield
    except TraplineError as error:
        message = str(error)
        for copy, original in called.items():
            message = message.replace(copy, original)
        raise type(error)(message) from None


def _beside(place: Path, what: str) -> Path:
    """A hidden folder beside `place`, of its name; of a long one's digest, for names have an end."""
    name = place.name.encode(errors="surrogateescape")
    return (
        place.parent
        / f".{place.name if len(name) <= MAX_NAME_LENGTH else hashlib.sha256(name).hexdigest()}.{what}"
    )


def _check_inside(folder: Path, files: Sequence[Path], follow_links: bool) -> None:
    """Raise TraplineError where one of the `files` found in `folder` leads out of it."""
    place = InputFolder(folder, follow_links)
    for path in files if folder.is_dir() else ():
        place.table(path.relative_to(folder).as_posix())


def _found(options: PrepareOptions, copy: Path, work: Path) -> tuple[Path, dict[str, tuple[str, str]]]:
    if is_s3(options.input):
        place = raw_place(options.input)
        if place.kind == "object":
            return fetch(place.uri, work / place.name), {}
        return copy, _copied_from_s3(options.input, copy)
    if options.input != DEMO:
        return Path(options.input), {}
    demo = DemoSettings(
        images=options.demo_images,
        unlabeled=options.demo_unlabeled,
        sites=options.demo_sites,
        seed=options.seed,
    )
    print(f"drawing {demo.images} demo images: artificial, not photographs", flush=True)
    draw_demo(work / "raw", demo, options.processes)
    return work / "raw", {}


def _copied_from_s3(uri: str, folder: Path) -> dict[str, tuple[str, str]]:
    """Copy the raw images; an object that gives no bytes becomes a link to nowhere, listed but unreadable.

    Tables at the top must be there: without its labels a set would pass for an unlabelled one.
    """
    lost = {}
    for name, problem in fetch_folder(uri, folder, may_fail=_may_fail).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(folder / "no bytes from S3" / "no such file")
        lost[str(path)] = (MISSING if problem.missing else UNREADABLE, problem.detail)
    return lost


def _may_fail(name: str) -> bool:
    """Whether the set can be read without this object: tables, words and archives are no single images."""
    return not name.endswith((".csv", ".txt")) and not is_archive(name) if "/" not in name else True


# --- the layouts, and what all have in common ---------------------------------------------------------------


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
    return _unwrapped(within) if len(within.folders()) > 1 or within.tables() else folder


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
    return "".join(f"; {hint}" for hint in (*closed[:1], *archives[:1], *sheets[:1]))


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
    Layout(lambda folder: bool(folder.tables(FEATURES)), read_competition, has_tables_beside=False),
    Layout(is_label_tables, read_label_tables, has_tables_beside=False),
    Layout(is_tiny_imagenet, read_tiny_imagenet),
    Layout(lambda folder: part_folders(folder) is not None, read_parts),
    Layout(lambda folder: True, read_class_folders),
]
