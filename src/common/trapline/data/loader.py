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
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from trapline.data.augment import Augmentation
from trapline.data.folds import LabelledPart
from trapline.data.mixed import MixedPart, PseudoOrder
from trapline.errors import TraplineError
from trapline.processes import prepare_worker

PRELOADED = ["trapline.data.loader"]


class Key(NamedTuple):
    """An image of a batch: epoch and row seed its augmentation; padding has the weight 0.

    With a pseudo-labelled image goes, instead of the epoch, its round (see PseudoOrder).
    """

    epoch: int
    row: int
    padding: bool = False


@dataclass(frozen=True)
class LoaderSettings:
    """How the batches of a part are made.

    size: pixels of a side; batch_size: images of a batch, for each rank. chain, eval_crop: names of
    `trapline.chains`; the chain "none" is that of evaluation. num_classes: how many, where an image may have
    several labels, else None. `rank` of `world_size` gets its share of every batch, and pseudo_share is that
    of the pseudo-labelled images of a MixedPart (see EpochBatches).
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
        images = np.empty((len(keys), size, size, 3), dtype=np.uint8)
        for position, key in enumerate(keys):
            images[position] = self.augmentation(self.pixels(key.row), (seed, key.epoch, key.row))
        return self.batch_of(torch.from_numpy(images), keys)

    def batch_of(self, images: torch.Tensor, keys: Sequence[Key]) -> Batch:
        """The batch of `keys` with their augmented `images`, uint8 (batch, size, size, 3)."""
        rows = [key.row for key in keys]
        weights = self.part.weights[rows]
        weights[[key.padding for key in keys]] = 0
        labels, weighted = torch.from_numpy(self._labels()[rows]), torch.from_numpy(weights)
        return Batch(images, labels, weighted, self._labelled(rows))

    def _labels(self) -> np.ndarray:
        if self.settings.num_classes is None or isinstance(self.part, MixedPart):
            return self.part.labels
        return self.part.label_matrix(self.settings.num_classes)

    def _labelled(self, rows: list[int]) -> torch.Tensor | None:
        if isinstance(self.part, MixedPart):
            return torch.tensor(rows) < len(self.part.labelled)
        return None

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

    With `pseudo` every batch ends with its share of pseudo-labelled images, and so fewer of the `rows` go
    into it; an epoch still is one pass over those. A smaller last batch has the same share of both.
    """

    def __init__(self, rows: int, settings: LoaderSettings, pseudo: PseudoOrder | None = None) -> None:
        self.rows = rows
        self.settings = settings
        self.epoch = 0
        self.pseudo = pseudo
        whole = settings.batch_size * settings.world_size
        guessed = pseudo.per_batch(whole) if pseudo else 0
        step = whole - guessed
        starts = list(range(0, rows, step))
        if len(starts) > 1 and rows - starts[-1] == 1:
            starts.pop()
        self.bounds = list(zip(starts, [*starts[1:], rows], strict=True))
        self.pseudo_sizes = [round(guessed * (end - start) / step) for start, end in self.bounds]

    @property
    def sizes(self) -> list[int]:
        """Images in each batch, over all ranks, without padding."""
        labelled = (end - start for start, end in self.bounds)
        return [own + guessed for own, guessed in zip(labelled, self.pseudo_sizes, strict=True)]

    @property
    def shares(self) -> list[int]:
        """Rows that every rank has of each batch, padding included."""
        ranks = self.settings.world_size
        fewest = min(2, self.settings.batch_size) if ranks > 1 else 1
        return [max(fewest, -(-size // ranks)) for size in self.sizes]

    def __len__(self) -> int:
        return len(self.bounds)

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.arange(self.rows)
        if self.settings.shuffle:
            order = np.random.default_rng([self.settings.seed, self.epoch]).permutation(self.rows)
        for (start, end), share, guessed in zip(self.bounds, self.shares, self._guessed(), strict=True):
            keys = [Key(self.epoch, int(row)) for row in order[start:end]]
            yield self._dealt([*keys, *guessed], share)

    def _guessed(self) -> Iterator[list[Key]]:
        if self.pseudo is None:
            yield from ([] for _ in self.bounds)
        else:
            for pairs in self.pseudo.batches(self.epoch, self.pseudo_sizes):
                yield [Key(*pair) for pair in pairs]

    def _dealt(self, keys: list[Key], share: int) -> list[Key]:
        """This rank's keys: every so manieth, and then, as padding, others again."""
        turns = (self.settings.rank + self.settings.world_size * number for number in range(share))
        return [keys[turn % len(keys)]._replace(padding=turn >= len(keys)) for turn in turns]


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
        except (
            TraplineError
        ) as error:  # with the loader process's traceback in its text, before its own words
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
        context.set_forkserver_preload(PRELOADED)
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
    if not isinstance(part, MixedPart):
        return EpochBatches(len(part), settings)
    rows = len(part.labelled)
    return EpochBatches(
        rows, settings, PseudoOrder(rows, len(part.rows), settings.pseudo_share, settings.seed)
    )


def _identity(batch: Any) -> Any:
    return batch


def _prepare(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption means
    prepare_worker()
