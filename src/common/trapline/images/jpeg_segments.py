"""The segments of a JPEG file, and what encoders put between them that no pixel depends on."""

import itertools
import re
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from trapline.images.problems import ImageProblem, Reason

# JPEG markers (ITU-T T.81, table B.1); in a scan, FF 00 and the restarts D0 to D7 begin no segment.
JPEG_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")
END_OF_IMAGE, START_OF_SCAN, ADOBE_SEGMENT, COMMENT = 0xD9, 0xDA, 0xEE, 0xFE
PROGRESSIVE_FRAMES, SEQUENTIAL_PARAMETERS = (0xC2, 0xCA), b"\x00\x3f\x00"
SEQUENTIAL_FRAMES, NO_FRAMES = (0xC0, 0xC1, 0xC9), (0xC4, 0xC8, 0xCC)
MAX_SEGMENTS = 10_000  # a thermal camera's picture has some hundreds


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
                detail = (
                    f"JPEG frame type 0x{marker:02x}, {precision} bits a sample: convert it to 8-bit JPEG"
                )
                raise ImageProblem(Reason.UNSUPPORTED, detail)
            components = bytes(data[start + 10 : start + 10 + 3 * count : 3])
            return JpegFrame(width, height, components, marker in PROGRESSIVE_FRAMES)
    raise ImageProblem(Reason.TRUNCATED, "the JPEG ends before its frame header")


def count_scans(data: bytes) -> int:
    """How often a decoder goes over the picture."""
    return sum(marker == START_OF_SCAN for marker, _, _ in jpeg_segments(data))


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
