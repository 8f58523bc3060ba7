"""Batches of uint8 images from a packed part, made by loader processes.

A loader process decodes and augments; normalisation is left to the device, so that a quarter of the bytes
travel. Order and augmentation are drawn from (seed, epoch, row) alone: the same with any number of processes,
and the same for an epoch that is run again after a restart. Where several processes train together (ranks),
each gets its share of every batch of that one order.
"""

import multiprocessing
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from trapline.augmentation import CHAINS
from trapline.config import pseudo_rows
from trapline.data.augment import Augmentation, draw_moves, evaluated_square, moved
from trapline.data.parts import LabelledPart, MixedPart, pseudo_batches
from trapline.errors import TraplineError, UsageError
from trapline.workers import prepare_worker

MAX_MEMORY_SHARE = 0.7  # of the free memory: the rest is for the training itself


class Key(NamedTuple):
    """An image of a batch: epoch and row seed its augmentation; padding has the weight 0.

    With a pseudo-labelled image goes, instead of the epoch, its round (see pseudo_batches).
    """

    epoch: int
    row: int
    padding: bool = False


@dataclass(frozen=True)
class LoaderSettings:
    """How the batches of a part are made.

    size: pixels of a side; batch_size: images of a batch, for each rank. chain, eval_crop: names of
    `trapline.augmentation`; the chain "none" is that of evaluation. num_classes: how many, where an image may
    have several labels, else None. `rank` of `world_size` gets its share of every batch, and pseudo_share is
    that of the pseudo-labelled images of a MixedPart (see EpochBatches).
    """

    size: int
    batch_size: int
    seed: int = 0
    chain: str = "none"
    shuffle: bool = False
    eval_crop: str = "none"
    num_classes: int | None = None
    rank: int = 0
    world_size: int = 1
    pseudo_share: float = 0.0


@dataclass(frozen=True)
class Batch:
    """images: uint8 (batch, size, size, 3); weights: float32 (batch,); labels: int64 (batch,), or where an
    image may have several float32 (batch, classes) of 0 and 1.

    `labelled`: bool (batch,), false for guessed labels; None where no label is guessed.
    """

    images: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    labelled: torch.Tensor | None = None

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory; called by the DataLoader."""
        labelled = None if self.labelled is None else self.labelled.pin_memory()
        return Batch(self.images.pin_memory(), self.labels.pin_memory(), self.weights.pin_memory(), labelled)


class PackedImages(Dataset[Batch]):
    """Decoded, augmented images of a part, fetched a batch at a time."""

    def __init__(self, part: LabelledPart | MixedPart, settings: LoaderSettings) -> None:
        self.part = part
        self.settings = settings
        self.augmentation = Augmentation(settings.chain, settings.size, settings.eval_crop)

    def __len__(self) -> int:
        return len(self.part)

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """The batch of `keys`. Raises TraplineError for an image that cannot be decoded."""
        size, seed = self.settings.size, self.settings.seed
        images = np.empty((len(keys), size, size, 3), dtype=np.uint8)  # each goes in while it is in the cache
        for place, key in enumerate(keys):
            images[place] = self.augmentation(self.pixels(key.row), (seed, key.epoch, key.row))
        return self.batch_of(torch.from_numpy(images), keys)

    def batch_of(self, images: torch.Tensor, keys: Sequence[Key]) -> Batch:
        """The batch of `keys` with their augmented `images`, uint8 (batch, size, size, 3)."""
        rows = [key.row for key in keys]
        weights = self.part.weights[rows]
        weights[[key.padding for key in keys]] = 0
        labelled = torch.tensor(rows) < len(self.part.labelled) if isinstance(self.part, MixedPart) else None
        return Batch(images, torch.from_numpy(self.labels[rows]), torch.from_numpy(weights), labelled)

    @cached_property
    def labels(self) -> np.ndarray:
        """Those of all images of the part, in the form that they have in a Batch."""
        if self.settings.num_classes is None or isinstance(self.part, MixedPart):
            return self.part.labels
        return self.part.label_matrix(self.settings.num_classes)

    def pixels(self, row: int) -> np.ndarray:
        """The image of `row` as it is packed. Raises TraplineError where it is damaged."""
        part, row = self.part.located(row)
        return part.pixels(row)


class EpochBatches(Sampler[list[Key]]):
    """The batches of one epoch of `rows` labelled images; set `epoch` before each pass.

    Shuffled from (seed, epoch), or in order. A single left-over image joins the batch before it: batch
    normalisation cannot train on one image.

    With several ranks a batch holds `batch_size` images for each, dealt out in turn. All ranks get equally
    many rows of it, two at least where `batch_size` is above one; what is missing is filled up with padding.

    With `pseudo`, the number of pseudo-labelled images, every batch ends with its share of them, numbered on
    from `rows`, and so fewer of the `rows` go into it; an epoch still is one pass over those. A smaller last
    batch has the same share of both.
    """

    def __init__(self, rows: int, settings: LoaderSettings, pseudo: int = 0) -> None:
        self.rows = rows
        self.settings = settings
        self.epoch = 0
        self.pseudo = pseudo
        whole = settings.batch_size * settings.world_size
        guessed = pseudo_rows(settings.pseudo_share, whole) if pseudo else 0
        step = whole - guessed
        starts = list(range(0, rows, step))
        if len(starts) > 1 and rows - starts[-1] == 1:
            starts.pop()
        self.bounds = list(zip(starts, [*starts[1:], rows], strict=True))
        labelled = [end - start for start, end in self.bounds]
        self.pseudo_sizes = [round(guessed * own / step) for own in labelled]
        # Images in each batch, over all ranks, without padding.
        self.sizes = [sum(of_both) for of_both in zip(labelled, self.pseudo_sizes, strict=True)]
        # Rows that every rank has of each batch, padding included.
        fewest = min(2, settings.batch_size) if settings.world_size > 1 else 1
        self.shares = [max(fewest, -(-size // settings.world_size)) for size in self.sizes]

    def __len__(self) -> int:
        return len(self.bounds)

    def __iter__(self) -> Iterator[list[Key]]:
        settings, order = self.settings, np.arange(self.rows)
        if settings.shuffle:
            order = np.random.default_rng([settings.seed, self.epoch]).permutation(self.rows)
        pseudo = (
            pseudo_batches(self.pseudo, settings.seed, self.epoch, self.pseudo_sizes)
            if self.pseudo
            else [[]] * len(self)
        )
        for (start, end), share, guessed in zip(self.bounds, self.shares, pseudo, strict=True):
            keys = [Key(self.epoch, int(row)) for row in order[start:end]]
            keys += [Key(number, self.rows + row) for number, row in guessed]
            # This rank's keys: every so manieth, and then, as padding, others again.
            turns = (settings.rank + settings.world_size * number for number in range(share))
            yield [keys[turn % len(keys)]._replace(padding=turn >= len(keys)) for turn in turns]


@dataclass(frozen=True)
class Loader:
    """An iterable over the batches of an epoch, again for every epoch.

    source: iterates over the `batches` of their epoch; num_workers: the processes that it takes.
    """

    batches: EpochBatches
    source: Iterable[Batch]
    num_workers: int

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of `epoch`. Raises TraplineError for an image that cannot be decoded."""
        self.batches.epoch = epoch
        try:
            yield from self.source
        except TraplineError as error:  # after its process's traceback, which is not shown
            raise TraplineError(str(error).rpartition(f"{TraplineError.__name__}: ")[2].rstrip()) from None


