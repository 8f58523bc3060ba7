"""Images into folders by class: as copies, or as links to where they lie. Nothing is moved or deleted.

A link is a symbolic one. It says what it is, crosses disks, may point at a file of somebody else's, and holds
no picture of a person any more once the original is deleted. A hard link looks like a copy and does none of
that. A program that changes a picture in place changes the original through either of them, which is why
copies are the default.

    target/<class>/<file>                       a class's folder, and below it the file as the input names it
    target/unclassified/<file>                  below its threshold
    target/people/<class or unclassified>/...   images of people and vehicles, whatever else is in them
    target/sorted.csv                           where each image is, and which are nowhere
"""

import contextlib
import csv
import itertools
import os
import platform
import shutil
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import psutil

from trapline.console import progress
from trapline.errors import TraplineError, UsageError
from trapline.evaluation.result_files import number, some
from trapline.formats.predictions import FAILED, Predictions
from trapline.formats.sorting_names import distinct_files, folder_names, utf8
from trapline.formats.taxonomy import Taxon, taxon_of
from trapline.names import Kind, keys, shown
from trapline.preparation.sorted_folders import COLUMNS, PEOPLE, TABLE, UNCLASSIFIED
from trapline.storage import CHUNK, restored, write_table

How: TypeAlias = Literal["copy", "link"]
SORTED, LEFT_OUT, MISSING = "sorted", "left out", "missing"
APART = ("human", "vehicle")  # types of observation whose images are kept apart
LEFTOVER = ".sorting"  # begins what a run that was killed leaves behind
SHOWN = 5


@dataclass(frozen=True)
class SortedImages:
    """What was done. images: how many have a status, by SORTED, UNCLASSIFIED, LEFT_OUT, MISSING and FAILED.

    written, kept: copies or links that were made, and that were there from before. people: how many images
    are apart. spelt: the folder of each class whose own name is none.
    """

    table: Path
    how: How
    images: Mapping[str, int]
    written: int
    kept: int
    people: int
    spelt: Mapping[str, str]

    @property
    def notes(self) -> list[str]:
        """What a person should know of it."""
        inside = self.images.get(SORTED, 0) + self.images.get(UNCLASSIFIED, 0)
        made = self.written + self.kept
        spelt = some([f"{shown(name)} is {folder}" for name, folder in self.spelt.items()], SHOWN)
        table = f"{self.table.name} lists them"
        told = (
            (self.images.get(FAILED, 0), f"failed and are in no folder; {table}"),
            (self.images.get(LEFT_OUT, 0), f"are left out, as --drop-classes asks; {table}"),
            (self.images.get(MISSING, 0), f"are not, or no longer, files that can be read; {table}; connect "
             "their disk and give the same command again"),
            (self.people, f"show people or vehicles and are below {PEOPLE} alone"),
            (inside if made > inside else 0, f"make {made} files, several where they have several labels"),
            (made if self.how == "link" else 0, "are links: who changes one there changes the original"),
        )  # fmt: skip
        notes = [f"{count} images {text}" for count, text in told if count]
        return [*notes, f"folders of classes whose names are none: {spelt}"] if self.spelt else notes


class _Row(NamedTuple):
    """A row of the table, with the number of the image."""

    image: int
    file: str
    folder: str
    sorted_file: str
    label: str
    confidence: str
    status: str


@dataclass(frozen=True)
class _Plan:
    """Where images go. folders: of each class; files: of each image, below a folder, all different.

    status: of each image; apart: whether it is kept apart.
    """

    predictions: Predictions
    folders: Sequence[str]
    files: Sequence[str]
    status: Sequence[str]
    apart: npt.NDArray[np.bool_]

    def rows(self) -> Iterator[_Row]:
        """A row for each image and label, one for an image without."""
        names = self.predictions.rows["file"].tolist()
        for rows in self.predictions.batches():
            labels = self.predictions.labels_of(rows)
            probabilities = np.asarray(self.predictions.probabilities[rows])
            for image, has, values in zip(range(rows.start, rows.stop), labels, probabilities, strict=True):
                own: list[int | None] = [*np.flatnonzero(has).tolist()] or [None]
                for label in own:
                    confidence = "" if label is None else number(values[label])
                    yield self._row(image, utf8(names[image]), label, confidence)

    def _row(self, image: int, file: str, label: int | None, confidence: str) -> _Row:
        name = "" if label is None else self.predictions.classes[label]
        status, folder = self.status[image], ""
        if status in (SORTED, UNCLASSIFIED):
            folder = UNCLASSIFIED if label is None else self.folders[label]
            folder = f"{PEOPLE}/{folder}" if self.apart[image] else folder
        place = f"{folder}/{self.files[image]}" if folder else ""
        return _Row(image, file, folder, place, utf8(name), confidence, status)


