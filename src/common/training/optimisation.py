"""Loss, optimizer and learning-rate schedule from the configuration."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from common.config import TrainingConfig
from common.errors import UsageError
from common.losses import LOSSES, LossSettings
from common.models.build import parameter_groups
from common.schedules import SCHEDULES, Course

FUSED_ON = ("cpu", "cuda")  # one pass over the weights: resnet18 on two cores steps in 13 ms instead of 24
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


CLASS_WEIGHTS = {"balanced": balanced_weights, "inverse": inverse_weights}


def make_loss(
    config: TrainingConfig, labels: np.ndarray, classes: Sequence[str], device: torch.device
) -> Loss:
    """The loss of outputs (batch, classes) and labels (batch,), one value per image: (batch,).

    `labels` are those of the train part, int (images,), for the class weights.
    """
    weight = None
    if config.class_weights in CLASS_WEIGHTS:
        weight = torch.from_numpy(CLASS_WEIGHTS[config.class_weights](labels, classes)).to(device)
    function = LOSSES[config.loss].function
    settings = LossSettings(weight, config.label_smoothing, config.focal_alpha, config.focal_gamma)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return function(outputs.float(), targets, settings)

    return loss


def make_optimizer(config: TrainingConfig, model: nn.Module, head: frozenset[str]) -> Optimizer:
    """AdamW or SGD; norms and biases are not decayed, the head may have a learning rate of its own."""
    groups = parameter_groups(
        model,
        weight_decay=config.weight_decay,
        lr=config.lr,
        head_lr_multiplier=config.head_lr_multiplier,
        head=head,
    )
    fused = all(parameter.device.type in FUSED_ON for parameter in model.parameters())
    if config.optimizer == "sgd":
        return SGD(groups, lr=config.lr, momentum=config.momentum, fused=fused)
    return AdamW(groups, lr=config.lr, fused=fused)


def make_schedule(config: TrainingConfig, optimizer: Optimizer, steps_per_epoch: int) -> LRScheduler:
    """A schedule that is advanced after every optimizer step."""
    course = Course(config.epochs * steps_per_epoch, round(config.warmup_epochs * steps_per_epoch))
    return SCHEDULES[config.schedule].make(optimizer, course)
