"""How a picture is to be turned: the orientation in its EXIF or XMP, read without trusting either.

Pillow reads every entry of an EXIF directory into memory; entries that overlap make gigabytes of a small
file. Here the one entry that counts is looked for.
"""

import re
import struct
from collections.abc import Iterator

from trapline.images.jpeg_segments import START_OF_SCAN, jpeg_segments

ORIENTATION_TAG = 0x0112  # CIPA DC-008
PREFIX = b"Exif\0\0"
XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
APP1 = 0xE1
BYTE_ORDERS = {b"II": "<", b"MM": ">"}
WHOLE_NUMBERS = {1: "B", 3: "H", 4: "L"}  # types of TIFF 6.0 -> formats of struct
XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')


def orientation(exif: bytes, xmp: bytes = b"") -> int:
    """The orientation, 1 to 8, that EXIF data or, where it has none, an XMP packet names; 1 if neither does.

    `exif` may begin with its prefix. Damaged metadata is no reason to lose the picture: it counts as none.
    """
    found = _entry(exif.removeprefix(PREFIX))
    if found is None:
        named = XMP_ORIENTATION.search(xmp)
        found = int(named[1]) if named else 1
    return found if found in range(1, 9) else 1


def jpeg_orientation(data: bytes) -> int:
    """The orientation that a JPEG's own segments name."""
    exif, xmp = b"", b""
    for content in _app1_segments(data):
        if content.startswith(PREFIX):
            exif += content[len(PREFIX) if exif else 0 :]  # a long one goes on in the next segment
        elif content.startswith(XMP_PREFIX):
            xmp = content
    return orientation(exif, xmp)


def _app1_segments(data: bytes) -> Iterator[bytes]:
    for marker, start, end in jpeg_segments(data):
        if marker == START_OF_SCAN:
            return
        if marker == APP1:
            yield data[start + 4 : end]


def _entry(tiff: bytes) -> int | None:
    """The value of the tag in the first directory; None where there is none that can be read."""
    order = BYTE_ORDERS.get(tiff[:2])
    if order is None:
        return None
    try:
        (first,) = struct.unpack_from(f"{order}L", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, first)
        for start in range(first + 2, first + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(f"{order}HHL", tiff, start)
            if tag == ORIENTATION_TAG:
                if kind not in WHOLE_NUMBERS or values != 1:
                    return None
                return int(struct.unpack_from(f"{order}{WHOLE_NUMBERS[kind]}", tiff, start + 8)[0])
    except struct.error:  # it ends before its own end
        return None
    return None
