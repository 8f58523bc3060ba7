"""Images in memory: the batches of the loader that decodes them one by one, and what cannot be held."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from common.data import memory
from common.data.loader import make_loader
from common.data.memory import make_memory_loader
from common.data.mixed import MixedPart
from common.data.prepared import open_prepared
from common.errors import UsageError

CPU = torch.device("cpu")
FIELDS = ("images", "labels", "weights", "labelled")


def assert_same_batches(part, epoch=2, **settings):
    shared = {"size": 32, "batch_size": 8, "seed": 3, **settings}
    one = make_loader(part, workers=0, pin=False, **shared)
    other = make_memory_loader(part, device=CPU, **shared)
    for expected, found in zip(one.epoch(epoch), other.epoch(epoch), strict=True):
        for name in FIELDS:
            if getattr(expected, name) is None:
                assert getattr(found, name) is None
            else:
                assert torch.equal(getattr(expected, name), getattr(found, name))
    assert other.num_workers == 0


@pytest.mark.parametrize("chain", ["none", "shift_flip", "crop_flip"])
def test_the_batches_are_those_of_the_loader_that_decodes_one_by_one(small_demo, chain):
    assert_same_batches(
        open_prepared(small_demo).part("val"), chain=chain, shuffle=chain != "none", eval_crop="centre"
    )


def test_with_several_ranks_the_padding_is_the_same(small_demo):
    assert_same_batches(
        open_prepared(small_demo).part("val"), chain="crop_flip", shuffle=True, rank=2, ranks=3
    )


def test_pseudo_labelled_images_lie_in_memory_too(small_demo):
    prepared = open_prepared(small_demo)
    part = MixedPart(prepared.part("val"), prepared.part("unlabeled"), np.array([3, 0, 7]), np.arange(3), 0.5)
    assert_same_batches(part, chain="shift_flip", shuffle=True, pseudo_share=0.25)


def test_an_epoch_is_augmented_anew_and_again_alike(small_demo):
    part = open_prepared(small_demo).part("val")
    loader = make_memory_loader(
        part, chain="shift_flip", size=32, batch_size=64, seed=3, shuffle=False, device=CPU
    )
    first, second, again = (next(loader.epoch(epoch)).images for epoch in (1, 2, 1))
    assert not torch.equal(first, second)
    assert torch.equal(first, again)


def test_what_does_not_fit_is_refused_before_it_is_decoded(small_demo, monkeypatch):
    part = open_prepared(small_demo).part("val")
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    with pytest.raises(UsageError, match=r"in_memory: \d+ images of 32 x 32 px x 3 bytes take .*image_size$"):
        make_memory_loader(part, chain="none", size=32, batch_size=8, seed=0, shuffle=False, device=CPU)


def test_a_chain_for_single_images_cannot_be_run_on_batches(small_demo):
    part = open_prepared(small_demo).part("val")
    with pytest.raises(ValueError, match="heavy takes one image at a time"):
        make_memory_loader(part, chain="heavy", size=32, batch_size=8, seed=0, shuffle=True, device=CPU)
