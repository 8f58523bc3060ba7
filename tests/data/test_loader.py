import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trapline.data.loader import EpochBatches, LoaderSettings, make_loader
from trapline.data.prepared import open_prepared


@given(st.integers(1, 200), st.integers(1, 64), st.integers(0, 5))
def test_every_row_comes_once_an_epoch_and_no_batch_of_one_is_left_over(rows, batch_size, epoch):
    batches = EpochBatches(rows, LoaderSettings(32, batch_size, shuffle=True))
    batches.epoch = epoch
    drawn = list(batches)
    assert sorted(key.row for batch in drawn for key in batch) == list(range(rows))
    assert [len(batch) for batch in drawn] == batches.sizes
    assert len(drawn) == len(batches)
    assert max(batches.sizes) <= batch_size + 1
    if rows > 1 and batch_size > 1:
        assert min(batches.sizes) > 1


def test_the_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch):
        batches = EpochBatches(50, LoaderSettings(32, 8, seed, shuffle=True))
        batches.epoch = epoch
        return [key.row for batch in batches for key in batch]

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_rows_that_are_not_shuffled_come_in_order():
    batches = EpochBatches(5, LoaderSettings(32, 2))
    assert [key.row for batch in batches for key in batch] == [0, 1, 2, 3, 4]


def all_batches(part, epoch, workers):
    loader = make_loader(
        part, LoaderSettings(chain="heavy", size=48, batch_size=16, seed=3, shuffle=True), workers=workers
    )
    return list(loader.epoch(epoch))


def test_the_batches_do_not_depend_on_the_number_of_workers(small_demo):
    part = open_prepared(small_demo).part("val")
    alone, two = all_batches(part, 2, workers=0), all_batches(part, 2, workers=2)
    for one, other in zip(alone, two, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.weights, other.weights)
    assert alone[0].images.shape == (16, 48, 48, 3)
    assert alone[0].images.dtype == torch.uint8


def test_a_later_epoch_is_augmented_anew_by_the_same_workers(small_demo):
    part = open_prepared(small_demo).part("val")
    loader = make_loader(part, LoaderSettings(chain="heavy", size=48, batch_size=256, seed=3), workers=1)
    first, second, again = (next(loader.epoch(epoch)).images for epoch in (1, 2, 1))
    assert not torch.equal(first, second)
    assert torch.equal(first, again)


def test_loading_leaves_the_generator_of_dropout_alone(small_demo):
    part = open_prepared(small_demo).part("val")
    torch.manual_seed(0)
    before = torch.get_rng_state()
    all_batches(part, 0, workers=0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_labels_and_pixels_are_those_of_the_same_row(small_demo, part):
    packed = open_prepared(small_demo).part(part)
    loader = make_loader(packed, LoaderSettings(size=48, batch_size=7, shuffle=True))
    in_order = make_loader(packed, LoaderSettings(size=48, batch_size=7))
    by_pixels = {
        image.numpy().tobytes(): int(label)
        for batch in in_order.epoch(0)
        for image, label in zip(batch.images, batch.labels, strict=True)
    }
    for batch in loader.epoch(0):
        for image, label in zip(batch.images, batch.labels, strict=True):
            assert by_pixels[image.numpy().tobytes()] == int(label)
    assert np.array_equal(np.bincount(packed.labels, minlength=8) > 0, np.isin(range(8), packed.labels))


def dealt(rows, batch_size, ranks, epoch=1, seed=5):
    """The batches of every rank."""
    every = []
    for rank in range(ranks):
        batches = EpochBatches(
            rows, LoaderSettings(32, batch_size, seed, shuffle=True, rank=rank, world_size=ranks)
        )
        batches.epoch = epoch
        every.append(batches)
    return every


@given(st.integers(1, 300), st.integers(1, 33), st.integers(1, 5), st.integers(0, 3))
def test_every_row_is_dealt_to_one_rank_and_all_ranks_have_equally_many(rows, batch_size, ranks, epoch):
    every = dealt(rows, batch_size, ranks, epoch)
    drawn = [list(batches) for batches in every]
    keys = [key for rank in drawn for batch in rank for key in batch]
    assert sorted(key.row for key in keys if not key.padding) == list(range(rows))
    assert all(0 <= key.row < rows for key in keys)
    for batches, rank in zip(every, drawn, strict=True):
        assert [len(batch) for batch in rank] == batches.shares
        assert batches.sizes == every[0].sizes
        assert len(batches) == len(every[0])
    assert sum(every[0].sizes) == rows
    if ranks > 1 and batch_size > 1:
        assert min(every[0].shares) >= 2


@given(st.integers(1, 300), st.integers(1, 33), st.integers(2, 5))
def test_a_step_holds_the_images_that_one_process_would_take(rows, batch_size, ranks):
    whole = dealt(rows, batch_size * ranks, 1)[0]
    every = dealt(rows, batch_size, ranks)
    for expected, *shares in zip(whole, *every, strict=True):
        together = sorted(key.row for share in shares for key in share if not key.padding)
        assert together == sorted(key.row for key in expected)


@given(st.integers(1, 300), st.integers(1, 33), st.integers(1, 5))
def test_an_image_is_missing_only_at_the_end_of_a_ranks_share(rows, batch_size, ranks):
    for rank, batches in enumerate(dealt(rows, batch_size, ranks)):
        for size, batch in zip(batches.sizes, batches, strict=True):
            own = len(range(rank, size, ranks))
            assert [key.padding for key in batch] == [False] * own + [True] * (len(batch) - own)


def test_the_weights_of_padding_are_zero_and_the_images_real(small_demo):
    part = open_prepared(small_demo).part("val")
    loaders = [make_loader(part, LoaderSettings(32, 3, rank=rank, world_size=2)) for rank in (0, 1)]
    batches = [list(loader.epoch(0)) for loader in loaders]
    counted = sum(int((batch.weights > 0).sum()) for rank in batches for batch in rank)
    assert counted == len(part)
    assert all(batch.images.float().std() > 1 for rank in batches for batch in rank)
    weights = np.concatenate([batch.weights.numpy() for rank in batches for batch in rank])
    assert (weights == 0).sum() == 2 * sum(loaders[0].batches.shares) - len(part)
