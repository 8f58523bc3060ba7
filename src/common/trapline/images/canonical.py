"""Pixels from image bytes: the one function used when packing a data set and when serving.

What counts is the content, never the file's name. A damaged file is an error, never half a picture: JPEG is
decoded by libjpeg-turbo, reduced while decoding where the output is small, and every warning that may touch
a pixel is an error; all else goes to Pillow, restricted to the one raster format that the first bytes
announce, so that no plugin starts a program. Transparent pixels are composited on white, deep samples keep
their 8 highest bits, an animation gives its first frame; embedded colour profiles are ignored.
"""

import functools
import io
import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from trapline.errors import UsageError
from trapline.images.budget import PREPARATION, DecodeBudget, check_work
from trapline.images.exif import jpeg_orientation, orientation
from trapline.images.headers import Work, check_png, is_jpeg, packed_work, raster_format, work_of
from trapline.images.jpeg_segments import (
    JpegFrame,
    has_all_scans,
    jpeg_frame,
    without_quirks,
    without_stray_byte,
)
from trapline.images.problems import ImageProblem, Reason
from trapline.images.signatures import PNG_START

Pixels = npt.NDArray[np.uint8]
Size = tuple[int, int]  # width, height

# Pillow warns of metadata that it cannot read, and of large pictures, which are measured and refused here.
warnings.filterwarnings("ignore", module=r"PIL\.")

# Pillow refuses larger pictures itself: twice its own default limit.
PILLOW_MAX_PIXELS = 178_956_970
MAX_JPEG_SIDE = 65_500  # libjpeg's own limit

# TIFF tags and values (TIFF 6.0; DNG 1.7 for the last).
NEW_SUBFILE_TYPE, BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, DNG_VERSION = 254, 258, 259, 262, 50706
WHITE_IS_ZERO, FAX_COMPRESSIONS = 0, (2, 3, 4)


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
        limits = {"short_side": 65_535, "min_side": 65_535, "max_pixels": PILLOW_MAX_PIXELS}
        for name, highest in limits.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= highest:
                raise UsageError(f"{name}: {value!r} must be a whole number from 1 to {highest}")
        crop = self.crop_bottom
        if not isinstance(crop, (int, float)) or isinstance(crop, bool) or not 0 <= crop <= 0.5:
            raise UsageError(f"crop_bottom: {crop!r} must be a share of the height from 0 to 0.5")


DEFAULT_SETTINGS = PixelSettings()


@dataclass(frozen=True)
class CanonicalImage:
    """pixels: uint8 RGB, (height, width, 3), C-contiguous. width, height: of the upright original, pixels."""

    pixels: Pixels
    width: int
    height: int


def canonicalise(
    data: bytes, settings: PixelSettings = DEFAULT_SETTINGS, budget: DecodeBudget = PREPARATION
) -> CanonicalImage:
    """Decode an image file's bytes, make it upright, crop it and shrink its short side.

    Raises ImageProblem, and nothing else, for any input that does not give a whole picture, or that announces
    more work than the budget allows; of its seconds and memory nothing is known here.
    """
    if not data:
        raise ImageProblem(Reason.EMPTY, "the file has no bytes")
    try:
        _check(work_of(data), settings, budget)
        return (
            _canonicalise_jpeg(data, settings)
            if is_jpeg(data)
            else _canonicalise_other(data, settings, budget)
        )
    except ImageProblem:
        raise
    except Exception as error:  # decoders raise whatever damaged bytes lead them to
        raise as_problem(error) from error


def encode_jpeg(pixels: Pixels, quality: int = 90) -> bytes:
    """JPEG bytes (4:2:0) of uint8 RGB pixels (height, width, 3); `quality` 1 to 100.

    Raises ImageProblem for a picture with a longer side than a JPEG can have.
    """
    if max(pixels.shape) > MAX_JPEG_SIDE:
        detail = f"a side of {max(pixels.shape)} pixels, of which a JPEG has at most {MAX_JPEG_SIDE}"
        raise ImageProblem(Reason.TOO_COSTLY, detail)
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
        return _decode_packed_png(data)
    return np.asarray(simplejpeg.decode_jpeg(data, min_height=min_short_side, min_width=min_short_side))


def _decode_packed_png(data: bytes | memoryview) -> Pixels:
    return np.asarray(cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR_RGB))


