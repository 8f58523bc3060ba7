"""Pixels from image bytes: the one function used when packing a data set and when serving.

What counts is the content, never the file's name. A damaged file is an error, never half a picture: JPEG is
decoded by libjpeg-turbo, reduced while decoding where the output is small, and every warning that may touch
a pixel is an error; all else goes to Pillow, restricted to the one raster format that the first bytes
announce, so that no plugin starts a program. Transparent pixels are composited on white, deep samples keep
their 8 highest bits, an animation gives its first frame; embedded colour profiles are ignored.
"""

import enum
import functools
import io
import math
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from common.data.jpeg_segments import (
    PROGRESSIVE_FRAMES,
    JpegFrame,
    has_all_scans,
    jpeg_segments,
    without_quirks,
    without_stray_byte,
)
from common.data.signatures import PNG_START, RASTER_FORMATS, announced_kind
from common.errors import UsageError

Pixels = npt.NDArray[np.uint8]
Size = tuple[int, int]  # width, height

# Pillow warns of metadata that it cannot read, and of large pictures, which are measured and refused here.
warnings.filterwarnings("ignore", module=r"PIL\.")

# Pillow refuses larger pictures itself: twice its own default limit.
PILLOW_MAX_PIXELS = 178_956_970
ORIENTATION_TAG = 0x0112
JPEG_START = b"\xff\xd8\xff"

# TIFF tags and values (TIFF 6.0; DNG 1.7 for the last).
NEW_SUBFILE_TYPE, BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, DNG_VERSION = 254, 258, 259, 262, 50706
WHITE_IS_ZERO, FAX_COMPRESSIONS = 0, (2, 3, 4)


class Reason(enum.StrEnum):
    """Why an input gives no pixels."""

    EMPTY = "empty"  # no bytes
    NOT_AN_IMAGE = "not_an_image"  # no known image signature
    TRUNCATED = "truncated"  # a beginning without its end
    CORRUPT = "corrupt"  # contradicts its own format
    TOO_LARGE = "too_large"  # more pixels than PixelSettings.max_pixels
    TOO_SMALL = "too_small"  # short side below PixelSettings.min_side
    UNSUPPORTED = "unsupported"  # intact as far as known, but of a kind that is not read here


class ImageProblem(Exception):
    """An input without pixels: `reason` for programs, `detail` (one line) for a person."""

    def __init__(self, reason: Reason, detail: str) -> None:
        without_addresses = re.sub(r"<[^<>]* at 0x[0-9a-fA-F]+>|0x[0-9a-fA-F]{6,}", "(object)", detail)
        printable = "".join(character if character.isprintable() else " " for character in without_addresses)
        self.reason = reason
        self.detail = " ".join(printable.split())[:200]
        super().__init__(self.reason, self.detail)

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


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


def canonicalise(data: bytes, settings: PixelSettings = DEFAULT_SETTINGS) -> CanonicalImage:
    """Decode an image file's bytes, make it upright, crop it and shrink its short side.

    Raises ImageProblem, and nothing else, for any input that does not give a whole picture.
    """
    if not data:
        raise ImageProblem(Reason.EMPTY, "the file has no bytes")
    try:
        decode = _canonicalise_jpeg if data.startswith(JPEG_START) else _canonicalise_other
        return decode(data, settings)
    except ImageProblem:
        raise
    except Exception as error:  # decoders raise whatever damaged bytes lead them to
        raise _as_problem(error) from error


def encode_jpeg(pixels: Pixels, quality: int = 90) -> bytes:
    """JPEG bytes (4:2:0) of uint8 RGB pixels (height, width, 3); `quality` 1 to 100."""
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, colorsubsampling="420"))


def encode_png(pixels: Pixels) -> bytes:
    """PNG bytes of uint8 RGB pixels (height, width, 3), which `decode_packed` gives back as they are."""
    return bytes(cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1])


def decode_packed(data: bytes | memoryview, min_short_side: int = 0) -> Pixels:
    """Decode bytes made by `encode_jpeg` or `encode_png` to uint8 RGB (height, width, 3).

    With `min_short_side` the result of a JPEG may be reduced (by eighths) to a short side of at least that
    many pixels, which is faster. Raises ValueError, as simplejpeg does, for damaged bytes.
    """
    if data[: len(PNG_START)] == PNG_START:
        return _decode_packed_png(data)
    return np.asarray(simplejpeg.decode_jpeg(data, min_height=min_short_side, min_width=min_short_side))


def _decode_packed_png(data: bytes | memoryview) -> Pixels:
    try:
        _check_png(data)  # OpenCV gives half a picture for half a file
    except ImageProblem as problem:
        raise ValueError(problem.detail) from None
    return np.asarray(cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR_RGB))


