"""Image files from outside: their bytes, the kind that these announce, and why they may give no pixels.

Of a JPEG the segments too: its size, its scans, how it is to be turned, and what no pixel depends on.
Orientations are read here for all formats, from EXIF or XMP, without trusting either: Pillow reads every
entry of an EXIF directory into memory; entries that overlap make gigabytes of a small file. Here the one
entry that counts is looked for.
"""

import contextlib
import enum
import itertools
import os
import re
import stat
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

MAX_FILE_BYTES = 512 * 2**20  # a larger file is no photograph


def read_file(path: str) -> bytes:
    """The bytes of a regular file of a photograph's size; OSError otherwise (a pipe would block for ever)."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError("not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise OSError(f"{status.st_size} bytes are more than a photograph has")
        return file.read(MAX_FILE_BYTES + 1)


class Reason(enum.StrEnum):
    """Why an input gives no pixels."""

    EMPTY = "empty"  # no bytes
    NOT_AN_IMAGE = "not_an_image"  # no known image signature
    TRUNCATED = "truncated"  # a beginning without its end
    CORRUPT = "corrupt"  # contradicts its own format
    TOO_LARGE = "too_large"  # more pixels than the settings or the budget allow
    TOO_SMALL = "too_small"  # short side below PixelSettings.min_side
    TOO_COSTLY = "too_costly"  # would take, or took, more than trapline.images.budget allows
    DECODER_CRASHED = "decoder_crashed"  # the decoder's process died on it
    UNSUPPORTED = "unsupported"  # intact as far as known, but of a kind that is not read here


class ImageProblem(Exception):
    """An input without pixels: `reason` for programs, `detail` (one line) for a person."""

    def __init__(self, reason: Reason, detail: str) -> None:
        without_addresses = re.sub(r"<[^<>]* at 0x[0-9a-fA-F]+>|0x[0-9a-fA-F]{6,}", "(object)", detail[:2000])
        printable = "".join(character if character.isprintable() else " " for character in without_addresses)
        self.reason = reason
        self.detail = " ".join(printable.split())[:200]
        super().__init__(self.reason, self.detail)

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


PNG_START = b"\x89PNG\r\n\x1a\n"
SIGNATURES = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(re.escape(PNG_START)),
    "GIF": re.compile(rb"GIF8[79]a"),
    "BMP": re.compile(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL),
    "a camera raw file": re.compile(rb"II\*\0.{4}CR|IIU\0|IIR[OS]|FUJIFILMCCD-RAW", re.DOTALL),
    "TIFF": re.compile(rb"II[*+]\0|MM\0[*+]"),
    "WEBP": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    "JPEG2000": re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
    "AVIF": re.compile(rb".{4}ftyp(avi[fs]|m[is]f1.{4,40}avi[fs])", re.DOTALL),
    "PPM": re.compile(rb"P[1-6]\s+(#|\d)"),
    "HEIC or HEIF": re.compile(rb".{4}ftyp(hei[cmsx]|hev[cmsx]|m[is]f1)", re.DOTALL),
    "a video": re.compile(rb".{4}ftyp|RIFF.{4}AVI |\x1a\x45\xdf\xa3|\0\0\x01[\xb3\xba]", re.DOTALL),
    "PDF, PostScript or SVG": re.compile(rb"%PDF|%!PS|\xc5\xd0\xd3\xc6|\s*<(\?xml.{,500}<)?svg", re.DOTALL),
    "a Windows metafile": re.compile(rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF", re.DOTALL),
    "an icon or cursor": re.compile(rb"\0\0[\x01\x02]\0[^\0]|icns"),
    "JPEG XL, Photoshop, DDS or QOI": re.compile(rb"\xff\x0a|\0\0\0\x0cJXL |8BPS|DDS |qoif"),
    "scientific data": re.compile(rb"\x89HDF\r\n\x1a\n|GRIB|BUFR|SIMPLE  =|P[Ff]\s+\d"),
}


def is_image(data: bytes) -> bool:
    """Whether the first bytes announce an image of any kind, read here or not, whole or damaged."""
    no_pictures = ("", "a video", "PDF, PostScript or SVG", "scientific data")  # handed on to nobody
    return data.startswith(b"\xff\xd8") or announced_kind(data) not in no_pictures


def announced_kind(data: bytes) -> str:
    """The kind that the first bytes announce, by its name in Pillow where it is read; empty if unknown."""
    return next((name for name, signature in SIGNATURES.items() if signature.match(data)), "")


# --- the segments of a JPEG ---------------------------------------------------------------------------------

# JPEG markers (ITU-T T.81, table B.1); in a scan, FF 00 and the restarts D0 to D7 begin no segment.
JPEG_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")
END_OF_IMAGE, START_OF_SCAN, APP1, ADOBE_SEGMENT, COMMENT = 0xD9, 0xDA, 0xE1, 0xEE, 0xFE
PROGRESSIVE_FRAMES, SEQUENTIAL_PARAMETERS = (0xC2, 0xCA), b"\x00\x3f\x00"
SEQUENTIAL_FRAMES, NO_FRAMES = (0xC0, 0xC1, 0xC9), (0xC4, 0xC8, 0xCC)
MAX_SEGMENTS = 10_000  # a thermal camera's picture has some hundreds
EXIF_PREFIX = b"Exif\0\0"


class JpegFrame(NamedTuple):
    """From the frame header (ITU-T T.81, B.2.2): size in pixels, component numbers."""

    width: int
    height: int
    components: bytes
    is_progressive: bool


def jpeg_segments(data: bytes | memoryview) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of every segment up to the end marker, passing over entropy-coded data.

    Raises ImageProblem where there are more of them than a picture has.
    """
    position = 2
    for _ in range(MAX_SEGMENTS):
        found = JPEG_MARKER.search(data, position)
        if found is None:
            return
        marker, start = data[found.start() + 1], found.start()
        if marker == END_OF_IMAGE:
            yield marker, start, start + 2
            return
        position = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        yield marker, start, position
    raise ImageProblem(Reason.TOO_COSTLY, f"a JPEG of more than {MAX_SEGMENTS} segments")


