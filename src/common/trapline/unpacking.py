"""Archives from elsewhere: unpacked whole or not at all, and never outside their folder.

An archive is read once, forwards, through a reader that counts what really comes out of it: what its headers
claim is never relied on. Models and image sets are plain files and folders, so anything else is refused.
Nothing is kept of a member that is done, so that a million of them take no more memory than one.
`trapline.unpacking_zip` does the same for zip archives.

Any name inside that a file system takes is read, as it is from folders: with odd blanks, invisible
characters, or bytes that are no UTF-8. Refused is what leads elsewhere, and control characters, which
terminals obey.
"""

import contextlib
import errno
import lzma
import os
import re
import struct
import tarfile
import unicodedata
import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from trapline.decompression import Packed, Refused, damage, decompressed
from trapline.errors import TraplineError
from trapline.storage import CHUNK

GIB = 1 << 30
FILE_MODE, FOLDER_MODE = 0o644, 0o755
MAX_TEXT_BYTES = 64 << 20  # bytes of a member that is read into memory: model.json, metrics.csv
MAX_NAME_LENGTH = 255  # bytes of a file's or a folder's own name, on every usual file system
DEEPEST = 100  # folders inside one another; at a thousand, Python can neither walk nor remove them
DRIVE = re.compile("[A-Za-z]:")  # Windows takes what follows for a place on that drive
NAME_ERRORS = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)  # of a file system that takes no such name


# --- names inside an archive --------------------------------------------------------------------------------


def checked_path(name: str, *, is_file: bool, kind: str | None) -> PurePosixPath:
    """Where the member `name` goes, below the top.

    `kind`: what the member is where it is neither file nor folder. Raises Refused for what leads elsewhere,
    and for what no file system, or nothing that reads from it, can take.
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
    return path


# --- tar archives -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Limits:
    """What an archive may unpack to: far above any model, far below what harms a machine."""

    members: int = 20_000
    unpacked: int = 64 * GIB
    ratio: int = 100  # of unpacked to packed bytes: weights reach 1.1, source code 10, zeros 1000
    ratio_from: int = 256 << 20  # bytes unpacked below which the ratio does not matter


@dataclass
class _Forward:
    """The unpacked bytes as the file that tarfile needs: counted, limited, and forwards only."""

    unpacked: IO[bytes]
    packed: Packed
    limits: Limits
    position: int = 0
    last: bytes = b""

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end. Raises Refused where they show an absurd archive."""
        # Contents are read in chunks; what tarfile asks for beyond that is a header that fills the memory.
        if not 0 <= size <= CHUNK:
            raise Refused("has a header of absurd size; nothing is unpacked")
        try:
            self.last = self.unpacked.read(size)
        except (OSError, zlib.error, lzma.LZMAError) as error:
            raise damage(error) from None
        self.position += len(self.last)
        if self.position > self.limits.unpacked:
            raise Refused(f"unpacks to more than {self.limits.unpacked / GIB:.3g} GiB; nothing is unpacked")
        if self.position > max(self.limits.ratio_from, self.limits.ratio * self.packed.count):
            raise Refused(
                f"unpacks to more than {self.limits.ratio} times its own size, as no honest archive does;"
                " nothing is unpacked"
            )
        return self.last

    def tell(self) -> int:
        return self.position

    def seek(self, position: int) -> int:
        if position < self.position:
            raise Refused("is damaged (it points backwards)")
        while self.position < position and self.read(min(CHUNK, position - self.position)):
            pass
        return self.position


@dataclass(frozen=True)
class Entry:
    """A file or folder of an archive; `chunks` gives its content and must be used before the next entry."""

    path: PurePosixPath
    is_folder: bool
    chunks: Iterator[bytes]


def unpack(stream: IO[bytes], shown_as: str, folder: Path, limits: Limits | None = None) -> int:
    """Unpack the tar that `stream` reads into the existing, empty `folder`; return the number of files.

    Its first bytes say whether and how it is compressed: with gzip, bzip2 or xz.

    Messages call the archive `shown_as`. Files get mode 0644 and folders 0755, whatever the archive says.
    Raises TraplineError when the archive is damaged or truncated, is beyond the limits, or holds anything but
    plain files and folders below its top; what was written by then stays for the caller to remove.
    """
    with reported(shown_as), reported_writing(folder):
        return write_entries(_entries(stream, limits or Limits()), folder)


def write_entries(entries: Iterable[Entry], folder: Path) -> int:
    """Write the `entries` of an archive below `folder`; return the number of files."""
    files = 0
    for entry in entries:
        target = folder / entry.path
        _make_folder(target if entry.is_folder else target.parent, folder)
        if not entry.is_folder:
            with _new_file(target, entry.path) as file:
                os.fchmod(file.fileno(), FILE_MODE)
                file.writelines(entry.chunks)
            files += 1
    return files


def _new_file(target: Path, path: PurePosixPath) -> IO[bytes]:
    """Open for writing what must not be there yet, which finds a name that comes twice.

    A list of the names would fill the memory, and know nothing of a file system that ignores case.
    """
    try:
        return target.open("xb")
    except FileExistsError:
        if target.is_dir():
            raise
        raise Refused(
            f"holds {str(path)!r} twice; nothing is unpacked, pack it again with one of the two"
        ) from None


