"""What validation in training sees is what evaluation, pseudo-labels and serving see."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.entry_jobs import QUICK, history
from trapline.data.loader import LoaderSettings, make_loader
from trapline.data.prepared import open_prepared
from trapline.errors import TraplineError
from trapline.images.canonical import decode_packed
from trapline.inference.answers import make_ready
from trapline.inference.content import SentImage
from trapline.inference.predictor import load_predictor
from trapline.inference.pseudo_labels import part_logits
from trapline.models.artefact import read_description

pytestmark = pytest.mark.slow  # tests/data/test_views.py has the quick half
SIDE = 32
ARCH = "shufflenet_v2_x0_5"


@pytest.fixture(scope="module")
def cropped(small_demo, tmp_path_factory, call_script):
    """A job whose validation saw the centre of the frames: its folder. Read it only."""
    folder = tmp_path_factory.mktemp("cropped")
    flags = ["--epochs", 1, "--augment", "imagenet", "--eval-crop", "centre", "--arch", ARCH]
    done = call_script("train.py", "--prepared", small_demo, "--output", folder, *QUICK, *flags)
    assert done.returncode == 0, done.stderr
    return folder


def mean_loss(logits, labels):
    return torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)).item()


def test_the_model_carries_the_crop_and_its_validation_loss_is_found_again(cropped, small_demo):
    predictor = load_predictor(cropped / "model", precision="fp32")
    assert predictor.description.eval_crop == "centre"
    val = open_prepared(small_demo).part("val")
    logits = part_logits(predictor, val, "validation")
    assert mean_loss(logits, val.labels) == pytest.approx(history(cropped)[0]["val_loss"], rel=0.02)


def test_all_that_look_at_an_image_see_the_same_pixels(cropped, small_demo):
    predictor = load_predictor(cropped / "model", precision="fp32")
    val = open_prepared(small_demo).part("val")
    loader = make_loader(val, LoaderSettings(size=SIDE, batch_size=4, eval_crop="centre"))
    for row, validated in enumerate(next(loader.epoch(1)).images.numpy()):
        pixels = decode_packed(val.jpeg(row))
        assert np.array_equal(predictor.squares(pixels)[0], validated)
        assert pixels.shape[1] > pixels.shape[0]  # wide, so that a crop is something else than a resize


def test_a_served_frame_is_cropped_too(cropped):
    """Beyond the centre nothing of a frame counts."""
    predictor = load_predictor(cropped / "model", precision="fp32")
    frame = np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    other = frame.copy()
    other[:, :30] = other[:, -30:] = 0
    seen = [make_ready(sent(pixels), predictor) for pixels in (frame, other)]
    assert np.array_equal(seen[0].squares, seen[1].squares)


def sent(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return SentImage(stream.getvalue())


def test_a_model_without_the_entry_sees_the_whole_frame(cropped, tmp_path):
    described = json.loads((cropped / "model" / "model.json").read_text())
    del described["eval_crop"]
    (tmp_path / "model.json").write_text(json.dumps(described))
    assert read_description(tmp_path).eval_crop == "none"
    (tmp_path / "model.json").write_text(json.dumps({**described, "eval_crop": "left"}))
    with pytest.raises(TraplineError, match="eval_crop"):
        read_description(tmp_path)
