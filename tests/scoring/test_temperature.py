import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from torch.nn import functional

from trapline.errors import TraplineError
from trapline.scoring.predictions import (
    HIGHEST,
    LOWEST,
    MAX_FOLDS,
    cross_fitted_temperatures,
    fit_temperature,
    image_losses,
    is_at_bound,
    log_probabilities,
)


def calibrated(images, classes=5, seed=0):
    """Logits, and labels that are drawn with just the probabilities that the logits say."""
    random = np.random.default_rng(seed)
    logits = random.normal(scale=2, size=(images, classes))
    labels = [random.choice(classes, p=row) for row in softmax(logits, axis=1)]
    return logits, np.array(labels)


@pytest.mark.parametrize("factor", [0.3, 1, 4])
def test_logits_that_are_too_sure_or_too_shy_are_set_right(factor):
    logits, labels = calibrated(6000)
    assert fit_temperature(factor * logits, labels) == pytest.approx(factor, rel=0.07)


@pytest.mark.parametrize("seed", range(5))
def test_the_log_loss_at_the_fitted_temperature_is_the_lowest(seed):
    random = np.random.default_rng(seed)
    logits, labels = random.normal(size=(40, 3)) * 5, random.integers(0, 3, 40)
    fitted = fit_temperature(logits, labels)
    best = image_losses(logits, labels, fitted).mean()
    others = [
        image_losses(logits, labels, temperature).mean() for temperature in np.geomspace(LOWEST, HIGHEST, 400)
    ]
    assert best <= min(others) + 1e-6


def test_with_several_labels_an_image_the_loss_is_the_mean_binary_one_and_its_temperature_is_found():
    random = np.random.default_rng(2)
    logits = random.normal(scale=2, size=(4000, 3))
    labels = (random.random(logits.shape) < expit(logits)).astype(np.float32)
    expected = functional.binary_cross_entropy_with_logits(
        torch.from_numpy(logits / 2), torch.from_numpy(labels).double(), reduction="none"
    )
    assert image_losses(logits, labels, 2.0) == pytest.approx(expected.mean(dim=1).numpy())
    assert fit_temperature(2.5 * logits, labels) == pytest.approx(2.5, rel=0.07)
    assert image_losses(np.array([[1e4, -1e4]]), np.array([[1, 0]])) == pytest.approx([0])


def test_where_every_answer_is_right_the_temperature_ends_at_its_bound():
    logits = 10 * np.eye(4)
    temperature = fit_temperature(logits, np.arange(4))
    assert temperature == pytest.approx(LOWEST, rel=1e-2)
    assert is_at_bound(temperature)
    assert not is_at_bound(1.0)


def test_a_temperature_for_each_image_is_used_row_by_row():
    logits = np.array([[2.0, 0.0], [2.0, 0.0]])
    values = np.exp(log_probabilities(logits, np.array([1.0, 2.0])))
    assert values == pytest.approx(np.array([softmax([2, 0]), softmax([1, 0])]))


def test_no_images_and_logits_that_are_no_numbers_are_refused():
    with pytest.raises(TraplineError, match="no validation images"):
        fit_temperature(np.empty((0, 3)), np.empty(0, dtype=np.int64))
    with pytest.raises(TraplineError, match="no finite numbers"):
        fit_temperature(np.array([[np.nan, 0.0]]), np.array([0]))


def test_an_images_own_site_has_no_part_in_its_cross_fitted_temperature():
    logits, labels = calibrated(600)
    groups = np.arange(600) % 7
    before = cross_fitted_temperatures(logits, labels, groups)
    changed = np.where(groups == 3, (labels + 1) % 5, labels)
    after = cross_fitted_temperatures(logits, changed, groups)
    assert after[groups == 3] == pytest.approx(before[groups == 3])
    assert not np.allclose(after[groups != 3], before[groups != 3])


def test_sites_stay_whole_and_are_dealt_into_ten_folds_at_most():
    logits, labels = calibrated(800)
    groups = np.random.default_rng(1).integers(0, 43, 800)
    temperatures = cross_fitted_temperatures(logits, labels, groups)
    assert all(len(set(temperatures[groups == group])) == 1 for group in np.unique(groups))
    assert 2 <= len(set(temperatures)) <= MAX_FOLDS


def test_with_a_single_site_there_is_nothing_else_to_fit_on():
    logits, labels = calibrated(50)
    assert cross_fitted_temperatures(logits, labels, np.zeros(50)).tolist() == [1.0] * 50