def jpeg_frame(data: bytes | memoryview) -> JpegFrame:
    """The frame header. Raises ImageProblem where there is none, or one of a kind that is not read."""
    for marker, start, _ in jpeg_segments(data):
        if marker in range(0xC0, 0xD0) and marker not in NO_FRAMES:
            precision, height, width, count = struct.unpack_from(">BHHB", data, start + 4)
            if marker not in (*SEQUENTIAL_FRAMES, *PROGRESSIVE_FRAMES) or precision != 8:
                raise ImageProblem(
                    Reason.UNSUPPORTED,
                    f"JPEG frame type 0x{marker:02x}, {precision} bits a sample: convert it to 8-bit JPEG",
                )
            components = bytes(data[start + 10 : start + 10 + 3 * count : 3])
            return JpegFrame(width, height, components, marker in PROGRESSIVE_FRAMES)
    raise ImageProblem(Reason.TRUNCATED, "the JPEG ends before its frame header")


def has_all_scans(data: bytes, frame: JpegFrame) -> bool:
    """Whether every coefficient of every component comes to full precision.

    libjpeg decodes a file that was cut between two scans, and closed again, without any warning.
    """
    missing = set(itertools.product(frame.components, range(64)))
    for marker, start, _ in jpeg_segments(data):
        if marker == START_OF_SCAN:
            parameters = start + 5 + 2 * data[start + 4]
            written = data[parameters : parameters + 3]
            first, last, bits = written if frame.is_progressive else SEQUENTIAL_PARAMETERS
            if bits & 15 == 0:  # down to the lowest bit
                missing -= set(itertools.product(data[start + 5 : parameters : 2], range(first, last + 1)))
        if not missing:
            return True
    return False


