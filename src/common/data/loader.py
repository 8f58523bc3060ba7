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
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from common.data.augment import Augmentation
from common.data.canonical import decode_packed
from common.data.folds import LabelledPart
from common.data.mixed import MixedPart, PseudoOrder
from common.errors import TraplineError
from common.processes import prepare_worker

# Epoch and row, which seed the augmentation; ~row for padding: the image of `row` with the weight 0. With a
# pseudo-labelled image goes, instead of the epoch, its round (see PseudoOrder).
Key: TypeAlias = tuple[int, int]
PRELOADED = ["common.data.loader"]


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


class PackedImages(Dataset[Batch | TraplineError]):
    """Decoded, augmented images of a part, fetched a batch at a time.

    `several`: the number of classes where an image may have several labels, else None.
    """

    def __init__(
        self,
        part: LabelledPart | MixedPart,
        chain: str,
        size: int,
        seed: int,
        eval_crop: str = "none",
        several: int | None = None,
    ) -> None:
        self.part = part
        self.chain = chain
        self.size = size
        self.seed = seed
        self.eval_crop = eval_crop
        self.augmentation = Augmentation(chain, size, eval_crop)
        self.several = several

    def __len__(self) -> int:
        return len(self.part)

    def __getitems__(self, keys: Sequence[Key]) -> Batch | TraplineError:
        """The batch, or the error to raise: raised here it would arrive wrapped in a traceback."""
        try:
            return self._batch(keys)
        except TraplineError as error:
            return error

    def _batch(self, keys: Sequence[Key]) -> Batch:
        images = np.empty((len(keys), self.size, self.size, 3), dtype=np.uint8)
        for position, ((epoch, _), row) in enumerate(zip(keys, rows_of(keys), strict=True)):
            images[position] = self.augmentation(self.pixels(row), (self.seed, epoch, row))
        return self.batch_of(torch.from_numpy(images), keys)

    def batch_of(self, images: torch.Tensor, keys: Sequence[Key]) -> Batch:
        """The batch of `keys` with their augmented `images`, uint8 (batch, size, size, 3)."""
        rows = rows_of(keys)
        weights = self.part.weights[rows]
        weights[[row < 0 for _, row in keys]] = 0
        return Batch(
            images,
            torch.from_numpy(self._labels()[rows]),
            torch.from_numpy(weights),
            self._labelled(rows),
        )

    def _labels(self) -> np.ndarray:
        if self.several is None or isinstance(self.part, MixedPart):
            return self.part.labels
        return self.part.label_matrix(self.several)

    def _labelled(self, rows: list[int]) -> torch.Tensor | None:
        if isinstance(self.part, MixedPart):
            return torch.tensor(rows) < len(self.part.labelled)
        return None

    def pixels(self, row: int) -> np.ndarray:
        """The image of `row` as it is packed. Raises TraplineError where it is damaged."""
        part, row = self.part.located(row)
        try:
            return decode_packed(part.jpeg(row))
        except ValueError as error:
            name = part.table["id"][row].as_py()
            folder = part.files[0].parent
            raise TraplineError(f"{folder}: image {name} is damaged ({error}); prepare again") from None


