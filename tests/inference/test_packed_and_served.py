"""What the JPEG of packing changes: served pixels have not been through it, those of training have.

With -s the tests print what they measure.
"""

from pathlib import Path

import numpy as np
import pytest

from tests.support.small_models import write_small_model
from trapline.data.augment import resize_square
from trapline.images.canonical import decode_packed, encode_jpeg
from trapline.inference.predictor import load_predictor
from trapline.preparation.demo import DemoSettings, draw_demo

pytestmark = pytest.mark.slow

SIDE, QUALITY = 224, 90
PIXELS = {"short_side": 256}


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    folder = write_small_model(tmp_path_factory.mktemp("model"), image_size=SIDE, pixels=PIXELS)
    return load_predictor(folder, precision="fp32")


def differences(predictor, paths, name):
    """Mean absolute differences: of the model's pixels in grey levels, and of probabilities."""
    served = [predictor.decode(path.read_bytes()) for path in paths]
    packed = [decode_packed(encode_jpeg(pixels, QUALITY)) for pixels in served]
    pairs = zip(served, packed, strict=True)
    levels = [
        np.abs(resize_square(one, SIDE).astype(int) - resize_square(other, SIDE)).mean()
        for one, other in pairs
    ]
    one, other = (predictor.probabilities(predictor.logits(images)) for images in (served, packed))
    shift = np.abs(one - other)
    print(
        f"\n{name}: {len(paths)} images, pixels differ by {np.mean(levels):.2f} grey levels"
        f" (worst image {max(levels):.2f}), probabilities by {shift.mean():.4f} (worst {shift.max():.4f})"
    )
    return np.mean(levels), max(levels), shift.mean(), shift.max()


def photographs(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() == ".jpg")


def assert_small(found):
    mean, worst, shift, worst_shift = found
    assert 0 < mean < 2.0
    assert worst < 5.0
    assert shift < 0.01
    assert worst_shift < 0.05


def test_drawn_images_differ_by_little_between_packed_and_served(predictor, tmp_path):
    draw_demo(tmp_path, DemoSettings(images=24, sites=12, unlabeled=0, width=640, height=480, damaged=0))
    paths = photographs(tmp_path)
    assert len(paths) == 24
    assert_small(differences(predictor, paths, "drawn"))


@pytest.mark.parametrize("name", ["cats_dogs", "camera_traps_norway"])
def test_photographs_differ_by_little_between_packed_and_served(predictor, real_data, name):
    paths = photographs(real_data / name)[::7][:40]
    assert paths
    assert_small(differences(predictor, paths, name))
