"""What decoding one image may cost: limits on what its header announces, and on seconds and memory.

A file says how much work it is, and whoever made it may have wanted much: a WebP of 34 bytes announces
268 million pixels. Decoders believe these numbers, and some reserve memory or run in circles by them before
Pillow could say how large the picture is. So the header of each format is read here, and what is over the
budget is refused before any decoder starts; where a header does not tell (`Work.bounded`), the decoder's
process has a limit (`trapline.images.canonical`).
"""

import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from trapline.images.files import (
    PNG_START,
    START_OF_SCAN,
    ImageProblem,
    Reason,
    announced_kind,
    jpeg_frame,
    jpeg_segments,
)

CHEAP = 16_000_000  # pixels, times passes, that take about a tenth of a second
MAX_PNG_CHUNKS = 100_000
MAX_GIF_BLOCKS = 10_000  # before the first frame; Pillow joins those of a comment in quadratic time
GIF_IMAGE, GIF_EXTENSION = 0x2C, 0x21
HEAVY = 4  # what a pixel takes in decoders of wavelets and video, in pixels of the others

# TIFF: bytes of a value of each type (TIFF 6.0; 16 to 18: BigTIFF), whole numbers as struct knows them, tags.
TYPE_SIZES = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8
}  # fmt: skip
VALUES = {1: "B", 3: "H", 4: "L", 16: "Q"}
WIDTH, HEIGHT, BITS, SAMPLES, ROWS_PER_STRIP, TILE_WIDTH, TILE_HEIGHT = 256, 257, 258, 277, 278, 322, 323


class Work(NamedTuple):
    """What decoding is made of.

    width, height: of the picture as it is stored, pixels. passes: how often the decoder goes over it. parts:
    tiles, strips or chunks, which are taken one by one. reserved: pixels that the decoder fills at a time,
    weighed by what they take, where that is more than the picture. bounded: whether time and memory follow
    from these numbers; where they do not, only a limit on the decoder's process helps.
    """

    width: int
    height: int
    passes: int = 1
    parts: int = 1
    reserved: int = 0
    bounded: bool = True

    @property
    def pixels(self) -> int:
        """Pixels that are in memory while it is decoded."""
        return max(self.width * self.height, self.reserved)

    @property
    def is_cheap(self) -> bool:
        """Whether it is a matter of a tenth of a second, as far as the header shows without a doubt."""
        return self.bounded and self.pixels * self.passes <= CHEAP


@dataclass(frozen=True)
class DecodeBudget:
    """The limits; what is over one is `too_large` (pixels) or `too_costly` (all others).

    max_pixels: of the picture, and of what its decoder fills at a time. max_ratio: long over short side,
    where the long one has more than 10,000 pixels. max_scans: of a JPEG. max_parts: tiles or strips.
    max_seconds: of processor time, for all that makes pixels of one file.
    """

    max_pixels: int = 100_000_000
    max_ratio: int = 100
    max_scans: int = 100
    max_parts: int = 100_000
    max_seconds: float = 30.0

    @property
    def max_memory(self) -> int:
        """Bytes that a process which decodes one image at a time may take."""
        # A process that decodes nothing, and a pixel with the copies that transparency needs.
        return 256 * 2**20 + 24 * self.max_pixels


PREPARATION = DecodeBudget()  # and batch transform: what was prepared is answered


def check_work(work: Work, budget: DecodeBudget) -> None:
    """Raise ImageProblem where the header announces more than the budget allows."""
    size = f"{work.width} x {work.height} pixels"
    short, long = sorted((work.width, work.height))
    for refused, reason, detail in (
        (short * long > budget.max_pixels, Reason.TOO_LARGE, f"{size} exceed max_pixels={budget.max_pixels}"),
        (
            work.reserved > budget.max_pixels,
            Reason.TOO_COSTLY,
            f"{size}, of which the decoder fills what {work.reserved} would take at a time; "
            "convert it to JPEG or PNG",
        ),
        (
            long > max(10_000, budget.max_ratio * short),  # a strip that is shorter costs nothing
            Reason.TOO_COSTLY,
            f"{size}: the long side is more than {budget.max_ratio} times the short one",
        ),
        (
            work.passes > budget.max_scans,
            Reason.TOO_COSTLY,
            f"{work.passes} scans, of which at most {budget.max_scans} are decoded",
        ),
        (
            work.parts > budget.max_parts,
            Reason.TOO_COSTLY,
            f"{work.parts} parts, of which at most {budget.max_parts} are decoded",
        ),
    ):
        if refused:
            raise ImageProblem(reason, detail)


def work_of(data: bytes) -> Work:
    """What the header announces. Raises ImageProblem for what is no image, or none that is read."""
    name = raster_format(data)
    try:
        work = READERS[name](data)
    except (struct.error, IndexError):
        raise ImageProblem(Reason.TRUNCATED, "the file ends within its header") from None
    if work.pixels < 1 and name != "JPEG":
        raise ImageProblem(Reason.CORRUPT, f"the header says {work.width} x {work.height} pixels")
    return work


