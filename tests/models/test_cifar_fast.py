"""The fast network for 32 px: its whitened first layer, its first weights, and what of it learns."""

import pytest
import torch
from torch import nn

from trapline.errors import UsageError
from trapline.models.build import build_model, check_image_size, count_parameters
from trapline.models.own import whiten


def network():
    torch.manual_seed(0)
    return build_model("cifar_fast", 10, image_size=32)


def smooth_images(count=200):
    """Neighbouring pixels and channels are alike, as in photographs, and one channel varies more."""
    coarse = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    images = nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear")
    return images + torch.tensor([0.0, 0.5, 2.0]).view(1, 3, 1, 1) * images.roll(1, dims=1)


def test_the_first_layer_whitens_the_patches_of_the_images_it_was_set_from():
    model, images = network(), smooth_images()
    whiten(model, images)
    seen = model.whitening(images)[:, :12].transpose(0, 1).flatten(1)
    moments = seen @ seen.T / seen.shape[1]
    spread = moments.diagonal()
    torch.testing.assert_close(moments, torch.diag(spread), atol=2e-3, rtol=0)
    assert spread.max() <= 1.001  # those of almost no variance stay below 1, by the epsilon
    assert (spread > 0.9).sum() >= 6
    weight = model.whitening.weight
    assert torch.equal(weight[:12], -weight[12:])


def test_of_the_norms_and_the_first_layer_the_biases_alone_learn():
    learning = {name for name, parameter in network().named_parameters() if parameter.requires_grad}
    assert "whitening.bias" in learning
    assert not {"whitening.weight", "group1.norm1.weight", "group3.norm2.weight"} & learning
    assert (
        count_parameters(network())
        == 24 + 9 * (24 * 64 + 64**2 + 64 * 256 + 3 * 256**2) + 2 * (64 + 256 + 256) + 10 * 256
    )


def test_convolutions_begin_by_passing_their_channels_on():
    convolution = network().group1.conv1
    features = torch.randn(2, 24, 5, 5)
    assert torch.equal(convolution(features)[:, :24], features)
    assert convolution.weight[24:].std() > 0


def test_no_gradient_passes_through_the_first_layer():
    model = network()
    model(torch.randn(4, 3, 32, 32)).square().sum().backward()
    assert model.whitening.weight.grad is None
    assert model.whitening.bias.grad.abs().sum() > 0


def test_images_of_another_size_are_refused():
    with pytest.raises(UsageError, match=r"cifar_fast takes images of 32 px, not of 64; set it to 32"):
        check_image_size("cifar_fast", 64, 10)
