"""Pixels from image bytes: the one function used when packing a data set and when serving.

What counts is the content, never the file's name. A damaged file is an error, never half a picture: JPEG is
decoded by libjpeg-turbo, reduced while decoding where the output is small, and every warning that may touch
a pixel is an error; all else goes to Pillow, restricted to the one raster format that the first bytes
announce, so that no plugin starts a program. Transparent pixels are composited on white, deep samples keep
their 8 highest bits, an animation gives its first frame; embedded colour profiles are ignored. `greyed` makes
grey images of three equal channels.
"""

import functools
import io
import math
import os
import queue
import re
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from trapline.errors import UsageError
from trapline.images.budget import (
    PREPARATION,
    DecodeBudget,
    Work,
    check_png,
    check_work,
    packed_work,
    raster_format,
    work_of,
)
from trapline.images.files import (
    PNG_START,
    ImageProblem,
    JpegFrame,
    Reason,
    has_all_scans,
    jpeg_frame,
    jpeg_orientation,
    orientation,
    text_exif,
    without_quirks,
    without_stray_byte,
)
from trapline.workers import Limits, Lost, Worker

if TYPE_CHECKING:
    from torch import Tensor

    Images = TypeVar("Images", np.ndarray, Tensor)

Pixels = npt.NDArray[np.uint8]
Size = tuple[int, int]  # width, height

# Pillow warns of metadata that it cannot read, and of large pictures, which are measured and refused here.
warnings.filterwarnings("ignore", module=r"PIL\.")

PILLOW_MAX_PIXELS = 178_956_970  # it refuses larger pictures itself: twice its own default limit
MAX_JPEG_SIDE = 65_500  # libjpeg's own limit

# TIFF tags (TIFF 6.0; DNG 1.7 for the last).
NEW_SUBFILE_TYPE, BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, DNG_VERSION = 254, 258, 259, 262, 50706


@dataclass(frozen=True)
class PixelSettings:
    """How pixels are made; `dataclasses.asdict` and `PixelSettings(**record)` carry it through JSON.

    short_side: short side of the output, pixels; images are never enlarged.
    crop_bottom: share of the upright image's height removed at the bottom before resizing, 0 to 0.5
        (the caption strip of camera traps).
    min_side, max_pixels: inputs with a shorter side or more pixels are refused before decoding.
    Raises UsageError for an impossible value.
    """

    short_side: int = 256
    crop_bottom: float = 0.0
    min_side: int = 8
    max_pixels: int = 100_000_000

    def __post_init__(self) -> None:
        for name, kind, lowest, highest, wanted in (
            ("short_side", int, 1, 65_535, "whole number from 1 to"),
            ("min_side", int, 1, 65_535, "whole number from 1 to"),
            ("max_pixels", int, 1, PILLOW_MAX_PIXELS, "whole number from 1 to"),
            ("crop_bottom", (int, float), 0, 0.5, "share of the height from 0 to"),
        ):
            value = getattr(self, name)
            if not isinstance(value, kind) or isinstance(value, bool) or not lowest <= value <= highest:
                raise UsageError(f"{name}: {value!r} must be a {wanted} {highest}")


@dataclass(frozen=True)
class CanonicalImage:
    """pixels: uint8 RGB, (height, width, 3), C-contiguous. width, height: of the upright original, pixels."""

    pixels: Pixels
    width: int
    height: int


def canonicalise(
    data: bytes, settings: PixelSettings = PixelSettings(), budget: DecodeBudget = PREPARATION
) -> CanonicalImage:
    """Decode an image file's bytes, make it upright, crop it and shrink its short side.

    Raises ImageProblem, and nothing else, for any input that does not give a whole picture, or that announces
    more work than the budget allows; of its seconds and memory nothing is known here.
    """
    if not data:
        raise ImageProblem(Reason.EMPTY, "the file has no bytes")
    try:
        _check(work_of(data), settings, budget)
        name = raster_format(data)
        if name != "JPEG":
            return _from_other(data, name, settings, budget)
        return _from_jpeg(data, settings)
    except ImageProblem:
        raise
    except Exception as error:  # decoders raise whatever damaged bytes lead them to
        raise as_problem(error) from error


