"""What a training step does with the weights: loss, optimizer, schedule, look-ahead averaging, and mixup."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adadelta, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from trapline.config import TrainingConfig
from trapline.errors import UsageError
from trapline.learning import LOSSES, LossSettings, plan_schedule
from trapline.models.build import BATCH_NORMS

STEPS_BETWEEN_AVERAGES = 5  # of the look-ahead
# Sets mixup's draws apart from those of the augmentation, which have seeds of the same form.
STREAM = 0x6D6978
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adamw": AdamW,
    "adam": Adam,
    "adadelta": Adadelta,
    "sgd": SGD,
}
Loss = Callable[[Tensor, Tensor], Tensor]


def class_weights(kind: str, labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """The weight of each class in the loss, float32 (classes,).

    `balanced`: images / (classes x count), so that the mean over images is 1, as scikit-learn defines it.
    `inverse`: 1 / count, scaled to sum to the number of classes, as the enhanced system has them: the mean
    over classes is 1, and over images it is below 1 unless the classes are of one size. Raises UsageError for
    a class without images.
    """
    counts = np.bincount(labels, minlength=len(classes))
    _refuse_absent(
        counts, classes, f"class_weights {kind}: no training image of {{}}; use class_weights none"
    )
    if kind == "balanced":
        return (len(labels) / (len(classes) * counts)).astype(np.float32)
    inverse = 1 / counts
    return (inverse * len(classes) / inverse.sum()).astype(np.float32)


def positive_weights(labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Images without a label over images with it, float32 (classes,): both sides then count alike.

    `labels` (images, classes) of 0 and 1. Raises UsageError for a label that no image has.
    """
    counts = labels.sum(axis=0)
    _refuse_absent(counts, classes, "positive_weights balanced: no training image has {}; use none")
    return ((len(labels) - counts) / counts).astype(np.float32)


def _refuse_absent(counts: np.ndarray, classes: Sequence[str], message: str) -> None:
    absent = [name for name, count in zip(classes, counts, strict=True) if not count]
    if absent:
        raise UsageError(message.format(", ".join(absent)))


def make_loss(
    config: TrainingConfig, labels: np.ndarray, classes: Sequence[str], device: torch.device
) -> Loss:
    """The loss of outputs (batch, classes) and labels as of a Batch, one value per image: (batch,).

    `labels` are those of the images that are trained on, in the same form, for the weights.
    """
    weight = positive = None
    if config.class_weights != "none":
        weight = torch.from_numpy(class_weights(config.class_weights, labels, classes)).to(device)
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
        # One pass over the weights: resnet18 on two cores steps in 13 ms instead of 24.
        options["fused"] = all(weight.device.type in ("cpu", "cuda") for weight in model.parameters())
    return make(groups, lr=config.lr, **options)


def parameter_groups(
    model: nn.Module,
    weight_decay: float,
    lr: float,
    head_lr_multiplier: float,
    head: frozenset[str],
    norm_bias_lr_multiplier: float = 1.0,
) -> list[dict[str, Any]]:
    """Groups for a torch optimizer: body and head, each with and without weight decay; empty ones left out.

    Norm layers, biases, class tokens, position embeddings and position bias tables are not decayed. `head`
    names the tensors that learn at `lr * head_lr_multiplier` (see `head_parameters`); with another
    `norm_bias_lr_multiplier` than 1 the biases of batch normalisation have groups and a rate of their own.
    Every trainable parameter is in exactly one group; each has `name`, `params`, `lr` and `weight_decay`.
    """
    norms = {name for name, module in model.named_modules() if isinstance(module, BATCH_NORMS)}

    def kind_of(name: str, parameter: Tensor) -> str:
        owner, _, own = name.rpartition(".")
        if norm_bias_lr_multiplier != 1 and owner in norms and own == "bias":
            return "norm_biases"
        # Matrices and kernels are called "weight"; class tokens, position tables and scales are not. The
        # network that makes Swin v2's position biases is left out, as in the code of its authors (Liu et al.
        # 2022).
        decayed = parameter.ndim > 1 and name.endswith("weight") and "cpb_mlp" not in name
        return "decayed" if decayed else "not_decayed"

    groups: list[dict[str, Any]] = [
        {"name": f"{part}_{kind}", "params": [], "lr": rate * factor, "weight_decay": decay}
        for part, rate in (("body", lr), ("head", lr * head_lr_multiplier))
        for kind, decay, factor in (
            ("decayed", weight_decay, 1.0),
            ("not_decayed", 0.0, 1.0),
            ("norm_biases", 0.0, norm_bias_lr_multiplier),
        )
    ]
    members: dict[str, list[nn.Parameter]] = {group["name"]: group["params"] for group in groups}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part = "head" if name in head else "body"
            members[f"{part}_{kind_of(name, parameter)}"].append(parameter)
    return [group for group in groups if group["params"]]


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