def _as_problem(error: Exception) -> ImageProblem:
    text = str(error)
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return ImageProblem(Reason.TOO_LARGE, text)
    if isinstance(error, UnidentifiedImageError):
        return ImageProblem(Reason.CORRUPT, "the header is damaged, or of a variant that cannot be read")
    reason = Reason.CORRUPT
    if re.search(r"truncated|premature end|not enough image data|reached eof", text, re.IGNORECASE):
        reason = Reason.TRUNCATED
    elif isinstance(error, OSError) and re.search(r"unsupported", text, re.IGNORECASE):
        reason = Reason.UNSUPPORTED
    return ImageProblem(reason, f"{type(error).__name__}: {text}")


def _check_size(width: int, height: int, settings: PixelSettings) -> None:
    size = f"{width} x {height} pixels"
    if width * height > settings.max_pixels:
        raise ImageProblem(Reason.TOO_LARGE, f"{size} exceed max_pixels={settings.max_pixels}")
    if min(width, height) < settings.min_side:
        raise ImageProblem(Reason.TOO_SMALL, f"{size}: a side is shorter than min_side={settings.min_side}")


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


def _orientation(source: Image.Image | bytes) -> int:
    """The EXIF orientation of a loaded image, or of a JPEG's bytes."""
    try:
        image = Image.open(io.BytesIO(source), formats=["JPEG"]) if isinstance(source, bytes) else source
        value = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # damaged metadata raises almost anything, and is no reason to lose the picture
        return 1
    return int(value) if value in range(1, 9) else 1


def _canonicalise_jpeg(data: bytes, settings: PixelSettings) -> CanonicalImage:
    frame = _jpeg_frame(data)
    _check_size(frame.width, frame.height, settings)
    if not has_all_scans(data, frame):
        raise ImageProblem(Reason.TRUNCATED, "some of the scans that make up the JPEG are missing")
    orientation = _orientation(data)
    size = (frame.height, frame.width) if orientation >= 5 else (frame.width, frame.height)
    scale = _kept_rows_and_scale(size, settings)[1]
    least = {"min_height": math.ceil(frame.height * scale), "min_width": math.ceil(frame.width * scale)}
    colorspace = "CMYK" if len(frame.components) == 4 else "RGB"
    decode = functools.partial(simplejpeg.decode_jpeg, colorspace=colorspace, strict=True, **least)
    stored = _decoded_strictly(decode, data, frame)
    rgb = _rgb_from_inverted_cmyk(stored) if colorspace == "CMYK" else stored
    return _finish(rgb, orientation, settings, size)


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


def _jpeg_frame(data: bytes) -> JpegFrame:
    for marker, start, _ in jpeg_segments(data):
        if marker in range(0xC0, 0xD0) and marker not in (0xC4, 0xC8, 0xCC):
            precision, height, width, count = struct.unpack_from(">BHHB", data, start + 4)
            if marker not in (0xC0, 0xC1, *PROGRESSIVE_FRAMES, 0xC9) or precision != 8:
                detail = (
                    f"JPEG frame type 0x{marker:02x}, {precision} bits a sample: convert it to 8-bit JPEG"
                )
                raise ImageProblem(Reason.UNSUPPORTED, detail)
            components = data[start + 10 : start + 10 + 3 * count : 3]
            return JpegFrame(width, height, components, marker in PROGRESSIVE_FRAMES)
    raise ImageProblem(Reason.TRUNCATED, "the JPEG ends before its frame header")


def _rgb_from_inverted_cmyk(inverted: Pixels) -> Pixels:
    """RGB from CMYK as Adobe stores it in JPEG, 255 for no ink: (height, width, 4) to (height, width, 3)."""
    colour, black = inverted[..., :3].astype(np.uint16), inverted[..., 3:].astype(np.uint16)
    return ((colour * black + 127) // 255).astype(np.uint8)


def _canonicalise_other(data: bytes, settings: PixelSettings) -> CanonicalImage:
    name = _raster_format(data)
    if name == "PNG":
        _check_png(data)
    elif name == "WEBP" and int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise ImageProblem(Reason.TRUNCATED, "the WebP file is shorter than its header says")
    with Image.open(io.BytesIO(data), formats=[name]) as image:
        _check_size(*image.size, settings)
        _check_tiff(image)
        image.load()
        # Only now: a PNG's EXIF may follow its pixels, and Pillow turns a TIFF upright while loading it.
        orientation = _orientation(image)
        size = image.size[::-1] if orientation >= 5 else image.size
        return _finish(_rgb(image), orientation, settings, size)


def _raster_format(data: bytes) -> str:
    name = announced_kind(data)
    if name in RASTER_FORMATS:
        return name
    if name:
        raise ImageProblem(Reason.UNSUPPORTED, f"{name}: convert it to JPEG or PNG")
    raise ImageProblem(Reason.NOT_AN_IMAGE, "the content is not that of any known image format")


def _check_png(data: bytes | memoryview) -> None:
    """Refuse a PNG with a wrong checksum, which Pillow does not look at in pixel data, or without an end."""
    position = len(PNG_START)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        if zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ImageProblem(Reason.CORRUPT, f"wrong checksum in the PNG chunk at byte {position}")
        if kind == b"IEND":
            return
        position = end
    raise ImageProblem(Reason.TRUNCATED, "the PNG ends before its end chunk")


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
