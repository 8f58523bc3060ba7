"""What the first bytes of an image file say of the work that decoding it is, for each format that is read.

Decoders believe these numbers, and some reserve memory or run in circles by them before Pillow could say how
large the picture is: so they are read here, and weighed by `images.budget`, before any decoder starts.
"""

import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from trapline.images.jpeg_segments import count_scans, jpeg_frame
from trapline.images.problems import ImageProblem, Reason
from trapline.images.signatures import JPEG_START, PNG_START, RASTER_FORMATS, announced_kind
from trapline.images.tiff_header import tiff_sizes

MAX_PNG_CHUNKS = 100_000
MAX_GIF_BLOCKS = 10_000  # before the first frame; Pillow joins those of a comment in quadratic time
GIF_IMAGE, GIF_EXTENSION = 0x2C, 0x21
BMP_RUN_LENGTHS = (1, 2)  # compressions that Pillow undoes in Python
TEXT_PPM = (b"P1", b"P2", b"P3")  # numbers as text, which Pillow reads in Python
HEAVY = 4  # what a pixel takes in decoders of wavelets and video, in pixels of the others
J2K_START = b"\xff\x4f\xff\x51"  # SOC and SIZ (ITU-T T.800, annex A); no packet can hold it
MAX_J2K_COMPONENTS = 4
AVIF_SIZE = b"ispe"  # the box of an image's size (ISO/IEC 23008-12, 6.5.3)
VP8_START = b"\x9d\x01\x2a"


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


def work_of(data: bytes) -> Work:
    """What the header announces. Raises ImageProblem for what is no image, or none that is read."""
    try:
        work = _jpeg(data) if is_jpeg(data) else READERS[raster_format(data)](data)
    except (struct.error, IndexError):
        raise ImageProblem(Reason.TRUNCATED, "the file ends within its header") from None
    if work.pixels < 1 and not is_jpeg(data):
        raise ImageProblem(Reason.CORRUPT, f"the header says {work.width} x {work.height} pixels")
    return work


def packed_work(data: bytes | memoryview, is_png: bool) -> Work:
    """The size that a packed JPEG or PNG announces; its passes are not counted. Raises ImageProblem."""
    try:
        if is_png:
            return Work(*struct.unpack_from(">II", data, len(PNG_START) + 8))
        frame = jpeg_frame(data)
    except (struct.error, IndexError):
        raise ImageProblem(Reason.TRUNCATED, "the image ends within its header") from None
    return Work(frame.width, frame.height)


def is_jpeg(data: bytes) -> bool:
    """Whether a JPEG begins here."""
    return data.startswith(JPEG_START + b"\xff")


def raster_format(data: bytes) -> str:
    """The format, by its name in Pillow. Raises ImageProblem for what is none that is read here."""
    name = announced_kind(data)
    if name in RASTER_FORMATS:
        return name
    if name:
        raise ImageProblem(Reason.UNSUPPORTED, f"{name}: convert it to JPEG or PNG")
    raise ImageProblem(Reason.NOT_AN_IMAGE, "the content is not that of any known image format")


def png_chunks(data: bytes | memoryview) -> Iterator[tuple[int, bytes, int]]:
    """Start, kind and end of each whole chunk. Raises ImageProblem where there are far too many."""
    position = len(PNG_START)
    for _ in range(MAX_PNG_CHUNKS):
        if position + 12 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            return
        yield position, kind, end
        if kind == b"IEND":
            return
        position = end
    raise ImageProblem(Reason.TOO_COSTLY, f"a PNG of more than {MAX_PNG_CHUNKS} chunks")


def _jpeg(data: bytes) -> Work:
    frame = jpeg_frame(data)
    return Work(frame.width, frame.height, passes=max(1, count_scans(data)))


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
    (size,) = struct.unpack_from("<I", data, 14)
    if size == 12:
        width, height = struct.unpack_from("<HH", data, 18)
        return Work(width, height)
    width, height, _, _, compression = struct.unpack_from("<iiHHI", data, 18)
    return Work(abs(width), abs(height), bounded=compression not in BMP_RUN_LENGTHS)


def _webp(data: bytes) -> Work:
    """Extended, lossless and lossy (RFC 9649); Pillow's decoder keeps two canvases beside the picture."""
    if int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise ImageProblem(Reason.TRUNCATED, "the WebP file is shorter than its header says")
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[start : start + 3], "little") + 1 for start in (24, 27))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 " and data[23:26] == VP8_START:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        raise ImageProblem(Reason.CORRUPT, "the first chunk of the WebP file is none that holds a picture")
    return Work(width, height)


def _ppm(data: bytes) -> Work:
    """The numbers of the header, between which comments may stand."""
    numbers: list[int] = []
    for word in re.finditer(rb"#[^\r\n]*|(\S{1,20})", data[2:10_000]):
        if word[1]:
            if not word[1].isdigit():
                raise ImageProblem(Reason.CORRUPT, "the header of the PPM holds something else than numbers")
            numbers.append(int(word[1]))
        if len(numbers) == 2:
            return Work(numbers[0], numbers[1], bounded=data[:2] not in TEXT_PPM)
    raise ImageProblem(Reason.TRUNCATED, "the PPM ends within its header")


def _tiff(data: bytes) -> Work:
    sizes = tiff_sizes(data)
    return Work(sizes.width, sizes.height, parts=sizes.parts, reserved=sizes.reserved, bounded=False)


def _jpeg2000(data: bytes) -> Work:
    """By the codestreams, for Pillow's decoder goes by them and not by the boxes around."""
    works = [_j2k_codestream(data, found.start()) for found in re.finditer(re.escape(J2K_START), data)]
    if not works:
        raise ImageProblem(Reason.CORRUPT, "the JPEG 2000 file holds no codestream")
    return max(works, key=lambda work: work.pixels)


def _j2k_codestream(data: bytes, start: int) -> Work:
    right, bottom, left, top, tile_width, tile_height, *_ = struct.unpack_from(">8I", data, start + 8)
    (components,) = struct.unpack_from(">H", data, start + 40)
    width, height = right - left, bottom - top
    if min(width, height, tile_width, tile_height) < 1:
        raise ImageProblem(Reason.CORRUPT, f"a JPEG 2000 of {width} x {height} pixels")
    if not 1 <= components <= MAX_J2K_COMPONENTS:
        raise ImageProblem(Reason.UNSUPPORTED, f"a JPEG 2000 of {components} components")
    tiles = math.ceil(right / tile_width) * math.ceil(bottom / tile_height)
    reserved = min(width, tile_width) * min(height, tile_height) * HEAVY
    return Work(width, height, parts=tiles, reserved=max(reserved, width * height), bounded=False)


def _avif(data: bytes) -> Work:
    """By the largest of the images in it."""
    sizes = [
        struct.unpack_from(">II", data, found.end() + 4) for found in re.finditer(AVIF_SIZE, data[: 1 << 20])
    ]
    if not sizes:
        raise ImageProblem(Reason.CORRUPT, "the AVIF file does not say its size")
    width, height = max(sizes, key=math.prod)
    return Work(width, height, reserved=width * height * HEAVY, bounded=False)


READERS: Mapping[str, Callable[[bytes], Work]] = {
    "PNG": _png,
    "GIF": _gif,
    "BMP": _bmp,
    "TIFF": _tiff,
    "WEBP": _webp,
    "JPEG2000": _jpeg2000,
    "AVIF": _avif,
    "PPM": _ppm,
}
