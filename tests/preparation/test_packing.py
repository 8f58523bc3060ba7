import os
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.conftest import write_jpeg
from trapline.images.canonical import PixelSettings, canonicalise, decode_packed
from trapline.preparation.packing import Packed, Unusable, pack_file, pack_files
from trapline.workers import CHUNK

SETTINGS = PixelSettings(short_side=32)


@pytest.fixture
def pictures(tmp_path):
    paths = [tmp_path / f"{number:03d}.jpg" for number in range(2 * CHUNK + 3)]
    for number, path in enumerate(paths):
        write_jpeg(path, number)
    return [str(path) for path in paths]


def crash_on_some(path, settings, quality):
    """Stands in for a decoder that takes its process along on the images 5 and 20."""
    if Path(path).stem in ("005", "020"):
        os._exit(1)
    return pack_file(path, settings, quality)


def reasons(results):
    return [result.reason if isinstance(result, Unusable) else "" for result in results]


def test_results_come_in_order_one_for_each_input(pictures):
    results = list(pack_files(pictures, SETTINGS, 90, processes=2))
    assert [result.sha256 for result in results] == [
        pack_file(path, SETTINGS, 90).sha256 for path in pictures
    ]
    assert all(decode_packed(result.image).shape == (32, 48, 3) for result in results)
    assert all((result.width, result.height) == (96, 64) for result in results)


@pytest.mark.slow
def test_a_crashing_decoder_costs_only_the_image_it_crashed_on(pictures):
    results = list(pack_files(pictures, SETTINGS, 90, processes=2, pack_one=crash_on_some))
    assert [index for index, reason in enumerate(reasons(results)) if reason] == [5, 20]
    assert set(reasons(results)) == {"", "decoder_crashed"}


def test_no_input_gives_no_result():
    assert list(pack_files([], SETTINGS, 90)) == []


def test_files_that_cannot_be_read_have_their_reasons(tmp_path, pictures):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "empty.jpg").touch()
    names = ["absent.jpg", "pipe.jpg", "folder.jpg", "empty.jpg"]
    paths = [*(str(tmp_path / name) for name in names), "nul\0byte.jpg", pictures[0]]
    assert reasons(pack_files(paths, SETTINGS, 90, processes=1)) == [
        "missing", "unreadable", "unreadable", "empty", "unreadable", "",
    ]  # fmt: skip


def test_packing_at_full_size_keeps_the_picture(pictures):
    packed = pack_file(pictures[0], PixelSettings(short_side=64), 95)
    assert isinstance(packed, Packed)
    import cv2

    original = cv2.imread(pictures[0])[:, :, ::-1].astype(int)
    assert np.abs(decode_packed(packed.image).astype(int) - original).mean() < 3


def test_without_a_quality_the_decoded_pixels_are_kept_as_they_are(pictures):
    packed = pack_file(pictures[0], PixelSettings(short_side=64), None)
    decoded = canonicalise(Path(pictures[0]).read_bytes(), PixelSettings(short_side=64))
    assert np.array_equal(decode_packed(packed.image), decoded.pixels)


def test_abandoned_packing_leaves_no_process(pictures):
    results = pack_files(pictures * 20, SETTINGS, 90, processes=2)
    next(results)
    results.close()
    deadline = time.monotonic() + 20
    while workers() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert workers() == []


def workers():
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if "spawn_main" in " ".join(child.cmdline())
    ]
