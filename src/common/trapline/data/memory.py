"""Batches from images that lie in memory, decoded once: for sets of small images, whose loading is the work.

The images are the squares that evaluation sees, as one uint8 tensor, on the GPU where there is one. A batch
is picked from it and augmented as a whole (see `trapline.data.moves`): the same batch as that of the loader
that decodes and augments image by image, bit for bit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import psutil
import torch
from torch import Tensor

from trapline.chains import CHAINS
from trapline.data.augment import evaluated_square
from trapline.data.folds import LabelledPart
from trapline.data.loader import Batch, EpochBatches, Key, Loader, LoaderSettings, PackedImages, epoch_batches
from trapline.data.mixed import MixedPart
from trapline.data.moves import draw_moves, moved
from trapline.errors import UsageError

MAX_MEMORY_SHARE = 0.7  # of the free memory: the rest is for the training itself


@dataclass(frozen=True)
class MemoryBatches:
    """Iterates over `batches` of images in memory.

    images: uint8 (rows of the part, size, size, 3); packed: the part that they are of.
    """

    batches: EpochBatches
    packed: PackedImages
    images: Tensor

    def __iter__(self) -> Iterator[Batch]:
        for keys in self.batches:
            yield self.packed.batch_of(self._picked(keys), keys)

    def _picked(self, keys: Sequence[Key]) -> Tensor:
        rows = np.array([key.row for key in keys])
        moves = CHAINS[self.packed.settings.chain].moves
        if moves is None:
            return self.images[torch.from_numpy(rows).to(self.images.device)]
        epochs = np.array([key.epoch for key in keys])
        drawn = draw_moves(moves, self.packed.settings.seed, epochs, rows)
        picked: Tensor = moved(self.images, drawn, rows)
        return picked


def make_memory_loader(
    part: LabelledPart | MixedPart,
    settings: LoaderSettings,
    *,
    device: torch.device,
    images: Tensor | None = None,
) -> Loader:
    """The loader of `make_loader`, of images that are decoded now and lie on `device` from then on.

    `images`: those of an earlier loader of the same part, size and crop (`images_of`), so that they are not
    decoded again: there may be no room for a second copy.

    Raises UsageError for images that do not fit into the memory that is free, TraplineError for one that
    cannot be decoded.
    """
    if not CHAINS[settings.chain].in_memory:
        raise ValueError(f"{settings.chain} takes one image at a time")  # the configuration tells the user
    batches, packed = epoch_batches(part, settings), PackedImages(part, settings)
    if images is None:
        _check_memory(len(part), settings.size, device)
        images = decoded(packed).to(device)
    return Loader(batches, MemoryBatches(batches, packed, images), num_workers=0)


def images_of(loader: Loader | None) -> Tensor | None:
    """The images that `loader` holds in memory, of all its part; None where it holds none."""
    source = None if loader is None else loader.source
    return source.images if isinstance(source, MemoryBatches) else None


def decoded(packed: PackedImages, rows: Sequence[int] | None = None) -> Tensor:
    """A part's images as evaluation sees them, or those of `rows`: uint8 (images, size, size, 3)."""
    rows = range(len(packed)) if rows is None else rows
    size, eval_crop = packed.settings.size, packed.settings.eval_crop
    images = np.empty((len(rows), size, size, 3), dtype=np.uint8)
    for place, row in enumerate(rows):
        images[place] = evaluated_square(packed.pixels(row), size, eval_crop)
    return torch.from_numpy(images)


def _check_memory(images: int, size: int, device: torch.device) -> None:
    needed = images * size**2 * 3
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    if needed > MAX_MEMORY_SHARE * free:
        raise UsageError(
            f"hyperparameter in_memory: {images} images of {size} x {size} px x 3 bytes take "
            f"{needed / 2**30:.1f} GiB, and of {free / 2**30:.1f} GiB that are free on {device.type} "
            f"{MAX_MEMORY_SHARE:.0%} may be used; leave in_memory out, or lower image_size"
        )
