"""Zip archives from elsewhere: unpacked whole or not at all, and never outside their folder.

As in `trapline.unpacking` what comes out is counted; the sizes in the archive's directory are not relied on.
"""

import contextlib
import copy
import lzma
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trapline.console import printable
from trapline.decompression import XZ_MEMORY, Refused, damage
from trapline.storage import CHUNK
from trapline.unpacking import (
    GIB,
    Entry,
    Limits,
    checked_path,
    reported,
    reported_writing,
    write_entries,
)

ENCRYPTED = 0x1 | 0x40 | 0x2000  # bits of a member's flags: by password, strongly, with hidden names
END_RECORD, END_REACH, IN_ANOTHER_RECORD = b"PK\x05\x06", 22 + 65_535, 0xFFFF
LZMA_START = 9  # bytes: two of a version, two of a size, and LZMA's own five, whose last four are a size
# What a damaged member raises while it is read, each by its own way of being packed.
DAMAGE = (
    OSError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    struct.error,
    ValueError,
    MemoryError,
    zipfile.BadZipFile,
)
READ_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
OTHER_METHODS = {
    1: "Shrink", 2: "Reduce", 3: "Reduce", 4: "Reduce", 5: "Reduce", 6: "Implode", 7: "Tokenize",
    9: "Deflate64", 10: "PKWARE's Implode", 16: "IBM's CMPSC", 18: "IBM's Terse", 19: "IBM's LZ77",
    20: "Zstandard", 92: "a method of WinZip", 93: "Zstandard", 94: "MP3", 95: "XZ", 96: "WinZip's JPEG",
    97: "WavPack", 98: "PPMd", 99: "AES encryption",
}  # fmt: skip
UTF8 = 0x800  # bit 11 of a member's flags: the name is UTF-8
UNICODE_PATH, VERSION_AND_CHECKSUM = 0x7075, 5  # Info-ZIP's extra field, and the bytes before the name in it
# In Shift-JIS, GBK and Big5 a backslash after a byte beyond ASCII may be the second half of a character.
BACKSLASH = re.compile(rb"(?<![\x80-\xff])\\")
UNCLEAR_BACKSLASH = re.compile(rb"[\x80-\xff]\\")


def unpack_zip(archive: Path, shown_as: str, folder: Path, limits: Limits) -> int:
    """Unpack `archive` into the existing, empty `folder`; return the number of files.

    Messages call the archive `shown_as`. Files get mode 0644 and folders 0755, whatever the archive says.
    A line says so where names in an unstated code page had to be guessed. Raises TraplineError when the
    archive is damaged, encrypted, packed in a way that is not read, one part of several, beyond the limits,
    or holds anything but plain files and folders below its top; what was written by then stays for the caller
    to remove.
    """
    with reported(shown_as), _refused(), reported_writing(folder), _opened(archive) as opened:
        members = opened.infolist()
        if len(members) > limits.members:
            raise Refused(f"holds more than {limits.members:,} files; nothing is unpacked")
        check_backslashes(members)
        for member in members:
            _check_is_read(member)
        guessed = [name.text for name in map(member_name, members) if name.is_guessed]
        if guessed:
            print(
                f"{printable(shown_as)}: {len(guessed)} of {len(members)} names are in an unstated code page,"
                f" read as 437, such as {guessed[0]!r}; if that looks wrong, pack it again with UTF-8 names"
                " (7-Zip: cu=on)",
                flush=True,
            )
        return write_entries(_entries(opened, archive.stat().st_size, limits), folder)


def _opened(archive: Path) -> zipfile.ZipFile:
    """Open the zip; raise Refused for the last part of a split one, of which the first is 0."""
    with archive.open("rb") as stream:
        stream.seek(max(0, archive.stat().st_size - END_REACH))
        end = stream.read()
    record = end.rfind(END_RECORD)
    part = int.from_bytes(end[record + 4 : record + 6], "little") if record >= 0 else 0
    if 0 < part < IN_ANOTHER_RECORD:
        raise Refused("is one part of several; join them (zip -s 0 PARTS.zip --out WHOLE.zip) or unpack them")
    return zipfile.ZipFile(archive)


def _check_is_read(member: zipfile.ZipInfo) -> None:
    """Refuse, before anything is written, what cannot be read to its end."""
    name = member_name(member).text
    if member.flag_bits & ENCRYPTED:
        raise Refused(f"holds {name!r}, which is encrypted; give an archive without a password")
    if member.compress_type not in READ_METHODS and not name.endswith("/"):
        method = OTHER_METHODS.get(member.compress_type, f"method {member.compress_type}")
        raise Refused(
            f"holds {name!r}, packed with {method}, which is not read; pack it again with Deflate, or unpack"
            " it and give the folder"
        )


