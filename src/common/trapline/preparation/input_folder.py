"""What may be read of somebody else's folder: regular files that lie in it, and nothing else of the machine.

A table may name /proc/self/environ, climb with .. or pass through a link. Every path that comes from a table,
a list or a walk goes through `InputFolder`, which says where it leads, or why it is not followed. A
table may also name an image without its folder or suffix: `Finder` knows the files by such names.
"""

import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from pathlib import Path, PurePosixPath

from trapline.data.quarantine import MISSING, OUTSIDE, UNREADABLE, Quarantined
from trapline.errors import TraplineError
from trapline.job_contract import prepare_option
from trapline.names import Kind, key
from trapline.preparation.system_files import is_system_name
from trapline.tables import Table
from trapline.unpacking import DEEPEST

# What is no path below a folder on any system: an address, a drive, another machine's share.
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|file:", re.IGNORECASE)
ELSEWHERE = re.compile(r"[A-Za-z]:[\\/]|\\\\")
TABLE = ".csv"
PLAIN = re.compile(r"(?!\.{0,2}(/|\Z))(?!.*/\.{0,2}(/|\Z)).+", re.DOTALL)  # no part of it is empty, . or ..
UNUSUAL = re.compile(r"[:\\\0]")  # what other systems mean something by
MAX_PATH_LENGTH = 4096  # characters; Linux takes no more bytes
MAX_SHOWN = 60
GLANCED_AT = 5  # images of a folder
PLACES = ("", "data", "images", "train", "test")


