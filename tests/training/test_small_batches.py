"""Batches of one image: which models they can train, and what is said where they cannot."""

from types import SimpleNamespace

import pytest
import torch

from trapline.config import make_config
from trapline.data.loader import EpochBatches, LoaderSettings
from trapline.errors import TraplineError, UsageError
from trapline.models.build import build_model, trains_on_one
from trapline.training.data import check_batches, smaller_plan
from trapline.training.distributed import ALONE
from trapline.training.execution import BatchPlan

SIZES = [
    ("resnet18", 32, False, False), ("resnet18", 33, False, True), ("resnet18", 64, False, True),
    ("squeezenet1_1", 32, False, True), ("mnasnet0_5", 32, False, False), ("googlenet", 64, False, True),
    ("googlenet", 32, False, False), ("cifar_fast", 32, False, True),
]  # fmt: skip
HEAVY = [
    ("swin_t", 32, False, True), ("vit_b_32", 32, False, True), ("densenet121", 32, False, False),
    ("inception_v3", 299, False, True), ("inception_v3", 299, True, False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arch", "size", "auxiliary", "possible"),
    [*SIZES, *(pytest.param(*case, marks=pytest.mark.slow) for case in HEAVY)],
)
def test_what_is_said_of_one_image_is_what_happens_with_it(arch, size, auxiliary, possible):
    assert trains_on_one(arch, size, auxiliary=auxiliary) is possible
    model = build_model(arch, 2, image_size=size, auxiliary=auxiliary).train()
    images = torch.rand(1, 3, size, size)
    if possible:
        model(images)
    else:
        with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
            model(images)


def batches_of(rows, batch_size, pseudo=0, **places):
    return EpochBatches(rows, LoaderSettings(32, batch_size, shuffle=True, **places), pseudo)


def data_of(rows, batch_size, **places):
    """Data with the batches of so many images."""
    return SimpleNamespace(train=SimpleNamespace(batches=batches_of(rows, batch_size, **places)))


def check(rows, batch_size, arch="resnet18", image_size=32, places=None, **settings):
    config = make_config({"arch": arch, "image_size": image_size, "batch_size": batch_size, **settings})
    check_batches(config, data_of(rows, batch_size, **(places or {})))


@pytest.mark.parametrize("settings", [{}, {"accumulation": 8}, {"mixup": 0.2}])
@pytest.mark.parametrize("places", [{}, {"rank": 1, "world_size": 2}])
def test_single_images_are_refused_where_they_cannot_be_normalised(settings, places):
    message = (
        "^batch_size: 1 leaves a batch of one image, on which resnet18 cannot be trained at image_size 32: .*"
        "set batch_size to 2 or more"
    )
    with pytest.raises(UsageError, match=message):
        check(33, 1, places=places, **settings)


def test_single_images_train_where_maps_are_larger_or_nothing_is_normalised_over_a_batch():
    check(33, 1, image_size=64)
    check(33, 1, arch="squeezenet1_1")


@pytest.mark.parametrize("places", [{}, {"world_size": 2}, {"world_size": 3}, {"pseudo": 20}])
@pytest.mark.parametrize("rows", [33, 34, 65, 67, 97])
@pytest.mark.parametrize("batch_size", [2, 8, 16, 32])
def test_an_image_that_is_left_over_is_trained_on_with_others(rows, batch_size, places):
    if "pseudo" in places:
        places = {**places, "pseudo_share": 0.5}
    check(rows, batch_size, places=places)
    batches = batches_of(rows, batch_size, **places)
    drawn = [key.row for batch in batches for key in batch if key.row < rows and not key.padding]
    assert min(batches.shares) > 1
    if "world_size" not in places:
        assert sorted(drawn) == list(range(rows))


def test_a_train_part_of_one_image_is_named_as_such():
    with pytest.raises(UsageError, match=r"batch_size: 32 leaves a batch of one image.*more images in train"):
        check(1, 32)


@pytest.mark.parametrize(("size", "accumulation"), [(2, 1), (3, 4)])
def test_batches_that_memory_halves_never_end_at_an_image_that_cannot_be_trained_on(size, accumulation):
    config = make_config({"arch": "resnet18", "image_size": 32, "batch_size": "auto"})
    with pytest.raises(
        TraplineError, match=rf"^memory has run out with {size} images .* on one at image_size 32"
    ):
        smaller_plan(config, BatchPlan(size, accumulation), "CUDA out of memory", ranks=ALONE, pseudo=False)
    larger = config.model_copy(update={"image_size": 64})
    found = smaller_plan(larger, BatchPlan(size, accumulation), "x", ranks=ALONE, pseudo=False)
    assert found == BatchPlan(1, size * accumulation)
