"""Which guesses about unlabelled images are sure enough to train on.

Everything is decided by class: a threshold on the calibrated confidence, given or found on validation for a
precision, and a cap, so that the easy classes do not crowd out the others (class-balanced self-training:
Zou et al., Unsupervised Domain Adaptation for Semantic Segmentation via Class-Balanced Self-Training, 2018).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BELOW_THRESHOLD = "below_threshold"
PRECISION_NOT_REACHED = "precision_not_reached"
OVER_CAP = "over_cap"
DIGITS = 6  # of a confidence: it is compared as it is written


@dataclass(frozen=True)
class Guesses:
    """The likeliest class of each image and its probability: int64 (images,) and float64 (images,)."""

    labels: np.ndarray
    confidences: np.ndarray


@dataclass(frozen=True)
class Cap:
    """The most guesses of one class: `images`, or a `share` of all guesses of that class."""

    images: int | None = None
    share: float | None = None

    def of(self, guesses: int) -> int:
        """How many of `guesses` of one class may be accepted."""
        limit = guesses if self.images is None else self.images
        return limit if self.share is None else min(limit, int(self.share * guesses + 1e-9))


@dataclass(frozen=True)
class PrecisionCount:
    """How often guesses from a threshold on are right: `right` of `images`."""

    images: int
    right: int

    @property
    def value(self) -> float | None:
        """The precision; None where there is no such guess."""
        return self.right / self.images if self.images else None


def make_guesses(probabilities: np.ndarray) -> Guesses:
    """From float (images, classes); the first of equal probabilities wins."""
    labels = probabilities.argmax(axis=1)
    return Guesses(labels, probabilities[np.arange(len(labels)), labels].round(DIGITS))


def precision_thresholds(
    guesses: Guesses, truth: np.ndarray, classes: int, target: float, at_least: int
) -> np.ndarray:
    """For each class the lowest confidence from which its guesses are right often enough, float64 (classes,).

    `truth` are the classes of the validation images, int64 (images,). Often enough: a share `target` of at
    least `at_least` guesses; infinity where no threshold brings that.
    """
    thresholds = np.full(classes, np.inf)
    for label in range(classes):
        own = guesses.labels == label
        order = np.argsort(-guesses.confidences[own], kind="stable")
        confidences = guesses.confidences[own][order]
        right = np.cumsum(truth[own][order] == label)
        counts = np.arange(1, len(confidences) + 1)
        # Equal confidences are accepted together: only the last of them is a possible threshold.
        last = np.append(confidences[1:] < confidences[:-1], True)[: len(confidences)]
        good = np.flatnonzero(last & (counts >= at_least) & (right >= target * counts))
        if len(good):
            thresholds[label] = confidences[good[-1]]
    return thresholds


def measured_precision(guesses: Guesses, truth: np.ndarray, thresholds: np.ndarray) -> list[PrecisionCount]:
    """For each class the precision of its guesses at or above its threshold."""
    accepted = guesses.confidences >= thresholds[guesses.labels]
    right = accepted & (guesses.labels == truth)
    counts, hits = (
        np.bincount(guesses.labels[rows], minlength=len(thresholds)) for rows in (accepted, right)
    )
    return [PrecisionCount(int(count), int(hit)) for count, hit in zip(counts, hits, strict=True)]


def choose(guesses: Guesses, thresholds: np.ndarray, cap: Cap, forbidden: Sequence[str]) -> list[str]:
    """For each image why its guess is not accepted; an empty text where it is, (images,).

    `thresholds` (classes,): infinity accepts nothing. `forbidden` (images,): a reason that no confidence
    outweighs, or an empty text. Under the cap the surest stay; of equally sure ones the first.
    """
    reasons = list(forbidden)
    for row, (label, confidence) in enumerate(zip(guesses.labels, guesses.confidences, strict=True)):
        if not reasons[row] and confidence < thresholds[label]:
            reasons[row] = BELOW_THRESHOLD if np.isfinite(thresholds[label]) else PRECISION_NOT_REACHED
    for label in range(len(thresholds)):
        own = np.flatnonzero(guesses.labels == label)
        passing = np.array([row for row in own if not reasons[row]], dtype=np.int64)
        surest = passing[np.argsort(-guesses.confidences[passing], kind="stable")]
        for row in surest[cap.of(len(own)) :]:
            reasons[row] = OVER_CAP
    return reasons
