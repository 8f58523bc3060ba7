"""Shifts and flips of whole batches: how they are drawn, and what they do to an image."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trapline.augmentation import Moves
from trapline.data.augment import Move, draw_moves, moved

ROWS = np.arange(4000)


def drawn(moves, epoch, rows=ROWS, seed=3):
    return draw_moves(moves, seed, np.full_like(rows, epoch), rows)


def test_a_draw_depends_on_seed_epoch_and_row_alone():
    moves = Moves(2, "random")
    whole, some = drawn(moves, 5), drawn(moves, 5, ROWS[700:650:-7])
    assert np.array_equal(whole.down[ROWS[700:650:-7]], some.down)
    assert np.array_equal(whole.flipped[ROWS[700:650:-7]], some.flipped)
    for other in (drawn(moves, 6), drawn(moves, 5, seed=4)):
        assert not np.array_equal(whole.down, other.down)
        assert not np.array_equal(whole.flipped, other.flipped)


def test_all_shifts_come_about_equally_often_and_independently_of_the_flip():
    move = drawn(Moves(2, "random"), 1)
    found = np.stack([move.down, move.right, move.flipped], axis=1)
    kinds, counts = np.unique(found, axis=0, return_counts=True)
    assert len(kinds) == 5 * 5 * 2
    assert (move.down.min(), move.right.max()) == (-2, 2)
    assert counts.min() > 4000 / 50 * 0.5
    assert counts.max() < 4000 / 50 * 1.5


def test_an_alternating_flip_shows_each_side_in_every_second_epoch():
    first, second, third = (drawn(Moves(0, "alternating"), epoch).flipped for epoch in (1, 2, 3))
    assert 0.45 < first.mean() < 0.55
    assert np.array_equal(first, ~second)
    assert np.array_equal(first, third)


@settings(deadline=None)
@given(st.integers(-4, 4), st.integers(-4, 4), st.booleans())
def test_an_image_moves_as_a_crop_of_it_padded_with_its_reflection(down, right, flipped):
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)), mode="reflect")
    expected = padded[4 - down : 12 - down, 4 - right : 12 - right]
    move = Move(np.array([down]), np.array([right]), np.array([flipped]))
    assert np.array_equal(moved(image[None], move)[0], expected[:, ::-1] if flipped else expected)


def test_tensors_move_as_arrays_do_and_are_picked_from_a_larger_set():
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    rows = np.array([4, 0, 4])
    move = draw_moves(Moves(3, "random"), 1, np.array([1, 2, 3]), rows)
    picked = moved(torch.from_numpy(images), move, rows)
    assert np.array_equal(picked.numpy(), moved(images[rows], move))


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_every_seed_can_be_drawn_from(seed):
    assert np.abs(drawn(Moves(4), 1, seed=seed).right).max() == 4