def encode_jpeg(pixels: Pixels, quality: int = 90) -> bytes:
    """JPEG bytes (4:2:0) of uint8 RGB pixels (height, width, 3); `quality` 1 to 100.

    Raises ImageProblem for a picture with a longer side than a JPEG can have.
    """
    if max(pixels.shape) > MAX_JPEG_SIDE:
        raise ImageProblem(
            Reason.TOO_COSTLY,
            f"a side of {max(pixels.shape)} pixels, of which a JPEG has at most {MAX_JPEG_SIDE}",
        )
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, colorsubsampling="420"))


def encode_png(pixels: Pixels) -> bytes:
    """PNG bytes of uint8 RGB pixels (height, width, 3), which `decode_packed` gives back as they are."""
    return bytes(cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1])


def decode_packed(data: bytes | memoryview, min_short_side: int = 0) -> Pixels:
    """Decode bytes made by `encode_jpeg` or `encode_png` to uint8 RGB (height, width, 3).

    With `min_short_side` the result of a JPEG may be reduced (by eighths) to a short side of at least that
    many pixels, which is faster. Raises ValueError, as simplejpeg does, for damaged bytes, and for what no
    preparation has made, being over its budget.
    """
    is_png = data[: len(PNG_START)] == PNG_START
    try:
        check_work(packed_work(data, is_png), PREPARATION)
        if is_png:
            check_png(data)  # OpenCV gives half a picture for half a file
    except ImageProblem as problem:
        raise ValueError(problem.detail) from None
    if is_png:
        decoded = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR_RGB)
        if decoded is None:
            raise ValueError("a PNG whose pixels cannot be decoded")
        return np.asarray(decoded)
    return np.asarray(simplejpeg.decode_jpeg(data, min_height=min_short_side, min_width=min_short_side))


def as_problem(error: Exception) -> ImageProblem:
    """What is said of an image with which something went wrong that no reader foresaw."""
    text = str(error)
    words, said = text.lower(), f"{type(error).__name__}: {text}"
    is_bomb = isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning))
    takes_memory = isinstance(error, MemoryError) or "insufficient memory" in words
    unidentified = "the header is damaged, or of a variant that cannot be read"
    has_no_end = re.search(r"truncated|premature end|not enough image data|reached eof", words)
    cases = (
        (is_bomb, Reason.TOO_LARGE, text),
        (takes_memory, Reason.TOO_COSTLY, "decoding takes more memory than there is"),
        (isinstance(error, UnidentifiedImageError), Reason.CORRUPT, unidentified),
        (has_no_end, Reason.TRUNCATED, said),
        (isinstance(error, OSError) and "unsupported" in words, Reason.UNSUPPORTED, said),
        (True, Reason.CORRUPT, said),
    )
    return next(ImageProblem(reason, detail) for holds, reason, detail in cases if holds)


def _check(work: Work, settings: PixelSettings, budget: DecodeBudget) -> None:
    size = f"{work.width} x {work.height} pixels"
    if work.width * work.height > settings.max_pixels:
        raise ImageProblem(Reason.TOO_LARGE, f"{size} exceed max_pixels={settings.max_pixels}")
    if min(work.width, work.height) < settings.min_side:
        raise ImageProblem(Reason.TOO_SMALL, f"{size}: a side is shorter than min_side={settings.min_side}")
    check_work(work, budget)


def _kept_rows_and_scale(size: Size, settings: PixelSettings) -> tuple[int, float]:
    """For an upright image: the rows that the crop leaves, and output over original size, at most 1."""
    kept = size[1] - round(size[1] * settings.crop_bottom)
    return kept, min(1.0, settings.short_side / min(size[0], kept))


