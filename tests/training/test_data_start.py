"""First weights from training images: which images an architecture is shown, and which need none."""

from dataclasses import replace

import torch
from torch import nn

from trapline.config import make_config
from trapline.data.loader import LoaderSettings, PackedImages, decoded
from trapline.data.prepared import open_prepared
from trapline.models.build import NAMED_NORMALISATIONS
from trapline.models.own import OWN
from trapline.training import setup
from trapline.training.setup import start_from_data

CONFIG = make_config({"arch": "cifar_fast", "weights": "none", "image_size": 32})
WHITE = NAMED_NORMALISATIONS["cifar10_half"]


def shown(part, monkeypatch, most):
    """The normalised images with which the architecture is started."""
    seen = []
    started = replace(OWN["cifar_fast"], start_from_data=lambda model, images: seen.append(images))
    monkeypatch.setitem(OWN, "cifar_fast", started)
    monkeypatch.setattr(setup, "MAX_IMAGES", most)
    start_from_data(nn.Identity(), CONFIG, part, WHITE)
    return seen[0]


def test_it_is_shown_images_from_all_over_the_part_which_may_be_sorted_by_class(small_demo, monkeypatch):
    part = open_prepared(small_demo).part("train")
    images = shown(part, monkeypatch, most=10)
    every = decoded(PackedImages(part, LoaderSettings(32, 8))).permute(0, 3, 1, 2) / 255
    step = -(-len(part) // 10)
    expected = (every[::step] - torch.tensor(WHITE.mean).view(3, 1, 1)) / 0.5
    torch.testing.assert_close(images, expected, atol=1e-5, rtol=0)
    assert 5 <= len(images) <= 10


def test_a_small_part_is_shown_whole(small_demo, monkeypatch):
    part = open_prepared(small_demo).part("val")
    assert len(shown(part, monkeypatch, most=5000)) == len(part)


def test_other_architectures_need_no_images():
    model = nn.Linear(2, 2)
    before = model.weight.clone()
    start_from_data(model, make_config({"arch": "resnet18"}), None, WHITE)
    assert torch.equal(model.weight, before)