def make_loader(
    part: LabelledPart | MixedPart, settings: LoaderSettings, *, workers: int = 0, pin: bool = False
) -> Loader:
    """A loader over `part`. `workers` processes make the batches; 0 makes them in this process.

    `pin`: whether batches lie in page-locked memory. Workers come from a fork server, which has no threads:
    forking this process, whose threads may hold locks, can hang.
    """
    options: dict[str, Any] = {}
    if workers:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        options = {"multiprocessing_context": context, "persistent_workers": True, "prefetch_factor": 2}
    batches = epoch_batches(part, settings)
    loader = DataLoader(
        PackedImages(part, settings),
        batch_sampler=batches,
        collate_fn=_identity,
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=_prepare,
        generator=torch.Generator(),  # or the loader would draw from the generator that dropout uses
        **options,
    )
    return Loader(batches, loader, workers)


def epoch_batches(part: LabelledPart | MixedPart, settings: LoaderSettings) -> EpochBatches:
    """The batches that one epoch of `part` has."""
    if isinstance(part, MixedPart):
        return EpochBatches(len(part.labelled), settings, len(part.rows))
    return EpochBatches(len(part), settings)


def _identity(batch: Any) -> Any:
    return batch


def _prepare(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption means
    prepare_worker()


@dataclass(frozen=True)
class MemoryBatches:
    """Iterates over `batches` of images in memory: for sets of small images, whose loading is the work.

    images: uint8 (rows of the part, size, size, 3), the squares that evaluation sees, on the GPU where there
    is one; packed: the part that they are of. A batch is picked from them and augmented as a whole (see
    `draw_moves`): the same batch as that of the loader that decodes and augments image by image, bit for bit.
    """

    batches: EpochBatches
    packed: PackedImages
    images: Tensor

    def __iter__(self) -> Iterator[Batch]:
        moves, seed = CHAINS[self.packed.settings.chain].moves, self.packed.settings.seed
        for keys in self.batches:
            rows = np.array([key.row for key in keys])
            if moves is None:
                images = self.images[torch.from_numpy(rows).to(self.images.device)]
            else:
                epochs = np.array([key.epoch for key in keys])
                images = moved(self.images, draw_moves(moves, seed, epochs, rows), rows)
            yield self.packed.batch_of(images, keys)


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
