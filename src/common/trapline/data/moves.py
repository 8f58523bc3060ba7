"""Shifts and flips of square images, drawn for whole batches and done by one gather, here or on a GPU.

A draw depends on the job's seed, the epoch and the image's row alone, as in the rest of loading: it is a
number mixed from the three, by SplitMix64 (Steele, Lea and Flood, Fast Splittable Pseudorandom Number
Generators, 2014), which makes thousands at once where a generator for each image would take longer than the
images do.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from trapline.chains import Moves

GOLDEN = 0x9E3779B97F4A7C15
FACTORS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
SIDES = 0x73696465  # sets the draw of the first side apart from those of an epoch


@dataclass(frozen=True)
class Move:
    """What becomes of each image: shifted `down` and `right` by so many pixels, then `flipped` or not.

    int64 and bool, (images,).
    """

    down: np.ndarray
    right: np.ndarray
    flipped: np.ndarray


def draw_moves(moves: Moves, seed: int, epochs: np.ndarray, rows: np.ndarray) -> Move:
    """The moves of images `rows` in `epochs`, int64 (images,) both."""
    drawn = mixed_number(seed, epochs, rows)
    choices = np.uint64(2 * moves.pixels + 1)
    down = (drawn & np.uint64(0xFFFF)) % choices
    right = (drawn >> np.uint64(16) & np.uint64(0xFFFF)) % choices
    flipped = np.zeros(len(rows), dtype=bool)
    if moves.flip == "random":
        flipped = (drawn >> np.uint64(63)).astype(bool)
    elif moves.flip == "alternating":
        first = mixed_number(seed, np.full_like(rows, SIDES), rows) >> np.uint64(63)
        flipped = (first.astype(np.int64) + epochs) % 2 == 1
    return Move(down.astype(np.int64) - moves.pixels, right.astype(np.int64) - moves.pixels, flipped)


def mixed_number(seed: int, epochs: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A number for each (seed, epoch, row), evenly spread over 64 bits: uint64 (images,)."""
    number = _mix(np.full(len(rows), seed, dtype=np.uint64))
    for part in (epochs, rows):
        number = _mix(number ^ part.astype(np.uint64))
    return number


def _mix(number: np.ndarray) -> np.ndarray:
    number = number + np.uint64(GOLDEN)
    for shift, factor in FACTORS:
        number = (number ^ number >> np.uint64(shift)) * np.uint64(factor)
    return number ^ number >> np.uint64(31)


def moved(images: Any, move: Move, rows: Any = None) -> Any:
    """Images after their moves: (images, height, width, 3) to the same shape; an array or a tensor.

    What a shift uncovers is the image mirrored at its edge, the edge itself not repeated. With `rows`
    (images,) they are first picked from a larger set: picking, shifting and flipping are then one pass.
    """
    height, width = images.shape[1:3]
    down = mirrored(np.arange(height) - move.down[:, None], height)
    right = mirrored(np.arange(width) - move.right[:, None], width)
    right = np.where(move.flipped[:, None], right[:, ::-1], right)
    chosen = np.arange(len(images)) if rows is None else np.asarray(rows)
    return images[_like(images, chosen[:, None, None], down[:, :, None], right[:, None, :])]


def mirrored(positions: np.ndarray, size: int) -> np.ndarray:
    """Positions within 0..size - 1, from others that may lie up to size - 1 beyond either end."""
    return size - 1 - np.abs(size - 1 - np.abs(positions))


def _like(images: Any, *indices: np.ndarray) -> tuple[Any, ...]:
    """Indices as `images` takes them: tensors on its device for a tensor."""
    if isinstance(images, np.ndarray):
        return indices
    import torch

    return tuple(torch.from_numpy(index).to(images.device, non_blocking=True) for index in indices)
