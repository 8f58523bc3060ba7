"""Batches of uint8 images from a packed part, made by loader processes.

A loader process decodes and augments; normalisation is left to the device, so that a quarter of the bytes
travel. Order and augmentation are drawn from (seed, epoch, row) alone: the same with any number of processes,
and the same for an epoch that is run again after a restart. Where several processes train together (ranks),
each gets its share of every batch of that one order.
"""

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from common.data.augment import Augmentation
from common.data.canonical import decode_packed
from common.data.prepared import PackedPart
from common.errors import TraplineError
from common.processes import available_cores, prepare_worker

Key: TypeAlias = tuple[int, int]  # epoch, row; ~row for padding: the image of `row` with the weight 0
MOST_WORKERS = 16
PRELOADED = ["common.data.loader"]


@dataclass(frozen=True)
class Batch:
    """images: uint8 (batch, size, size, 3); labels: int64 (batch,); weights: float32 (batch,)."""

    images: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory; called by the DataLoader."""
        return Batch(self.images.pin_memory(), self.labels.pin_memory(), self.weights.pin_memory())


class PackedImages(Dataset[Batch | TraplineError]):
    """Decoded, augmented images of a part, fetched a batch at a time."""

    def __init__(self, part: PackedPart, chain: str, size: int, seed: int) -> None:
        self.part = part
        self.size = size
        self.seed = seed
        self.augmentation = Augmentation(chain, size)

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
        rows = [row if row >= 0 else ~row for _, row in keys]
        for position, ((epoch, _), row) in enumerate(zip(keys, rows, strict=True)):
            images[position] = self.augmentation(self._pixels(row), (self.seed, epoch, row))
        weights = self.part.weights[rows]
        weights[[row < 0 for _, row in keys]] = 0
        return Batch(
            torch.from_numpy(images), torch.from_numpy(self.part.labels[rows]), torch.from_numpy(weights)
        )

    def _pixels(self, row: int) -> np.ndarray:
        try:
            return decode_packed(self.part.jpeg(row))
        except ValueError as error:
            name = self.part.table["id"][row].as_py()
            folder = self.part.files[0].parent
            raise TraplineError(f"{folder}: image {name} is damaged ({error}); prepare again") from None


class EpochBatches(Sampler[list[Key]]):
    """The batches of one epoch as lists of (epoch, row); set `epoch` before each pass.

    Shuffled from (seed, epoch), or in order. A single left-over image joins the batch before it: batch
    normalisation cannot train on one image.

    With several `ranks` a batch holds `batch_size` images for each, dealt out in turn. All ranks get equally
    many rows of it, two at least where `batch_size` is above one; what is missing is filled up with padding.
    """

    def __init__(
        self, rows: int, batch_size: int, *, seed: int | None, rank: int = 0, ranks: int = 1
    ) -> None:
        self.rows = rows
        self.seed = seed
        self.epoch = 0
        self.rank = rank
        self.ranks = ranks
        self.least = min(2, batch_size) if ranks > 1 else 1
        starts = list(range(0, rows, batch_size * ranks))
        if len(starts) > 1 and rows - starts[-1] == 1:
            starts.pop()
        self.bounds = list(zip(starts, [*starts[1:], rows], strict=True))

    @property
    def sizes(self) -> list[int]:
        """Images in each batch, over all ranks, without padding."""
        return [end - start for start, end in self.bounds]

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
        for (start, end), share in zip(self.bounds, self.shares, strict=True):
            yield [(self.epoch, int(row)) for row in self._dealt(order[start:end], share)]

    def _dealt(self, rows: np.ndarray, share: int) -> np.ndarray:
        turns = self.rank + self.ranks * np.arange(share)
        dealt = rows[turns % len(rows)]
        return np.where(turns < len(rows), dealt, ~dealt)


@dataclass(frozen=True)
class Loader:
    """An iterable over the batches of an epoch, again for every epoch."""

    batches: EpochBatches
    loader: DataLoader[Batch | TraplineError]

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of `epoch`. Raises TraplineError for an image that cannot be decoded."""
        self.batches.epoch = epoch
        for batch in self.loader:
            if isinstance(batch, TraplineError):
                raise batch
            yield batch


def make_loader(
    part: PackedPart,
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
) -> Loader:
    """A loader over `part`. `workers` processes make the batches; 0 makes them in this process.

    `rank` of `ranks` is the share of every batch that this process gets (see EpochBatches).

    Workers come from a fork server, which has no threads: forking this process, whose threads may hold
    locks, can hang.
    """
    batches = EpochBatches(len(part), batch_size, seed=seed if shuffle else None, rank=rank, ranks=ranks)
    options: dict[str, Any] = {}
    if workers:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        options = {"multiprocessing_context": context, "persistent_workers": True, "prefetch_factor": 2}
    loader = DataLoader(
        PackedImages(part, chain, size, seed),
        batch_sampler=batches,
        collate_fn=_identity,
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=_prepare,
        generator=torch.Generator(),  # or the loader would draw from the generator that dropout uses
        **options,
    )
    return Loader(batches, loader)


def _identity(batch: Any) -> Any:
    return batch


def _prepare(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption means
    prepare_worker()


def default_workers(device_type: str, ranks_here: int = 1) -> int:
    """How many loader processes: all cores (at most 16) beside a GPU; one in four where the CPU trains.

    The cores are divided between the `ranks_here`, the training processes on this machine.
    """
    cores = max(1, available_cores() // ranks_here)
    return min(MOST_WORKERS, cores if device_type != "cpu" else max(1, cores // 4))
