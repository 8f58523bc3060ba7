"""Image files: every raster format that is read, drawn here, the hostile ones, and real ones if given."""

import functools
import io
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import cv2
import numpy as np
from PIL import Image

from tests.fuzzing.inputs import BUDGET, Failure, Input, Kind
from tests.fuzzing.mutations import mutated
from tests.support import hostile_images as hostile
from trapline.images.budget import png_chunks, work_of
from trapline.images.canonical import PixelSettings, canonicalise
from trapline.images.files import PNG_START, ImageProblem

SETTINGS = PixelSettings(short_side=32, min_side=4)
TARGET = "image"
REAL_FILES, REAL_BYTES = 24, 200_000
PILLOW: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("JPEG", "RGB", {"quality": 90}), ("JPEG", "RGB", {"progressive": True}), ("JPEG", "L", {}),
    ("JPEG", "CMYK", {}), ("JPEG", "RGB", {"subsampling": 0, "restart_marker_blocks": 2}),
    ("PNG", "RGB", {}), ("PNG", "RGBA", {}), ("PNG", "P", {"transparency": 3}), ("PNG", "L", {}),
    ("PNG", "1", {}), ("PNG", "LA", {}), ("PNG", "I;16", {}), ("GIF", "P", {}), ("GIF", "L",
    {"transparency": 3}), ("BMP", "RGB", {}), ("BMP", "P", {}), ("BMP", "1", {}), ("TIFF", "RGB", {}),
    ("TIFF", "RGB", {"compression": "tiff_lzw"}), ("TIFF", "RGB", {"compression": "tiff_adobe_deflate"}),
    ("TIFF", "RGB", {"compression": "jpeg"}), ("TIFF", "P", {"compression": "packbits"}),
    ("TIFF", "1", {"compression": "group4"}), ("TIFF", "CMYK", {}), ("TIFF", "I;16", {}), ("TIFF", "F", {}),
    ("TIFF", "RGBA", {"big_tiff": True}), ("WEBP", "RGB", {}), ("WEBP", "RGBA", {"lossless": True}),
    ("JPEG2000", "RGB", {}), ("JPEG2000", "RGBA", {"irreversible": True}),
    ("JPEG2000", "L", {"no_jp2": True, "tile_size": (16, 16)}), ("AVIF", "RGB", {"speed": 10}),
    ("AVIF", "RGBA", {"speed": 10}), ("PPM", "RGB", {}), ("PPM", "L", {}), ("PPM", "1", {}),
)  # fmt: skip
OPENCV: tuple[tuple[str, type[np.generic]], ...] = (
    (".png", np.uint16), (".tiff", np.uint16), (".tiff", np.float32), (".jp2", np.uint16),
    (".webp", np.uint8), (".jpg", np.uint8), (".bmp", np.uint8), (".ppm", np.uint16),
)  # fmt: skip
HOSTILE = (
    lambda: hostile.webp_lossless(16_383, 16_383), lambda: hostile.webp_lossless(40, 30),
    lambda: hostile.webp_extended(16_384, 16_384), lambda: hostile.tiled_tiff(16, 40_000),
    lambda: hostile.tiled_tiff(16, 16), lambda: hostile.tiled_tiff(9_000, 16),
    lambda: hostile.overlapping_tiff(200, 4_000), lambda: hostile.png(20_000, 8),
    lambda: hostile.png(20, 20, data=b""), lambda: hostile.png_of_chunks(1_000),
    lambda: hostile.jpeg_of_scans(64, 64, 200), lambda: hostile.jpeg_of_segments(2_000),
    lambda: hostile.gif_of_comments(100), lambda: hostile.bmp_of_runs(16, 1_000),
    lambda: hostile.jpeg2000(600, 600, 64), lambda: hostile.jpeg2000(90, 90, 90, 16_000),
    lambda: hostile.avif_header(60, 60), lambda: hostile.ppm(200, 200), lambda: hostile.textual_ppm(16),
    lambda: hostile.jpeg(64, 64, exif=hostile.exif_of_entries(200, 2_000)),
)  # fmt: skip