def _finish(stored: Pixels, orientation: int, settings: PixelSettings, size: Size) -> CanonicalImage:
    """Turn upright, crop and shrink pixels; they may come reduced from an upright original of `size`.

    `orientation` is EXIF's (CIPA DC-008, tag 274, values 1 to 8); pixels are (height, width, 3).
    """
    kept, scale = _kept_rows_and_scale(size, settings)
    turned = stored.transpose(1, 0, 2) if orientation >= 5 else stored
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    upright = turned[::rows, ::columns]
    pixels: Pixels = np.ascontiguousarray(upright[: max(1, round(upright.shape[0] * kept / size[1]))])
    target = max(1, round(size[0] * scale)), max(1, round(kept * scale))
    if target != (pixels.shape[1], pixels.shape[0]):
        pixels = np.asarray(cv2.resize(pixels, target, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return CanonicalImage(pixels, *size)


def _from_jpeg(data: bytes, settings: PixelSettings) -> CanonicalImage:
    frame = jpeg_frame(data)
    if not has_all_scans(data, frame):
        raise ImageProblem(Reason.TRUNCATED, "some of the scans that make up the JPEG are missing")
    turned = jpeg_orientation(data)
    size = (frame.height, frame.width) if turned >= 5 else (frame.width, frame.height)
    scale = _kept_rows_and_scale(size, settings)[1]
    colorspace = "CMYK" if len(frame.components) == 4 else "RGB"
    decode = functools.partial(
        simplejpeg.decode_jpeg,
        colorspace=colorspace,
        strict=True,
        min_height=math.ceil(frame.height * scale),
        min_width=math.ceil(frame.width * scale),
    )
    stored = _decoded_strictly(decode, data, frame)
    if colorspace == "CMYK":  # as Adobe stores it in JPEG, 255 for no ink
        colour, black = stored[..., :3].astype(np.uint16), stored[..., 3:].astype(np.uint16)
        stored = ((colour * black + 127) // 255).astype(np.uint8)
    return _finish(stored, turned, settings, size)


def _decoded_strictly(decode: Callable[[bytes], Pixels], data: bytes, frame: JpegFrame) -> Pixels:
    """The pixels of a JPEG of which every warning is an error, but for those that touch no pixel."""
    try:
        return decode(data)
    except ValueError:
        clean = without_quirks(data, frame)
    try:
        return decode(clean)
    except ValueError:
        whole = without_stray_byte(clean, decode)
        if whole is None:
            raise
    return decode(whole)


def _from_other(data: bytes, name: str, settings: PixelSettings, budget: DecodeBudget) -> CanonicalImage:
    with Image.open(io.BytesIO(data), formats=[name]) as image:
        _check(Work(*image.size), settings, budget)
        _check_tiff(image)
        image.load()
        # Only now: a PNG's EXIF may follow its pixels, and Pillow turns a TIFF upright while loading it.
        turned = 1 if name == "TIFF" else _orientation(image)
        size = image.size[::-1] if turned >= 5 else image.size
        return _finish(_rgb(image), turned, settings, size)


def _orientation(image: Image.Image) -> int:
    info = image.info
    exif = info.get("exif") or text_exif(info.get("Raw profile type exif", ""))
    xmp = info.get("XML:com.adobe.xmp") or info.get("xmp") or b""
    return orientation(exif, xmp if isinstance(xmp, bytes) else xmp.encode("utf-8", "replace"))


def _check_tiff(image: Image.Image) -> None:
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    tags = image.tag_v2
    if tags.get(NEW_SUBFILE_TYPE, 0) & 1 or DNG_VERSION in tags:
        raise ImageProblem(Reason.UNSUPPORTED, "a camera raw file or a preview: convert it to JPEG or PNG")
    if tags.get(COMPRESSION) in (2, 3, 4):  # libtiff passes over damage in these without an error
        raise ImageProblem(Reason.UNSUPPORTED, "a fax-compressed TIFF: convert it to PNG")


def _rgb(image: Image.Image) -> Pixels:
    """8-bit RGB (height, width, 3) of a loaded Pillow image of any mode."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        return np.repeat(_high_byte(image)[:, :, None], 3, axis=2)
    if image.mode in ("I", "F", "LAB"):
        kind = {"I": "integer samples without a known range", "F": "float samples", "LAB": "LAB colours"}
        raise ImageProblem(Reason.UNSUPPORTED, f"{kind[image.mode]}: convert it to 8-bit RGB or grey")
    if image.has_transparency_data:
        # Pillow knows no direct way from La.
        with_alpha = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(with_alpha, mask=with_alpha.getchannel("A"))
        return np.asarray(white)
    return np.asarray(image.convert("RGB"))


def _high_byte(image: Image.Image) -> Pixels:
    """The 8 highest bits of grey samples, (height, width); Pillow scales PPM and JPEG 2000 to 16 bits."""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    samples = np.asarray(image).astype(np.uint16)
    grey = (samples >> (tags.get(BITS_PER_SAMPLE, (16,))[0] - 8)).astype(np.uint8)
    if tags.get(PHOTOMETRIC) == 0:  # white is 0, which Pillow leaves as it is at this depth
        grey = 255 - grey
    if isinstance(transparent := image.info.get("transparency"), int):
        grey[samples == transparent] = 255
    return grey


def greyed(images: "Images") -> "Images":
    """uint8 (..., 3), red, green and blue, to the same shape in grey; an array, or a tensor on any device.

    To the pixel what Pillow's mode L and torchvision's Grayscale give. What is grey already stays as it is.
    """
    wide = images.astype(np.int32) if isinstance(images, np.ndarray) else images.int()
    # ITU-R Recommendation BT.601's shares in 1/65536, as Pillow's mode L has them, rounded.
    level = (wide[..., 0] * 19595 + wide[..., 1] * 38470 + wide[..., 2] * 7471 + (1 << 15)) >> 16
    wide[...] = level[..., None]
    return wide.astype(np.uint8) if isinstance(wide, np.ndarray) else wide.byte()


# --- decoding in processes of its own, for images whose header does not tell what they will cost ------------


def problem_of(lost: Lost, budget: DecodeBudget) -> ImageProblem:
    """What is said of an image on which the decoder's process was lost."""
    if lost.by_the_limit:
        return ImageProblem(
            Reason.TOO_COSTLY, f"decoding takes more than {budget.max_seconds:g} seconds of a processor"
        )
    return ImageProblem(Reason.DECODER_CRASHED, "the decoder's process died on it")


class DecodingProcesses:
    """At most `count` processes that decode for threads of this one; each starts when it is first needed.

    They have the limits of `budget`: an image that exceeds them, or on which the decoder crashes, costs
    itself and the time in which another process starts.
    """

    def __init__(self, count: int, budget: DecodeBudget) -> None:
        self.budget = budget
        self._free: queue.LifoQueue[Worker | None] = queue.LifoQueue()
        self._all: set[Worker] = set()
        for _ in range(count):
            self._free.put(None)

    def canonicalise(self, data: bytes, settings: PixelSettings) -> CanonicalImage:
        """As trapline.images.canonical.canonicalise, for a thread: it waits for a process and for the image.

        Raises ImageProblem, and TraplineError where no process can start.
        """
        worker = self._free.get()
        try:
            worker = worker or self._started()
            worker.send(_decoded, [(data, settings, self.budget)])
            result = worker.receive()
            if isinstance(result, Lost):
                worker.check_start()
                raise problem_of(result, self.budget)
        finally:
            if worker is not None and not worker.process.is_alive():
                self._all.discard(worker)
                worker = None
            self._free.put(worker)
        if isinstance(result, ImageProblem):
            raise result
        assert isinstance(result, CanonicalImage)
        return result

    def close(self) -> None:
        """End the processes."""
        for worker in list(self._all):
            worker.end()

    def _started(self) -> Worker:
        """A process that lets all else go first: what is quickly decoded is not to be slower for it."""
        worker = Worker(Limits(self.budget.max_seconds, self.budget.max_memory))
        self._all.add(worker)
        if worker.process.pid is not None:
            # It may have ended, or priorities are not to be changed here: then all else is slower.
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, worker.process.pid, 5)  # a third of the share of others
        return worker


def _decoded(data: bytes, settings: PixelSettings, budget: DecodeBudget) -> CanonicalImage | ImageProblem:
    try:
        return canonicalise(data, settings, budget)
    except ImageProblem as problem:
        return problem