class NotInside(Exception):
    """Why a path is not read: `reason` as in quarantine.csv, `detail` for a person."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(reason, detail)


@dataclass
class InputFolder:
    """A folder to read inputs from.

    path: as it was given; what is opened begins with it. follow_links: whether links may lead out of it.
    columns: for KNOWN columns of its tables what a person says that they are called.
    outside: what a walk met and may not be opened, by its path, with the reason for a person. closed: the
    folders among it, relative. linked: whether a link was followed: one file may then have several paths.
    skipped: the paths that were passed over as nobody's input, hidden ones apart. read: tables that were read
    to see how the folder lies, for whoever takes them next: a large one is not read twice.
    """

    path: Path
    follow_links: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)
    outside: dict[str, str] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    linked: bool = False
    skipped: set[str] = field(default_factory=set)
    read: dict[Path, Table] = field(default_factory=dict)
    _real: dict[str, str] = field(default_factory=dict)  # folders where links lead
    _names: dict[str, dict[str, list[str]]] = field(default_factory=dict)  # folder -> key -> names
    _glances: dict[str, tuple[list[str], list[str]]] = field(default_factory=dict)
    _folded: dict[str, dict[str, str]] = field(default_factory=dict)  # folder -> name without case -> name

    # --- walking ------------------------------------------------------------------------------------------

    def files(self, below: str = "") -> list[str]:
        """Relative paths of the files below a folder, sorted; links are followed, but never in a circle.

        Hidden files and those of systems are none. Raises TraplineError for a folder that cannot be opened:
        its images would be lost.
        """
        if not self._is_folder(below):
            return []
        above = [(self.path / part).stat() for part in PurePosixPath(below).parents]
        seen = {(status.st_dev, status.st_ino) for status in above}
        found: list[str] = []
        waiting = [below]
        while waiting:
            place = waiting.pop()
            status = (self.path / place).stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            if place.count("/") >= DEEPEST:
                raise TraplineError(
                    f"{self.path / place[:MAX_SHOWN]}...: has more than {DEEPEST} folders inside one "
                    "another; lay them flatter"
                )
            folders, files = self._sorted_entries(place)
            found += files
            waiting += reversed(folders)
        return found

    def full(self, relative: str) -> str:
        """The path to open for a relative one."""
        return self._start + relative

    @cached_property
    def _start(self) -> str:
        return f"{self.path}/"

    def glance(self, below: str = "") -> tuple[list[str], list[str]]:
        """The names of the folders in a folder, and of a few images directly in it; it is opened once."""
        if below not in self._glances:
            folders, files = self._sorted_entries(below) if self._is_folder(below) else ([], [])
            images = islice(filter(is_image_name, files), GLANCED_AT)
            few = [name.rpartition("/")[2] for name in images]
            self._glances[below] = [name.rpartition("/")[2] for name in folders], few
        return self._glances[below]

    def folders(self, below: str = "") -> list[str]:
        """The names of the folders in a folder, sorted."""
        found = self._sorted_entries(below)[0] if self._is_folder(below) else []
        return [name.rpartition("/")[2] for name in found]

    def loose(self, below: str = "") -> list[str]:
        """The names of the files directly in a folder, sorted."""
        found = self._sorted_entries(below)[1] if self._is_folder(below) else []
        return [name.rpartition("/")[2] for name in found]

    def tables(self, suffix: str = TABLE) -> list[Path]:
        """The files at the top whose names end with `suffix`, in any case, sorted.

        Raises TraplineError for one that leads out of the folder.
        """
        return [self._own(name) for name in self.loose() if name.lower().endswith(suffix)]

    def table(self, name: str) -> Path | None:
        """The file `name` of the folder, None where there is none. Raises TraplineError as `tables` does."""
        return self._own(name) if os.path.lexists(self.path / name) else None

    def _own(self, name: str) -> Path:
        """A file that is opened by its name: one that leads elsewhere ends the run."""
        try:
            self.find(name)
        except NotInside as problem:
            if problem.reason != MISSING:
                raise TraplineError(f"{self.path / name}: {problem.detail}") from None
        return self.path / name

    def _is_folder(self, below: str) -> bool:
        return (self.path / below).is_dir() and (not below or self._leads_outside(below) is None)

    def _sorted_entries(self, place: str) -> tuple[list[str], list[str]]:
        """The folders and the files in a folder that are inputs, relative, sorted."""
        folders: list[str] = []
        files: list[str] = []
        try:
            with os.scandir(self.path / place) as scanned:
                entries = list(scanned)
        except OSError as error:
            raise TraplineError(
                f"{self.path / place}: the folder cannot be opened ({error.strerror}), and what is in it "
                "would be lost; make it readable, or move it elsewhere"
            ) from None
        for entry in entries:
            name = f"{place}/{entry.name}" if place else entry.name
            is_folder = entry.is_dir()
            if is_system_name(entry.name, is_folder=is_folder):
                self.skipped |= {name} if not entry.name.startswith(".") else set()
                continue
            if entry.is_symlink() and (detail := self._leads_outside(name)) is not None:
                self.outside[self.full(name)] = detail
                self.closed |= {name} if is_folder else set()
                files.append(name)
            else:
                self.linked |= entry.is_symlink()
                (folders if is_folder else files).append(name)
        return sorted(folders), sorted(files)

    # --- paths that a table names -------------------------------------------------------------------------

    def find(self, given: str) -> str:
        """Where a path that a table or list names lies, relative to the folder.

        Looked for as it is written, then with \\ as /, then in another Unicode form or with other blanks.
        Raises NotInside: `missing` where there is no such file, `outside` where it leads out of the folder,
        `unreadable` where it is no regular file.
        """
        if ADDRESS.match(given) or ELSEWHERE.match(given):
            raise NotInside(OUTSIDE, f"{given!r} is no path below the input folder")
        if len(given) > MAX_PATH_LENGTH:
            raise NotInside(
                MISSING, f"its path has more than {MAX_PATH_LENGTH} characters, which no system takes"
            )
        if "\0" in given or not given.strip():
            raise NotInside(
                MISSING, "no path in its row" if not given.strip() else "its path holds a zero byte"
            )
        if not _is_encodable(given):
            raise NotInside(MISSING, "its path holds half a character, which no name on disk has")
        for name in dict.fromkeys((given, given.replace("\\", "/"))):
            relative = self._relative(name)
            try:
                return self._regular(relative, os.lstat(self.full(relative)))
            except OSError:  # not there by this name
                continue
        relative = self._alike(self._relative(given.replace("\\", "/")))
        return self._regular(relative, os.lstat(self.full(relative)))

    def regular_files(self, below: str) -> tuple[str, frozenset[str]]:
        """Where a folder really lies, and the names of the regular files in it, links apart.

        No names where it lies outside, is not there, or is written in another way than files are: `find` says
        more of its files.
        """
        if below and (not PLAIN.fullmatch(below) or UNUSUAL.search(below) or not _is_encodable(below)):
            return "", frozenset()
        if len(below) > MAX_PATH_LENGTH or self._leads_outside(f"{below}/.", is_link=False) is not None:
            return "", frozenset()
        place = self._real_folder(below)
        try:
            with os.scandir(place) as entries:
                names = (entry.name for entry in entries if entry.is_file(follow_symlinks=False))
                return place, frozenset(names)
        except OSError:  # not there, or closed
            return "", frozenset()

    def identity(self, relative: str) -> str:
        """What two paths of one file have in common: where links lead, if to a file."""
        folder, _, name = relative.rpartition("/")
        place = f"{self._real_folder(folder)}/{name}"
        if not os.path.islink(place):  # noqa: PTH114
            return place
        real = os.path.realpath(place)
        return real if os.path.lexists(real) else place

    def _relative(self, name: str) -> str:
        """`name` relative to the folder, without . and .. Raises NotInside where it leads out of it."""
        if PLAIN.fullmatch(name):
            return name
        above = os.path.abspath(self.path)  # noqa: PTH100
        whole = os.path.join(above, name)  # noqa: PTH118
        places = [(self._real_folder(""), os.path.realpath(whole))]
        if ".." not in name.split("/"):  # which the system takes after a link, not before it
            places.insert(0, (above, os.path.normpath(whole)))
        for top, place in places:
            if _is_below(place, top):
                return place[len(top.rstrip("/")) + 1 :]
        raise NotInside(OUTSIDE, f"{name!r} lies outside the input folder")

    def _regular(self, relative: str, status: os.stat_result) -> str:
        """`relative`, of the file with this status, itself. Raises NotInside where it may not be opened."""
        detail = self._leads_outside(relative, is_link=stat.S_ISLNK(status.st_mode))
        if detail is not None:
            raise NotInside(OUTSIDE, detail)
        if stat.S_ISLNK(status.st_mode):
            try:
                status = os.stat(self.full(relative))  # noqa: PTH116
            except OSError:  # a link to nowhere: whoever opens it says so
                return relative
        if not stat.S_ISREG(status.st_mode):
            raise NotInside(UNREADABLE, "not a regular file")
        return relative

    def _alike(self, relative: str) -> str:
        """The path whose every part has the same key. Raises NotInside where there is none, or several."""
        found = ""
        for part in relative.split("/"):
            names = self._names_in(found).get(key(part, Kind.PATH), [])
            if len(names) > 1:
                raise NotInside(MISSING, f"no such file, and {names[0]!r} and {names[1]!r} are both like it")
            if not names:
                other = self._in_any_case(found).get(part.casefold())
                hint = f"; there is {other!r}, in another case" if other else ""
                raise NotInside(MISSING, f"no such file{hint}")
            found = f"{found}/{names[0]}" if found else names[0]
        return found

    def _names_in(self, folder: str) -> dict[str, list[str]]:
        if folder not in self._names:
            found = sorted(os.listdir(self.path / folder)) if self._is_folder(folder) else []  # noqa: PTH208
            names = self._names.setdefault(folder, {})
            for name in found:
                names.setdefault(key(name, Kind.PATH), []).append(name)
        return self._names[folder]

    def _in_any_case(self, folder: str) -> dict[str, str]:
        """The names in a folder by themselves without case, of several alike the first."""
        if folder not in self._folded:
            every = [name for names in self._names_in(folder).values() for name in names]
            self._folded[folder] = {name.casefold(): name for name in sorted(every, reverse=True)}
        return self._folded[folder]

    def _leads_outside(self, relative: str, *, is_link: bool = True) -> str | None:
        """Why a path may not be opened, because a link in it leads out of the folder; None where it may."""
        if self.follow_links:
            return None
        folder, _, name = relative.rpartition("/")
        place, top = self._real_folder(folder if name else ""), self._real_folder("")
        if is_link:
            place = os.path.realpath(f"{place}/{name}")
        if place == top or _is_below(place, top):
            return None
        return (
            "a link that leads out of the input folder; "
            f"{prepare_option('follow-links', 'true')} reads it all the same"
        )

    def _real_folder(self, folder: str) -> str:
        if folder not in self._real:
            self._real[folder] = os.path.realpath(self.path / folder)
        return self._real[folder]


def _is_encodable(name: str) -> bool:
    """Whether a file can have this name: not where it holds half a character, as \\ud800 in a JSON."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def _is_below(place: str, top: str) -> bool:
    return place.startswith(top.rstrip("/") + "/")


