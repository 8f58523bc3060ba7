"""One pass over the training images, and what is said of it: beside the progress bar, and in batch lines."""

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from tqdm import tqdm

from trapline.config import TrainingConfig
from trapline.data.loader import Batch
from trapline.errors import TraplineError
from trapline.metrics import BatchPoint, emit_batch
from trapline.models.build import Normalisation
from trapline.scoring.predictions import macro_f1
from trapline.training.distributed import ALONE, Ranks, gather_rows, total
from trapline.training.execution import Execution
from trapline.training.optimisation import (
    Lookahead,
    Loss,
    Mixing,
    add_l1,
    draw_mixing,
    leading_labels,
    mixed_images,
    mixed_losses,
)


@dataclass
class Learner:
    """What changes during training (model, optimizer, schedule, scaler) and what tells it how."""

    model: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    scaler: torch.amp.GradScaler
    loss: Loss
    config: TrainingConfig
    execution: Execution
    normalisation: Normalisation
    ranks: Ranks = ALONE
    parallel: DistributedDataParallel | None = None  # `model` as several ranks call it in training
    compiled: Callable[[Tensor], Any] | None = None  # either of them, as it is called where it is compiled
    lookahead: Lookahead | None = None

    def outputs(self, images: Tensor) -> tuple[Tensor, ...]:
        """The logits of normalised images (batch, 3, height, width), for training, and those of auxiliary
        heads after them: (batch, classes) each."""
        model = self.model if self.parallel is None else self.parallel
        # A ragged batch would be compiled once more, which takes longer than all ragged batches ever will.
        whole = len(images) == self.config.batch_size
        result = (self.compiled if self.compiled and whole else model)(images)
        return (result,) if isinstance(result, Tensor) else tuple(result)


@dataclass
class Tally:
    """What a pass leaves behind, on the device until the end: nothing waits for a GPU in between.

    Of this rank, padding included, until `over_all_ranks`. Where some labels are guessed, loss and metrics
    are those of the images with true labels. Where an image may have several labels, predicted and true ones
    are (batch, classes) of 0 and 1, at a probability of 0.5.
    """

    loss: Tensor
    predicted: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)
    labelled: list[Tensor] = field(default_factory=list)  # uint8; empty where no label is guessed
    images: int = 0
    waited: float = 0.0  # seconds
    learning_rate: float = math.nan

    def add(self, losses: Tensor, logits: Tensor, labels: Tensor, labelled: Tensor | None = None) -> None:
        """Count one micro-batch: losses and labelled (batch,), logits (batch, classes), a Batch's labels."""
        if labelled is None:
            self.loss += losses.detach().sum()
        else:  # a product, so that a loss that is no number shows wherever it comes from
            self.loss += (losses.detach() * labelled).sum()
            self.labelled.append(labelled.to(torch.uint8))
        multilabel = labels.ndim == 2
        self.predicted.append((logits.detach() >= 0).byte() if multilabel else logits.detach().argmax(dim=1))
        self.labels.append(labels)
        self.images += len(labels)

    def metrics(self) -> dict[str, float]:
        """Mean loss, accuracy and macro F1, under the names of the metric registry."""
        predicted = torch.cat(self.predicted).cpu().numpy()
        labels = torch.cat(self.labels).cpu().numpy()
        if self.labelled:
            counted = torch.cat(self.labelled).cpu().numpy().astype(bool)
            predicted, labels = predicted[counted], labels[counted]
        right = correct(torch.from_numpy(predicted), torch.from_numpy(labels))
        return {
            "train_loss": float(self.loss) / len(labels),
            "train_acc": float(right.double().mean()),
            "train_macro_f1": macro_f1(labels, predicted),
        }


def correct(predicted: Tensor, labels: Tensor) -> Tensor:
    """Which images are right, bool (batch,); of several labels all must be."""
    right = predicted == labels
    return right if labels.ndim == 1 else right.all(dim=1)


