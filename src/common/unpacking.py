"""Archives from elsewhere: unpacked whole or not at all, and never outside their folder.

An archive is read once, forwards, through a reader that counts what really comes out of it: what its headers
claim is never relied on. A model archive holds plain files and folders, so anything else is refused.
"""

import contextlib
import gzip
import os
import tarfile
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from common.errors import TraplineError

CHUNK = 1 << 20
GIB = 1 << 30
FILE_MODE, FOLDER_MODE = 0o644, 0o755
LARGEST_TEXT = 64 << 20  # bytes of a member that is read into memory: model.json, metrics.csv


@dataclass(frozen=True)
class Limits:
    """What an archive may unpack to: far above any model, far below what harms a machine."""

    members: int = 20_000
    unpacked: int = 64 * GIB
    ratio: int = 100  # of unpacked to packed bytes: weights reach 1.1, source code 10, zeros 1000
    ratio_from: int = 256 << 20  # bytes unpacked below which the ratio does not matter


class _Refused(Exception):
    """Why an archive is not unpacked, without its name."""


@dataclass
class _Counted:
    """The packed bytes, counted."""

    stream: IO[bytes]
    count: int = 0

    def read(self, size: int = -1) -> bytes:
        block = self.stream.read(size)
        self.count += len(block)
        return block


