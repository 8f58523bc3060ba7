"""When and by which camera a photograph was taken, as its EXIF says, without trusting it.

Entries are looked for one by one in the two directories that matter; what overlaps, points outside or never
ends gives nothing. Source: CIPA DC-008 (Exif 2.32), TIFF 6.0.
"""

import struct
from typing import NamedTuple

from trapline.images.budget import png_chunks
from trapline.images.files import (
    APP1,
    EXIF_PREFIX,
    PNG_START,
    START_OF_SCAN,
    ImageProblem,
    jpeg_segments,
)

MAX_ENTRIES = 512  # of a directory; cameras write a few dozen
MAX_TEXT = 128  # bytes of a value
MAKE, MODEL, EXIF_DIRECTORY = 0x010F, 0x0110, 0x8769
ORIGINAL, DIGITIZED, SERIAL = 0x9003, 0x9004, 0xA431
OFFSET_ORIGINAL, OFFSET_DIGITIZED = 0x9011, 0x9012
ASCII, LONG = 2, 4  # types of TIFF
TIFF_STARTS = (b"II*\0", b"MM\0*")


class Taken(NamedTuple):
    """`time` as the camera wrote it (2016:08:04 17:46:54, perhaps with +02:00); `camera`: make, model,
    serial.

    Both are None where the file does not say.
    """

    time: str | None
    camera: str | None


NOTHING = Taken(None, None)


def taken(data: bytes) -> Taken:
    """What a JPEG, PNG or TIFF says of when and by what it was taken. Never raises."""
    try:
        tiff = _tiff_of(data)
        return _read(tiff) if tiff else NOTHING
    except (struct.error, ValueError, ImageProblem):  # cut short, no EXIF after all, chunks without an end
        return NOTHING


def _tiff_of(data: bytes) -> bytes:
    if data.startswith(b"\xff\xd8"):
        for marker, start, end in jpeg_segments(data):
            if marker == START_OF_SCAN:
                break
            content = data[start + 4 : end] if marker == APP1 else b""
            if content.startswith(EXIF_PREFIX):
                return content[len(EXIF_PREFIX) :]
        return b""
    if data.startswith(PNG_START):
        found = (data[start + 8 : end - 4] for start, kind, end in png_chunks(data) if kind == b"eXIf")
        return next(found, b"")
    return data if data.startswith(TIFF_STARTS) else b""


def _read(tiff: bytes) -> Taken:
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return NOTHING
    (first,) = struct.unpack_from(f"{order}L", tiff, 4)
    main = _entries(tiff, first, order, (MAKE, MODEL, EXIF_DIRECTORY))
    wanted = (ORIGINAL, DIGITIZED, OFFSET_ORIGINAL, OFFSET_DIGITIZED, SERIAL)
    place = main.get(EXIF_DIRECTORY)
    exif = _entries(tiff, place, order, wanted) if isinstance(place, int) else {}
    time, offset = exif.get(ORIGINAL), exif.get(OFFSET_ORIGINAL)
    if not time:
        time, offset = exif.get(DIGITIZED), exif.get(OFFSET_DIGITIZED)
    parts = (main.get(MAKE), main.get(MODEL), exif.get(SERIAL))
    camera = " ".join(str(part) for part in parts if part)
    return Taken(f"{time}{offset or ''}" if time else None, camera or None)


def _entries(tiff: bytes, start: int, order: str, wanted: tuple[int, ...]) -> dict[int, str | int]:
    """The values of the `wanted` tags of the directory at `start`: texts, and the place of a directory."""
    found: dict[int, str | int] = {}
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    for number in range(min(count, MAX_ENTRIES)):
        place = start + 2 + 12 * number
        if place + 12 > len(tiff):
            break
        tag, kind, values = struct.unpack_from(f"{order}HHL", tiff, place)
        if tag not in wanted:
            continue
        (value,) = struct.unpack_from(f"{order}L", tiff, place + 8)
        if kind == LONG and values == 1:
            found[tag] = value
        elif kind == ASCII and 0 < values <= MAX_TEXT:
            at = place + 8 if values <= 4 else value
            text = tiff[at : at + values].split(b"\0")[0].decode("ascii", "replace").strip()
            if text.isprintable() and text.isascii():
                found[tag] = text
    return found