def group_sizes(batch_sizes: list[int], accumulation: int) -> list[int]:
    """For each micro-batch, the images in the optimizer step that it belongs to.

    Dividing the summed loss by it weights every image equally, also in a ragged last step.
    """
    totals = np.add.reduceat(batch_sizes, np.arange(0, len(batch_sizes), accumulation))
    return [int(totals[number // accumulation]) for number in range(len(batch_sizes))]


def train_epoch(
    learner: Learner,
    batches: Iterable[Batch],
    batch_sizes: list[int],
    epoch: int,
    watch: Callable[[int, "Tally"], None] = lambda _number, _tally: None,
) -> Tally:
    """Train on every batch once; `batch_sizes` counts the images of each over all ranks.

    `watch` is told the number of each batch, from 1, and the tally up to it. Raises TraplineError, on every
    rank, when the loss is no longer a number.
    """
    config, ranks = learner.config, learner.ranks
    learner.model.train()
    tally = Tally(torch.zeros((), device=learner.execution.device))
    sizes = group_sizes(batch_sizes, config.accumulation)
    for number, batch in enumerate(timed(batches, tally), 1):
        last_of_step = number % config.accumulation == 0 or number == len(batch_sizes)
        own_images = len(range(ranks.rank, batch_sizes[number - 1], ranks.world_size))
        mixing = draw_mixing(config.mixup, (config.seed, epoch, number), own_images, len(batch.labels))
        # The ranks average their gradients; accumulated ones need it once a step.
        waiting = None if last_of_step else learner.parallel
        with contextlib.nullcontext() if waiting is None else waiting.no_sync():
            backward(learner, batch, sizes[number - 1], tally, mixing)
        if last_of_step:
            step(learner, tally)
        watch(number, tally)
        # Looking at the loss makes the host wait for a GPU, so not at every step.
        if number % 50 == 0 or number == len(batch_sizes):
            loss = float(total(tally.loss, ranks))
            if not math.isfinite(loss):
                raise divergence(
                    f"the training loss became {loss} in epoch {epoch}, by batch {number}", config
                )
    return over_all_ranks(tally, batch_sizes, ranks)


def backward(
    learner: Learner, batch: Batch, group_images: int, tally: Tally, mixing: Mixing | None = None
) -> None:
    """Add a micro-batch's gradients: its share of the mean loss over the optimizer step's images.

    `group_images` counts those of all ranks, whose gradients are averaged and not summed: hence their number.
    """
    device = learner.execution.device
    labels = batch.labels.to(device, non_blocking=True)
    weights = batch.weights.to(device, non_blocking=True)
    with learner.execution.autocast():
        images = learner.execution.inputs(batch.images, learner.normalisation)
        logits, *auxiliary = learner.outputs(mixed_images(images, mixing))
    losses = mixed_losses(learner.loss, logits, labels, weights, mixing)
    for outputs in auxiliary:
        own = mixed_losses(learner.loss, outputs, labels, weights, mixing)
        losses = losses + learner.config.aux_weight * own
    learner.scaler.scale(losses.sum() / (group_images / learner.ranks.world_size)).backward()
    labelled = (
        None
        if batch.labelled is None
        else leading_labels(batch.labelled.to(device, non_blocking=True), mixing)
    )
    tally.add(losses, logits, leading_labels(labels, mixing), labelled)


def over_all_ranks(tally: Tally, batch_sizes: list[int], ranks: Ranks) -> Tally:
    """The tally of all ranks' images, without padding; the waiting time is the ranks' mean."""
    if ranks.world_size == 1:
        return tally
    shares = [len(piece) for piece in tally.labels]

    def gathered(pieces: list[Tensor]) -> list[Tensor]:
        return [gather_rows(torch.cat(pieces), shares, batch_sizes, ranks)] if pieces else []

    return replace(
        tally,
        loss=total(tally.loss, ranks),
        predicted=gathered(tally.predicted),
        labels=gathered(tally.labels),
        labelled=gathered(tally.labelled),
        images=sum(batch_sizes),
        waited=float(total(torch.tensor(tally.waited), ranks)) / ranks.world_size,
    )


def step(learner: Learner, tally: Tally) -> None:
    """Clip, update the weights, advance the schedule."""
    if learner.config.clip_norm is not None or learner.config.l1:
        learner.scaler.unscale_(learner.optimizer)
    if learner.config.l1:
        add_l1(learner.optimizer, learner.config.l1)
    if learner.config.clip_norm is not None:
        nn.utils.clip_grad_norm_(learner.model.parameters(), learner.config.clip_norm)
    tally.learning_rate = float(learner.optimizer.param_groups[0]["lr"])
    learner.scaler.step(learner.optimizer)
    learner.scaler.update()
    learner.optimizer.zero_grad(set_to_none=True)
    learner.schedule.step()
    if learner.lookahead is not None:
        learner.lookahead.after_step(learner.model)


def divergence(what: str, config: TrainingConfig) -> TraplineError:
    """The error for a training that has run away, saying what to change."""
    return TraplineError(
        f"{what}: lower lr (now {config.lr:g}), set clip_norm (now {config.clip_norm}), or use precision fp32"
    )


def timed(batches: Iterable[Batch], tally: Tally) -> Iterator[Batch]:
    """Yield `batches`, adding the seconds spent waiting for each to `tally.waited`."""
    started = time.perf_counter()
    for batch in batches:
        tally.waited += time.perf_counter() - started
        yield batch
        started = time.perf_counter()


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
