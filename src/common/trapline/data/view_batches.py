"""Test-time views of an image, made from one decode, and stacked as batched tensors.

A view is a square, made as validation makes it (`eval_crop`), the centre of it, shifts and flips. Views that
share the resize share its result: an image becomes one square for each distinct resize (`make_squares`), and
the views of a whole batch are cut from these squares on the device (`stack_views`).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from trapline.data.augment import evaluated_square
from trapline.data.moves import mirrored
from trapline.views import COLUMNS, PLAIN, ROWS, VIEWS, View


def make_squares(pixels: np.ndarray, side: int, views: Sequence[str], eval_crop: str = "none") -> np.ndarray:
    """What `views` are cut from: uint8 (height, width, 3) to uint8 (squares, side, side, 3).

    One square for each distinct margin among the views, in the order of their first use. `eval_crop`: how the
    model's validation cropped, by a name in EVAL_CROPS; the plain view is what validation saw.
    """
    squares = [
        _centre(evaluated_square(pixels, round(side * margin), eval_crop), side) for margin in _margins(views)
    ]
    return np.stack(squares)


def stack_views(squares: Tensor, views: Sequence[str]) -> Tensor:
    """The views of a batch: uint8 (batch, squares, side, side, 3) to uint8 (batch, views, side, side, 3).

    `squares` are of `make_squares` for the same `views`, on any device.
    """
    margins = _margins(views)
    if squares.shape[1] != len(margins):
        raise ValueError(f"{squares.shape[1]} squares an image where {list(views)} need {len(margins)}")
    if list(views) == [PLAIN]:
        return squares
    chosen = [(VIEWS[name], squares[:, margins.index(VIEWS[name].margin)]) for name in views]
    return torch.stack([_seen(square, view) for view, square in chosen], 1)


def _seen(square: Tensor, view: View) -> Tensor:
    for axis, pixels in zip((ROWS, COLUMNS), view.shift, strict=True):
        if pixels:
            size = square.shape[axis]
            positions = torch.from_numpy(mirrored(np.arange(size) - pixels, size))
            square = square.index_select(square.ndim + axis, positions.to(square.device))
    return square.flip(view.flipped) if view.flipped else square


def _margins(views: Sequence[str]) -> list[float]:
    return list(dict.fromkeys(VIEWS[name].margin for name in views))


def _centre(square: np.ndarray, side: int) -> np.ndarray:
    start = (len(square) - side) // 2
    return square[start : start + side, start : start + side]
