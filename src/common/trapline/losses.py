"""Losses by name, as functions of a model's outputs and the labels.

They stand on the ground floor because the configuration takes its names from here, and torch is imported late
because the launching machine reads the configuration too: to add a loss, write its function and enter it in
LOSSES. `trapline.training.optimisation` gives it the class weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

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
    losses = functional.binary_cross_entropy_with_logits(
        outputs, targets, pos_weight=settings.positive_weight, reduction="none"
    )
    return losses.mean(dim=1)


LOSSES: dict[str, Loss] = {
    "bce": Loss(bce, needs="logits", task="multilabel"),
    "cross_entropy": Loss(cross_entropy),
    "focal": Loss(focal),
    "focal_lin2017": Loss(focal_lin2017),
    "nll": Loss(nll, needs="log_softmax"),
}
