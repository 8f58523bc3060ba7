"""Grey images of three equal channels, as Pillow and torchvision make them."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import Grayscale

from trapline.images.canonical import greyed

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)


def test_it_is_to_the_pixel_what_pillow_and_torchvision_make():
    for image, grey in zip(IMAGES, greyed(IMAGES), strict=True):
        picture = Image.fromarray(image)
        assert np.array_equal(grey, np.stack([np.asarray(picture.convert("L"))] * 3, axis=-1))
        assert np.array_equal(grey, np.asarray(Grayscale(num_output_channels=3)(picture)))


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255)])
def test_the_pure_colours_too(colour):
    image = np.full((2, 2, 3), colour, np.uint8)
    assert np.array_equal(greyed(image)[..., 0], np.asarray(Image.fromarray(image).convert("L")))


def test_a_tensor_becomes_what_an_array_does_and_stays_a_tensor():
    tensor = torch.from_numpy(IMAGES.copy())
    assert torch.equal(greyed(tensor), torch.from_numpy(greyed(IMAGES)))
    assert greyed(tensor).dtype == torch.uint8
    assert np.array_equal(tensor.numpy(), IMAGES)  # what is given stays as it is


def test_grey_of_grey_is_the_same():
    assert np.array_equal(greyed(greyed(IMAGES)), greyed(IMAGES))
