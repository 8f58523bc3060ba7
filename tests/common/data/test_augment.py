import warnings

import numpy as np
import pytest

from common.data import augment
from common.errors import UsageError

FRAME = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)


@pytest.mark.parametrize("chain", augment.CHAINS)
def test_a_chain_makes_squares_that_depend_on_the_seed_alone(chain):
    one, other = augment.Augmentation(chain, 48), augment.Augmentation(chain, 48)
    pictures = [one(FRAME, (0, 1, row)) for row in range(8)]
    assert all(picture.shape == (48, 48, 3) and picture.dtype == np.uint8 for picture in pictures)
    for row in reversed(range(8)):  # another order, another object: the same pictures
        assert np.array_equal(other(FRAME, (0, 1, row)), pictures[row])


@pytest.mark.parametrize("chain", ["flip", "crops", "heavy"])
def test_epochs_and_rows_and_seeds_differ(chain):
    transform = augment.Augmentation(chain, 48)
    by_row = {transform(FRAME, (0, 0, row)).tobytes() for row in range(16)}
    by_epoch = {transform(FRAME, (0, epoch, 0)).tobytes() for epoch in range(16)}
    assert len(by_row) > 1
    assert len(by_epoch) > 1


def test_the_chain_none_is_the_resize_of_evaluation():
    assert np.array_equal(
        augment.Augmentation("none", 48)(FRAME, (0, 0, 0)), augment.resize_square(FRAME, 48)
    )


def test_flipping_mirrors_about_half_of_the_frames():
    plain = augment.resize_square(FRAME, 48)
    flip = augment.Augmentation("flip", 48)
    mirrored = sum(np.array_equal(flip(FRAME, (3, 0, row)), plain[:, ::-1]) for row in range(200))
    assert 70 < mirrored < 130


def test_the_heavy_noise_is_as_strong_as_the_old_variance():
    noise = next(step for step in augment.CHAINS["heavy"].steps(224) if type(step).__name__ == "GaussNoise")
    assert np.square(np.multiply(noise.std_range, 255)) == pytest.approx([10, 50])


def test_an_unknown_argument_is_an_error(monkeypatch):
    chain = augment.Chain(1.0, lambda size: [augment.A.GaussNoise(var_limit=(10, 50))])
    monkeypatch.setitem(augment.CHAINS, "old", chain)
    with pytest.raises((UserWarning, ValueError), match="var_limit"):
        augment.Augmentation("old", 48)


def test_an_unknown_chain_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="heavy"):
        augment.Augmentation("strong", 48)


def test_building_a_chain_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(augment.Augmentation(chain, 224) for chain in augment.CHAINS)


@pytest.mark.parametrize("shape", [(96, 171, 3), (20, 30, 3), (500, 90, 3), (48, 48, 3)])
def test_resizing_keeps_the_mean_colour(shape):
    smooth = np.broadcast_to(np.linspace(0, 250, shape[1])[None, :, None], shape).astype(np.uint8)
    square = augment.resize_square(np.ascontiguousarray(smooth), 48)
    assert square.shape == (48, 48, 3)
    assert abs(square.mean() - smooth.mean()) < 2
