"""Grey images of three equal channels."""

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    Pixels = TypeVar("Pixels", np.ndarray, Tensor)

# ITU-R Recommendation BT.601's shares of red, green and blue, in 1/65536, as Pillow's mode L has them.
RED, GREEN, BLUE = 19595, 38470, 7471
HALF, BITS = 1 << 15, 16


def greyed(images: "Pixels") -> "Pixels":
    """uint8 (..., 3), red, green and blue, to the same shape in grey; an array, or a tensor on any device.

    To the pixel what Pillow's mode L and torchvision's Grayscale give. What is grey already stays as it is.
    """
    wide = images.astype(np.int32) if isinstance(images, np.ndarray) else images.int()
    level = (wide[..., 0] * RED + wide[..., 1] * GREEN + wide[..., 2] * BLUE + HALF) >> BITS
    wide[...] = level[..., None]
    return wide.astype(np.uint8) if isinstance(wide, np.ndarray) else wide.byte()
