"""The predictor: the same numbers as training's evaluation, whatever the batch, and never NaN."""

import dataclasses
import tarfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.support.small_models import CLASSES, picture, write_small_model
from trapline.augmentation import VIEW_SETS
from trapline.data.augment import resize_square
from trapline.data.loader import Batch
from trapline.errors import TraplineError, UsageError
from trapline.images.canonical import PixelSettings, canonicalise
from trapline.inference import predictor as module
from trapline.inference.predictor import average_views, load_predictor
from trapline.models.ensemble import write_ensemble
from trapline.scoring.predictions import calibrated, finite_rows
from trapline.training.validation import predict

SIZES = [(120, 160), (200, 100), (64, 64), (97, 301), (96, 96)]
LOGITS = st.floats(-1e4, 1e4, width=32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def plain(folder):
    return load_predictor(folder, precision="fp32")


@pytest.fixture(scope="module")
def images(plain):
    return [plain.decode(picture(seed, *size)) for seed, size in enumerate(SIZES)]


def close(one, other, tolerance=1e-5):
    return one.shape == other.shape and np.abs(one - other).max() < tolerance


def test_images_have_clearly_different_logits_so_that_the_other_tests_mean_something(plain, images):
    logits = plain.logits(images)
    assert logits.dtype == np.float32
    assert min(np.abs(logits[one] - logits[other]).max() for one in range(5) for other in range(one)) > 1e-2


def test_the_plain_view_gives_the_logits_of_trainings_evaluation(plain, images):
    side, normalisation = plain.description.image_size, plain.description.normalisation
    pixels = torch.from_numpy(np.stack([resize_square(image, side) for image in images]))
    batch = Batch(pixels, torch.zeros(5, dtype=torch.int64), torch.ones(5))
    expected = predict(plain.model, [batch], plain.execution, normalisation).logits
    assert close(plain.logits(images), expected)


def test_batched_views_equal_a_loop_over_images_and_views(folder, images):
    enhanced = load_predictor(folder, precision="fp32", views=VIEW_SETS["enhanced"])
    looped = [
        [load_view(folder, view).logits([image])[0] for view in VIEW_SETS["enhanced"]] for image in images
    ]
    assert close(enhanced.view_logits(images), np.array(looped))
    assert close(enhanced.logits(images), np.array(looped).mean(axis=1))


def load_view(folder, view):
    return load_predictor(folder, precision="fp32", views=[view])


def test_an_images_logits_do_not_depend_on_what_else_is_in_the_batch(plain, images, monkeypatch):
    together = plain.logits(images)
    monkeypatch.setitem(module.ROWS_TOGETHER, "cpu", 2)
    assert close(plain.logits(images), together)
    assert close(plain.logits(images[3:4]), together[3:4])


def test_images_of_a_generator_are_taken_a_few_at_a_time(plain, images, monkeypatch):
    monkeypatch.setitem(module.ROWS_TOGETHER, "cpu", 2)
    taken, seen = [], []
    plain_forward = plain.model.forward
    monkeypatch.setattr(plain.model, "forward", lambda x: seen.append(len(taken)) or plain_forward(x))

    def generate():
        for image in images:
            taken.append(image)
            yield image

    assert len(plain.logits(generate())) == 5
    assert seen == [2, 4, 5]


def test_no_images_give_no_rows(plain):
    assert plain.logits([]).shape == (0, 3)
    assert plain.probabilities(plain.logits([])).shape == (0, 3)


def test_an_archive_and_its_folder_predict_the_same(folder, plain, images, tmp_path):
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
        archive.add(folder, arcname=".")
    packed = load_predictor(tmp_path / "model.tar.gz", precision="fp32")
    assert np.array_equal(packed.logits(images), plain.logits(images))


def test_pixels_are_made_with_the_settings_of_the_model(tmp_path):
    cropping = {"short_side": 48, "crop_bottom": 0.25, "min_side": 8, "max_pixels": 10**6}
    predictor = load_predictor(write_small_model(tmp_path, pixels=cropping), precision="fp32")
    data = picture(7)
    assert np.array_equal(predictor.decode(data), canonicalise(data, PixelSettings(**cropping)).pixels)


def test_views_and_averaging_are_those_of_the_model_unless_others_are_given(tmp_path, images):
    write_small_model(tmp_path, views=["plain", "vertical_flip"], averaging="probabilities", temperature=2.0)
    predictor = load_predictor(tmp_path, precision="fp32")
    mean = torch.softmax(torch.from_numpy(predictor.view_logits(images)).double(), dim=2).mean(dim=1).numpy()
    assert predictor.views == ("plain", "vertical_flip")
    assert close(np.exp(predictor.logits(images)), mean, 1e-6)
    sharpened = np.sqrt(mean) / np.sqrt(mean).sum(axis=1, keepdims=True)
    assert close(predictor.probabilities(predictor.logits(images)), sharpened, 1e-6)
    assert load_predictor(tmp_path, views=["plain"]).views == ("plain",)


def test_the_mean_of_logits_is_the_renormalised_geometric_mean_of_probabilities():
    logits = np.random.default_rng(0).normal(size=(4, 3, 5)).astype(np.float32)
    probabilities = torch.softmax(torch.from_numpy(logits).double(), dim=2).numpy()
    geometric = probabilities.prod(axis=1) ** (1 / 3)
    averaged = calibrated(average_views(logits, "logits"), 1.0)
    assert close(averaged, geometric / geometric.sum(axis=1, keepdims=True), 1e-6)


@given(
    arrays.arrays(
        np.float32, st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 6)), elements=LOGITS
    ),
    st.sampled_from(["logits", "probabilities"]),
    st.floats(0.05, 20),
)
def test_whatever_the_logits_probabilities_are_numbers_and_sum_to_one(logits, averaging, temperature):
    probabilities = calibrated(average_views(logits, averaging), temperature)
    assert probabilities.dtype == np.float64
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-9)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers_are_an_error_that_names_the_image(value):
    logits = np.zeros((3, 2), np.float32)
    logits[1, 0] = value
    assert finite_rows(logits).tolist() == [True, False, True]
    with pytest.raises(TraplineError, match="1 of 3 images, the first in row 1"):
        calibrated(logits, 1.0)


