"""The first directory of a TIFF (TIFF 6.0, section 2; BigTIFF): its sizes, read without trusting them.

Pillow reads every entry into memory, and libtiff reserves a whole tile: entries that overlap and a tile that
is larger than its picture make gigabytes of a small file.
"""

import math
import struct
from collections.abc import Iterator
from typing import NamedTuple

from trapline.images.problems import ImageProblem, Reason

# Bytes of a value of each type (TIFF 6.0; 16 to 18: BigTIFF).
TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
TYPE_SIZES |= {16: 8, 17: 8, 18: 8}
VALUES = {1: "B", 3: "H", 4: "L", 16: "Q"}  # whole numbers, as struct knows them
WIDTH, HEIGHT, BITS, SAMPLES, ROWS_PER_STRIP, TILE_WIDTH, TILE_HEIGHT = 256, 257, 258, 277, 278, 322, 323
MAX_OVERLAP = 2  # the entries' values may be this much of the file
PILLOW_PIXEL = 4  # bytes
MAX_SAMPLES, MAX_BITS = 16, 64


class TiffSizes(NamedTuple):
    """width, height: pixels. parts: tiles or strips. reserved: pixels that the largest of them takes."""

    width: int
    height: int
    parts: int
    reserved: int


class _Layout(NamedTuple):
    """How the numbers of a directory are written: byte order, its count, an entry, and where values begin."""

    counted: str
    entry: str
    value: str
    first: int


def tiff_sizes(data: bytes) -> TiffSizes:
    """The sizes of the first picture. Raises ImageProblem for a directory that is not one; struct.error."""
    found: dict[int, int | None] = {}
    taken = 0
    for tag, size, value in _entries(data):
        taken += size
        found.setdefault(tag, value)
    if taken > MAX_OVERLAP * len(data):
        raise ImageProblem(Reason.CORRUPT, "the entries of the TIFF's directory overlap")
    width, height = found.get(WIDTH) or 0, found.get(HEIGHT) or 0
    if not width or not height:
        raise ImageProblem(Reason.CORRUPT, "the TIFF does not say its width and height")
    part_width = found.get(TILE_WIDTH) or width
    part_height = found.get(TILE_HEIGHT) or min(found.get(ROWS_PER_STRIP) or height, height)
    samples, bits = found.get(SAMPLES) or 1, found.get(BITS) or 1
    if samples > MAX_SAMPLES or bits > MAX_BITS:
        raise ImageProblem(Reason.CORRUPT, f"a TIFF of {samples} samples a pixel of {bits} bits each")
    bytes_of_a_pixel = math.ceil(samples * bits / 8)
    reserved = part_width * part_height * max(1, math.ceil(bytes_of_a_pixel / PILLOW_PIXEL))
    parts = math.ceil(width / part_width) * math.ceil(height / part_height)
    return TiffSizes(width, height, parts, reserved)


def _entries(data: bytes) -> Iterator[tuple[int, int, int | None]]:
    """Of each entry the tag, the bytes of its values in the file, the first value if it is a whole number."""
    layout = _layout(data)
    (start,) = struct.unpack_from(layout.value, data, layout.first)
    (count,) = struct.unpack_from(layout.counted, data, start)
    position = start + struct.calcsize(layout.counted)
    step, inside = struct.calcsize(layout.entry), struct.calcsize(layout.value)
    whole = min(count, max(0, len(data) - position) // step)  # Pillow, too, takes what is there
    for at in range(position, position + whole * step, step):
        tag, kind, values, offset = struct.unpack_from(layout.entry, data, at)
        size = TYPE_SIZES.get(kind, 0) * values
        place = at + step - inside if size <= inside else offset
        in_file = max(0, min(size, len(data) - place))
        yield tag, in_file, _first_value(data, layout.value[0], kind, values, place)


def _first_value(data: bytes, order: str, kind: int, values: int, place: int) -> int | None:
    if kind not in VALUES or not values or place + TYPE_SIZES[kind] > len(data):
        return None
    return int(struct.unpack_from(order + VALUES[kind], data, place)[0])


def _layout(data: bytes) -> _Layout:
    order = "<" if data[:2] == b"II" else ">"
    if struct.unpack_from(f"{order}H", data, 2) == (43,):
        return _Layout(f"{order}Q", f"{order}HHQQ", f"{order}Q", 8)
    return _Layout(f"{order}H", f"{order}HHLL", f"{order}L", 4)
