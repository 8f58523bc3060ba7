"""Decoding has a budget: what a small file announces or makes is refused before it costs anything."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import hostile_images as hostile
from tests.support.hostile import measured_apart
from trapline.images.budget import PREPARATION, DecodeBudget, work_of
from trapline.images.canonical import PixelSettings, canonicalise, decode_packed, encode_jpeg
from trapline.images.files import ImageProblem, Reason

REFUSED = {
    "a WebP of 34 bytes": (lambda: hostile.webp_lossless(16_383, 16_383), "too_large"),
    "a WebP that is a strip": (lambda: hostile.webp_lossless(16_383, 8), "too_costly"),
    "a WebP with a wide canvas": (lambda: hostile.webp_extended(16_384, 16_384), "too_large"),
    "a TIFF of one huge tile": (lambda: hostile.tiled_tiff(16, 40_000), "too_costly"),
    "a TIFF of tiny tiles": (lambda: hostile.tiled_tiff(9_000, 16), "too_costly"),
    "a TIFF whose entries overlap": (lambda: hostile.overlapping_tiff(20_000, 400_000), "corrupt"),
    "a PNG of 12,000,000 x 8": (lambda: hostile.png(12_000_000, 8), "too_costly"),
    "a PNG of 8 x 70,000": (lambda: hostile.png(8, 70_000), "too_costly"),
    "a PNG of 20,000 x 20,000": (lambda: hostile.png(20_000, 20_000, data=b""), "too_large"),
    "a PNG of 200,000 chunks": (lambda: hostile.png_of_chunks(200_000), "too_costly"),
    "a JPEG of 5,000 scans": (lambda: hostile.jpeg_of_scans(2_000, 2_000, 5_000), "too_costly"),
    "a JPEG of 1,000,000 segments": (lambda: hostile.jpeg_of_segments(1_000_000), "too_costly"),
    "a GIF behind a long comment": (lambda: hostile.gif_of_comments(80_000), "too_costly"),
    "a JPEG 2000 of 60,000 x 60,000": (lambda: hostile.jpeg2000(60_000, 60_000, 1024), "too_large"),
    "a JPEG 2000 of one tile": (lambda: hostile.jpeg2000(9_000, 9_000, 9_000), "too_costly"),
    "a JPEG 2000 of 16,000 components": (lambda: hostile.jpeg2000(900, 900, 900, 16_000), "unsupported"),
    "a JPEG 2000 of pixel-sized tiles": (lambda: hostile.jpeg2000(2_000, 2_000, 1), "too_costly"),
    "an AVIF of 16,000 x 16,000": (lambda: hostile.avif_header(16_000, 16_000), "too_large"),
    "an AVIF of 9,000 x 9,000": (lambda: hostile.avif_header(9_000, 9_000), "too_costly"),
    "a PPM of 20,000 x 20,000": (lambda: hostile.ppm(20_000, 20_000), "too_large"),
}  # fmt: skip
READ = {
    "a JPEG whose EXIF entries overlap": lambda: hostile.jpeg(
        64, 64, exif=hostile.exif_of_entries(2_000, 20_000)
    ),
    "a PNG of 4,000 x 24,000": lambda: hostile.png(4_000, 24_000),
    "a transparent PNG of 8,000 x 8,000": lambda: hostile.png(8_000, 8_000, colour=6),
    "a WebP of 8,000 x 8,000": lambda: hostile.webp_lossless(8_000, 8_000),
    "a progressive JPEG of 48 megapixels": lambda: hostile.jpeg(8_000, 6_000, progressive=True),
}


@pytest.fixture(scope="module")
def cost():
    with measured_apart() as cost:
        cost(decode, hostile.jpeg(16, 16))  # what is imported counts for no image
        yield cost


def decode(data):
    """The shape of the pixels, or the reason why there are none."""
    try:
        return canonicalise(data, PixelSettings(short_side=256)).pixels.shape
    except ImageProblem as problem:
        return str(problem.reason)


@pytest.mark.parametrize("name", REFUSED)
def test_what_announces_too_much_is_refused_before_it_costs_anything(cost, name):
    make, reason = REFUSED[name]
    data = make()
    found = cost(decode, data)
    assert found.result == reason
    assert found.seconds < 0.5
    assert found.mib < 30 + 2 * len(data) / 2**20


@pytest.mark.slow
@pytest.mark.parametrize("name", READ)
def test_what_is_within_the_budget_is_read_within_the_memory_that_it_names(cost, name):
    found = cost(decode, READ[name]())
    assert isinstance(found.result, tuple)
    assert found.mib < PREPARATION.max_memory / 2**20
    assert found.seconds < PREPARATION.max_seconds


def test_a_frame_of_48_megapixels_that_is_prepared_is_within_what_is_answered():
    assert work_of(hostile.jpeg(8_000, 6_000)).pixels <= PREPARATION.max_pixels


@pytest.mark.parametrize("make", [
    lambda: hostile.textual_ppm(16),
    lambda: hostile.bmp_of_runs(16, 10),
    lambda: hostile.tiled_tiff(16, 16),
    lambda: hostile.jpeg2000(16, 16, 16),
    lambda: hostile.avif_header(16, 16),
    lambda: hostile.jpeg_of_scans(1_200, 1_200, 20),
    lambda: hostile.png(5_000, 5_000),
], ids=["text", "runs", "TIFF", "JPEG 2000", "AVIF", "scans", "pixels"])  # fmt: skip
def test_what_a_header_does_not_bound_is_not_called_cheap(make):
    assert not work_of(make()).is_cheap


@pytest.mark.parametrize("make", [
    lambda: hostile.jpeg(4_000, 3_000),
    lambda: hostile.jpeg(1_000, 1_000, progressive=True),
    lambda: hostile.png(1_000, 1_000),
    lambda: hostile.webp_lossless(1_000, 1_000),
    lambda: hostile.ppm(300, 300),
], ids=["JPEG", "progressive", "PNG", "WebP", "PPM"])  # fmt: skip
def test_photographs_are_cheap(make):
    assert work_of(make()).is_cheap


def test_a_smaller_budget_refuses_what_a_larger_one_takes():
    data = hostile.png(20_000, 2_000)
    assert canonicalise(data, budget=DecodeBudget(max_pixels=40_000_000, max_ratio=10)).width == 20_000
    for budget, reason in [
        (DecodeBudget(max_pixels=39_999_999), Reason.TOO_LARGE),
        (DecodeBudget(max_ratio=9), Reason.TOO_COSTLY),
    ]:
        with pytest.raises(ImageProblem) as refusal:
            canonicalise(data, budget=budget)
        assert refusal.value.reason == reason


@pytest.mark.parametrize("make", [
    lambda: _jpeg_that_says(65_000, 65_000),
    lambda: hostile.png(60_000, 60_000, data=b""),
], ids=["JPEG", "PNG"])  # fmt: skip
def test_a_strangers_prepared_set_has_the_same_budget(cost, make):
    found = cost(unpacked, make())
    assert isinstance(found.result, ValueError)
    assert found.mib < 30


def unpacked(data):
    return decode_packed(data).shape


def _jpeg_that_says(width, height):
    data = bytearray(hostile.jpeg(16, 16))
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(data)


def test_a_picture_that_no_jpeg_can_hold_has_its_reason():
    with pytest.raises(ImageProblem) as refusal:
        encode_jpeg(np.zeros((8, 70_000, 3), np.uint8))
    assert refusal.value.reason == Reason.TOO_COSTLY


def work_or_reason(data):
    try:
        return work_of(data).pixels >= 0
    except ImageProblem as problem:
        return problem.reason


MAKERS = [
    functools.partial(hostile.png, 20, 10),
    functools.partial(hostile.tiled_tiff, 16, 16),
    functools.partial(hostile.jpeg, 20, 10),
    functools.partial(hostile.webp_lossless, 20, 10),
    functools.partial(hostile.webp_extended, 20, 10),
    functools.partial(hostile.gif_of_comments, 1),
    functools.partial(hostile.bmp_of_runs, 16, 8),
    functools.partial(hostile.jpeg2000, 20, 10, 10),
    functools.partial(hostile.avif_header, 20, 10),
    functools.partial(hostile.textual_ppm, 8),
]


@given(st.sampled_from(MAKERS), st.data())
def test_any_damage_to_a_header_raises_an_image_problem_and_nothing_else(make, data):
    damaged = bytearray(make())
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, min(len(damaged), 160) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(1, len(damaged)))])
    assert work_or_reason(cut) is not None
