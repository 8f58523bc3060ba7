"""Temperature scaling: one number that makes a classifier's probabilities as sure as they are right.

Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017: the logits are divided
by the temperature that minimises the log loss on validation. The order of the classes never changes.

Labels are class indices, int (images,), for one label an image; for several they are 0 or 1 for each class,
(images, classes), each class has its own sigmoid, and the log loss is the mean binary one.
"""

from collections.abc import Iterator

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from trapline.errors import TraplineError

# Where every answer on validation is right, or none, the best temperature would be 0 or infinite, and the
# first unseen image that is wrong would cost without limit.
LOWEST, HIGHEST = 0.2, 10.0
PRECISION = 1e-4  # of the natural logarithm of the temperature
MAX_FOLDS = 10


def log_probabilities(logits: np.ndarray, temperature: float | np.ndarray = 1.0) -> np.ndarray:
    """Natural logarithms of the probabilities, float64 (images, classes).

    `temperature` is one number, or one for each image, (images,).
    """
    divisor = np.asarray(temperature, dtype=np.float64)
    return np.asarray(log_softmax(logits.astype(np.float64) / divisor.reshape(-1, 1), axis=1))


def image_losses(logits: np.ndarray, labels: np.ndarray, temperature: float | np.ndarray = 1.0) -> np.ndarray:
    """The log loss of each image, float64 (images,), for labels of either kind.

    `temperature` is one number, or one for each image, (images,).
    """
    if labels.ndim == 2:
        return _binary_losses(logits, labels, temperature).mean(axis=1)
    return -log_probabilities(logits, temperature)[np.arange(len(labels)), labels]


def _binary_losses(logits: np.ndarray, labels: np.ndarray, temperature: float | np.ndarray) -> np.ndarray:
    """The binary log loss of each class of each image, (images, classes), as logits and labels are."""
    scaled = logits.astype(np.float64) / np.asarray(temperature, dtype=np.float64).reshape(-1, 1)
    return np.asarray(np.logaddexp(0, scaled) - labels * scaled)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature between LOWEST and HIGHEST that minimises the log loss of float (images, classes).

    `labels` are of either kind. The log loss is convex in the inverse of the temperature, so that the minimum
    found is the only one. Raises TraplineError when there are no images or a logit is not finite.
    """
    if not len(labels):
        raise TraplineError("temperature: there are no validation images to fit it on; prepare some")
    if not np.isfinite(logits).all():
        raise TraplineError(
            "temperature: the model's outputs on validation are no finite numbers; train anew"
        )

    def loss(logarithm: float) -> float:
        return float(image_losses(logits, labels, float(np.exp(logarithm))).mean())

    found = minimize_scalar(
        loss,
        bounds=(np.log(LOWEST), np.log(HIGHEST)),
        method="bounded",
        options={"xatol": PRECISION},
    )
    # The search comes near its ends but never to them.
    best = min((np.log(LOWEST), np.log(HIGHEST), float(found.x)), key=loss)
    return float(np.exp(best))


def is_at_bound(temperature: float) -> bool:
    """Whether the fit ended at an end of its range, where the temperature means little."""
    near = 1 + 10 * PRECISION
    return not LOWEST * near < temperature < HIGHEST / near


def cross_fitted_temperatures(logits: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """For each image the temperature fitted on other groups than its own, float64 (images,).

    `groups` numbers what belongs together, (images,): the site of each image, or the image itself. At most
    MAX_FOLDS fits are made, each without one fold of whole groups. A loss at these temperatures is one
    of images that the temperature has not seen. With a single group there is nothing else to fit on: 1.
    """
    temperatures = np.ones(len(labels))
    for held_out in _folds(groups):
        if not held_out.all():
            temperatures[held_out] = fit_temperature(logits[~held_out], labels[~held_out])
    return temperatures


def _folds(groups: np.ndarray) -> Iterator[np.ndarray]:
    """Masks of images, (images,), that hold each group whole and once, dealt out from the largest group."""
    names, group_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    count = min(len(names), MAX_FOLDS)
    rank = np.empty(len(names), dtype=np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(names))
    for fold in range(count):
        yield (rank % count == fold)[group_of]
