"""`canonicalise`: whole pictures become the right pixels, and everything else becomes an ImageProblem."""

import csv
import dataclasses
import io
import json
import os
import pickle
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, TiffImagePlugin

from trapline.errors import UsageError
from trapline.images.canonical import (
    PixelSettings,
    canonicalise,
    decode_packed,
    encode_jpeg,
    encode_png,
)
from trapline.images.files import ImageProblem, Reason

pytestmark = pytest.mark.filterwarnings("ignore:.*:Warning:PIL", "ignore::PIL.Image.DecompressionBombWarning")

FULL_SIZE = PixelSettings(short_side=60_000)
HERE = Path(__file__).parent
REAL_DATA = Path(os.environ.get("TRAPLINE_REAL_DATA", "missing"))
needs_real_data = pytest.mark.skipif(not REAL_DATA.is_dir(), reason="TRAPLINE_REAL_DATA is not set")
END = b"\xff\xd9"


def scene(width: int = 120, height: int = 90) -> Image.Image:
    """A picture without symmetry: gradients, some noise and a block in one corner."""
    rows, columns = np.mgrid[:height, :width]
    channels = [columns * 200 / width, rows * 200 / height, (rows + columns) * 100 / (width + height)]
    noise = np.random.default_rng(0).integers(0, 12, (height, width, 3))
    pixels = (np.stack(channels, axis=2) + noise).astype(np.uint8)
    pixels[: height // 4, : width // 3] = 250, 20, 40
    return Image.fromarray(pixels)


def encoded(image: Image.Image, name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def full_pixels(data: bytes) -> np.ndarray:
    return canonicalise(data, FULL_SIZE).pixels


def outcome(data: bytes, pixel_settings: PixelSettings = FULL_SIZE) -> tuple[str, str]:
    try:
        canonicalise(data, pixel_settings)
    except ImageProblem as problem:
        return str(problem.reason), problem.detail
    return "ok", "none"


def reason_for(data: bytes, pixel_settings: PixelSettings = FULL_SIZE) -> str:
    """The reason code, or `ok`; any other exception, or a detail that is no clean line, fails the test."""
    reason, detail = outcome(data, pixel_settings)
    assert detail
    assert detail.isprintable()
    assert " at 0x" not in detail
    return reason


def largest_difference(one: np.ndarray, other: np.ndarray) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def with_exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def inserted(data: bytes, position: int, extra: bytes) -> bytes:
    return data[:position] + extra + data[position:]


FORMATS: dict[str, bytes] = {
    "jpeg": encoded(scene(), "JPEG"),
    "progressive jpeg": encoded(scene(), "JPEG", progressive=True),
    "png": encoded(scene(), "PNG"),
    "gif": encoded(scene(), "GIF"),
    "bmp": encoded(scene(), "BMP"),
    "tiff": encoded(scene(), "TIFF"),
    "lzw tiff": encoded(scene(), "TIFF", compression="tiff_lzw"),
    "jpeg tiff": encoded(scene(), "TIFF", compression="jpeg"),
    "webp": encoded(scene(), "WEBP"),
    "lossless webp": encoded(scene(), "WEBP", lossless=True),
    "avif": encoded(scene(), "AVIF"),
    "jpeg 2000": encoded(scene(), "JPEG2000"),
    "ppm": encoded(scene(), "PPM"),
}
LOSSLESS = ("png", "bmp", "tiff", "lzw tiff", "lossless webp", "jpeg 2000", "ppm")
every_format = pytest.mark.parametrize("name", FORMATS)


# Geometry and settings


def test_the_short_side_is_reduced_and_the_original_size_is_reported() -> None:
    result = canonicalise(encoded(scene(1280, 720), "JPEG"))
    assert result.pixels.shape == (256, 455, 3)
    assert result.pixels.dtype == np.uint8
    assert result.pixels.flags.c_contiguous
    assert (result.width, result.height) == (1280, 720)


@pytest.mark.parametrize("size", [(100, 60), (8, 3000), (256, 256), (60, 100)])
def test_a_small_image_is_never_enlarged(size: tuple[int, int]) -> None:
    assert canonicalise(encoded(scene(*size), "PNG")).pixels.shape == (size[1], size[0], 3)


@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_the_crop_removes_the_bottom_of_the_upright_image(name: str) -> None:
    picture = np.full((400, 200, 3), 200, np.uint8)
    picture[360:] = 0
    stored = Image.fromarray(picture).transpose(Image.Transpose.ROTATE_90)
    data = encoded(stored, name, exif=with_exif(6))
    result = canonicalise(data, PixelSettings(short_side=100, crop_bottom=0.1))
    assert (result.width, result.height) == (200, 400)
    assert result.pixels.shape == (180, 100, 3)
    assert result.pixels.min() > 190


@pytest.mark.parametrize("crop_bottom", [0.0, 0.07])
@pytest.mark.parametrize("orientation", [1, 6])
def test_the_scaled_jpeg_decode_is_close_to_a_full_decode_and_resize(
    crop_bottom: float, orientation: int
) -> None:
    data = encoded(scene(1280, 720), "JPEG", quality=95, exif=with_exif(orientation))
    small = canonicalise(data, PixelSettings(crop_bottom=crop_bottom)).pixels
    full = canonicalise(data, PixelSettings(short_side=9999, crop_bottom=crop_bottom)).pixels
    reference = cv2.resize(full, small.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - reference).mean() < 1.5


def test_the_same_bytes_give_the_same_pixels() -> None:
    data = encoded(scene(1280, 720), "JPEG")
    assert np.array_equal(canonicalise(data).pixels, canonicalise(data).pixels)


def test_settings_survive_json() -> None:
    chosen = PixelSettings(short_side=128, crop_bottom=0.07)
    assert PixelSettings(**json.loads(json.dumps(dataclasses.asdict(chosen)))) == chosen


WRONG_SETTINGS: dict[str, list[Any]] = {
    "short_side": [0, 2.5],
    "crop_bottom": [0.6, float("nan"), "0.1"],
    "min_side": [0],
}
WRONG_SETTINGS |= {"max_pixels": [10**9, True]}


@pytest.mark.parametrize("field", WRONG_SETTINGS)
def test_an_impossible_setting_is_refused_by_name(field: str) -> None:
    for value in WRONG_SETTINGS[field]:
        with pytest.raises(UsageError, match=field):
            PixelSettings(**{field: value})


def test_a_problem_can_be_sent_to_another_process() -> None:
    problem = pickle.loads(pickle.dumps(ImageProblem(Reason.TRUNCATED, "one\nline <a at 0x7f00aa>")))
    assert (problem.reason, problem.detail) == (Reason.TRUNCATED, "one line (object)")
    assert json.dumps(problem.reason) == '"truncated"'


# Colours and depths


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_formats_keep_every_pixel(name: str) -> None:
    assert np.array_equal(full_pixels(FORMATS[name]), np.asarray(scene()))


@pytest.mark.parametrize("name", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_undone_once(name: str, orientation: int) -> None:
    methods = Image.Transpose
    store = {2: methods.FLIP_LEFT_RIGHT, 3: methods.ROTATE_180, 4: methods.FLIP_TOP_BOTTOM}
    store |= {5: methods.TRANSPOSE, 6: methods.ROTATE_90, 7: methods.TRANSVERSE, 8: methods.ROTATE_270}
    upright = scene()
    stored = upright.transpose(store[orientation]) if orientation > 1 else upright
    options = {} if name in ("PNG", "TIFF") else {"quality": 95}
    result = canonicalise(encoded(stored, name, exif=with_exif(orientation), **options), FULL_SIZE)
    assert (result.width, result.height) == upright.size
    assert np.abs(result.pixels.astype(int) - np.asarray(upright)).mean() < 6


@pytest.mark.parametrize(
    "tail", [b"", b"\x01\x02", b"\xff" * 40, b"II*\0\xff\xff\xff\xff", b"MM\0*" + b"\1" * 90]
)
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_does_not_lose_the_picture(name: str, tail: bytes) -> None:
    whole = full_pixels(encoded(scene(), name))
    assert np.array_equal(full_pixels(encoded(scene(), name, exif=b"Exif\0\0" + tail)), whole)


def test_a_damaged_multi_picture_header_does_not_lose_the_picture() -> None:
    whole = FORMATS["jpeg"]
    segment = b"\xff\xe2" + struct.pack(">H", 60) + b"MPF\0II*\0\x08\0\0\0" + b"\x07" * 46
    assert np.array_equal(full_pixels(inserted(whole, 2, segment)), full_pixels(whole))


SIXTEEN_BITS = np.linspace(0, 65535, 64 * 48).astype(np.uint16).reshape(48, 64)


@pytest.mark.parametrize("extension", [".png", ".tiff", ".pgm", ".jp2"])
def test_sixteen_bit_grey_keeps_its_high_byte(extension: str) -> None:
    data = cv2.imencode(extension, SIXTEEN_BITS)[1].tobytes()
    expected = np.repeat((SIXTEEN_BITS >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    assert largest_difference(full_pixels(data), expected) <= 1


@pytest.mark.parametrize("extension", [".png", ".tiff", ".ppm"])
def test_sixteen_bit_colour_keeps_its_high_byte(extension: str) -> None:
    samples = np.stack([SIXTEEN_BITS, SIXTEEN_BITS[::-1], SIXTEEN_BITS // 2], axis=2)
    data = cv2.imencode(extension, samples[:, :, ::-1])[1].tobytes()
    assert largest_difference(full_pixels(data), (samples >> 8).astype(np.uint8)) <= 1


def test_big_endian_and_inverted_sixteen_bit_tiffs_are_read_right() -> None:
    big = Image.frombytes("I;16B", (64, 48), SIXTEEN_BITS.astype(">u2").tobytes())
    assert np.array_equal(full_pixels(encoded(big, "TIFF"))[:, :, 0], SIXTEEN_BITS >> 8)
    little = Image.fromarray(SIXTEEN_BITS)
    inverted = encoded(little, "TIFF", tiffinfo={262: 0})
    with Image.open(io.BytesIO(inverted)) as reopened:
        assert reopened.getexif()[262] == 0
    assert np.array_equal(full_pixels(inverted)[:, :, 0], 255 - (SIXTEEN_BITS >> 8))


@pytest.mark.parametrize("kind", ["int32", "float32"])
def test_samples_without_a_defined_range_are_refused(kind: str) -> None:
    assert reason_for(encoded(Image.fromarray(SIXTEEN_BITS.astype(kind)), "TIFF")) == "unsupported"


def test_a_lab_image_is_refused() -> None:
    assert reason_for(encoded(Image.new("LAB", (20, 20)), "TIFF")) == "unsupported"


@pytest.mark.parametrize("name", ["JPEG", "TIFF"])
def test_cmyk_inks_become_light(name: str) -> None:
    colours = {(0, 0, 0, 0): 255, (0, 0, 0, 255): 0, (255, 255, 255, 0): 0, (0, 0, 0, 128): 127}
    for inks, light in colours.items():
        pixels = full_pixels(encoded(Image.new("CMYK", (16, 16), inks), name))
        assert np.abs(pixels.astype(int) - light).max() <= 2
    cyan = full_pixels(encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), name))
    assert np.abs(cyan[8, 8].astype(int) - (0, 255, 255)).max() <= 2


def test_a_large_cmyk_jpeg_is_reduced_like_any_other() -> None:
    data = encoded(scene(900, 600).convert("CMYK"), "JPEG", quality=95)
    with Image.open(io.BytesIO(data)) as image:
        reference = image.convert("RGB").resize((384, 256), Image.Resampling.BOX)
    assert np.abs(canonicalise(data).pixels.astype(int) - np.asarray(reference)).mean() < 2


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_composited_on_white(mode: str) -> None:
    for alpha, expected in ((0, 255), (255, 100), (128, 177)):
        colour = (100, 100, 100, alpha) if mode == "RGBA" else (100, alpha)
        pixels = full_pixels(encoded(Image.new(mode, (16, 16), colour), "PNG"))
        assert np.abs(pixels.astype(int) - expected).max() <= 1


def test_grey_with_premultiplied_alpha_is_composited_on_white() -> None:
    straight, premultiplied = (struct.pack("<HHIHH", 338, 3, 1, kind, 0) for kind in (2, 1))
    data = encoded(Image.new("LA", (16, 16), (50, 128)), "TIFF").replace(straight, premultiplied)
    with Image.open(io.BytesIO(data)) as reopened:
        assert reopened.mode == "La"
    assert np.abs(full_pixels(data).astype(int) - 177).max() <= 1


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"])
def test_a_transparent_palette_entry_becomes_white(transparency: int | bytes) -> None:
    image = Image.new("P", (16, 16), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(0, (0, 0, 8, 16))
    pixels = full_pixels(encoded(image, "PNG", transparency=transparency))
    assert pixels[8, 4].tolist() == [255, 255, 255]
    assert pixels[8, 12].tolist() == [200, 100, 50]


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_a_transparent_colour_key_becomes_white(mode: str) -> None:
    image = Image.new(mode, (16, 16), 0)
    key = (0, 0, 0) if mode == "RGB" else 0
    assert full_pixels(encoded(image, "PNG", transparency=key)).min() == 255


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_grey_palette_and_one_bit_images_become_rgb(mode: str) -> None:
    image = scene().convert(mode)
    assert np.array_equal(full_pixels(encoded(image, "PNG")), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_is_taken(name: str) -> None:
    red, blue = Image.new("RGB", (32, 32), (255, 0, 0)), Image.new("RGB", (32, 32), (0, 0, 255))
    pixels = full_pixels(encoded(red, name, save_all=True, append_images=[blue]))
    assert np.abs(pixels[16, 16].astype(int) - (255, 0, 0)).max() <= 3


# Refusals


def test_no_bytes_are_empty() -> None:
    assert reason_for(b"") == "empty"


@pytest.mark.parametrize(
    "data", [b"id,filepath,site\n1,a.jpg,S1\n", b"\0" * 1000, b"BMW and P5 are words", b"\xff\xd8"]
)
def test_what_is_no_image_is_called_so(data: bytes) -> None:
    assert reason_for(data) == "not_an_image"


UNSUPPORTED_STARTS = (
    b"%PDF-1.7",
    b"%!PS-Adobe-3.0 EPSF-3.0",
    b"\xc5\xd0\xd3\xc6",
    b"\xd7\xcd\xc6\x9a",
    b"\x01\0\0\0" + b"\0" * 36 + b" EMF",
    b"\x89HDF\r\n\x1a\n",
    b"GRIB",
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    b"\0\0\0\x18ftypmp42",
    b"RIFF\0\0\0\0AVI LIST",
    b"<svg/>",
    b"II*\0\x10\0\0\0CR\x02\0",
    b"8BPS\0\x01",
    b"\0\0\x01\0\x01",
    b"\xff\x0a",
)


@pytest.mark.parametrize("start", UNSUPPORTED_STARTS)
def test_formats_that_are_not_read_here_are_named_and_never_opened(
    start: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("handed to Pillow"))
    assert reason_for(start + b"\0" * 90) == "unsupported"


def test_the_preview_inside_a_raw_file_is_not_taken_for_the_picture() -> None:
    assert reason_for(encoded(scene(), "TIFF", tiffinfo={254: 1})) == "unsupported"


def test_a_fax_compressed_tiff_is_refused_because_its_damage_cannot_be_seen() -> None:
    assert reason_for(encoded(scene().convert("1"), "TIFF", compression="group4")) == "unsupported"


def test_a_twelve_bit_jpeg_is_unsupported() -> None:
    data = bytearray(FORMATS["jpeg"])
    data[data.index(b"\xff\xc0") + 4] = 12
    assert reason_for(bytes(data)) == "unsupported"


def test_an_image_below_the_smallest_side_is_too_small() -> None:
    assert reason_for(encoded(scene(7, 400), "PNG")) == "too_small"
    assert reason_for(encoded(scene(400, 7), "JPEG")) == "too_small"
    assert reason_for(encoded(scene(7, 9), "PNG"), PixelSettings(min_side=7)) == "ok"


def png_header(width: int, height: int) -> bytes:
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", b""),
        (b"IEND", b""),
    ]
    joined = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(joined)


def jpeg_header(width: int, height: int) -> bytes:
    data = bytearray(FORMATS["jpeg"])
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def bmp_header(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def gif_header(width: int, height: int) -> bytes:
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0, 0, 0)
        + b","
        + struct.pack("<HHHHB", 0, 0, width, height, 0)
        + b"\x08\0;"
    )


@pytest.mark.parametrize("header", [png_header, jpeg_header, bmp_header, gif_header])
@pytest.mark.parametrize("side", [10_001, 12_000, 65_500])
def test_a_decompression_bomb_is_refused_from_its_header(
    header: Callable[[int, int], bytes], side: int
) -> None:
    begin = time.process_time()
    assert reason_for(header(side, side)) == "too_large"
    assert time.process_time() - begin < 1


def test_the_largest_size_is_the_callers_choice() -> None:
    assert reason_for(FORMATS["png"], PixelSettings(max_pixels=120 * 90 - 1)) == "too_large"
    assert reason_for(FORMATS["png"], PixelSettings(max_pixels=120 * 90)) == "ok"


# Damage


@every_format
def test_a_truncated_file_is_refused_or_loses_no_pixel(name: str) -> None:
    data = FORMATS[name]
    whole = full_pixels(data)
    cuts = {len(data) * tenth // 20 for tenth in range(1, 20)} | {len(data) - n for n in (1, 2, 3, 5, 12)}
    for cut in sorted(cuts):
        if reason_for(data[:cut]) == "ok":
            assert np.array_equal(full_pixels(data[:cut]), whole)
            assert cut > 0.9 * len(data)


@pytest.mark.parametrize("name", ["jpeg", "progressive jpeg"])
@pytest.mark.parametrize("share", [0.5, 0.7, 0.9, 0.98])
def test_a_jpeg_cut_and_closed_again_is_refused(name: str, share: float) -> None:
    data = FORMATS[name]
    assert reason_for(data[: int(len(data) * share)] + END) in ("truncated", "corrupt")


def test_a_progressive_jpeg_cut_between_two_scans_is_refused() -> None:
    data = FORMATS["progressive jpeg"]
    starts = [position for position in range(len(data)) if data[position : position + 2] == b"\xff\xda"]
    assert len(starts) > 5
    for start in starts[1:]:
        assert reason_for(data[:start] + END) == "truncated"


def test_a_jpeg_whose_second_half_is_zeros_is_refused() -> None:
    data = FORMATS["jpeg"]
    half = len(data) // 2
    assert reason_for(data[:half] + b"\0" * half) == "truncated"
    assert reason_for(data[:half] + b"\0" * 40 + END) in ("truncated", "corrupt")


def stray_bytes(data: bytes) -> bytes:
    return inserted(data, data.index(b"\xff\xdb"), b"\0\x01\x02\xff\0")


def unknown_jfif_revision(data: bytes) -> bytes:
    position = data.index(b"JFIF\0") + 5
    return data[:position] + b"\x07" + data[position + 1 :]


def odd_scan_parameters(data: bytes) -> bytes:
    position = data.index(b"\xff\xda") + 5 + 2 * 3
    return data[:position] + b"\0\0\0" + data[position + 3 :]


def padding_before_the_end(data: bytes) -> bytes:
    return data[:-2] + b"\0" * 7 + END


def bytes_after_the_end(data: bytes) -> bytes:
    return data + b"\0" * 100 + FORMATS["png"] + data


QUIRKS = [stray_bytes, unknown_jfif_revision, padding_before_the_end, bytes_after_the_end]
all_quirks = pytest.mark.parametrize(
    ("name", "quirk"),
    [(name, quirk) for name in ("jpeg", "progressive jpeg") for quirk in QUIRKS]
    + [("jpeg", odd_scan_parameters)],
)


@all_quirks
def test_a_quirk_that_touches_no_pixel_is_accepted(name: str, quirk: Callable[[bytes], bytes]) -> None:
    assert np.array_equal(full_pixels(quirk(FORMATS[name])), full_pixels(FORMATS[name]))


@all_quirks
def test_a_quirk_does_not_hide_damage(name: str, quirk: Callable[[bytes], bytes]) -> None:
    data = FORMATS[name]
    cut = data[: len(data) * 8 // 10] + END
    assert reason_for(quirk(cut)) in ("truncated", "corrupt")


JPEG_KINDS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restart intervals": {"restart_marker_blocks": 3},
    "progressive with restart intervals": {"progressive": True, "restart_marker_rows": 1},
}
every_jpeg = pytest.mark.parametrize(
    ("mode", "kind"), [*((mode, kind) for mode in ("RGB", "L") for kind in JPEG_KINDS), ("CMYK", "baseline")]
)


def jpegs(mode: str, kind: str) -> list[bytes]:
    """Pictures of many sizes: on their length depends whether libjpeg, reading ahead, sees a stray byte."""
    pictures = (scene(width, 16 + width % 37).convert(mode) for width in range(20, 140, 3))
    return [encoded(picture, "JPEG", **JPEG_KINDS[kind]) for picture in pictures]


def is_read_strictly(data: bytes) -> bool:
    try:
        simplejpeg.decode_jpeg(data, colorspace="CMYK" if b"Adobe" in data else "RGB", strict=True)
    except ValueError:
        return False
    return True


def warned_of(data: bytes, value: int) -> bool:
    return not is_read_strictly(data[:-2] + bytes([value]) + END)


@every_jpeg
def test_one_stray_byte_before_the_end_of_a_jpeg_loses_no_pixel(mode: str, kind: str) -> None:
    pictures = jpegs(mode, kind)
    stubborn = [data for data in pictures if warned_of(data, 0x41)]
    assert stubborn  # or nothing is tested
    for data in pictures:
        for value in range(0, 256, 1 if data is stubborn[0] else 51):
            assert np.array_equal(full_pixels(data[:-2] + bytes([value]) + END), full_pixels(data))


@every_jpeg
def test_more_stray_bytes_are_refused_where_libjpeg_warns_of_them(mode: str, kind: str) -> None:
    stubborn = [
        more
        for data in jpegs(mode, kind)
        for stray in (b"AB", b"\0A", b"A\0B", b"ABC", b"\xff\0AB", b"A" * 12)
        if not is_read_strictly(more := data[:-2] + stray + END)
    ]
    assert len(stubborn) > 40
    assert {reason_for(data) for data in stubborn} == {"corrupt"}


@every_jpeg
def test_a_jpeg_cut_anywhere_is_refused_however_it_is_closed(mode: str, kind: str) -> None:
    """But where libjpeg itself sees nothing, since the stray bytes give it the few bits that are missing."""
    data = encoded(scene().convert(mode), "JPEG", **JPEG_KINDS[kind])
    begin = data.index(b"\xff\xda") + 20
    cuts = range(begin, len(data) - 4, (len(data) - begin) // 60)
    files = [data[:cut] + stray + END for cut in cuts for stray in (b"", b"A", b"\0", b"A\0\0")]
    seen = [file for file in files if not is_read_strictly(file)]
    assert len(seen) > 0.9 * len(files)
    assert {reason_for(file) for file in seen} <= {"truncated", "corrupt"}


@every_jpeg
def test_a_stray_byte_lets_no_damaged_scan_pass(mode: str, kind: str) -> None:
    random, refused = np.random.default_rng(0), 0
    for data in jpegs(mode, kind):
        begin = data.rindex(b"\xff\xda") + 14
        for position in random.integers(begin, len(data) - 2, 20):
            damaged = data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :]
            closed = damaged[:-2] + b"A" + END
            if reason_for(damaged) != "ok" and not is_read_strictly(closed):
                refused += 1
                assert reason_for(closed) != "ok"
    assert refused > 20


@every_format
def test_flipped_bits_never_raise_anything_else(name: str) -> None:
    data, random = FORMATS[name], np.random.default_rng(1)
    outcomes = set()
    for _ in range(60):
        damaged = bytearray(data)
        for position in random.integers(len(data), size=3):
            damaged[position] ^= 1 << int(random.integers(8))
        outcomes.add(reason_for(bytes(damaged)))
    assert outcomes <= {"ok", *map(str, Reason)}


def test_every_damaged_byte_of_a_png_is_noticed() -> None:
    data = FORMATS["png"]
    checksum = data.index(b"IEND") - 8  # of the pixel data, which Pillow does not read
    for position in [*range(0, len(data), 97), checksum, *range(len(data) - 12, len(data))]:
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        assert reason_for(bytes(damaged)) != "ok"


def test_a_png_without_its_end_chunk_is_truncated() -> None:
    assert reason_for(FORMATS["png"][:-12]) == "truncated"


STARTS = [
    b"",
    b"\xff\xd8\xff",
    b"\xff\xd8\xff\xc0\0\x11\x08",
    b"GIF89a",
    b"II*\0\x08\0\0\0",
    b"MM\0*",
    b"P5 9 9 ",
    b"P6\n",
]
STARTS += [b"RIFF\x20\0\0\0WEBPVP8 ", b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51", b"\0\0\0\x1cftypavif"]
STARTS += [b"\x89PNG\r\n\x1a\n", b"BM" + b"\0" * 12 + b"\x28\0\0\0"]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from(STARTS), st.binary(max_size=300))
def test_random_bytes_raise_only_image_problems(start: bytes, rest: bytes) -> None:
    assert reason_for(start + rest) in {"ok", *map(str, Reason)}


@pytest.mark.parametrize("error", [TypeError("a\nb"), struct.error("c"), zlib.error("d"), OverflowError("e")])
def test_whatever_a_decoder_raises_becomes_corrupt(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Image, "open", fail)
    assert reason_for(FORMATS["png"]) == "corrupt"


@pytest.mark.parametrize(
    "error", [MemoryError(), cv2.error("(-4:Insufficient memory) in function 'OutOfMemoryError'")]
)
def test_a_lack_of_memory_is_no_damage(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Image, "open", fail)
    assert reason_for(FORMATS["png"]) == "too_costly"


# Packing


def test_packed_pixels_come_back_nearly_equal_and_can_be_reduced() -> None:
    pixels = np.asarray(scene(455, 256))
    packed = encode_jpeg(pixels, 95)
    assert np.abs(decode_packed(packed).astype(int) - pixels).mean() < 4
    assert min(decode_packed(packed, min_short_side=128).shape[:2]) == 128
    assert decode_packed(packed, min_short_side=500).shape == pixels.shape
    assert np.array_equal(canonicalise(packed).pixels, decode_packed(packed))


def test_damaged_packed_bytes_are_an_error() -> None:
    packed = encode_jpeg(np.asarray(scene()))
    with pytest.raises(ValueError, match="Premature end"):
        decode_packed(packed[: len(packed) // 2])


def test_png_packs_without_loss_and_damage_to_it_is_an_error() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (31, 33, 3), dtype=np.uint8)
    packed = encode_png(pixels)
    assert np.array_equal(decode_packed(memoryview(packed)), pixels)
    assert np.array_equal(canonicalise(packed).pixels, pixels)
    with pytest.raises(ValueError, match="ends before its end chunk"):
        decode_packed(packed[: len(packed) // 2])
    with pytest.raises(ValueError, match="wrong checksum"):
        decode_packed(packed[:60] + bytes([packed[60] ^ 1]) + packed[61:])


def test_a_png_with_right_checksums_and_wrong_pixels_is_an_error() -> None:
    packed = encode_png(np.zeros((31, 33, 3), dtype=np.uint8))
    start = packed.index(b"IDAT")
    length = int.from_bytes(packed[start - 4 : start], "big")
    body = b"IDAT" + bytes(length)
    damaged = packed[:start] + body + zlib.crc32(body).to_bytes(4, "big") + packed[start + 8 + length :]
    with pytest.raises(ValueError, match="a PNG whose pixels cannot be decoded"):
        decode_packed(damaged)


# Real files


def expected_outcomes() -> list[tuple[str, str]]:
    with (HERE / "malformed_outcomes.csv").open(newline="") as file:
        return [(row["file"], row["reason"]) for row in csv.DictReader(file)]


def reference_pixels(data: bytes) -> np.ndarray:
    """Pillow's own reading of the whole picture, deep samples and transparency treated by hand."""
    with Image.open(io.BytesIO(data)) as image:
        depth = image.tag_v2[258][0] if isinstance(image, TiffImagePlugin.TiffImageFile) else 16
        upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        grey = np.floor(np.asarray(upright, dtype=float) / 2 ** (depth - 8))
        return np.repeat(grey[:, :, None], 3, axis=2)
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.asarray(upright.convert("RGB"))


@needs_real_data
@pytest.mark.parametrize(("file", "reason"), expected_outcomes())
def test_each_malformed_file_has_its_known_outcome_and_right_pixels(file: str, reason: str) -> None:
    data = (REAL_DATA / "malformed" / file).read_bytes()
    assert reason_for(data) == reason
    if reason == "ok":
        assert largest_difference(full_pixels(data), reference_pixels(data)) <= 1


@needs_real_data
def test_camera_trap_frames_keep_their_look_at_a_quarter_of_the_size() -> None:
    frames = sorted((REAL_DATA / "camera_traps_norway").glob("*/*.JPG"))[::60]
    assert frames
    for frame in frames:
        result = canonicalise(frame.read_bytes())
        with Image.open(frame) as image:
            reference = image.convert("RGB").resize((455, 256), Image.Resampling.BOX)
        assert (result.width, result.height) == (1280, 720)
        assert np.abs(result.pixels.astype(int) - np.asarray(reference)).mean() < 2.5
