"""Augmentation chains: uint8 RGB pixels of any size in, a uint8 square of the model's size out.

Every chain keeps the whole frame in view by resizing without regard to the aspect ratio, as evaluation does:
an animal at the edge of a wide frame must not be cropped away. Draws come from a seed of each image's own,
so a batch does not depend on how many loader processes there are, nor on which of them made it.
"""

import os
import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # the import otherwise asks the network

import albumentations as A
import cv2
import numpy as np

from common.errors import UsageError

Pixels: TypeAlias = np.ndarray


# Bilinear interpolation reads 2 x 2 pixels: up to about this factor it skips nothing that matters, and it is
# seven times as fast as averaging over areas.
BILINEAR_UP_TO = 2.25


def resize_square(pixels: Pixels, size: int) -> Pixels:
    """Resize (height, width, 3) to (size, size, 3), bilinear, or by area where it shrinks a lot."""
    if pixels.shape[:2] == (size, size):
        return pixels
    shrinks_a_lot = max(pixels.shape[:2]) > BILINEAR_UP_TO * size
    return cv2.resize(
        pixels, (size, size), interpolation=cv2.INTER_AREA if shrinks_a_lot else cv2.INTER_LINEAR
    )


@dataclass(frozen=True)
class Chain:
    """A chain: the frame is resized to a square of `margin` times the model's size, then the steps follow."""

    margin: float
    steps: Callable[[int], list[A.BasicTransform]]


def _crops(size: int) -> list[A.BasicTransform]:
    """The camera-trap system's variation: crops of 75-100%, flip, rotation by 10 degrees, jitter 0.2."""
    return [
        A.RandomResizedCrop((size, size), scale=(0.75, 1.0), ratio=(0.9, 1.1)),
        A.HorizontalFlip(p=0.5),
        A.Rotate(limit=10, border_mode=cv2.BORDER_REFLECT_101, p=1.0),
        A.ColorJitter(brightness=(0.8, 1.2), contrast=(0.8, 1.2), saturation=(0.8, 1.2), hue=(0, 0), p=1.0),
    ]


def _heavy(size: int) -> list[A.BasicTransform]:
    """The enhanced ResNet-18's twelve transforms, in today's names at equivalent strengths.

    Lengths are for 224 px and scale with `size`. The old `GaussNoise(var_limit=(10, 50))` is a standard
    deviation of 3.2 to 7.1 grey levels; `Cutout` is a `CoarseDropout` of a fixed number of holes.
    """
    hole = max(1, round(size * 32 / 224))
    return [
        A.RandomCrop(size, size),
        A.HorizontalFlip(p=0.5),
        A.VerticalFlip(p=0.2),
        A.RandomRotate90(p=0.3),
        A.Affine(
            translate_percent=(-0.1, 0.1),
            scale=(0.9, 1.1),
            rotate=(-15, 15),
            keep_ratio=True,
            border_mode=cv2.BORDER_REFLECT_101,
            p=0.5,
        ),
        A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.5),
        A.HueSaturationValue(hue_shift_limit=10, sat_shift_limit=20, val_shift_limit=10, p=0.5),
        A.Blur(blur_limit=3, p=0.3),
        A.GaussNoise(std_range=(10**0.5 / 255, 50**0.5 / 255), p=0.3),
        A.CoarseDropout((1, 8), hole_height_range=(1, hole), hole_width_range=(1, hole), fill=0, p=0.3),
        A.CoarseDropout((4, 4), hole_height_range=(hole, hole), hole_width_range=(hole, hole), fill=0, p=0.3),
    ]


CHAINS: dict[str, Chain] = {
    "none": Chain(1.0, lambda size: []),
    "flip": Chain(1.0, lambda size: [A.HorizontalFlip(p=0.5)]),
    "crops": Chain(0.75**-0.5, _crops),
    "heavy": Chain(256 / 224, _heavy),
}


class Augmentation:
    """A chain ready to use. Raises UsageError for an unknown name.

    An argument that albumentations does not know is an error here; by itself it would only warn and fall
    back to the default.
    """

    def __init__(self, chain: str, size: int) -> None:
        if chain not in CHAINS:
            raise UsageError(f"augment: unknown chain {chain!r}; known: {', '.join(CHAINS)}")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self._compose = A.Compose(CHAINS[chain].steps(size), strict=True)
        self._side = round(size * CHAINS[chain].margin)

    def __call__(self, pixels: Pixels, seed: Sequence[int]) -> Pixels:
        """Augment one image, (height, width, 3) uint8 to (size, size, 3) uint8; equal seeds, equal result."""
        generator = np.random.default_rng(list(seed))
        self._compose.set_random_state(generator, random.Random(int(generator.integers(2**63))))
        return np.ascontiguousarray(self._compose(image=resize_square(pixels, self._side))["image"])
