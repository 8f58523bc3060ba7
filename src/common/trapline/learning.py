"""How a model learns, by name: losses, functions of its outputs and the labels, and learning-rate schedules.

They stand on the ground floor because the configuration takes its names from here, and torch is imported late
because the launching machine reads the configuration too: to add a loss, write its function and enter it in
LOSSES; to add a schedule, enter it in SCHEDULES. `trapline.training.optimisation` gives losses the class
weights.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

Outputs: TypeAlias = Literal["logits", "log_softmax"]
Task: TypeAlias = Literal["multiclass", "multilabel"]


@dataclass(frozen=True)
class LossSettings:
    """What a loss may depend on.

    weight, of the classes, and positive_weight, of the images that have a label: float32 (classes,) on the
    device of the outputs, or None.
    """

    weight: "Tensor | None" = None
    label_smoothing: float = 0.0
    alpha: float = 0.25
    gamma: float = 2.0
    positive_weight: "Tensor | None" = None


LossFunction: TypeAlias = Callable[["Tensor", "Tensor", LossSettings], "Tensor"]


@dataclass(frozen=True)
class Loss:
    """A loss: one value an image, (batch,), from float32 outputs (batch, classes) and the labels.

    needs: the outputs that it must get, where it does not take either; a log-softmax is valid logits.
    task: multiclass, where the labels are int64 (batch,), or multilabel: float32 (batch, classes) of 0 and 1.
    """

    function: LossFunction
    needs: Outputs | None = None
    task: Task = "multiclass"


def cross_entropy(outputs: "Tensor", labels: "Tensor", settings: LossSettings) -> "Tensor":
    """Cross-entropy, weighted by the label's class, with smoothed labels (Szegedy et al. 2016)."""
    from torch.nn import functional

    return functional.cross_entropy(
        outputs,
        labels,
        weight=settings.weight,
        label_smoothing=settings.label_smoothing,
        reduction="none",
    )


def nll(outputs: "Tensor", labels: "Tensor", settings: LossSettings) -> "Tensor":
    """Negative log-likelihood of log-probabilities: cross-entropy for a model that ends in a log-softmax.

    Smoothing gives the share s of the label evenly to all classes: the loss is (1 - s) w_y l_y + s / classes
    times the sum of w_c l_c, as cross-entropy has it.
    """
    losses = -outputs if settings.weight is None else -outputs * settings.weight
    own = losses.gather(1, labels.unsqueeze(1)).squeeze(1)
    if not settings.label_smoothing:
        return own
    return (1 - settings.label_smoothing) * own + settings.label_smoothing * losses.mean(dim=1)


def focal(outputs: "Tensor", labels: "Tensor", settings: LossSettings) -> "Tensor":
    """alpha (1 - pt)^gamma times the weighted, smoothed cross-entropy, as the enhanced system has it.

    Here pt = exp(-loss) comes from the weighted, smoothed loss itself. It is the probability of the true
    class only without weights and smoothing: a weight above 1 makes an image count as harder than it is, one
    below 1 as easier, and with smoothing no image is ever wholly easy. See `focal_lin2017` for the published
    loss.
    """
    losses = cross_entropy(outputs, labels, settings)
    return settings.alpha * _hardness((-losses).expm1().neg(), settings.gamma) * losses


def focal_lin2017(outputs: "Tensor", labels: "Tensor", settings: LossSettings) -> "Tensor":
    """alpha (1 - pt)^gamma times the cross-entropy: Lin et al., Focal Loss for Dense Object Detection, 2017.

    pt is the softmax probability of the true class. Class weights and smoothing, which the paper does not
    have, act on the cross-entropy and leave pt alone.
    """
    from torch.nn import functional

    log_pt = -functional.cross_entropy(outputs, labels, reduction="none")
    losses = cross_entropy(outputs, labels, settings)
    return settings.alpha * _hardness(log_pt.expm1().neg(), settings.gamma) * losses


def _hardness(missing: "Tensor", gamma: float) -> "Tensor":
    """(1 - pt)^gamma from 1 - pt. Kept off 0, where a gamma below 1 has no finite slope."""
    import torch

    return missing.clamp_min(torch.finfo(missing.dtype).tiny) ** gamma


def bce(outputs: "Tensor", labels: "Tensor", settings: LossSettings) -> "Tensor":
    """Binary cross-entropy of each label with the sigmoid of its output, the mean over an image's labels.

    A `positive_weight` counts the images that have a label so many times. Smoothing moves labels towards a
    half: 1 becomes 1 - s / 2, and 0 becomes s / 2.
    """
    from torch.nn import functional

    targets = labels * (1 - settings.label_smoothing) + settings.label_smoothing / 2
    return functional.binary_cross_entropy_with_logits(
        outputs, targets, pos_weight=settings.positive_weight, reduction="none"
    ).mean(dim=1)


LOSSES: dict[str, Loss] = {
    "bce": Loss(bce, needs="logits", task="multilabel"),
    "cross_entropy": Loss(cross_entropy),
    "focal": Loss(focal),
    "focal_lin2017": Loss(focal_lin2017),
    "nll": Loss(nll, needs="log_softmax"),
}