def make(chance: Random) -> Input:
    """A mutated image; of every second PNG the check sums are right again."""
    own = seeds()
    called = chance.choice(list(own))
    data = mutated(own[called], chance, list(own.values()))
    if data.startswith(PNG_START) and chance.random() < 0.5:
        data = _with_check_sums(data)
    return Input(TARGET, data, called)


def check(given: Input, folder: Path) -> str:
    """Make its pixels; nothing but an ImageProblem may come out instead."""
    try:
        image = canonicalise(given.data, SETTINGS, BUDGET)
    except ImageProblem as problem:
        if not problem.detail.isprintable():
            raise Failure(f"a detail that is not one printable line: {problem.detail!r}") from None
        return str(problem.reason)
    height, width, channels = image.pixels.shape
    if image.pixels.dtype != np.uint8 or channels != 3 or min(height, width) > SETTINGS.short_side:
        raise Failure(f"pixels {image.pixels.dtype} {image.pixels.shape} of {image.width} x {image.height}")
    return "read"


def examples(target: str) -> Sequence[Input]:
    """Every seed: whichever is damaged, the decoders of all formats are there."""
    return [Input(target, data, name) for name, data in seeds().items()]


def may_be_ended(given: Input) -> bool:
    """Whether the header does not bound the work: such images are decoded in processes that may be ended."""
    try:
        return not work_of(given.data).bounded
    except ImageProblem:
        return False


@functools.cache
def seeds() -> dict[str, bytes]:
    """Small image files by what they are."""
    drawn = {f"Pillow {number} {kind[0]}": _by_pillow(*kind) for number, kind in enumerate(PILLOW)}
    drawn["an animated GIF"], drawn["an animated WebP"] = (_animated(name) for name in ("GIF", "WEBP"))
    drawn["a turned JPEG"] = _turned()
    drawn |= {f"OpenCV {number} {kind[0]}": _by_opencv(*kind) for number, kind in enumerate(OPENCV)}
    drawn |= {f"hostile {number}": make() for number, make in enumerate(HOSTILE)}
    return drawn | _real()


def _picture() -> np.ndarray:
    """uint8 (40, 48, 3), smooth with some noise."""
    generator = np.random.default_rng(1)
    coarse = generator.integers(0, 256, (4, 5, 3), np.uint8)
    smooth = cv2.resize(coarse, (48, 40), interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth ^ generator.integers(0, 4, (40, 48, 3), np.uint8))


def _by_pillow(name: str, mode: str, options: dict[str, Any]) -> bytes:
    image = Image.fromarray(_picture())
    image = image.convert("L").convert("I").convert("I;16") if mode == "I;16" else image.convert(mode)
    return _saved(image, name, **options)


def _saved(image: Image.Image, name: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, name, **options)
    return stream.getvalue()


def _animated(name: str) -> bytes:
    frames = [Image.fromarray(_picture() // divisor) for divisor in (1, 2, 3)]
    return _saved(frames[0], name, save_all=True, append_images=frames[1:], duration=50)


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "a camera"
    return _saved(Image.fromarray(_picture()), "JPEG", exif=exif)


def _by_opencv(suffix: str, dtype: type[np.generic]) -> bytes:
    return bytes(cv2.imencode(suffix, _picture().astype(dtype))[1])


def _real() -> dict[str, bytes]:
    top = os.environ.get("TRAPLINE_REAL_DATA")
    files = sorted(Path(top).rglob("*")) if top else []
    small = [path for path in files if path.is_file() and path.suffix and path.stat().st_size < REAL_BYTES]
    chosen = small[:: max(1, len(small) // REAL_FILES)][:REAL_FILES]
    return {f"real {path.suffix} {number}": path.read_bytes() for number, path in enumerate(chosen)}


def _with_check_sums(data: bytes) -> bytes:
    changed = bytearray(data)
    for start, kind, end in png_chunks(data):
        changed[end - 4 : end] = struct.pack(">I", zlib.crc32(kind + data[start + 8 : end - 4]))
    return bytes(changed)


KIND = Kind("images", make, check, examples, may_be_ended)
