"""Augmentation chains at work: uint8 RGB pixels of any size in, a uint8 square of the model's size out.

What they do stands in `trapline.chains`. By default the whole frame stays in view, resized without regard to
its aspect ratio: an animal at the edge of a wide frame must not be cropped away. Draws come from a seed of
each image's own, so a batch does not depend on how many loader processes there are, nor on which made it.
"""

import os
import random
import warnings
from collections.abc import Sequence
from typing import TypeAlias

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # the import otherwise asks the network

import albumentations as A
import cv2
import numpy as np

from trapline.chains import CHAINS, EVAL_CROPS
from trapline.data.moves import draw_moves, moved
from trapline.errors import UsageError
from trapline.images.grey import greyed

Pixels: TypeAlias = np.ndarray


# Bilinear interpolation reads 2 x 2 pixels: up to about this factor it skips nothing that matters, and it is
# seven times as fast as averaging over areas.
BILINEAR_UP_TO = 2.25
STRIP = 16  # long over short side from which a picture is a strip


def resize_square(pixels: Pixels, size: int) -> Pixels:
    """Resize (height, width, 3) to (size, size, 3), bilinear, or by area where it shrinks a lot."""
    if pixels.shape[:2] == (size, size):
        return pixels
    shrinks_a_lot = max(pixels.shape[:2]) > BILINEAR_UP_TO * size
    return cv2.resize(
        pixels, (size, size), interpolation=cv2.INTER_AREA if shrinks_a_lot else cv2.INTER_LINEAR
    )


def centre_square(pixels: Pixels, size: int, margin: float) -> Pixels:
    """Resize the short side of (height, width, 3) to `margin` x `size` and keep the centre, (size, size, 3).

    The aspect ratio stays, to the pixel. `margin` is at least 1. Of a strip only the middle is resized.
    """
    height, width = pixels.shape[:2]
    if max(height, width) > STRIP * min(height, width):
        pixels = _middle(pixels, STRIP * min(height, width))
        height, width = pixels.shape[:2]
    scale = round(size * margin) / min(height, width)
    shape = (max(size, round(width * scale)), max(size, round(height * scale)))
    if shape != (width, height):
        shrinks_a_lot = scale < 1 / BILINEAR_UP_TO
        pixels = cv2.resize(
            pixels, shape, interpolation=cv2.INTER_AREA if shrinks_a_lot else cv2.INTER_LINEAR
        )
    left, top = (shape[0] - size) // 2, (shape[1] - size) // 2
    return np.ascontiguousarray(pixels[top : top + size, left : left + size])


def _middle(pixels: Pixels, side_kept: int) -> Pixels:
    top, left = (max(0, (side - side_kept) // 2) for side in pixels.shape[:2])
    return pixels[top : top + side_kept, left : left + side_kept]


def evaluated_square(pixels: Pixels, size: int, crop: str = "none") -> Pixels:
    """What evaluation sees of (height, width, 3): (size, size, 3), cropped as EVAL_CROPS says of `crop`.

    The one function for validation in training, evaluation, pseudo-labels and serving.
    """
    margin = EVAL_CROPS[crop]
    return resize_square(pixels, size) if margin is None else centre_square(pixels, size, margin)


class Augmentation:
    """A chain ready to use. Raises UsageError for an unknown name of a chain or of evaluation's crop.

    An argument that albumentations does not know is an error here; by itself it would only warn and fall
    back to the default.
    """

    def __init__(self, chain: str, size: int, eval_crop: str = "none") -> None:
        if chain not in CHAINS:
            raise UsageError(f"augment: unknown chain {chain!r}; known: {', '.join(CHAINS)}")
        if eval_crop not in EVAL_CROPS:
            raise UsageError(f"eval_crop: unknown crop {eval_crop!r}; known: {', '.join(EVAL_CROPS)}")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self._compose = A.Compose(CHAINS[chain].steps(A, size), strict=True)
        self._frame = CHAINS[chain].frame
        self._moves = CHAINS[chain].moves
        self._grey = CHAINS[chain].grey
        self._size = size
        self._eval_crop = eval_crop

    def __call__(self, pixels: Pixels, seed: Sequence[int]) -> Pixels:
        """Augment one image, (height, width, 3) uint8 to (size, size, 3) uint8; equal seeds, equal result.

        `seed` is that of the job, the epoch, and the image's row.
        """
        if self._moves is not None:
            own, epoch, row = seed
            move = draw_moves(self._moves, own, np.array([epoch]), np.array([row]))
            return moved(self._framed(pixels)[None], move)[0]
        generator = np.random.default_rng(list(seed))
        self._compose.set_random_state(generator, random.Random(int(generator.integers(2**63))))
        return np.ascontiguousarray(self._compose(image=self._framed(pixels))["image"])

    def _framed(self, pixels: Pixels) -> Pixels:
        framed = self._in_colour(pixels)
        return greyed(framed) if self._grey else framed

    def _in_colour(self, pixels: Pixels) -> Pixels:
        if self._frame == "evaluated":
            return evaluated_square(pixels, self._size, self._eval_crop)
        if self._frame == "whole":
            return pixels
        return resize_square(pixels, round(self._size * float(self._frame)))