# --- schedules ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Course:
    """The length of a training and of its warm-up, in optimizer steps."""

    steps: int
    warmup: int = 0


MIN_STEPS = 4  # below, the first step of OneCycle is behind its peak already
Shape: TypeAlias = Callable[[float], float]  # the share of the peak by the share of the steps done, 0 to 1


@dataclass(frozen=True)
class Schedule:
    """How the learning rate goes, step by step.

    make: for an optimizer whose groups hold their peak rates, a schedule to be advanced after every step.
    own_warmup: it warms up by itself. plateau: it is also lowered where validation gets no better, for which
    `make` must give one that goes by `base_lrs`, as `shaped` does.
    """

    make: "Callable[[Optimizer, Course], LRScheduler]"
    own_warmup: bool = False
    plateau: bool = False


def level(done: float) -> float:
    """The peak throughout."""
    return 1.0


def half_cosine(done: float) -> float:
    """From the peak down to 0: Loshchilov and Hutter, SGDR, 2017, without restarts."""
    return 0.5 * (1 + math.cos(math.pi * done))


def triangle(done: float) -> float:
    """From 0.2 up to the peak at 23% of the steps, and down to 0.07, both along a straight line.

    Keller Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, 2024.
    """
    start, top, end = 0.2, 0.23, 0.07
    if done < top:
        return start + (1 - start) * done / top
    return 1 - (1 - end) * (done - top) / (1 - top)


def learning_rate_factor(step: int, course: Course, shape: Shape) -> float:
    """The share of the peak rate at a step: linear from near 0 over the warm-up, then `shape`."""
    if step < course.warmup:
        return (step + 1) / (course.warmup + 1)
    return shape(min(1.0, (step - course.warmup) / max(1, course.steps - course.warmup)))


def shaped(shape: Shape) -> "Callable[[Optimizer, Course], LRScheduler]":
    """What makes schedules of this shape, after a linear warm-up."""

    def make(optimizer: "Optimizer", course: Course) -> "LRScheduler":
        from torch.optim.lr_scheduler import LambdaLR

        return LambdaLR(optimizer, lambda step: learning_rate_factor(step, course, shape))

    return make


def one_cycle(optimizer: "Optimizer", course: Course) -> "LRScheduler":
    """Up to the peak and far below the start, momentum, where there is one, the other way: Smith and Topin,
    2018."""
    from torch.optim.lr_scheduler import OneCycleLR

    return OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=course.steps,
        cycle_momentum=bool({"momentum", "betas"} & optimizer.defaults.keys()),
    )


SCHEDULES: dict[str, Schedule] = {
    "constant": Schedule(shaped(level)),
    "cosine": Schedule(shaped(half_cosine)),
    "triangle": Schedule(shaped(triangle), own_warmup=True),
    "onecycle": Schedule(one_cycle, own_warmup=True),
    "plateau": Schedule(shaped(level), plateau=True),
    "cosine_plateau": Schedule(shaped(half_cosine), plateau=True),
}


@dataclass(frozen=True)
class Plan:
    """What a training's rates follow. note: what is not as asked, for its steps are too few; else empty."""

    schedule: Schedule
    course: Course
    note: str = ""


def plan_schedule(name: str, steps: int, warmup: float) -> Plan:
    """The schedule called `name` for so many optimizer steps, `warmup` of them, a fraction, to warm up in.

    A schedule with a warm-up of its own becomes the constant one where it has no step to rise in: OneCycle
    would take a single step at a 250,000th of the peak. Another warm-up never takes all steps.
    """
    whole = round(warmup)
    if SCHEDULES[name].own_warmup and steps < MIN_STEPS:
        return Plan(
            SCHEDULES["constant"],
            Course(steps),
            f"schedule {name}: needs {MIN_STEPS} steps to rise and fall, and there are {steps}: all at lr",
        )
    if whole >= steps:
        return Plan(
            SCHEDULES[name],
            Course(steps, steps - 1),
            f"warmup_epochs: would take all steps of the training ({steps}); the last one is taken at lr",
        )
    note = "warmup_epochs: less than a step; there is no warm-up" if warmup and not whole else ""
    return Plan(SCHEDULES[name], Course(steps, whole), note)


def on_plateau(losses: Sequence[float], patience: int) -> bool:
    """Whether the last of the epochs' validation `losses` ends `patience` epochs without a better one.

    Counting starts anew after each such end. As it depends on the losses alone, which checkpoints hold, a job
    that goes on from one decides as if it had never stopped. torch's ReduceLROnPlateau waits for one loss
    more, and counts as better only what is so by 0.01%: its patience of 2 is about a `patience` of 3 here.
    """
    best, stale, ended = math.inf, 0, False
    for loss in losses:
        best, stale = (loss, 0) if loss < best else (best, stale + 1)
        ended = stale == patience
        stale = 0 if ended else stale
    return ended


def lower(schedule: "LRScheduler", factor: float) -> None:
    """Multiply the learning rate by `factor` from now on, on top of the schedule's own course.

    The state dicts of schedule and optimizer hold the change.
    """
    schedule.base_lrs = [rate * factor for rate in schedule.base_lrs]
    for group in schedule.optimizer.param_groups:
        group["lr"] *= factor
