"""Images in memory: the batches of the loader that decodes them one by one, and what cannot be held."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from trapline.data import loader as loading
from trapline.data.loader import LoaderSettings, images_of, make_loader, make_memory_loader
from trapline.data.parts import MixedPart
from trapline.data.prepared import open_prepared
from trapline.errors import UsageError

CPU = torch.device("cpu")
FIELDS = ("images", "labels", "weights", "labelled")


def assert_same_batches(part, epoch=2, **settings):
    shared = LoaderSettings(32, 8, 3, **settings)
    one = make_loader(part, shared)
    other = make_memory_loader(part, shared, device=CPU)
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
        open_prepared(small_demo).part("val"), chain="crop_flip", shuffle=True, rank=2, world_size=3
    )


def test_pseudo_labelled_images_lie_in_memory_too(small_demo):
    prepared = open_prepared(small_demo)
    part = MixedPart(prepared.part("val"), prepared.part("unlabeled"), np.array([3, 0, 7]), np.arange(3), 0.5)
    assert_same_batches(part, chain="shift_flip", shuffle=True, pseudo_share=0.25)


def test_an_epoch_is_augmented_anew_and_again_alike(small_demo):
    part = open_prepared(small_demo).part("val")
    loader = make_memory_loader(
        part, LoaderSettings(chain="shift_flip", size=32, batch_size=64, seed=3), device=CPU
    )
    first, second, again = (next(loader.epoch(epoch)).images for epoch in (1, 2, 1))
    assert not torch.equal(first, second)
    assert torch.equal(first, again)


def test_what_does_not_fit_is_refused_before_it_is_decoded(small_demo, monkeypatch):
    part = open_prepared(small_demo).part("val")
    monkeypatch.setattr(loading.psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    with pytest.raises(UsageError, match=r"in_memory: \d+ images of 32 x 32 px x 3 bytes take .*image_size$"):
        make_memory_loader(part, LoaderSettings(size=32, batch_size=8), device=CPU)


def test_a_chain_for_single_images_cannot_be_run_on_batches(small_demo):
    part = open_prepared(small_demo).part("val")
    with pytest.raises(ValueError, match="heavy takes one image at a time"):
        make_memory_loader(
            part, LoaderSettings(chain="heavy", size=32, batch_size=8, shuffle=True), device=CPU
        )


def test_a_loader_of_other_batches_takes_the_images_of_the_one_before(small_demo, monkeypatch):
    part = open_prepared(small_demo).part("val")
    settings = LoaderSettings(32, 8, 3, chain="shift_flip", shuffle=True)
    smaller = dataclasses.replace(settings, batch_size=5)
    first = make_memory_loader(part, settings, device=CPU)
    expected = [batch.images for batch in make_memory_loader(part, smaller, device=CPU).epoch(2)]
    nothing_free = SimpleNamespace(available=0)
    monkeypatch.setattr(loading, "decoded", None)
    monkeypatch.setattr(loading.psutil, "virtual_memory", lambda: nothing_free)
    second = make_memory_loader(part, smaller, device=CPU, images=images_of(first))
    assert images_of(second) is images_of(first)
    assert all(torch.equal(*pair) for pair in zip((b.images for b in second.epoch(2)), expected, strict=True))


def test_a_loader_that_decodes_as_it_goes_holds_no_images(small_demo):
    part = open_prepared(small_demo).part("val")
    loader = make_loader(part, LoaderSettings(size=32, batch_size=8))
    assert (images_of(loader), images_of(None)) == (None, None)