def read_text(
    stream: IO[bytes], shown_as: str, wanted: Collection[str], limits: Limits | None = None
) -> str | None:
    """The text of the first member whose path is in `wanted`; None where the archive holds none.

    Reads no further than to that member, and nothing else into memory. Raises TraplineError as `unpack` does.
    """
    with reported(shown_as):
        for entry in _entries(stream, limits or Limits()):
            if str(entry.path) in wanted and not entry.is_folder:
                return _text(entry)
    return None


def _text(entry: Entry) -> str:
    content = bytearray()
    for chunk in entry.chunks:
        content += chunk
        if len(content) > MAX_TEXT_BYTES:
            raise Refused(f"holds a {entry.path.name} of more than {MAX_TEXT_BYTES >> 20} MiB")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(f"holds a {entry.path.name} that is no UTF-8 text") from None


def _make_folder(path: Path, top: Path) -> None:
    below = [folder for folder in (path, *path.parents) if folder != top and folder.is_relative_to(top)]
    for folder in reversed([folder for folder in below if not folder.is_dir()]):
        folder.mkdir()
        folder.chmod(FOLDER_MODE)


def _entries(stream: IO[bytes], limits: Limits) -> Iterator[Entry]:
    packed = Packed(stream)
    reader = _Forward(decompressed(packed), packed, limits)
    for members, member in enumerate(_members(reader), 1):
        if members > limits.members:
            raise Refused(f"holds more than {limits.members:,} files; nothing is unpacked")
        name = member.name
        # A program for Windows may have parted folders with backslashes. In a name that is no UTF-8, one may
        # be the second half of a character: such a name stays as it is.
        if "\\" in name and not any("\udc80" <= letter <= "\udcff" for letter in name):
            name = name.replace("\\", "/")
        is_folder = member.isdir() or (name.endswith("/") and not member.size)
        path = checked_path(name, is_file=member.isreg() and not is_folder, kind=_kind(member))
        if path.parts:
            yield Entry(path, is_folder, _chunks(reader, member))
    # To the end, where gzip's check sum is; tarfile itself takes a damaged header for the end.
    if not (block := reader.last):
        raise EOFError
    while block:
        if block.count(0) != len(block):
            raise Refused("is damaged (a broken header inside)")
        block = reader.read(CHUNK)


def _members(reader: _Forward) -> Iterator[tarfile.TarInfo]:
    """The members of the archive, of which tarfile itself would keep every one."""
    with tarfile.TarFile(fileobj=cast(Any, reader), mode="r") as archive:
        kept = cast(Any, archive)
        while (member := archive.next()) is not None:
            kept.members.clear()
            if sum(len(key) + len(value) for key, value in kept.pax_headers.items()) > CHUNK:
                raise Refused("has headers of absurd size; nothing is unpacked")
            yield member


def _kind(member: tarfile.TarInfo) -> str | None:
    """What a member is where it is neither file nor folder."""
    if (member.isdir() or member.isreg()) and not member.issparse():
        return None
    kinds = {
        tarfile.SYMTYPE: "a symbolic link",
        tarfile.LNKTYPE: "a hard link",
        tarfile.FIFOTYPE: "a pipe",
        tarfile.CHRTYPE: "a device",
        tarfile.BLKTYPE: "a device",
    }
    return kinds.get(member.type, "a sparse file" if member.issparse() else "something unknown")


def _chunks(reader: _Forward, member: tarfile.TarInfo) -> Iterator[bytes]:
    left = member.size
    while left:
        chunk = reader.read(min(CHUNK, left))
        if not chunk:
            raise EOFError
        left -= len(chunk)
        yield chunk


@contextlib.contextmanager
def reported(shown_as: str) -> Iterator[None]:
    """Turn whatever damaged bytes lead to into a TraplineError."""
    try:
        yield
    except Refused as error:
        raise TraplineError(f"{shown_as}: {error}") from None
    except EOFError:
        raise TraplineError(f"{shown_as}: is truncated; copy or download it again") from None
    except (tarfile.TarError, lzma.LZMAError, zlib.error, ValueError, LookupError, ArithmeticError,
            struct.error, MemoryError, RecursionError) as error:  # fmt: skip
        reason = " ".join(str(error).split())[:120]
        raise TraplineError(
            f"{shown_as}: is no tar archive, or damaged ({reason}); copy or download it again, or give a "
            ".tar, .tar.gz, .tar.bz2 or .tar.xz"
        ) from None


@contextlib.contextmanager
def reported_writing(folder: Path) -> Iterator[None]:
    """Say of what cannot be written below `folder` whether the archive or the disk is to blame."""
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        place = str(Path(error.filename).relative_to(folder))
        raise Refused(f"holds two things in the place of {place!r}; nothing is unpacked") from None
    except OSError as error:
        if error.errno in NAME_ERRORS and error.filename:
            place = str(Path(error.filename).relative_to(folder))
            raise Refused(
                f"holds {place[:80]!r}, a name that the file system of {folder.parent} does not take"
                f" ({error.strerror}); shorten or change it, or choose another folder"
            ) from None
        raise TraplineError(
            f"{folder.parent}: cannot be written ({error.strerror}); check the free space and the"
            " permissions, or choose another folder"
        ) from None