@dataclass
class Lookahead:
    """Weights that follow the trained ones slowly, and are what training ends with.

    Zhang et al., Lookahead Optimizer: k steps forward, 1 step back, 2019, with the course of Keller Jordan,
    94% on CIFAR-10 in 3.29 Seconds on a Single GPU, 2024: every few steps the slow weights take a share of
    the fast ones, which becomes smaller towards the end, and the fast weights go on from there. With the last
    step the fast weights become the slow ones: the last epoch is validated, and saved, with them, those
    before it with the fast ones.

    slow: the copy of a model's floating-point tensors, running statistics included. steps: those of the whole
    training; done: those so far.
    """

    slow: dict[str, Tensor]
    steps: int
    done: int = 0

    @torch.no_grad()
    def after_step(self, model: nn.Module) -> None:
        """Average where the time has come; call it after every optimizer step."""
        self.done += 1
        if self.done % STEPS_BETWEEN_AVERAGES == 0:
            max_kept = 0.95**STEPS_BETWEEN_AVERAGES  # of the slow weights, at the end of training
            self._average(model, max_kept * (self.done / self.steps) ** 3)
        if self.done == self.steps:
            self._average(model, 1.0)

    def _average(self, model: nn.Module, kept: float) -> None:
        for name, fast in _floating(model).items():
            self.slow[name].lerp_(fast, 1 - kept)
            fast.copy_(self.slow[name])

    def state(self) -> dict[str, Any]:
        """For a checkpoint: the slow tensors on the CPU, and the steps done."""
        return {"slow": {name: slow.cpu().clone() for name, slow in self.slow.items()}, "done": self.done}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` has returned."""
        for name, slow in self.slow.items():
            slow.copy_(state["slow"][name])
        self.done = state["done"]


def start_lookahead(model: nn.Module, steps: int) -> Lookahead:
    """Slow weights that begin where `model` is, for a training of so many steps."""
    return Lookahead({name: fast.clone() for name, fast in _floating(model).items()}, steps)


def _floating(model: nn.Module) -> dict[str, Tensor]:
    # They share their memory with the model.
    return {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}


@dataclass(frozen=True)
class Mixing:
    """Mixup: training on weighted pairs of images.

    Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018. Every batch has one share, drawn from
    Beta(alpha, alpha); each image is mixed with a partner from its batch.

    mixup_lambda: the share of an image itself, 0..1; partners: int64 (batch,), where the image of the rest
    are in the batch.
    """

    mixup_lambda: float
    partners: Tensor


def draw_mixing(alpha: float, seed: Sequence[int], images: int, rows: int) -> Mixing | None:
    """The mixing of a batch of `rows`, of which the first `images` have partners; None for alpha 0.

    The rows after them are padding and stay as they are. Equal seeds, equal draws, and on every rank an equal
    share.
    """
    if not alpha:
        return None
    generator = np.random.default_rng([*seed, STREAM])
    mixup_lambda = float(generator.beta(alpha, alpha))
    partners = np.concatenate([generator.permutation(images), np.arange(images, rows)])
    return Mixing(mixup_lambda, torch.from_numpy(partners))


def mixed_images(images: Tensor, mixing: Mixing | None) -> Tensor:
    """Each image (batch, ...) mixed with its partner; unchanged without mixing."""
    if mixing is None:
        return images
    others = images[mixing.partners.to(images.device, non_blocking=True)]
    return mixing.mixup_lambda * images + (1 - mixing.mixup_lambda) * others


def mixed_losses(
    loss: Loss, logits: Tensor, labels: Tensor, weights: Tensor, mixing: Mixing | None
) -> Tensor:
    """The weighted loss of each row, float (batch,): lambda x L(own label) + (1 - lambda) x L(partner's).

    `weights` (batch,) go with the labels: a partner's label counts with the partner's weight.
    """
    own = loss(logits, labels) * weights
    if mixing is None:
        return own
    partners = mixing.partners.to(labels.device, non_blocking=True)
    return (
        mixing.mixup_lambda * own
        + (1 - mixing.mixup_lambda) * loss(logits, labels[partners]) * weights[partners]
    )


def leading_labels(labels: Tensor, mixing: Mixing | None) -> Tensor:
    """For each row the label with the larger share, (batch,): what the training accuracy compares with."""
    if mixing is None or mixing.mixup_lambda >= 0.5:
        return labels
    return labels[mixing.partners.to(labels.device, non_blocking=True)]