def test_pixel_settings_of_another_version_are_refused(tmp_path):
    with pytest.raises(TraplineError, match=r"model\.json: pixels.*sharpen"):
        load_predictor(write_small_model(tmp_path, pixels={"sharpen": True}))


def test_a_model_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(TraplineError, match=r"nowhere\.tar\.gz: no such file"):
        load_predictor(tmp_path / "nowhere.tar.gz")


def test_unknown_views_are_refused(folder):
    with pytest.raises(UsageError, match="sideways"):
        load_predictor(folder, views=["sideways"])


def test_a_few_images_are_predicted_as_the_plain_loop_does(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("TRAPLINE_CACHE", str(tmp_path))
    predictor = load_predictor(folder, images=10)
    assert predictor.speed.source == "short"
    assert (predictor.execution.precision, predictor.execution.channels_last) == ("fp32", False)


def test_a_model_of_a_deterministic_training_measures_nothing(folder, monkeypatch, tmp_path):
    """Else the last digits of its answers would be those of what was fastest in this run."""
    monkeypatch.setenv("TRAPLINE_CACHE", str(tmp_path / "cache"))
    alone = write_small_model(tmp_path / "alone", configuration={"deterministic": True})
    write_ensemble({"one": folder, "two": alone}, tmp_path / "together", [], {})
    for model in (alone, tmp_path / "together"):
        predictor = load_predictor(model)
        assert predictor.speed.source == "plain"
        assert (predictor.execution.precision, predictor.execution.channels_last) == ("fp32", False)


def test_for_many_images_precision_and_format_are_measured_once_and_kept(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("TRAPLINE_CACHE", str(tmp_path))
    first, second = load_predictor(folder), load_predictor(folder)
    assert (first.speed.source, second.speed.source) == ("measured", "kept")
    assert first.execution == second.execution
    assert {trial.precision for trial in first.speed.trials} >= {"fp32"}


def test_a_predictor_of_the_same_run_takes_what_an_earlier_one_has_found(folder):
    found = load_predictor(folder, precision="fp32", images=10).speed
    other = dataclasses.replace(found, channels_last=True)
    assert load_predictor(folder, speed=other).execution.channels_last


def test_class_names_keep_the_order_of_the_outputs(plain):
    assert plain.classes == CLASSES
