"""Labelled and pseudo-labelled images in one batch: a fixed share, the same on any number of processes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trapline.data.augment import resize_square
from trapline.data.loader import EpochBatches, LoaderSettings, make_loader
from trapline.data.parts import MixedPart, pseudo_batches
from trapline.data.prepared import open_prepared
from trapline.errors import UsageError
from trapline.images.canonical import decode_packed

ROWS = st.integers(1, 200)
GUESSED = st.integers(1, 90)
SHARES = st.sampled_from([0.1, 0.25, 0.5, 0.75])
SIZES = st.integers(8, 40)


def batches_of(rows, guessed, share, batch_size, *, epoch=1, rank=0, ranks=1, seed=5):
    places = {"rank": rank, "world_size": ranks, "pseudo_share": share}
    batches = EpochBatches(rows, LoaderSettings(32, batch_size, seed, shuffle=True, **places), guessed)
    batches.epoch = epoch
    return batches


@settings(deadline=None)
@given(ROWS, GUESSED, SHARES, SIZES)
def test_every_whole_batch_holds_the_same_number_of_pseudo_labelled_images(rows, guessed, share, batch_size):
    batches = batches_of(rows, guessed, share, batch_size)
    for number, batch in enumerate(batches):
        of_them = sum(key.row >= rows for key in batch)
        assert len(batch) == batches.sizes[number]
        if len(batch) == batch_size:
            assert of_them == round(share * batch_size)
        assert abs(of_them - share * len(batch)) <= 1.5


@settings(deadline=None)
@given(ROWS, GUESSED, SHARES, SIZES, st.integers(1, 4))
def test_an_epoch_is_one_pass_over_the_labelled_images(rows, guessed, share, batch_size, epoch):
    keys = [key for batch in batches_of(rows, guessed, share, batch_size, epoch=epoch) for key in batch]
    assert sorted(key.row for key in keys if key.row < rows) == list(range(rows))
    assert all(key.epoch == epoch for key in keys if key.row < rows)
    assert all(key.row < rows + guessed for key in keys)


@settings(deadline=None)
@given(ROWS, GUESSED, SHARES, SIZES)
def test_pseudo_labelled_images_come_in_rounds_of_all_of_them(rows, guessed, share, batch_size):
    drawn = []
    for epoch in range(5):
        batches = batches_of(rows, guessed, share, batch_size, epoch=epoch)
        drawn += [key for batch in batches for key in batch if key.row >= rows]
    assert len(set(drawn)) == len(drawn)
    numbers = [key.epoch for key in drawn]
    assert numbers == sorted(numbers)
    for number in range(len(drawn) // guessed):
        of_round = [key.row for key in drawn if key.epoch == number]
        assert sorted(of_round) == list(range(rows, rows + guessed))


def test_rounds_are_shuffled_each_in_its_own_way_by_the_seed():
    first = [key for batch in pseudo_batches(50, 1, 0, [50, 50]) for key in batch]
    other = [key for batch in pseudo_batches(50, 2, 0, [50, 50]) for key in batch]
    rows = [row for _, row in first]
    assert rows[:50] != rows[50:]
    assert rows[:50] != sorted(rows[:50])
    assert first != other


@settings(deadline=None)
@given(ROWS, GUESSED, SHARES, SIZES, st.integers(2, 4))
def test_a_step_holds_what_one_process_would_take(rows, guessed, share, batch_size, ranks):
    whole = batches_of(rows, guessed, share, batch_size * ranks)
    every = [batches_of(rows, guessed, share, batch_size, rank=rank, ranks=ranks) for rank in range(ranks)]
    assert all(batches.sizes == whole.sizes for batches in every)
    for expected, *dealt in zip(whole, *every, strict=True):
        assert len({len(keys) for keys in dealt}) == 1
        assert sorted(key for keys in dealt for key in keys if not key.padding) == sorted(expected)


@settings(deadline=None)
@given(ROWS, GUESSED, SHARES, st.integers(8, 40), st.integers(2, 4))
def test_every_rank_gets_its_part_of_both(rows, guessed, share, batch_size, ranks):
    for rank in range(ranks):
        batches = batches_of(rows, guessed, share, batch_size, rank=rank, ranks=ranks)
        for size, batch in zip(batches.sizes, batches, strict=True):
            if size == batch_size * ranks:
                mine = sum(key.row >= rows for key in batch)
                assert abs(mine - share * batch_size) <= 1.5


def test_a_share_that_leaves_one_kind_out_is_refused():
    with pytest.raises(UsageError, match=r"0\.1 of a batch of 4 is 0 images and leaves no pseudo-labelled"):
        batches_of(20, 5, 0.1, 4)
    with pytest.raises(UsageError, match="leaves no labelled"):
        batches_of(20, 5, 0.9, 2)


def mixed_part(folder, weight=0.5):
    prepared = open_prepared(folder)
    rows = np.array([3, 0, 7, 11, 12])
    return MixedPart(prepared.part("val"), prepared.part("unlabeled"), rows, np.arange(5), weight)


def all_batches(part, *, workers, epoch=2, chain="heavy"):
    loader = make_loader(
        part,
        LoaderSettings(chain=chain, size=48, batch_size=8, seed=3, shuffle=True, pseudo_share=0.25),
        workers=workers,
    )
    return list(loader.epoch(epoch))


@pytest.mark.slow
def test_the_batches_do_not_depend_on_the_number_of_workers(small_demo):
    part = mixed_part(small_demo)
    for one, other in zip(all_batches(part, workers=0), all_batches(part, workers=2), strict=True):
        for name in ("images", "labels", "weights", "labelled"):
            assert torch.equal(getattr(one, name), getattr(other, name))


def test_pixels_labels_and_weights_are_those_of_the_same_image(small_demo):
    part = mixed_part(small_demo)
    expected = {}
    for number in range(len(part)):
        owner, row = part.located(number)
        pixels = resize_square(decode_packed(owner.jpeg(row)), 48)
        expected[pixels.tobytes()] = (int(part.labels[number]), float(part.weights[number]))
    found = [
        (image.numpy().tobytes(), (int(label), float(weight)), bool(labelled))
        for batch in all_batches(part, workers=0, chain="none")
        for image, label, weight, labelled in zip(
            batch.images, batch.labels, batch.weights, batch.labelled, strict=True
        )
    ]
    assert all(expected[pixels] == facts for pixels, facts, _ in found)
    assert {weight for _, (_, weight), labelled in found if not labelled} == {0.5}
    assert {label for _, (label, _), labelled in found if not labelled} == {0, 1, 2, 3, 4}
    assert sum(labelled for _, _, labelled in found) == len(part.labelled)


def test_a_labelled_part_alone_says_nothing_about_guesses(small_demo):
    part = open_prepared(small_demo).part("val")
    loader = make_loader(part, LoaderSettings(size=48, batch_size=8, shuffle=True))
    assert next(loader.epoch(1)).labelled is None