def packed_work(data: bytes | memoryview, is_png: bool) -> Work:
    """The size that a packed JPEG or PNG announces; its passes are not counted. Raises ImageProblem."""
    try:
        size = struct.unpack_from(">II", data, len(PNG_START) + 8) if is_png else jpeg_frame(data)[:2]
    except (struct.error, IndexError):
        raise ImageProblem(Reason.TRUNCATED, "the image ends within its header") from None
    return Work(*size)


def raster_format(data: bytes) -> str:
    """The format, by its name in Pillow. Raises ImageProblem for what is none that is read here."""
    name = announced_kind(data)
    if name in READERS:
        return name
    if name:
        raise ImageProblem(Reason.UNSUPPORTED, f"{name}: convert it to JPEG or PNG")
    raise ImageProblem(Reason.NOT_AN_IMAGE, "the content is not that of any known image format")


def _jpeg(data: bytes) -> Work:
    frame = jpeg_frame(data)
    scans = sum(marker == START_OF_SCAN for marker, _, _ in jpeg_segments(data))
    return Work(frame.width, frame.height, passes=max(1, scans))


def png_chunks(data: bytes | memoryview) -> Iterator[tuple[int, bytes, int]]:
    """Start, kind and end of each whole chunk. Raises ImageProblem where there are far too many."""
    position = len(PNG_START)
    for _ in range(MAX_PNG_CHUNKS):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if end > len(data):
            return
        kind = bytes(data[position + 4 : position + 8])
        yield position, kind, end
        if kind == b"IEND":
            return
        position = end
    raise ImageProblem(Reason.TOO_COSTLY, f"a PNG of more than {MAX_PNG_CHUNKS} chunks")


def check_png(data: bytes | memoryview) -> None:
    """Refuse a PNG with a wrong checksum, which Pillow does not look at in pixel data, or without an end."""
    for start, kind, end in png_chunks(data):
        if zlib.crc32(data[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ImageProblem(Reason.CORRUPT, f"wrong checksum in the PNG chunk at byte {start}")
        if kind == b"IEND":
            return
    raise ImageProblem(Reason.TRUNCATED, "the PNG ends before its end chunk")


def _png(data: bytes) -> Work:
    check_png(data)  # or its size means nothing
    return Work(*struct.unpack_from(">II", data, len(PNG_START) + 8))


def _gif(data: bytes) -> Work:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    palette = 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0
    frame = _gif_frame(data, 13 + palette)
    if frame is None:
        return Work(width, height)
    left, top, own_width, own_height = struct.unpack_from("<HHHH", data, frame + 1)
    return Work(max(width, left + own_width), max(height, top + own_height))


def _gif_frame(data: bytes, position: int) -> int | None:
    """Where the descriptor of the first frame begins; None where there is none."""
    in_extension = False
    for _ in range(MAX_GIF_BLOCKS):
        if position >= len(data):
            return None
        byte = data[position]
        if in_extension:
            in_extension = byte != 0
            position += 1 + byte
        elif byte == GIF_IMAGE:
            return position
        else:  # Pillow passes over bytes between blocks
            in_extension = byte == GIF_EXTENSION
            position += 2 if in_extension else 1
    raise ImageProblem(
        Reason.TOO_COSTLY, f"a GIF of more than {MAX_GIF_BLOCKS} blocks before its first frame"
    )


def _bmp(data: bytes) -> Work:
    """Run lengths, compressions 1 and 2, are what Pillow undoes in Python."""
    (size,) = struct.unpack_from("<I", data, 14)
    if size == 12:
        return Work(*struct.unpack_from("<HH", data, 18))
    width, height, _, _, compression = struct.unpack_from("<iiHHI", data, 18)
    return Work(abs(width), abs(height), bounded=compression not in (1, 2))


def _webp(data: bytes) -> Work:
    """Extended, lossless and lossy with its start code (RFC 9649); Pillow keeps two canvases beside it."""
    if int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise ImageProblem(Reason.TRUNCATED, "the WebP file is shorter than its header says")
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[start : start + 3], "little") + 1 for start in (24, 27))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        raise ImageProblem(Reason.CORRUPT, "the first chunk of the WebP file is none that holds a picture")
    return Work(width, height)


def _ppm(data: bytes) -> Work:
    """The first numbers of the header, between which comments may stand."""
    words = [word for word in re.findall(rb"#[^\r\n]*|(\S{1,20})", data[2:10_000]) if word][:2]
    if not all(word.isdigit() for word in words):
        raise ImageProblem(Reason.CORRUPT, "the header of the PPM holds something else than numbers")
    if len(words) < 2:
        raise ImageProblem(Reason.TRUNCATED, "the PPM ends within its header")
    # As text, P1 to P3, Pillow reads them in Python.
    return Work(int(words[0]), int(words[1]), bounded=data[:2] not in (b"P1", b"P2", b"P3"))