def as_problem(error: Exception) -> ImageProblem:
    """What is said of an image with which something went wrong that no reader foresaw."""
    text = str(error)
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return ImageProblem(Reason.TOO_LARGE, text)
    if isinstance(error, MemoryError) or "insufficient memory" in text.lower():
        return ImageProblem(Reason.TOO_COSTLY, "decoding takes more memory than there is")
    if isinstance(error, UnidentifiedImageError):
        return ImageProblem(Reason.CORRUPT, "the header is damaged, or of a variant that cannot be read")
    reason = Reason.CORRUPT
    if re.search(r"truncated|premature end|not enough image data|reached eof", text, re.IGNORECASE):
        reason = Reason.TRUNCATED
    elif isinstance(error, OSError) and re.search(r"unsupported", text, re.IGNORECASE):
        reason = Reason.UNSUPPORTED
    return ImageProblem(reason, f"{type(error).__name__}: {text}")


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
    """Turn upright, crop and shrink pixels; they may come reduced from an upright original of `size`."""
    kept, scale = _kept_rows_and_scale(size, settings)
    upright = _upright(stored, orientation)
    pixels: Pixels = np.ascontiguousarray(upright[: max(1, round(upright.shape[0] * kept / size[1]))])
    target = max(1, round(size[0] * scale)), max(1, round(kept * scale))
    if target != (pixels.shape[1], pixels.shape[0]):
        pixels = np.asarray(cv2.resize(pixels, target, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return CanonicalImage(pixels, *size)


def _upright(stored: Pixels, orientation: int) -> Pixels:
    """Apply an EXIF orientation (CIPA DC-008, tag 274, values 1 to 8) to pixels (height, width, 3)."""
    turned = stored.transpose(1, 0, 2) if orientation >= 5 else stored
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return turned[::rows, ::columns]


def _canonicalise_jpeg(data: bytes, settings: PixelSettings) -> CanonicalImage:
    frame = jpeg_frame(data)
    if not has_all_scans(data, frame):
        raise ImageProblem(Reason.TRUNCATED, "some of the scans that make up the JPEG are missing")
    turned = jpeg_orientation(data)
    size = (frame.height, frame.width) if turned >= 5 else (frame.width, frame.height)
    scale = _kept_rows_and_scale(size, settings)[1]
    min_sides = {"min_height": math.ceil(frame.height * scale), "min_width": math.ceil(frame.width * scale)}
    colorspace = "CMYK" if len(frame.components) == 4 else "RGB"
    decode = functools.partial(simplejpeg.decode_jpeg, colorspace=colorspace, strict=True, **min_sides)
    stored = _decoded_strictly(decode, data, frame)
    rgb = _rgb_from_inverted_cmyk(stored) if colorspace == "CMYK" else stored
    return _finish(rgb, turned, settings, size)


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


def _rgb_from_inverted_cmyk(inverted: Pixels) -> Pixels:
    """RGB from CMYK as Adobe stores it in JPEG, 255 for no ink: (height, width, 4) to (height, width, 3)."""
    colour, black = inverted[..., :3].astype(np.uint16), inverted[..., 3:].astype(np.uint16)
    return ((colour * black + 127) // 255).astype(np.uint8)


def _canonicalise_other(data: bytes, settings: PixelSettings, budget: DecodeBudget) -> CanonicalImage:
    name = raster_format(data)
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
    exif = info.get("exif") or _text_exif(info.get("Raw profile type exif", ""))
    xmp = info.get("XML:com.adobe.xmp") or info.get("xmp") or b""
    return orientation(exif, xmp if isinstance(xmp, bytes) else xmp.encode("utf-8", "replace"))


def _text_exif(profile: str) -> bytes:
    """What ImageMagick writes into a PNG: a name and a length, a line each, then hexadecimal digits."""
    try:
        return bytes.fromhex("".join(profile.split("\n")[3:]))
    except ValueError:
        return b""


def _check_tiff(image: Image.Image) -> None:
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    tags = image.tag_v2
    if tags.get(NEW_SUBFILE_TYPE, 0) & 1 or DNG_VERSION in tags:
        raise ImageProblem(Reason.UNSUPPORTED, "a camera raw file or a preview: convert it to JPEG or PNG")
    if tags.get(COMPRESSION) in FAX_COMPRESSIONS:  # libtiff passes over damage in these without an error
        raise ImageProblem(Reason.UNSUPPORTED, "a fax-compressed TIFF: convert it to PNG")


def _rgb(image: Image.Image) -> Pixels:
    """8-bit RGB (height, width, 3) of a loaded Pillow image of any mode."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        return np.repeat(_high_byte(image)[:, :, None], 3, axis=2)
    if image.mode in ("I", "F", "LAB"):
        kind = {"I": "integer samples without a known range", "F": "float samples", "LAB": "LAB colours"}
        raise ImageProblem(Reason.UNSUPPORTED, f"{kind[image.mode]}: convert it to 8-bit RGB or grey")
    if image.has_transparency_data:
        return np.asarray(_on_white(image))
    return np.asarray(image.convert("RGB"))


def _high_byte(image: Image.Image) -> Pixels:
    """The 8 highest bits of grey samples, (height, width); Pillow scales PPM and JPEG 2000 to 16 bits."""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    samples = np.asarray(image).astype(np.uint16)
    grey = (samples >> (tags.get(BITS_PER_SAMPLE, (16,))[0] - 8)).astype(np.uint8)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:  # which Pillow leaves as it is at this depth
        grey = 255 - grey
    if isinstance(transparent := image.info.get("transparency"), int):
        grey[samples == transparent] = 255
    return grey


def _on_white(image: Image.Image) -> Image.Image:
    straight = image.convert("LA") if image.mode == "La" else image  # Pillow knows no direct way from La
    with_alpha = straight.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(with_alpha, mask=with_alpha.getchannel("A"))
    return white
