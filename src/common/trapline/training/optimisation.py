"""Loss, optimizer and learning-rate schedule from the configuration."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adadelta, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from trapline.config import TrainingConfig
from trapline.errors import UsageError
from trapline.losses import LOSSES, LossSettings
from trapline.models.build import parameter_groups
from trapline.schedules import plan_schedule

FUSED_ON = ("cpu", "cuda")  # one pass over the weights: resnet18 on two cores steps in 13 ms instead of 24
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adamw": AdamW,
    "adam": Adam,
    "adadelta": Adadelta,
    "sgd": SGD,
}
Loss = Callable[[Tensor, Tensor], Tensor]


def balanced_weights(labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Class weights images / (classes x count), float32 (classes,): the mean over images is 1.

    The definition of scikit-learn's `class_weight="balanced"`. Raises UsageError for a class without images.
    """
    counts = _counts(labels, classes, "balanced")
    return (len(labels) / (len(classes) * counts)).astype(np.float32)


def inverse_weights(labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Class weights 1 / count, scaled to sum to the number of classes, float32 (classes,).

    As the enhanced system has them: the mean over classes is 1, and over images it is below 1 unless the
    classes are of one size. Raises UsageError for a class without images.
    """
    inverse = 1 / _counts(labels, classes, "inverse")
    return (inverse * len(classes) / inverse.sum()).astype(np.float32)


def _counts(labels: np.ndarray, classes: Sequence[str], setting: str) -> np.ndarray:
    counts = np.bincount(labels, minlength=len(classes))
    if not counts.all():
        absent = ", ".join(name for name, count in zip(classes, counts, strict=True) if not count)
        raise UsageError(f"class_weights {setting}: no training image of {absent}; use class_weights none")
    return counts


def positive_weights(labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Images without a label over images with it, float32 (classes,): both sides then count alike.

    `labels` (images, classes) of 0 and 1. Raises UsageError for a label that no image has.
    """
    counts = labels.sum(axis=0)
    if not counts.all():
        absent = ", ".join(name for name, count in zip(classes, counts, strict=True) if not count)
        raise UsageError(f"positive_weights balanced: no training image has {absent}; use none")
    return ((len(labels) - counts) / counts).astype(np.float32)


CLASS_WEIGHTS = {"balanced": balanced_weights, "inverse": inverse_weights}


def make_loss(
    config: TrainingConfig, labels: np.ndarray, classes: Sequence[str], device: torch.device
) -> Loss:
    """The loss of outputs (batch, classes) and labels as of a Batch, one value per image: (batch,).

    `labels` are those of the images that are trained on, in the same form, for the weights.
    """
    weight = positive = None
    if config.class_weights in CLASS_WEIGHTS:
        weight = torch.from_numpy(CLASS_WEIGHTS[config.class_weights](labels, classes)).to(device)
    if config.positive_weights == "balanced":
        positive = torch.from_numpy(positive_weights(labels, classes)).to(device)
    function = LOSSES[config.loss].function
    settings = LossSettings(weight, config.label_smoothing, config.focal_alpha, config.focal_gamma, positive)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return function(outputs.float(), targets, settings)

    return loss


def make_optimizer(config: TrainingConfig, model: nn.Module, head: frozenset[str]) -> Optimizer:
    """The optimizer by its name; norms and biases are not decayed, the head may have a learning rate of its
    own."""
    groups = parameter_groups(
        model,
        weight_decay=config.weight_decay,
        lr=config.lr,
        head_lr_multiplier=config.head_lr_multiplier,
        head=head,
        norm_bias_lr_multiplier=config.norm_bias_lr_multiplier,
    )
    make = OPTIMIZERS[config.optimizer]
    options: dict[str, Any] = {}
    if make is SGD:
        options = {"momentum": config.momentum, "nesterov": config.nesterov}
    if "fused" in inspect.signature(make).parameters:
        options["fused"] = all(parameter.device.type in FUSED_ON for parameter in model.parameters())
    return make(groups, lr=config.lr, **options)


@torch.no_grad()
def add_l1(optimizer: Optimizer, factor: float) -> None:
    """Add to the gradients that of `factor` x the sum of absolute weights, over the weights that are decayed.

    It is the weights' signs, written without a graph: the penalty itself is in no loss that is reported.
    """
    for group in optimizer.param_groups:
        if group["name"].endswith("_decayed") and not group["name"].endswith("_not_decayed"):
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.grad.add_(weight.sign(), alpha=factor)


def make_schedule(config: TrainingConfig, optimizer: Optimizer, steps_per_epoch: int) -> LRScheduler:
    """A schedule that is advanced after every optimizer step.

    Where there are too few of these for what `config` asks, it says what becomes of it.
    """
    steps, warmup = config.epochs * steps_per_epoch, config.warmup_epochs * steps_per_epoch
    plan = plan_schedule(config.schedule, steps, warmup)
    if plan.note:
        print(f"note: {plan.note}", flush=True)
    return plan.schedule.make(optimizer, plan.course)