def sort_images(
    predictions: Predictions,
    target: Path,
    how: How = "copy",
    drop_classes: Sequence[str] = (),
    taxonomy: Mapping[str, Taxon] | None = None,
) -> SortedImages:
    """Copy or link images into folders by class below `target`, and write where they are to its sorted.csv.

    An image with several labels is in the folder of each. One that shows people or vehicles, by `taxonomy` or
    the usual words, is below people alone, with all its labels; one of `drop_classes` is nowhere. Of an image
    without a label, its most probable class decides that. Names of classes and files lead nowhere outside.

    Each file is whole or not there, and what is there already stays: the same command goes on after it was
    ended. Raises UsageError for a class to drop that the model has not; TraplineError, naming the file,
    where another file is in the way, the folder holds another sort, or the disk takes no more.
    """
    dropped = _dropped(predictions.classes, drop_classes)
    people = np.array(
        [taxon_of(name, taxonomy or {}).observation_type in APART for name in predictions.classes], dtype=bool
    )
    plan = _planned(predictions, dropped, people)
    target.mkdir(parents=True, exist_ok=True)
    table = target / TABLE
    write_table(table, COLUMNS, _table_rows(table, plan))
    done = _put_all(plan, target, how)
    inside = np.array([status in (SORTED, UNCLASSIFIED) for status in plan.status], dtype=bool)
    spelt = {name: own for name, own in zip(predictions.classes, plan.folders, strict=True) if name != own}
    return SortedImages(
        table, how, Counter(plan.status), done[True], done[False], int((plan.apart & inside).sum()), spelt
    )


# --- what goes where ----------------------------------------------------------------------------------------


