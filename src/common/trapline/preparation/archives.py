"""Raw images in an archive: recognised, and unpacked into a folder that the caller removes.

What counts is the content, as far as its first bytes tell it. An archive that is not read is refused, by name
and with the way out, rather than taken for a folder without images.
"""

import itertools
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from trapline.console import printable
from trapline.decompression import is_compressed
from trapline.errors import TraplineError, UsageError
from trapline.preparation.system_files import is_system_name
from trapline.s3 import Place, place_of
from trapline.storage import READ_ARCHIVES as READ_ARCHIVES
from trapline.storage import is_archive as is_archive
from trapline.storage import is_part, unread_kind
from trapline.unpacking import GIB, Limits, unpack
from trapline.unpacking_zip import unpack_zip

ZIP = re.compile(rb"PK(\x03\x04|\x05\x06|\x07\x08|00)")
TAR, TAR_AT = b"ustar", 257
# How an archive begins that is not read, by the kinds of UNREAD_SUFFIXES; not all kinds can be told so.
BEGINS = {
    "a 7-Zip archive": re.compile(rb"7z\xbc\xaf\x27\x1c"),
    "a RAR archive": re.compile(rb"Rar!\x1a\x07"),
    "packed with Zstandard": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
    "packed with LZ4": re.compile(rb"\x04\x22\x4d\x18|\x02\x21\x4c\x18"),
    "packed with compress": re.compile(rb"\x1f\x9d"),
    "packed with lzip": re.compile(rb"LZIP\x01"),
    "packed with lzop": re.compile(rb"\x89LZO\0\r\n"),
}
# ImageNet has 1.4 million files in 150 GB; drawn pictures and bitmaps in a tar.gz can shrink to a fiftieth.
LIMITS = Limits(members=20_000_000, unpacked=4096 * GIB, ratio=100)


def unread_archive(path: Path) -> str | None:
    """Why the archive `path` is not read, and what to do: words that follow its name. None for anything else.

    The first bytes say what it is, and the name where they do not, or where there is no such file (in S3).
    Raises TraplineError where the file cannot be read.
    """
    if _is_part(path):
        return "is one part of several, which are not read; join and unpack them, and give the folder"
    start = _start(path) if path.is_file() else b""
    kind = next((kind for kind, begin in BEGINS.items() if begin.match(start)), None)
    if kind is None and not _is_read(start):
        kind = unread_kind(path.name)
    way_out = "unpack it and give the folder, or pack it again as .zip or .tar"
    return f"is {kind}, which is not read; {way_out}" if kind else None


def raw_place(uri: str, flag: str = "") -> Place:
    """The place of raw images. Raises UsageError as `place_of` does, and for an object that is not read.

    `flag`: what gave the URI, as in `--data`, for messages.
    """
    shown = f"{flag} {uri}".strip()
    place = place_of(uri)
    if place.kind != "object":
        return place
    if reason := unread_archive(Path(place.name)):
        raise UsageError(f"{shown}: {reason}")
    if not is_archive(place.name):
        raise UsageError(
            f"{shown}: is one file; give the folder that holds it, or {READ_ARCHIVES}; a folder of that name "
            "has a slash at its end"
        )
    return place


def archive_in(path: Path) -> Path | None:
    """`path` where it is an archive, the archive in a folder that holds nothing else; None otherwise.

    A platform that takes folders alone mounts a single file as a folder with that file. Raises TraplineError
    for an archive that is not read, and for a folder that holds several archives and nothing else.
    """
    if path.is_file():
        return _readable(path)
    alone = _archives_alone(path) if path.is_dir() else []
    parts = [archive for archive in alone if _is_part(archive)]
    if len(alone) > 1 and not parts:
        raise TraplineError(
            f"{path}: holds {_listed(alone)} and nothing else; give one of them, or unpack them into a folder"
        )
    return _readable((parts or alone)[0]) if alone else None


def unpack_images(archive: Path, folder: Path) -> Path:
    """Unpack `archive` into the new `folder`; return the folder with the images.

    That is `folder`, or the one folder in which an archive holds everything. Raises TraplineError as
    `trapline.unpacking.unpack` does, where it holds nothing but archives, and where there is too little space
    for the images.
    """
    folder.mkdir(parents=True)
    name = printable(archive.name)
    packed, free = archive.stat().st_size, shutil.disk_usage(folder).free
    if packed > free:
        raise TraplineError(
            f"{folder.parent}: {packed / 1e9:.2f} GB from {name} do not fit, {free / 1e9:.2f} GB are "
            "free; choose an --output on a larger disk"
        )
    print(f"unpacking {name} ({packed / 1e6:.1f} MB)", flush=True)
    start = _start(archive)
    # By its name where it starts as nothing known, as behind a program.
    if ZIP.match(start) or (archive.name.lower().endswith(".zip") and not _is_read(start)):
        unpack_zip(archive, name, folder, LIMITS)
    else:
        with archive.open("rb") as stream:
            unpack(stream, name, folder, LIMITS)
    top = _top(folder)
    if inside := _archives_alone(top):
        raise TraplineError(f"{name}: holds nothing but {_listed(inside)}; unpack all, and give the folder")
    return top


def _is_part(path: Path) -> bool:
    """Whether it is one of the files of an archive that was split; the last of .z01, .z02, ... is a .zip."""
    return is_part(path.name) or (path.name.lower().endswith(".zip") and path.with_suffix(".z01").is_file())


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(TAR_AT + len(TAR))
    except OSError as error:
        raise TraplineError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None


def _is_read(start: bytes) -> bool:
    return bool(ZIP.match(start)) or is_compressed(start) or start[TAR_AT:] == TAR


def _readable(path: Path) -> Path | None:
    """`path` where it is an archive; raises TraplineError for one that is not read."""
    if reason := unread_archive(path):
        raise TraplineError(f"{path}: {reason}")
    return path if is_archive(path.name) or unread_kind(path.name) else None


def _archives_alone(folder: Path) -> list[Path]:
    """The archives, read or not, in a folder that holds nothing else; none where it does."""
    found = []
    for entry in _given(folder):
        path = folder / entry.name
        if not entry.is_file() or not (is_archive(path.name) or unread_kind(path.name) or _is_part(path)):
            return []
        found.append(path)
    return sorted(found)


def _given(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What people have put into `folder`."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not is_system_name(entry.name, is_folder=entry.is_dir()):
                yield entry


def _listed(archives: Sequence[Path]) -> str:
    names = [repr(archive.name) for archive in archives[:5]]
    more = f" and {len(archives) - len(names)} more" if len(archives) > len(names) else ""
    return ", ".join(names) + more


def _top(folder: Path) -> Path:
    """Below folders that hold a single folder and nothing else, as archives of a whole folder do."""
    while True:
        entries = list(itertools.islice(_given(folder), 2))
        if len(entries) != 1 or not entries[0].is_dir():
            return folder
        folder = folder / entries[0].name