def _entries(archive: zipfile.ZipFile, packed: int, limits: Limits) -> Iterator[Entry]:
    limit = min(limits.unpacked, max(limits.ratio_from, limits.ratio * packed))
    written = 0

    def counted(member: zipfile.ZipInfo) -> Iterator[bytes]:
        nonlocal written
        for chunk in _chunks(archive, member):
            written += len(chunk)
            if written > limit:
                raise Refused(f"unpacks to more than {limit / GIB:.3g} GiB; nothing is unpacked")
            yield chunk

    for member in archive.infolist():
        name = member_name(member).text
        is_folder = name.endswith("/")
        path = checked_path(name, is_file=not is_folder, kind=_kind(member))
        if path.parts:
            yield Entry(path, is_folder, counted(member))


def _chunks(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    name = member_name(member).text
    try:
        if member.compress_type == zipfile.ZIP_LZMA:
            _check_dictionary(archive, member, name)
        with archive.open(member) as file:
            while chunk := file.read(CHUNK):
                yield chunk
    except DAMAGE as error:
        raise damage(error, name) from None


def _check_dictionary(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> None:
    """Refuse a member whose LZMA dictionary would fill the memory: its first bytes tell the size."""
    stored = copy.copy(member)
    stored.compress_type = zipfile.ZIP_STORED  # to read its bytes as they lie there, which have no check sum
    del stored.CRC
    stored.file_size = stored.compress_size
    with archive.open(stored) as file:
        start = file.read(LZMA_START)
    size = int.from_bytes(start[LZMA_START - 4 :], "little")
    if size > XZ_MEMORY:
        raise Refused(
            f"holds {name!r}, which takes {size >> 20} MiB of memory to unpack; pack it again with Deflate"
        )


def _kind(member: zipfile.ZipInfo) -> str | None:
    """What a member is where it is neither file nor folder; other systems than Unix write no type."""
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind in (0, stat.S_IFREG, stat.S_IFDIR):
        return None
    return "a symbolic link" if kind == stat.S_IFLNK else "something unknown"


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    """Turn whatever damaged bytes lead to into Refused."""
    try:
        yield
    except NotImplementedError as error:
        raise Refused(
            f"is packed in a way that is not read ({error}); pack it again with Deflate, or"
            " unpack it and give the folder"
        ) from None
    # Beside its own error the reader raises, on damaged bytes, whatever its parts meet first.
    except (*DAMAGE, IndexError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120] or "it ends early"
        raise Refused(f"is no zip archive, or damaged ({reason}); copy or download it again") from None


# --- names, whatever wrote them -----------------------------------------------------------------------------
# They are in UTF-8, said or unsaid, or in an unstated code page. The ZipInfo stays as it is, for zipfile
# compares its name with the one before the content: only the path differs.


@dataclass(frozen=True)
class MemberName:
    """A member's name, with / between folders; `is_guessed`: read as code page 437, for want of better."""

    text: str
    is_guessed: bool


def member_name(member: zipfile.ZipInfo) -> MemberName:
    """The name in UTF-8, where it is in UTF-8 or has a UTF-8 twin, else in code page 437."""
    if member.orig_filename.isascii() and not member.extra:
        return MemberName(member.orig_filename.replace("\\", "/"), is_guessed=False)
    raw = _raw(member)
    stated = raw if member.flag_bits & UTF8 else _unicode_path(member.extra, raw) or raw
    text = _as_utf8(stated)
    if text is not None:
        return MemberName(text.replace("\\", "/"), is_guessed=False)
    # Folder by folder: a folder is called the same whatever lies in it.
    parts = BACKSLASH.sub(b"/", raw).split(b"/")
    texts = [part.decode("cp437") if (known := _as_utf8(part)) is None else known for part in parts]
    return MemberName("/".join(texts), is_guessed=True)


def check_backslashes(members: Sequence[zipfile.ZipInfo]) -> None:
    """Raise Refused where a backslash may part folders or belong to a character, and no / tells which."""
    if any("/" in member.orig_filename for member in members):
        return
    names = (member_name(member) for member in members if UNCLEAR_BACKSLASH.search(_raw(member)))
    unclear = next((name.text for name in names if name.is_guessed), None)
    if unclear is not None:
        raise Refused(
            f"holds {unclear!r}, where a backslash may part folders or belong to a character; pack it again"
            " with UTF-8 names (7-Zip: cu=on), or unpack it and give the folder"
        )


def _raw(member: zipfile.ZipInfo) -> bytes:
    """The name as the archive has it: zipfile reads what it does not know as code page 437, byte for byte."""
    return member.orig_filename.encode("utf-8" if member.flag_bits & UTF8 else "cp437")


def _as_utf8(raw: bytes) -> str | None:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _unicode_path(extra: bytes, raw: bytes) -> bytes | None:
    """The UTF-8 name in Info-ZIP's extra field, unless it is of another name: who renames may keep it."""
    while len(extra) >= 4:
        kind, size = (int.from_bytes(extra[at : at + 2], "little") for at in (0, 2))
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        checksum = int.from_bytes(field[1:VERSION_AND_CHECKSUM], "little")
        if kind == UNICODE_PATH and field[:1] == b"\x01" and checksum == zlib.crc32(raw):
            return field[VERSION_AND_CHECKSUM:]
    return None
