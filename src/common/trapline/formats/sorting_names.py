"""Names of classes and files as folders and files of a sort: safe on any disk, all different, never outside.

A class may be called `a/b`, `..`, CON or anything else. What disks take is kept, letters of all scripts too;
the rest is changed as little as may be. Disks that do not tell capitals from small letters, or two ways to
write an accent, would lay two names into one: such names get a number.
"""

import itertools
import re
import unicodedata
from collections.abc import Sequence, Set
from pathlib import PurePosixPath

from trapline.names import as_written
from trapline.preparation.sorted_folders import PEOPLE, TABLE, UNCLASSIFIED

FORBIDDEN = re.compile(r'[<>:"/\\|?*\0]')  # on one system or another
RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE)
NO_LETTERS = ("Cc", "Cs", "Cn", "Co")  # Unicode's categories: control, half a character, none, private
LONGEST_FOLDER, LONGEST_FILE = 120, 250  # bytes of UTF-8; disks take 255, encrypted ones 143
LONGEST_SUFFIX, LONGEST_NUMBER = 20, 15  # bytes, of what is kept of a suffix, and of a number in brackets
NAMELESS = "class"


def utf8(text: str) -> str:
    """`text` with an escape for what is half a character, which no file of UTF-8 can hold."""
    return text.encode("utf-8", "backslashreplace").decode()


def folder_names(classes: Sequence[str]) -> list[str]:
    """A folder's name for each class: its own where disks take that, else one like it; all different.

    None is PEOPLE, UNCLASSIFIED or TABLE, in whatever case.
    """
    taken = set(map(_key, (PEOPLE, UNCLASSIFIED, TABLE)))
    numbers: dict[str, int] = {}
    like = [_folder(name) for name in classes]
    found = dict.fromkeys(range(len(classes)), "")
    for keeps_name in (True, False):  # those that can keep theirs go first
        for place, name in enumerate(classes):
            if (like[place] == name) is keeps_name:
                found[place] = _free("", like[place], (taken,), numbers, ends=False)
                taken.add(_key(found[place]))
    return list(found.values())


def _folder(name: str) -> str:
    letters = (
        "_" if unicodedata.category(letter) in NO_LETTERS or FORBIDDEN.match(letter) else letter
        for letter in as_written(name)
    )
    safe = _cut("".join(letters).strip(" ."), LONGEST_FOLDER).strip(" .") or NAMELESS
    return f"_{safe}" if RESERVED.fullmatch(safe) else safe


def distinct_files(files: Sequence[str]) -> list[str]:
    """For each file a relative path like its own, that leads to no folder above, and to no other file.

    Of several that a disk could take for one, the first keeps its name, the others get a number.
    """
    taken, folders = set[str](), set[str]()
    numbers: dict[str, int] = {}
    found = []
    for file in files:
        *above, name = _parts(file)
        place = ""
        for part in above:
            place = _free(place, part, (taken,), {}) + "/"
            folders.add(_key(place[:-1]))
        found.append(_free(place, name, (taken, folders), numbers))
        taken.add(_key(found[-1]))
    return found


def _parts(file: str) -> list[str]:
    """The folders and the name of a file, without what leads to another place."""
    parts = (part.replace("\0", "_") for part in utf8(file).split("/") if part not in ("", "."))
    return [_shortened("_" if part == ".." else part) for part in parts] or [NAMELESS]


def _shortened(name: str) -> str:
    if len(name) <= LONGEST_FILE // 4 or len(name.encode()) <= LONGEST_FILE:
        return name
    end = _cut(PurePosixPath(name).suffix, LONGEST_SUFFIX)
    return _cut(name, LONGEST_FILE - len(end.encode())) + end


def _free(
    place: str, name: str, taken: Sequence[Set[str]], numbers: dict[str, int], *, ends: bool = True
) -> str:
    """`name` below `place`, with a number where its key is `taken`. numbers: by key, where to go on.

    ends: whether what follows the last point of the name goes after the number.
    """
    key = _key(place + name)
    if not any(key in each for each in taken):
        return place + name
    end = _cut(PurePosixPath(name).suffix, LONGEST_SUFFIX) if ends else ""
    stem = _cut(name.removesuffix(end), LONGEST_FILE - LONGEST_SUFFIX - LONGEST_NUMBER)
    for number in itertools.count(numbers.get(key, 2)):
        whole = f"{place}{stem} ({number}){end}"
        if not any(_key(whole) in each for each in taken):
            break
    numbers[key] = number + 1
    return whole


def _key(path: str) -> str:
    """The same for paths that a disk could take for one: capitals are small, accents apart."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())


def _cut(text: str, longest: int) -> str:
    """The beginning of `text`, at most `longest` bytes of it in UTF-8."""
    return text.encode()[:longest].decode(errors="ignore") if len(text) * 4 > longest else text
