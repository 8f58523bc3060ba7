"""Small files that announce, or make, more work than a picture is worth. All are made here."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def png(width: int, height: int, *, data: bytes | None = None, colour: int = 0) -> bytes:
    """A valid PNG, 8 bits a sample, all zeros unless `data` (raw, unpressed) is given; colour: its type."""
    samples = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    if data is None:
        press, rows = zlib.compressobj(9), bytes(1 + width * samples)
        pressed = b"".join(press.compress(rows) for _ in range(height)) + press.flush()
    else:
        pressed = zlib.compress(data)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pressed) + chunk(b"IEND", b"")


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of_chunks(count: int) -> bytes:
    """A valid picture behind so many empty chunks of text."""
    whole = png(16, 16)
    return whole[:33] + chunk(b"tEXt", b"a\0b") * count + whole[33:]


def webp_lossless(width: int, height: int) -> bytes:
    """34 bytes that announce a lossless picture of one colour."""
    bits = (width - 1) | (height - 1) << 14
    body = b"\x2f" + struct.pack("<I", bits) + b"\x88\x88\x08\x07\x10\x11\x01\x00\x00"
    content = b"WEBPVP8L" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(content)) + content


def webp_extended(width: int, height: int) -> bytes:
    """A canvas with a small picture in it."""
    stream = io.BytesIO()
    Image.new("RGB", (16, 16)).save(stream, "WEBP")
    canvas = b"\x02\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    content = b"WEBPVP8X" + struct.pack("<I", len(canvas)) + canvas + stream.getvalue()[12:]
    return b"RIFF" + struct.pack("<I", len(content)) + content


def tiff(entries: list[tuple[int, int, int, int]], tail: bytes = b"", count: int | None = None) -> bytes:
    """A TIFF with one directory of (tag, type, count, value or offset) entries."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    number = len(entries) if count is None else count
    return b"II*\0\x08\0\0\0" + struct.pack("<H", number) + packed + b"\0\0\0\0" + tail


def tiled_tiff(side: int, tile: int) -> bytes:
    """A small picture in one tile that is much larger than it."""
    sizes = [(256, 3, 1, side), (257, 3, 1, side), (322, 4, 1, tile), (323, 4, 1, tile)]
    kind = [(258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)]
    offset = 8 + 2 + 12 * 10 + 4
    pressed = zlib.compress(bytes(64))
    return tiff([*sizes, *kind, (324, 4, 1, offset), (325, 4, 1, len(pressed))], pressed)


def overlapping_tiff(entries: int, size: int) -> bytes:
    """A directory of which each entry claims the whole file as its values."""
    sizes = [(256, 3, 1, 16), (257, 3, 1, 16), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1)]
    claims = [(40_000 + number, 1, size, 8) for number in range(entries)]
    return tiff([*sizes, *claims], bytes(size))


def jpeg(width: int, height: int, **options: object) -> bytes:
    """A grey picture, as Pillow writes it."""
    stream = io.BytesIO()
    Image.new("L", (width, height), 90).save(stream, "JPEG", **options)
    return stream.getvalue()


def jpeg_of_scans(width: int, height: int, scans: int) -> bytes:
    """A progressive picture whose last scan comes again and again."""
    whole = jpeg(width, height, progressive=True, quality=95)
    last = whole.rindex(b"\xff\xda")
    return whole[:last] + whole[last:-2] * scans + whole[-2:]


def jpeg_of_segments(count: int) -> bytes:
    """A picture behind so many empty comments."""
    whole = jpeg(16, 16)
    return whole[:2] + b"\xff\xfe\0\2" * count + whole[2:]


def exif_of_entries(entries: int, size: int) -> bytes:
    """EXIF data of which each entry claims all that follows as its values."""
    claims = b"".join(struct.pack("<HHII", 40_000 + number, 1, size, 8) for number in range(entries))
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", entries) + claims + b"\0\0\0\0" + bytes(size)


def gif_of_comments(blocks: int) -> bytes:
    """A picture behind a comment of so many blocks."""
    stream = io.BytesIO()
    Image.new("L", (16, 16)).save(stream, "GIF")
    whole = stream.getvalue()
    start = 13 + 3 * 2 ** ((whole[10] & 7) + 1)
    return whole[:start] + b"\x21\xfe" + (b"\xff" + b"a" * 255) * blocks + b"\0" + whole[start:]


def bmp_of_runs(side: int, pairs: int) -> bytes:
    """A picture in run-length code of so many steps that lead nowhere."""
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, 2 * pairs, 0, 0, 256, 0) + bytes(1024)
    offset = 14 + len(header)
    return b"BM" + struct.pack("<IHHI", offset + 2 * pairs, 0, 0, offset) + header + b"\0\0" * pairs


def jpeg2000(width: int, height: int, tile: int, components: int = 3) -> bytes:
    """The start of a codestream, which ends there."""
    siz = struct.pack(">HIIIIIIIIH", 0, width, height, 0, 0, tile, tile, 0, 0, components)
    body = siz + b"\x07\x01\x01" * components
    return b"\xff\x4f\xff\x51" + struct.pack(">H", len(body) + 2) + body + bytes(64)


def avif_header(width: int, height: int) -> bytes:
    """The boxes that say how large the picture is, and no picture."""
    size = struct.pack(">I4sI", 20, b"ispe", 0) + struct.pack(">II", width, height)
    return (
        struct.pack(">I", 28)
        + b"ftypavif\0\0\0\0avifmif1miaf"
        + struct.pack(">I", 8 + len(size))
        + b"meta"
        + size
    )


def ppm(width: int, height: int) -> bytes:
    """A header without its samples."""
    return b"P6 %d %d 255\n" % (width, height)


def textual_ppm(side: int) -> bytes:
    """A picture in numbers as text, which is read in Python."""
    return b"P3\n%d %d\n255\n" % (side, side) + b"7 7 7 " * side * side


def noise(width: int, height: int) -> np.ndarray:
    """uint8 (height, width, 3) that no compression makes small."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
