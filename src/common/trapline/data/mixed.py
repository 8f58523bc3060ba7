"""Labelled and pseudo-labelled images together: one part to read from, and which of the latter a batch gets.

The share of pseudo-labelled images in a batch is fixed: however many there are, the labelled ones lead.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from trapline.config import pseudo_rows
from trapline.data.folds import LabelledPart
from trapline.data.prepared import PackedPart

STREAM = 0x70736575  # sets the order of the pseudo-labelled images apart from that of the labelled ones


@dataclass(frozen=True)
class MixedPart:
    """The images of a labelled part, and after them, numbered on, the pseudo-labelled ones.

    `rows` are their places in the part `unlabeled`, int64 (pseudo-labelled images,), `guesses` their class
    indices, int64 of the same length; each has the weight `weight` in the loss.
    """

    labelled: LabelledPart
    unlabeled: PackedPart
    rows: np.ndarray
    guesses: np.ndarray
    weight: float

    def __len__(self) -> int:
        return len(self.labelled) + len(self.rows)

    def located(self, row: int) -> tuple[PackedPart, int]:
        """The part in which image `row` lies, and its row there."""
        first = len(self.labelled)
        if row < first:
            return self.labelled.located(row)
        return self.unlabeled, int(self.rows[row - first])

    @cached_property
    def labels(self) -> np.ndarray:
        """The class index of each image, true or guessed, int64 (images,)."""
        return np.concatenate([self.labelled.labels, self.guesses])

    @cached_property
    def weights(self) -> np.ndarray:
        """The weight of each image in the training loss, float32 (images,)."""
        guessed = np.full(len(self.rows), self.weight, dtype=np.float32)
        return np.concatenate([self.labelled.weights, guessed])


@dataclass(frozen=True)
class PseudoOrder:
    """In which order batches take the `rows` pseudo-labelled images, numbered on from `first`.

    One permutation after another, drawn from the seed, without an end. An epoch begins where the one before
    it has ended, which its number alone tells: a job that is resumed goes on exactly. The place depends on
    whole batches, over all ranks, and so not on the number of processes.
    """

    first: int
    rows: int
    share: float
    seed: int

    def per_batch(self, batch_size: int) -> int:
        """Pseudo-labelled images of a whole batch; UsageError where they would be none of it, or all."""
        return pseudo_rows(self.share, batch_size)

    def batches(self, epoch: int, sizes: list[int]) -> Iterator[list[tuple[int, int]]]:
        """For each batch of the epoch its (round, image): an image comes once in each round."""
        start = epoch * sum(sizes)
        keys = self._keys(start, start + sum(sizes))
        for end, size in zip(np.cumsum(sizes), sizes, strict=True):
            yield keys[end - size : end]

    def _keys(self, start: int, end: int) -> list[tuple[int, int]]:
        rounds = range(start // self.rows, -(-end // self.rows))
        orders = [
            np.random.default_rng([self.seed, STREAM, number]).permutation(self.rows) for number in rounds
        ]
        keys = [
            (number, self.first + int(row))
            for number, order in zip(rounds, orders, strict=True)
            for row in order
        ]
        skipped = start - rounds.start * self.rows
        return keys[skipped : skipped + end - start]