def _dropped(classes: Sequence[str], wanted: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Whether each class is one of the `wanted`, however that is spelt."""
    both = keys([*classes, *wanted], Kind.CLASS)
    own, asked = both[: len(classes)], both[len(classes) :]
    for name, key in zip(wanted, asked, strict=True):
        if key not in own:
            raise UsageError(
                f"--drop-classes {shown(name)}: the model has no such class; it has "
                f"{some(list(map(shown, classes)), 2 * SHOWN)}"
            )
    return np.array([key in asked for key in own], dtype=bool)


def _planned(
    predictions: Predictions, dropped: npt.NDArray[np.bool_], people: npt.NDArray[np.bool_]
) -> _Plan:
    status: list[str] = []
    apart = np.zeros(len(predictions), dtype=bool)
    failed = predictions.rows["status"].to_numpy() == FAILED
    best = predictions.rows["label"].to_numpy(dtype=np.int64)
    paths = predictions.rows["path"].tolist()
    for rows in predictions.batches():
        labels = predictions.labels_of(rows)
        without = ~labels.any(axis=1) & ~failed[rows]
        shows = labels.copy()
        shows[without, best[rows][without]] = True  # rather a picture too few than one of a person
        apart[rows] = (shows & people).any(axis=1)
        out = np.any(shows & dropped, axis=1).tolist()
        for at, image in enumerate(range(rows.start, rows.stop)):
            status.append(
                FAILED if failed[image]
                else LEFT_OUT if out[at]
                else MISSING if not _is_file(paths[image])
                else UNCLASSIFIED if without[at]
                else SORTED
            )  # fmt: skip
    files = distinct_files(predictions.rows["file"].tolist())
    return _Plan(predictions, folder_names(predictions.classes), files, status, apart)


def _is_file(path: object) -> bool:
    """Whether there is a file, behind whatever links; not a device, a pipe or a folder."""
    try:
        return isinstance(path, str) and bool(path) and stat.S_ISREG(Path(path).stat().st_mode)
    except (OSError, ValueError):  # the latter for names that can be none
        return False


def _table_rows(table: Path, plan: _Plan) -> Iterator[Sequence[str]]:
    """The rows to write; of an image that is missing now that which says where it went before.

    Raises TraplineError where the table that is there is of another sort.
    """
    rows = (row[1:] for row in plan.rows())
    if not os.path.lexists(table):
        yield from rows
        return
    wrong = TraplineError(
        f"{table}: is there already, and of another sort; give --sort an empty folder, or move this one away"
    )
    try:
        with table.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            if tuple(next(reader, ())) != COLUMNS:
                raise wrong
            for cells, new in itertools.zip_longest(reader, rows):
                old = tuple(map(restored, cells or ()))
                if new is None or not _agree(old, new):
                    raise wrong
                yield old if new[-1] == MISSING else new
    except (OSError, UnicodeDecodeError, csv.Error):
        raise wrong from None


def _agree(old: Sequence[str], new: Sequence[str]) -> bool:
    """Whether two rows are one, but for what was missing and has come, or is missing now."""
    if len(old) == len(new) and MISSING in (old[-1], new[-1]):
        return (old[0], *old[3:5]) == (new[0], *new[3:5])
    return old == new


# --- files --------------------------------------------------------------------------------------------------


def _put_all(plan: _Plan, target: Path, how: How) -> Counter[bool]:
    """Make what is not there yet; how many were made (True), and how many were there (False)."""
    paths = plan.predictions.rows["path"].tolist()
    own = f"{LEFTOVER}-{platform.node().replace('/', '_')}-"
    _clear(target, own)
    temporary = target / f"{own}{os.getpid()}.tmp"
    temporary.unlink(missing_ok=True)  # of a process of the same number, long ago
    done: Counter[bool] = Counter()
    made: set[Path] = set()
    total = sum(bool(row.folder) for row in plan.rows())
    placed = (row for row in plan.rows() if row.folder)
    for row in progress(placed, "sorting", total, "files"):
        source, destination = Path(paths[row.image]), target / row.sorted_file
        try:
            _make_folders(target, destination.parent, made)
            done[_put(source, destination, how, temporary)] += 1
        except OSError as error:
            raise _refused(source, destination, how, error) from None
    return done


def _refused(source: Path, destination: Path, how: How, error: OSError) -> TraplineError:
    hint = "; where a disk takes no links, use --sort-by copy" if how == "link" else ""
    why = error.strerror or error
    return TraplineError(
        f"{destination}: cannot be made of {source} ({why}){hint}; mended, the same command goes on"
    )


def _clear(target: Path, own: str) -> None:
    """Remove what runs on this machine that were killed left half written."""
    for path in target.iterdir():
        process = path.name.removeprefix(own).removesuffix(".tmp")
        if path.name == f"{own}{process}.tmp" and process.isdecimal() and not psutil.pid_exists(int(process)):
            path.unlink(missing_ok=True)


def _make_folders(target: Path, folder: Path, made: set[Path]) -> None:
    """Make `folder`, and those between. Raises TraplineError where a link or a file is in their place."""
    if folder in made:
        return
    if folder.parent != target:
        _make_folders(target, folder.parent, made)
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise TraplineError(
            f"{folder}: is a link or a file, where a folder must be; give --sort an empty folder"
        )
    folder.mkdir(exist_ok=True)
    made.add(folder)


def _put(source: Path, destination: Path, how: How, temporary: Path) -> bool:
    """Make one copy or link, whole or not at all; False where it was there."""
    if _is_there(source, destination, how):
        return False
    try:
        if how == "link":
            temporary.symlink_to(source.resolve())
        else:
            _copy(source, temporary)
        temporary.replace(destination)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _copy(source: Path, copy: Path) -> None:
    """Copy the bytes and the time of change into a file that is not there: never through a link."""
    with _opened(source) as reading, copy.open("xb") as writing:
        shutil.copyfileobj(reading, writing, CHUNK)
        times = os.fstat(reading.fileno())
    with contextlib.suppress(OSError):  # some disks of networks keep no time of another's choice
        os.utime(copy, ns=(times.st_atime_ns, times.st_mtime_ns))


def _is_there(source: Path, destination: Path, how: How) -> bool:
    """Whether the copy or link is there. Raises TraplineError for anything else in its place."""
    try:
        mode = destination.lstat().st_mode
    except FileNotFoundError:
        return False
    if how == "link":
        same = stat.S_ISLNK(mode) and destination.readlink() == source.resolve()
    else:
        same = stat.S_ISREG(mode) and _same_bytes(source, destination)
    if not same:
        raise TraplineError(
            f"{destination}: is there already, and is no {how} of {source}; nothing is overwritten: give "
            "--sort an empty folder, or move it away"
        )
    return True


def _same_bytes(first: Path, second: Path) -> bool:
    with _opened(first) as one, _opened(second) as other:
        if os.fstat(one.fileno()).st_size != os.fstat(other.fileno()).st_size:
            return False
        while (piece := one.read(CHUNK)) == other.read(CHUNK):
            if not piece:
                return True
    return False


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A file for reading. Raises TraplineError for what has become a pipe, a device or a folder."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise TraplineError(f"{path}: is no file any more; give the same command again once it is")
        yield file