def is_image_name(name: str) -> bool:
    """Whether the suffix of a file's name is an image's."""
    from PIL import Image

    return PurePosixPath(name).suffix.lower() in Image.registered_extensions()


# --- images that a table names without folder or suffix -----------------------------------------------------


def _without_suffix(names: Sequence[str]) -> dict[str, str]:
    """The files by their names without suffix: images first, and none where several could be meant."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(str(PurePosixPath(name).with_suffix("")), []).append(name)
    images = {
        short: [name for name in alike if is_image_name(name)] or alike for short, alike in found.items()
    }
    return {short: alike[0] for short, alike in images.items() if len(alike) == 1}


class Finder:
    """Where the images of a folder lie. `files`: relative paths, by themselves and without their suffix.

    alike: the same by their keys, None where several paths have one.
    """

    def __init__(self, folder: InputFolder) -> None:
        """Of all files below `folder`."""
        names = [name for name in folder.files() if not name.lower().endswith(TABLE)]
        self.folder = folder
        self.files = {**_without_suffix(names), **{name: name for name in names}}
        self.alike: dict[str, str | None] = {}
        for spelling, name in self.files.items():
            own = key(spelling, Kind.PATH)
            self.alike[own] = name if self.alike.setdefault(own, name) == name else None

    def find(self, image: str, table: str) -> str | None:
        """The file that `image` of the table named `table` means, relative to the folder, or None."""
        places = (table, *PLACES, *(f"{place}/{table}" for place in PLACES[1:]))
        spellings = [f"{place}/{image}" if place else image for place in places if image]
        exact = (self.files.get(spelling) for spelling in spellings)
        alike = (self.alike.get(key(spelling, Kind.PATH)) for spelling in spellings)
        return next((name for name in chain(exact, alike) if name is not None), None)

    def absent(self, image: str, place: str) -> Quarantined:
        """The row of an image of which there is no file among those of the folder."""
        try:
            self.folder.find(image)
        except NotInside as problem:
            if problem.reason == OUTSIDE:
                return Quarantined(image, image, OUTSIDE, f"{place}: {problem.detail}")
        return Quarantined(image, image, MISSING, f"{place} names it; no such file")
