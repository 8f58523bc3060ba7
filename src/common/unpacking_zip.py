"""Zip archives from elsewhere: unpacked whole or not at all, and never outside their folder.

As in `common.unpacking` what comes out is counted; the sizes in the archive's directory are not relied on.
"""

import contextlib
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from common.errors import TraplineError
from common.unpacking import CHUNK, GIB, Entry, Limits, Refused, checked_path, reported_writing, write_entries

ENCRYPTED = 1  # bit 0 of a member's flags


def unpack_zip(archive: Path, shown_as: str, folder: Path, limits: Limits) -> int:
    """Unpack `archive` into the existing, empty `folder`; return the number of files.

    Messages call the archive `shown_as`. Files get mode 0644 and folders 0755, whatever the archive says.
    Raises TraplineError when the archive is damaged, encrypted, beyond the limits, or holds anything but
    plain files and folders below its top; what was written by then stays for the caller to remove.
    """
    with _reported(shown_as), reported_writing(folder), zipfile.ZipFile(archive) as opened:
        return write_entries(_entries(opened, archive.stat().st_size, limits), folder)


def _entries(archive: zipfile.ZipFile, packed: int, limits: Limits) -> Iterator[Entry]:
    members = archive.infolist()
    if len(members) > limits.members:
        raise Refused(f"holds more than {limits.members:,} files; nothing is unpacked")
    most = min(limits.unpacked, max(limits.ratio_from, limits.ratio * packed))
    seen: set[PurePosixPath] = set()
    written = 0

    def chunks(member: zipfile.ZipInfo) -> Iterator[bytes]:
        nonlocal written
        with archive.open(member) as file:
            while chunk := file.read(CHUNK):
                written += len(chunk)
                if written > most:
                    raise Refused(f"unpacks to more than {most / GIB:.3g} GiB; nothing is unpacked")
                yield chunk

    for member in members:
        if member.flag_bits & ENCRYPTED:
            raise Refused(
                f"holds {member.filename!r}, which is encrypted; give an archive without a password"
            )
        path = checked_path(member.filename, seen, is_file=not member.is_dir(), kind=_kind(member))
        if path.parts:
            yield Entry(path, member.is_dir(), chunks(member))


def _kind(member: zipfile.ZipInfo) -> str | None:
    """What a member is where it is neither file nor folder; other systems than Unix write no type."""
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind in (0, stat.S_IFREG, stat.S_IFDIR):
        return None
    return "a symbolic link" if kind == stat.S_IFLNK else "something unknown"


@contextlib.contextmanager
def _reported(shown_as: str) -> Iterator[None]:
    """Turn whatever damaged bytes lead to into a TraplineError."""
    try:
        yield
    except Refused as error:
        raise TraplineError(f"{shown_as}: {error}") from None
    # Beside its own error the reader raises, on damaged bytes, whatever its parts meet first.
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120] or "it ends early"
        raise TraplineError(
            f"{shown_as}: is no zip archive, or damaged ({reason}); copy or download it again"
        ) from None
