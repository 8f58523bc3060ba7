"""Names in archives: where a member goes below the top, or why it goes nowhere.

Any name that a file system takes is read, as it is from folders: with odd blanks, invisible characters, or
bytes that are no UTF-8. Refused is what leads elsewhere, and control characters, which terminals obey.
"""

import re
import unicodedata
from pathlib import PurePosixPath

MAX_NAME_LENGTH = 255  # bytes of a file's or a folder's own name, on every usual file system
DEEPEST = 100  # folders inside one another; at a thousand, Python can neither walk nor remove them
DRIVE = re.compile("[A-Za-z]:")  # Windows takes what follows for a place on that drive


class Refused(Exception):
    """Why an archive is not unpacked, without its name."""


def checked_path(name: str, *, is_file: bool, kind: str | None) -> PurePosixPath:
    """Where the member `name` goes, below the top.

    `kind`: what the member is where it is neither file nor folder. Raises Refused.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or DRIVE.fullmatch(path.parts[0] if path.parts else ""):
        raise Refused(f"holds {name!r}, which lies outside its folder; nothing is unpacked")
    if not name.isprintable() and any(unicodedata.category(letter) == "Cc" for letter in name):
        raise Refused(f"holds {name!r}, whose name has control characters; rename it and pack it again")
    if kind:
        raise Refused(f"holds {name!r}, {kind}, where plain files belong; nothing is unpacked")
    if is_file and not path.parts:
        raise Refused(f"holds {name!r}, a file without a name; nothing is unpacked")
    _check_size(path)
    return path


def _check_size(path: PurePosixPath) -> None:
    """Refuse what no file system, or nothing that reads from it, can take."""
    if len(path.parts) > DEEPEST:
        raise Refused(
            f"holds {str(path)[:30]!r}... with {len(path.parts) - 1} folders inside one another; pack it"
            f" again with fewer than {DEEPEST}"
        )
    for part in path.parts:
        size = len(part.encode("utf-8", "surrogateescape"))
        if size > MAX_NAME_LENGTH:
            raise Refused(
                f"holds a name of {size} bytes, {part[:30]!r}..., which no file system takes; shorten it to"
                f" {MAX_NAME_LENGTH} and pack it again"
            )


def with_slashes(name: str) -> str:
    """The member's `name` with / between folders, where a program for Windows has written backslashes.

    A name that is no UTF-8 stays as it is: there a backslash may be the second half of a character.
    """
    if "\\" not in name or any("\udc80" <= letter <= "\udcff" for letter in name):
        return name
    return name.replace("\\", "/")