@dataclass
class _Forward:
    """The unpacked bytes as the file that tarfile needs: counted, limited, and forwards only."""

    unpacked: IO[bytes]
    packed: _Counted
    limits: Limits
    position: int = 0
    last: bytes = b""

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end. Raises _Refused where they show an absurd archive."""
        # Contents are read in chunks; what tarfile asks for beyond that is a header that fills the memory.
        if not 0 <= size <= CHUNK:
            raise _Refused("has a header of absurd size; nothing is unpacked")
        self.last = self.unpacked.read(size)
        self.position += len(self.last)
        if self.position > self.limits.unpacked:
            raise _Refused(f"unpacks to more than {self.limits.unpacked / GIB:.3g} GiB; nothing is unpacked")
        if self.position > max(self.limits.ratio_from, self.limits.ratio * self.packed.count):
            raise _Refused(
                f"unpacks to more than {self.limits.ratio} times its own size, as no model does;"
                " nothing is unpacked"
            )
        return self.last

    def tell(self) -> int:
        return self.position

    def seek(self, position: int) -> int:
        if position < self.position:
            raise _Refused("is damaged (it points backwards)")
        while self.position < position and self.read(min(CHUNK, position - self.position)):
            pass
        return self.position


@dataclass(frozen=True)
class _Entry:
    """A file or folder of an archive; `chunks` gives its content and must be used before the next entry."""

    path: PurePosixPath
    is_folder: bool
    chunks: Iterator[bytes]


def unpack(stream: IO[bytes], shown_as: str, folder: Path, limits: Limits | None = None) -> int:
    """Unpack the tar.gz that `stream` reads into the existing, empty `folder`; return the number of files.

    Messages call the archive `shown_as`. Files get mode 0644 and folders 0755, whatever the archive says.
    Raises TraplineError when the archive is damaged or truncated, is beyond the limits, or holds anything but
    plain files and folders below its top; what was written by then stays for the caller to remove.
    """
    files = 0
    with _reported(shown_as), _reported_writing(folder):
        for entry in _entries(stream, limits or Limits()):
            target = folder / entry.path
            if entry.is_folder:
                _make_folder(target, folder)
                continue
            _make_folder(target.parent, folder)
            # "x": on a file system that ignores case, two names can be one file.
            with target.open("xb") as file:
                os.fchmod(file.fileno(), FILE_MODE)
                file.writelines(entry.chunks)
            files += 1
    return files


def read_text(
    stream: IO[bytes], shown_as: str, wanted: Collection[str], limits: Limits | None = None
) -> str | None:
    """The text of the first member whose path is in `wanted`; None where the archive holds none.

    Reads no further than to that member, and nothing else into memory. Raises TraplineError as `unpack` does.
    """
    with _reported(shown_as):
        for entry in _entries(stream, limits or Limits()):
            if str(entry.path) in wanted and not entry.is_folder:
                return _text(entry)
    return None


def _text(entry: _Entry) -> str:
    content = bytearray()
    for chunk in entry.chunks:
        content += chunk
        if len(content) > LARGEST_TEXT:
            raise _Refused(f"holds a {entry.path.name} of more than {LARGEST_TEXT >> 20} MiB")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise _Refused(f"holds a {entry.path.name} that is no UTF-8 text") from None


def _make_folder(path: Path, top: Path) -> None:
    missing = [parent for parent in (path, *path.parents) if parent.is_relative_to(top) and parent != top]
    for parent in reversed(missing):
        if not parent.is_dir():
            parent.mkdir()
            parent.chmod(FOLDER_MODE)


def _entries(stream: IO[bytes], limits: Limits) -> Iterator[_Entry]:
    packed = _Counted(stream)
    with gzip.GzipFile(fileobj=cast(Any, packed)) as unpacked:
        reader = _Forward(cast(IO[bytes], unpacked), packed, limits)
        with tarfile.TarFile(fileobj=cast(Any, reader), mode="r") as archive:
            seen: set[PurePosixPath] = set()
            members = 0
            while (member := archive.next()) is not None:
                members += 1
                if members > limits.members:
                    raise _Refused(f"holds more than {limits.members:,} files; nothing is unpacked")
                path = _checked_path(member, seen)
                if path.parts:
                    yield _Entry(path, member.isdir(), _chunks(reader, member))
        _check_end(reader)


def _checked_path(member: tarfile.TarInfo, seen: set[PurePosixPath]) -> PurePosixPath:
    """Where a member goes, below the top. `seen`: the files so far; this one is added."""
    name, path = member.name, PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise _Refused(f"holds {name!r}, which lies outside its folder; nothing is unpacked")
    if not name.isprintable():
        raise _Refused(f"holds {name!r}, whose name has unprintable characters; nothing is unpacked")
    if not (member.isdir() or member.isreg()) or member.issparse():
        raise _Refused(f"holds {name!r}, {_kind(member)}, where a model has plain files; nothing is unpacked")
    if member.isreg():
        if path in seen or not path.parts:
            raise _Refused(f"holds {name!r} twice or without a name; nothing is unpacked")
        seen.add(path)
    return path


def _kind(member: tarfile.TarInfo) -> str:
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


def _check_end(reader: _Forward) -> None:
    """Read to the end, where gzip's check sum is; tarfile itself takes a damaged header for the end."""
    if not reader.last:
        raise EOFError
    block = reader.last
    while block:
        if block.count(0) != len(block):
            raise _Refused("is damaged (a broken header inside)")
        block = reader.read(CHUNK)


@contextlib.contextmanager
def _reported(shown_as: str) -> Iterator[None]:
    """Turn whatever damaged bytes lead to into a TraplineError."""
    try:
        yield
    except _Refused as error:
        raise TraplineError(f"{shown_as}: {error}") from None
    except EOFError:
        raise TraplineError(f"{shown_as}: is truncated; copy or download it again") from None
    except gzip.BadGzipFile as error:
        raise TraplineError(
            f"{shown_as}: is no gzip archive, or damaged ({error}); give the model.tar.gz of a job"
        ) from None
    except (tarfile.TarError, zlib.error, ValueError, OverflowError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise TraplineError(
            f"{shown_as}: is no tar archive, or damaged ({reason}); copy or download it again"
        ) from None


@contextlib.contextmanager
def _reported_writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except gzip.BadGzipFile:
        raise
    except (FileExistsError, NotADirectoryError) as error:
        place = Path(error.filename).relative_to(folder)
        raise _Refused(f"holds two things in the place of '{place}'; nothing is unpacked") from None
    except OSError as error:
        raise TraplineError(
            f"{folder.parent}: the model cannot be written ({error.strerror}); check the free space and the"
            " permissions, or choose another --to"
        ) from None
