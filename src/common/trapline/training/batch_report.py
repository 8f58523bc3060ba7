"""What is said of training while an epoch runs: beside the progress bar, and in the batch-level log."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from tqdm import tqdm

from trapline.batch_lines import BatchPoint, emit_batch
from trapline.training.loop import Tally, correct


@dataclass
class _Since:
    """Up to where of a tally something has been said."""

    pieces: int = 0
    loss: Tensor | None = None

    def recent(self, tally: Tally) -> tuple[float, float]:
        """Mean loss and accuracy (0 to 1) of the images since the last call, of those with true labels.

        Waits for the device once.
        """
        predicted, labels = (torch.cat(rows[self.pieces :]) for rows in (tally.predicted, tally.labels))
        counted = torch.ones(len(labels), dtype=torch.bool, device=labels.device)
        if tally.labelled:
            counted = torch.cat(tally.labelled[self.pieces :]).bool()
        loss = tally.loss if self.loss is None else tally.loss - self.loss
        right = correct(predicted, labels) & counted
        sums = torch.stack([loss.float(), right.sum().float(), counted.sum().float()])
        self.pieces, self.loss = len(tally.labels), tally.loss.clone()  # the tally adds to its own in place
        total, hits, images = sums.tolist()
        return total / max(1.0, images), hits / max(1.0, images)


@dataclass
class BatchReport:
    """Follows one epoch of the process that prints.

    epoch: from 1; batches: of the epoch; every: batches between two lines of the batch-level log, 0: none.
    """

    epoch: int
    batches: int
    every: int = 0
    tally: Tally | None = None
    shown: str = ""
    _bar: _Since = field(default_factory=_Since)
    _log: _Since = field(default_factory=_Since)

    def watch(self, number: int, tally: Tally) -> None:
        """Take note of batch `number`, the last of `tally`; waits for the device only where a line is due."""
        self.tally = tally
        if self.every and (number % self.every == 0 or number == self.batches):
            loss, accuracy = self._log.recent(tally)
            point = BatchPoint(self.epoch, number, loss, accuracy, self.batches, tally.learning_rate)
            with tqdm.external_write_mode():  # a bar on the terminal makes room for the line
                emit_batch(point)

    def status(self) -> str:
        """Loss, accuracy and learning rate since the last call, for a bar; empty before there are any."""
        if self.tally is not None and len(self.tally.labels) > self._bar.pieces:
            loss, accuracy = self._bar.recent(self.tally)
            self.shown = f"loss {loss:.4f}, accuracy {accuracy:.3f}, lr {self.tally.learning_rate:.3g}"
        return self.shown
