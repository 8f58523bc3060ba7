"""Names in zip archives, whatever wrote them: in UTF-8, said or unsaid, or in an unstated code page.

The ZipInfo stays as it is, for zipfile compares its name with the one before the content: only the path
differs.
"""

import re
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from trapline.unpacking_names import Refused

UTF8 = 0x800  # bit 11 of a member's flags: the name is UTF-8
UNICODE_PATH, VERSION_AND_CHECKSUM = 0x7075, 5  # Info-ZIP's extra field, and the bytes before the name in it
# In Shift-JIS, GBK and Big5 a backslash after a byte beyond ASCII may be the second half of a character.
BACKSLASH = re.compile(rb"(?<![\x80-\xff])\\")
UNCLEAR_BACKSLASH = re.compile(rb"[\x80-\xff]\\")


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


def check_backslashes(members: Iterable[zipfile.ZipInfo]) -> None:
    """Raise Refused where a backslash may part folders or belong to a character, and no / tells which."""
    unclear = None
    for member in members:
        if "/" in member.orig_filename:
            return
        if unclear is None and UNCLEAR_BACKSLASH.search(_raw(member)) and member_name(member).is_guessed:
            unclear = member_name(member).text
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
