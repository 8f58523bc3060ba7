"""What lies in a folder of the user's: every folder in it is opened or named, and no link leads out unseen.

os.walk and rglob pass over a folder that they may not open, and whoever uses them loses its images.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from trapline.errors import TraplineError
from trapline.preparation.system_files import is_system_folder

EntryKind = Literal["file", "folder", "outside", "special", "nowhere"]
NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # of a link that has no end, and of a file that went


class Found(NamedTuple):
    """Something in a folder: a file, a link to a folder, which is entered too, or what is neither.

    name: relative to the folder that was walked. kind: outside: a link that leads out of that folder and is
    not followed; special: a device, a pipe, a socket; nowhere: a link without an end, or a file that went.
    link: what the link says, if it is one. size in bytes and time of change in ns are of what a link leads
    to, and 0 where nobody looked.
    """

    place: str
    name: str
    kind: EntryKind
    link: str = ""
    size: int = 0
    changed: int = 0

    @property
    def path(self) -> Path:
        """Where it is, as the folder was given."""
        return Path(self.place)

    @property
    def line(self) -> bytes:
        """What is another line when anything has changed; the name may be in any encoding."""
        return os.fsencode(f"{self.name}\0{self.kind}\0{self.link}\0{self.size}\0{self.changed}\n")


def walk(
    root: Path, *, follow_links: bool = False, skips: Callable[[str], bool] = is_system_folder
) -> Iterator[Found]:
    """The file `root`, or what is in a folder and those below it, always in the same order.

    Nothing where there is no such path. Links within the folder are followed; those that lead out of it where
    `follow_links`. Folders whose name `skips` are passed over. Raises TraplineError naming what cannot be
    looked into.
    """
    if root.is_file():
        state = root.stat()
        yield Found(str(root), root.name, "file", "", state.st_size, state.st_mtime_ns)
    top = os.path.realpath(root)
    # Folders to look into, each with the real folders above and itself, and whether a link led there.
    waiting: list[tuple[Found, tuple[str, ...], bool]] = (
        [(Found(str(root), "", "folder"), (top,), False)] if root.is_dir() else []
    )
    while waiting:
        folder, within, linked = waiting.pop()
        inner = []
        for entry in _entries(folder.place):
            found, leads_to = _look(entry, folder.name, within[-1], top, follow_links)
            if found.kind != "folder":
                yield found
            elif not skips(entry.name):
                yield from [found] if found.link else []
                # Never in a circle, nor from link to link: folders that link each other had no end of paths.
                again = linked and found.link and _is_in(leads_to, top)
                if not again and leads_to not in within:
                    inner.append((found, (*within, leads_to), linked or bool(found.link)))
        waiting += reversed(inner)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise _unopened(folder, error) from None


def _look(entry: os.DirEntry[str], above: str, real: str, top: str, follow_links: bool) -> tuple[Found, str]:
    """What an entry of the folder `above` is, and where it leads, without links, as `real` is that folder."""
    place, name, link = entry.path, f"{above}/{entry.name}" if above else entry.name, ""
    leads_to = f"{real.rstrip('/')}/{entry.name}"
    try:
        if entry.is_symlink():
            link, leads_to = os.readlink(place), os.path.realpath(place)  # noqa: PTH115
            if not follow_links and not _is_in(leads_to, top):
                return Found(place, name, "outside", link), leads_to
        state = entry.stat()
    except OSError as error:
        if error.errno in NOWHERE:
            return Found(place, name, "nowhere", link), leads_to
        raise _unopened(place, error) from None
    kind: EntryKind = "file" if stat.S_ISREG(state.st_mode) else "special"
    if stat.S_ISDIR(state.st_mode):
        kind = "folder"
    return Found(place, name, kind, link, state.st_size, state.st_mtime_ns), leads_to


def _is_in(place: str, top: str) -> bool:
    return place == top or place.startswith(f"{top.rstrip('/')}/")


def _unopened(place: str, error: OSError) -> TraplineError:
    return TraplineError(
        f"{printable(place)}: cannot be opened ({error.strerror}), and what is in it would be lost; make it "
        "readable, or move it elsewhere"
    )


def printable(path: Path | str) -> str:
    """A path as valid Unicode: bytes of another encoding become escapes, and a terminal takes them."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
