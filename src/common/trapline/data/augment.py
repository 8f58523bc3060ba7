"""From pixels to the squares that a model sees: in evaluation, in training, and in test-time views.

uint8 RGB pixels of any size become a uint8 square of the model's size. What the chains of augmentation do
stands in `trapline.augmentation`. By default the whole frame stays in view, resized without regard to its
aspect ratio: an animal at the edge of a wide frame must not be cropped away. Draws come from a seed of each
image's own, so a batch does not depend on how many loader processes there are, nor on which made it.
"""

import os
import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # the import otherwise asks the network

import albumentations as A
import cv2

from trapline.augmentation import CHAINS, COLUMNS, EVAL_CROPS, PLAIN, ROWS, VIEWS, Moves, View
from trapline.errors import refuse_any
from trapline.images.canonical import Pixels, greyed

# Bilinear interpolation reads 2 x 2 pixels: up to about this factor it skips nothing that matters, and it is
# seven times as fast as averaging over areas.
BILINEAR_UP_TO = 2.25
STRIP = 16  # long over short side from which a picture is a strip
SIDES = 0x73696465  # sets the draw of the first side apart from those of an epoch


def resize_square(pixels: Pixels, size: int) -> Pixels:
    """Resize (height, width, 3) to (size, size, 3), bilinear, or by area where it shrinks a lot."""
    if pixels.shape[:2] == (size, size):
        return pixels
    return _resized(pixels, (size, size), by_area=max(pixels.shape[:2]) > BILINEAR_UP_TO * size)


def centre_square(pixels: Pixels, size: int, margin: float) -> Pixels:
    """Resize the short side of (height, width, 3) to `margin` x `size` and keep the centre, (size, size, 3).

    The aspect ratio stays, to the pixel. `margin` is at least 1. Of a strip only the middle is resized.
    """
    pixels = _centre(pixels, STRIP * min(pixels.shape[:2]))
    height, width = pixels.shape[:2]
    scale = round(size * margin) / min(height, width)
    shape = (max(size, round(width * scale)), max(size, round(height * scale)))
    if shape != (width, height):
        pixels = _resized(pixels, shape, by_area=scale < 1 / BILINEAR_UP_TO)
    return np.ascontiguousarray(_centre(pixels, size))


def _resized(pixels: Pixels, shape: tuple[int, int], *, by_area: bool) -> Pixels:
    method = cv2.INTER_AREA if by_area else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, shape, interpolation=method), dtype=np.uint8)


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
        refuse_any([
            (chain not in CHAINS, f"augment: unknown chain {chain!r}; known: {', '.join(CHAINS)}"),
            (
                eval_crop not in EVAL_CROPS,
                f"eval_crop: unknown crop {eval_crop!r}; known: {', '.join(EVAL_CROPS)}",
            ),
        ])  # fmt: skip
        self._chain, self._size, self._eval_crop = CHAINS[chain], size, eval_crop
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self._compose = A.Compose(self._chain.steps(A, size), strict=True)

    def __call__(self, pixels: Pixels, seed: Sequence[int]) -> Pixels:
        """Augment one image, (height, width, 3) uint8 to (size, size, 3) uint8; equal seeds, equal result.

        `seed` is that of the job, the epoch, and the image's row.
        """
        chain = self._chain
        if chain.frame == "evaluated":
            pixels = evaluated_square(pixels, self._size, self._eval_crop)
        elif chain.frame != "whole":
            pixels = resize_square(pixels, round(self._size * float(chain.frame)))
        framed = greyed(pixels) if chain.grey else pixels
        if chain.moves is not None:
            own, epoch, row = seed
            move = draw_moves(chain.moves, own, np.array([epoch]), np.array([row]))
            return moved(framed[None], move)[0]
        generator = np.random.default_rng(list(seed))
        self._compose.set_random_state(generator, random.Random(int(generator.integers(2**63))))
        return np.ascontiguousarray(self._compose(image=framed)["image"])


@dataclass(frozen=True)
class Move:
    """What becomes of each square image: shifted `down` and `right` by so many pixels, `flipped` or not.

    int64 and bool, (images,).
    """

    down: np.ndarray
    right: np.ndarray
    flipped: np.ndarray


