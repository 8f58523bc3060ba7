"""Mixup: training on weighted pairs of images.

Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018.

Every batch has one share, drawn from Beta(alpha, alpha); each image is mixed with a partner from its batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trapline.training.optimisation import Loss

STREAM = 0x6D6978  # sets these draws apart from those of the augmentation, which have seeds of the same form


@dataclass(frozen=True)
class Mixing:
    """mixup_lambda: the share of an image itself, 0..1; partners: int64 (batch,), where the image of the rest
    are in the batch."""

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
