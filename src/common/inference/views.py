"""Test-time views of an image: named, made from one decode, and stacked as batched tensors.

A view is a square, made as validation makes it (`eval_crop`), the centre of it, and flips. Views that share
the resize share its result: an image becomes one square for each distinct resize (`make_squares`), and the
views of a whole batch are cut from these squares on the device (`stack_views`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch

from common.data.augment import evaluated_square
from common.errors import UsageError

ROWS, COLUMNS = -3, -2  # axes of (..., height, width, 3)


@dataclass(frozen=True)
class View:
    """One way to look at an image.

    margin: the image becomes a square of `margin` times the model's side, of which the centre is kept.
    flipped: the axes that are then reversed.
    """

    margin: float = 1.0
    flipped: tuple[int, ...] = ()


PLAIN = "plain"  # what training's validation sees
VIEWS: Mapping[str, View] = MappingProxyType(
    {
        PLAIN: View(),
        "horizontal_flip": View(flipped=(COLUMNS,)),
        "vertical_flip": View(flipped=(ROWS,)),
        "centre_crop": View(margin=256 / 224),
    }
)

# "enhanced" is the enhanced ResNet-18's four. Animals stand on the ground: flip is the default for them.
VIEW_SETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "none": (PLAIN,),
        "flip": (PLAIN, "horizontal_flip"),
        "enhanced": (PLAIN, "horizontal_flip", "centre_crop", "vertical_flip"),
    }
)


def check_views(views: Sequence[str]) -> tuple[str, ...]:
    """`views` as a tuple. Raises UsageError where it is empty or names an unknown view, or one twice."""
    known = ", ".join(VIEWS)
    unknown = [name for name in views if name not in VIEWS]
    if unknown:
        raise UsageError(f"views: no view is called {', '.join(map(repr, unknown))}; known: {known}")
    if not views or len(set(views)) < len(views):
        raise UsageError(f"views: {list(views)} must hold at least one view and none twice; known: {known}")
    return tuple(views)


def read_views(text: str) -> tuple[str, ...]:
    """The views of a named set (none, flip, enhanced) or of a list with commas. Raises UsageError."""
    if text in VIEW_SETS:
        return VIEW_SETS[text]
    names = [name.strip() for name in text.split(",")]
    if all(name in VIEWS for name in names):
        return check_views(names)
    raise UsageError(
        f"views: {text!r} is neither a set ({', '.join(VIEW_SETS)}) nor a list of {', '.join(VIEWS)}"
    )


def make_squares(pixels: np.ndarray, side: int, views: Sequence[str], eval_crop: str = "none") -> np.ndarray:
    """What `views` are cut from: uint8 (height, width, 3) to uint8 (squares, side, side, 3).

    One square for each distinct margin among the views, in the order of their first use. `eval_crop`: how the
    model's validation cropped, by a name in EVAL_CROPS; the plain view is what validation saw.
    """
    squares = [
        _centre(evaluated_square(pixels, round(side * margin), eval_crop), side) for margin in _margins(views)
    ]
    return np.stack(squares)


def stack_views(squares: torch.Tensor, views: Sequence[str]) -> torch.Tensor:
    """The views of a batch: uint8 (batch, squares, side, side, 3) to uint8 (batch, views, side, side, 3).

    `squares` are of `make_squares` for the same `views`, on any device.
    """
    margins = _margins(views)
    if squares.shape[1] != len(margins):
        raise ValueError(f"{squares.shape[1]} squares an image where {list(views)} need {len(margins)}")
    if list(views) == [PLAIN]:
        return squares
    chosen = [(VIEWS[name], squares[:, margins.index(VIEWS[name].margin)]) for name in views]
    return torch.stack([square.flip(view.flipped) if view.flipped else square for view, square in chosen], 1)


def _margins(views: Sequence[str]) -> list[float]:
    return list(dict.fromkeys(VIEWS[name].margin for name in views))


def _centre(square: np.ndarray, side: int) -> np.ndarray:
    start = (len(square) - side) // 2
    return square[start : start + side, start : start + side]