class EpochBatches(Sampler[list[Key]]):
    """The batches of one epoch as lists of (epoch, row); set `epoch` before each pass.

    Shuffled from (seed, epoch), or in order. A single left-over image joins the batch before it: batch
    normalisation cannot train on one image.

    With several `ranks` a batch holds `batch_size` images for each, dealt out in turn. All ranks get equally
    many rows of it, two at least where `batch_size` is above one; what is missing is filled up with padding.

    With `pseudo` every batch ends with its share of pseudo-labelled images, and so fewer of the `rows` go
    into it; an epoch still is one pass over those. A smaller last batch has the same share of both.
    """

    def __init__(
        self,
        rows: int,
        batch_size: int,
        *,
        seed: int | None,
        rank: int = 0,
        ranks: int = 1,
        pseudo: PseudoOrder | None = None,
    ) -> None:
        self.rows = rows
        self.seed = seed
        self.epoch = 0
        self.rank = rank
        self.ranks = ranks
        self.pseudo = pseudo
        self.least = min(2, batch_size) if ranks > 1 else 1
        guessed = pseudo.per_batch(batch_size * ranks) if pseudo else 0
        step = batch_size * ranks - guessed
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
        return [max(self.least, -(-size // self.ranks)) for size in self.sizes]

    def __len__(self) -> int:
        return len(self.bounds)

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.arange(self.rows)
        if self.seed is not None:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.rows)
        for (start, end), share, guessed in zip(self.bounds, self.shares, self._guessed(), strict=True):
            yield self._dealt([*((self.epoch, int(row)) for row in order[start:end]), *guessed], share)

    def _guessed(self) -> Iterable[list[Key]]:
        if self.pseudo is None:
            return [[] for _ in self.bounds]
        return self.pseudo.batches(self.epoch, self.pseudo_sizes)

    def _dealt(self, keys: list[Key], share: int) -> list[Key]:
        turns = (self.rank + self.ranks * number for number in range(share))
        return [keys[turn] if turn < len(keys) else _padding(keys[turn % len(keys)]) for turn in turns]


def _padding(key: Key) -> Key:
    return key[0], ~key[1]


def rows_of(keys: Sequence[Key]) -> list[int]:
    """The rows of `keys`, those of padding included."""
    return [row if row >= 0 else ~row for _, row in keys]


@dataclass(frozen=True)
class Loader:
    """An iterable over the batches of an epoch, again for every epoch.

    source: iterates over the `batches` of their epoch; num_workers: the processes that it takes.
    """

    batches: EpochBatches
    source: Iterable[Batch | TraplineError]
    num_workers: int

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of `epoch`. Raises TraplineError for an image that cannot be decoded."""
        self.batches.epoch = epoch
        for batch in self.source:
            if isinstance(batch, TraplineError):
                raise batch
            yield batch


def make_loader(
    part: LabelledPart | MixedPart,
    *,
    chain: str,
    size: int,
    batch_size: int,
    seed: int,
    shuffle: bool,
    workers: int,
    pin: bool,
    rank: int = 0,
    ranks: int = 1,
    pseudo_share: float = 0.0,
    eval_crop: str = "none",
    several: int | None = None,
) -> Loader:
    """A loader over `part`. `workers` processes make the batches; 0 makes them in this process.

    `chain` and `eval_crop` are names of `common.chains`; "none" is the chain of evaluation.

    `rank` of `ranks` is the share of every batch that this process gets, and `pseudo_share` that of the
    pseudo-labelled images of a MixedPart (see EpochBatches). `several`: how many classes, where an image
    may have several labels, else None.

    Workers come from a fork server, which has no threads: forking this process, whose threads may hold
    locks, can hang.
    """
    batches = epoch_batches(
        part, batch_size, seed=seed, shuffle=shuffle, rank=rank, ranks=ranks, pseudo_share=pseudo_share
    )
    options: dict[str, Any] = {}
    if workers:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        options = {"multiprocessing_context": context, "persistent_workers": True, "prefetch_factor": 2}
    loader = DataLoader(
        PackedImages(part, chain, size, seed, eval_crop, several),
        batch_sampler=batches,
        collate_fn=_identity,
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=_prepare,
        generator=torch.Generator(),  # or the loader would draw from the generator that dropout uses
        **options,
    )
    return Loader(batches, loader, workers)


def epoch_batches(
    part: LabelledPart | MixedPart,
    batch_size: int,
    *,
    seed: int,
    shuffle: bool,
    rank: int,
    ranks: int,
    pseudo_share: float,
) -> EpochBatches:
    """The batches that one epoch of `part` has."""
    rows, pseudo = len(part), None
    if isinstance(part, MixedPart):
        rows = len(part.labelled)
        pseudo = PseudoOrder(rows, len(part.rows), pseudo_share, seed)
    order = seed if shuffle else None
    return EpochBatches(rows, batch_size, seed=order, rank=rank, ranks=ranks, pseudo=pseudo)


def _identity(batch: Any) -> Any:
    return batch


def _prepare(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption means
    prepare_worker()