def draw_moves(moves: Moves, seed: int, epochs: np.ndarray, rows: np.ndarray) -> Move:
    """The moves of images `rows` in `epochs`, int64 (images,) both; they depend on these and `seed` alone."""
    drawn = _mixed_number(seed, epochs, rows)
    choices = np.uint64(2 * moves.pixels + 1)
    down = (drawn & np.uint64(0xFFFF)) % choices
    right = (drawn >> np.uint64(16) & np.uint64(0xFFFF)) % choices
    flipped = np.zeros(len(rows), dtype=bool)
    if moves.flip == "random":
        flipped = (drawn >> np.uint64(63)).astype(bool)
    elif moves.flip == "alternating":
        first = _mixed_number(seed, np.full_like(rows, SIDES), rows) >> np.uint64(63)
        flipped = (first.astype(np.int64) + epochs) % 2 == 1
    return Move(down.astype(np.int64) - moves.pixels, right.astype(np.int64) - moves.pixels, flipped)


def _mixed_number(seed: int, epochs: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A number for each (seed, epoch, row), evenly spread over 64 bits: uint64 (images,).

    By SplitMix64 (Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, 2014), which makes
    thousands at once where a generator for each image would take longer than the images do.
    """
    number = np.zeros(len(rows), dtype=np.uint64)
    for part in (np.full(len(rows), seed, dtype=np.uint64), epochs, rows):
        number = (number ^ part.astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            number = (number ^ number >> np.uint64(shift)) * np.uint64(factor)
        number = number ^ number >> np.uint64(31)
    return number


def moved(images: Any, move: Move, rows: Any = None) -> Any:
    """Images after their moves, by one gather: (images, height, width, 3) to the same shape; an array, or a
    tensor here or on a GPU.

    What a shift uncovers is the image mirrored at its edge, the edge itself not repeated. With `rows`
    (images,) they are first picked from a larger set: picking, shifting and flipping are then one pass.
    """
    height, width = images.shape[1:3]
    down = _mirrored(np.arange(height) - move.down[:, None], height)
    right = _mirrored(np.arange(width) - move.right[:, None], width)
    right = np.where(move.flipped[:, None], right[:, ::-1], right)
    chosen = np.arange(len(images)) if rows is None else np.asarray(rows)
    places = (chosen[:, None, None], down[:, :, None], right[:, None, :])
    if isinstance(images, np.ndarray):
        return images[places]
    return images[tuple(torch.from_numpy(place).to(images.device, non_blocking=True) for place in places)]


def _mirrored(positions: np.ndarray, size: int) -> np.ndarray:
    """Positions within 0..size - 1, from others that may lie up to size - 1 beyond either end."""
    return size - 1 - np.abs(size - 1 - np.abs(positions))


def make_squares(pixels: np.ndarray, side: int, views: Sequence[str], eval_crop: str = "none") -> np.ndarray:
    """What `views` are cut from: uint8 (height, width, 3) to uint8 (squares, side, side, 3).

    A view is a square, made as validation makes it, the centre of it, shifts and flips. Views that share the
    resize share its result: there is one square for each distinct margin among the views, in the order of
    their first use. `eval_crop`: how the model's validation cropped, by a name in EVAL_CROPS; the plain view
    is what validation saw.
    """
    squares = (evaluated_square(pixels, round(side * margin), eval_crop) for margin in _margins(views))
    return np.stack([_centre(square, side) for square in squares])


def stack_views(squares: Tensor, views: Sequence[str]) -> Tensor:
    """The views of a batch: uint8 (batch, squares, side, side, 3) to uint8 (batch, views, side, side, 3).

    `squares` are of `make_squares` for the same `views`, on any device.
    """
    margins = _margins(views)
    if squares.shape[1] != len(margins):
        raise ValueError(f"{squares.shape[1]} squares an image where {list(views)} need {len(margins)}")
    if list(views) == [PLAIN]:
        return squares
    chosen = [VIEWS[name] for name in views]
    return torch.stack([_seen(squares[:, margins.index(view.margin)], view) for view in chosen], 1)


def _seen(square: Tensor, view: View) -> Tensor:
    for axis, pixels in zip((ROWS, COLUMNS), view.shift, strict=True):
        if pixels:
            size = square.shape[axis]
            positions = torch.from_numpy(_mirrored(np.arange(size) - pixels, size))
            square = square.index_select(square.ndim + axis, positions.to(square.device))
    return square.flip(view.flipped) if view.flipped else square


def _margins(views: Sequence[str]) -> list[float]:
    return list(dict.fromkeys(VIEWS[name].margin for name in views))


def _centre(pixels: Pixels, side: int) -> Pixels:
    """The middle of (height, width, ...), `side` pixels of either side or all that there are."""
    top, left = (max(0, (length - side) // 2) for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]
