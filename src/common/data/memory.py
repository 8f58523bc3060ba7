"""Batches from images that lie in memory, decoded once: for sets of small images, whose loading is the work.

The images are the squares that evaluation sees, as one uint8 tensor, on the GPU where there is one. A batch
is picked from it and augmented as a whole (see `common.data.moves`): the same batch as that of the loader
that decodes and augments image by image, bit for bit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import psutil
import torch
from torch import Tensor

from common.chains import CHAINS
from common.data.augment import evaluated_square
from common.data.folds import LabelledPart
from common.data.loader import Batch, EpochBatches, Key, Loader, PackedImages, epoch_batches, rows_of
from common.data.mixed import MixedPart
from common.data.moves import draw_moves, moved
from common.errors import UsageError

LARGEST_SHARE = 0.7  # of the free memory: the rest is for the training itself


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
        rows = np.array(rows_of(keys))
        moves = CHAINS[self.packed.chain].moves
        if moves is None:
            return self.images[torch.from_numpy(rows).to(self.images.device)]
        epochs = np.array([epoch for epoch, _ in keys])
        picked: Tensor = moved(self.images, draw_moves(moves, self.packed.seed, epochs, rows), rows)
        return picked


def make_memory_loader(
    part: LabelledPart | MixedPart,
    *,
    chain: str,
    size: int,
    batch_size: int,
    seed: int,
    shuffle: bool,
    device: torch.device,
    rank: int = 0,
    ranks: int = 1,
    pseudo_share: float = 0.0,
    eval_crop: str = "none",
    several: int | None = None,
) -> Loader:
    """The loader of `make_loader`, of images that are decoded now and lie on `device` from then on.

    Raises UsageError for images that do not fit into the memory that is free, TraplineError for one that
    cannot be decoded.
    """
    if not CHAINS[chain].in_memory:
        raise ValueError(f"{chain} takes one image at a time")  # the configuration says so to the user
    _check_memory(len(part), size, device)
    batches = epoch_batches(
        part, batch_size, seed=seed, shuffle=shuffle, rank=rank, ranks=ranks, pseudo_share=pseudo_share
    )
    packed = PackedImages(part, chain, size, seed, eval_crop, several)
    return Loader(batches, MemoryBatches(batches, packed, decoded(packed).to(device)), num_workers=0)


def decoded(packed: PackedImages, rows: Sequence[int] | None = None) -> Tensor:
    """A part's images as evaluation sees them, or those of `rows`: uint8 (images, size, size, 3)."""
    rows = range(len(packed)) if rows is None else rows
    images = np.empty((len(rows), packed.size, packed.size, 3), dtype=np.uint8)
    for place, row in enumerate(rows):
        images[place] = evaluated_square(packed.pixels(row), packed.size, packed.eval_crop)
    return torch.from_numpy(images)


def _check_memory(images: int, size: int, device: torch.device) -> None:
    needed = images * size**2 * 3
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    if needed > LARGEST_SHARE * free:
        raise UsageError(
            f"hyperparameter in_memory: {images} images of {size} x {size} px x 3 bytes take "
            f"{needed / 2**30:.1f} GiB, and of {free / 2**30:.1f} GiB that are free on {device.type} "
            f"{LARGEST_SHARE:.0%} may be used; leave in_memory out, or lower image_size"
        )