def without_quirks(data: bytes, frame: JpegFrame) -> bytes:
    """The JPEG without what libjpeg warns of although no pixel depends on it.

    Only the first warning is reported and would hide a second: so the quirks are taken out, and the rest
    must decode without one. Removed: bytes between header segments, metadata (with an unknown JFIF
    revision), zeros after the last scan. Sequential scans get the parameters that the standard demands.
    """
    parts, in_scan, last_end = [data[:2]], False, 2
    for marker, start, end in jpeg_segments(data):
        if in_scan:
            scan = data[last_end:start]
            kept = scan.rstrip(b"\0") if marker == END_OF_IMAGE else scan
            parts.append(kept + scan[len(kept) : len(kept) + kept.endswith(b"\xff")])  # FF 00 is a byte of it
        if marker == START_OF_SCAN and not frame.is_progressive:
            parts.append(data[start : end - 3] + SEQUENTIAL_PARAMETERS)
        elif marker == ADOBE_SEGMENT or not (0xE0 <= marker <= 0xEF or marker == COMMENT):
            parts.append(data[start:end])
        in_scan, last_end = in_scan or marker == START_OF_SCAN, end
    return b"".join(parts)


def without_stray_byte(data: bytes, decode: Callable[[bytes], object]) -> bytes | None:
    """The JPEG without the one byte between its last scan and its end marker; None where that is not all.

    `decode` raises ValueError for any warning. It must take the file without that byte, and not without one
    byte more: then the last scan needs its last byte, and only one was stray. (libjpeg reads ahead, and says
    nothing of stray bytes that it has read by then.)
    """
    shorter = _without_last_byte(data)
    if _is_taken(shorter, decode) and not _is_taken(_without_last_byte(shorter), decode):
        return shorter
    return None


def _without_last_byte(data: bytes) -> bytes:
    scan = data[:-2]
    return scan[: -2 if scan.endswith(b"\xff\0") else -1] + data[-2:]  # FF 00 is one byte of a scan


def _is_taken(data: bytes, decode: Callable[[bytes], object]) -> bool:
    try:
        decode(data)
    except ValueError:
        return False
    return True


def orientation(exif: bytes, xmp: bytes = b"") -> int:
    """The orientation, 1 to 8, that EXIF data or, where it has none, an XMP packet names; 1 if neither does.

    `exif` may begin with its prefix. Damaged metadata is no reason to lose the picture: it counts as none.
    """
    found = _entry(exif.removeprefix(EXIF_PREFIX))
    if found is None:
        named = re.search(rb'tiff:Orientation(?:="|>)([1-8])', xmp)
        found = int(named[1]) if named else 1
    return found if found in range(1, 9) else 1


def text_exif(profile: str) -> bytes:
    """What ImageMagick writes into a PNG: a name and a length, a line each, then hexadecimal digits."""
    try:
        return bytes.fromhex("".join(profile.split("\n")[3:]))
    except ValueError:
        return b""


def jpeg_orientation(data: bytes) -> int:
    """The orientation that a JPEG's own segments name."""
    exif, xmp = b"", b""
    for marker, start, end in jpeg_segments(data):
        if marker == START_OF_SCAN:
            break
        content = data[start + 4 : end] if marker == APP1 else b""
        if content.startswith(EXIF_PREFIX):
            exif += content[len(EXIF_PREFIX) if exif else 0 :]  # a long one goes on in the next segment
        elif content.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
            xmp = content
    return orientation(exif, xmp)


def _entry(tiff: bytes) -> int | None:
    """The value of the tag in the first directory; None where there is none that can be read."""
    with contextlib.suppress(KeyError, struct.error):  # no TIFF, another type, or it ends before its own end
        order = {b"II": "<", b"MM": ">"}[tiff[:2]]
        (first,) = struct.unpack_from(f"{order}L", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, first)
        for start in range(first + 2, first + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(f"{order}HHL", tiff, start)
            if tag == 0x0112:  # CIPA DC-008
                whole_number = {1: "B", 3: "H", 4: "L"}[kind]  # types of TIFF 6.0, as struct knows them
                (value,) = struct.unpack_from(order + whole_number, tiff, start + 8)
                return int(value) if values == 1 else None
    return None