def _tiff(data: bytes) -> Work:
    """The sizes in the first directory (TIFF 6.0, section 2; BigTIFF), read without trusting them.

    Pillow reads every entry into memory, and libtiff reserves a whole tile: entries that overlap and a tile
    that is larger than its picture make gigabytes of a small file.
    """
    found: dict[int, int | None] = {}
    taken = 0
    for tag, size, value in _tiff_entries(data):
        taken += size
        found.setdefault(tag, value)
    if taken > 2 * len(data):  # some overlap is harmless
        raise ImageProblem(Reason.CORRUPT, "the entries of the TIFF's directory overlap")
    width, height = found.get(WIDTH), found.get(HEIGHT)
    if not width or not height:
        raise ImageProblem(Reason.CORRUPT, "the TIFF does not say its width and height")
    part_width = found.get(TILE_WIDTH) or width
    part_height = found.get(TILE_HEIGHT) or min(found.get(ROWS_PER_STRIP) or height, height)
    samples, bits = found.get(SAMPLES) or 1, found.get(BITS) or 1
    if samples > 16 or bits > 64:
        raise ImageProblem(Reason.CORRUPT, f"a TIFF of {samples} samples a pixel of {bits} bits each")
    pillow_pixels = math.ceil(math.ceil(samples * bits / 8) / 4)  # of 4 bytes each, that a pixel takes
    return Work(
        width,
        height,
        parts=math.ceil(width / part_width) * math.ceil(height / part_height),
        reserved=part_width * part_height * pillow_pixels,
        bounded=False,
    )


def _tiff_entries(data: bytes) -> Iterator[tuple[int, int, int | None]]:
    """Of each entry the tag, the bytes of its values in the file, the first value if it is a whole number."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = struct.unpack_from(f"{order}H", data, 2) == (43,)
    formats = ("Q", "HHQQ", "Q") if is_big else ("H", "HHLL", "L")
    counter, entry, offset = (struct.Struct(order + layout) for layout in formats)
    (start,) = offset.unpack_from(data, 8 if is_big else 4)
    (count,) = counter.unpack_from(data, start)
    first = start + counter.size
    whole = min(count, max(0, len(data) - first) // entry.size)  # Pillow, too, takes what is there
    for at in range(first, first + whole * entry.size, entry.size):
        tag, kind, values, place = entry.unpack_from(data, at)
        size = TYPE_SIZES.get(kind, 0) * values
        if size <= offset.size:  # the values stand where else their place does
            place = at + entry.size - offset.size
        is_number = kind in VALUES and values and place + TYPE_SIZES[kind] <= len(data)
        value = struct.unpack_from(order + VALUES[kind], data, place)[0] if is_number else None
        yield tag, max(0, min(size, len(data) - place)), value


def _jpeg2000(data: bytes) -> Work:
    """By the codestreams, for Pillow's decoder goes by them and not by the boxes around."""
    # SOC and SIZ (ITU-T T.800, annex A), which no packet can hold.
    works = [_j2k_codestream(data, found.start()) for found in re.finditer(rb"\xff\x4f\xff\x51", data)]
    if not works:
        raise ImageProblem(Reason.CORRUPT, "the JPEG 2000 file holds no codestream")
    return max(works, key=lambda work: work.pixels)


def _j2k_codestream(data: bytes, start: int) -> Work:
    right, bottom, left, top, tile_width, tile_height, *_ = struct.unpack_from(">8I", data, start + 8)
    (components,) = struct.unpack_from(">H", data, start + 40)
    width, height = right - left, bottom - top
    if min(width, height, tile_width, tile_height) < 1:
        raise ImageProblem(Reason.CORRUPT, f"a JPEG 2000 of {width} x {height} pixels")
    if not 1 <= components <= 4:
        raise ImageProblem(Reason.UNSUPPORTED, f"a JPEG 2000 of {components} components")
    return Work(
        width,
        height,
        parts=math.ceil(right / tile_width) * math.ceil(bottom / tile_height),
        reserved=max(min(width, tile_width) * min(height, tile_height) * HEAVY, width * height),
        bounded=False,
    )


def _avif(data: bytes) -> Work:
    """By the largest of the images in it, each with a box of its size (ISO/IEC 23008-12, 6.5.3)."""
    sizes = [struct.unpack_from(">II", data, box.end() + 4) for box in re.finditer(b"ispe", data[: 1 << 20])]
    if not sizes:
        raise ImageProblem(Reason.CORRUPT, "the AVIF file does not say its size")
    width, height = max(sizes, key=math.prod)
    return Work(width, height, reserved=width * height * HEAVY, bounded=False)


READERS: Mapping[str, Callable[[bytes], Work]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "GIF": _gif,
    "BMP": _bmp,
    "TIFF": _tiff,
    "WEBP": _webp,
    "JPEG2000": _jpeg2000,
    "AVIF": _avif,
    "PPM": _ppm,
}
