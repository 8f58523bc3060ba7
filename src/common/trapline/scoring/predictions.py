"""Logits with their labels: probabilities at a temperature, counts of each class, and metrics made of them.

Labels are class indices, int (images,), for one label an image; for several they are 0 or 1 for each class,
(images, classes), and each class has its own sigmoid and, in the end, a threshold of its own.

A table of counts has a row for each class and the columns images (that have it), correct (of them) and
predicted. What would be divided by nothing is 0, as with scikit-learn's `zero_division=0`, and averages are
over the classes that occur. Where images have several labels, everything is counted label by label, as
scikit-learn does it for label indicators.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log_softmax, softmax

from trapline.errors import TraplineError, refuse_any
from trapline.learning import Task

IMAGES, CORRECT, PREDICTED = range(3)
# Where every answer on validation is right, or none, the best temperature would be 0 or infinite, and the
# first unseen image that is wrong would cost without limit.
LOWEST, HIGHEST = 0.2, 10.0
PRECISION = 1e-4  # of the natural logarithm of the temperature
MAX_FOLDS = 10


@dataclass(frozen=True)
class Predictions:
    """logits: float32 (images, classes); labels: int64 (images,), or where an image may have several float32
    (images, classes) of 0 and 1."""

    logits: np.ndarray
    labels: np.ndarray

    @property
    def multilabel(self) -> bool:
        """Whether an image may have several labels."""
        return self.labels.ndim == 2

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, float64 (images, classes), each row summing to 1; with several labels an
        image their sigmoid."""
        return _probabilities(
            self.logits.astype(np.float64), "multilabel" if self.multilabel else "multiclass"
        )


def finite_rows(logits: np.ndarray) -> np.ndarray:
    """bool (images,): whether all of an image's logits (images, classes) are numbers."""
    return np.isfinite(logits).all(axis=1)


def calibrated(logits: np.ndarray, temperature: float, task: Task = "multiclass") -> np.ndarray:
    """Probabilities of logits (images, classes) at a temperature: float64, none is NaN.

    For one label an image their softmax, each row sums to 1; for several the sigmoid of each. Temperature
    scaling: Guo et al., On Calibration of Modern Neural Networks, 2017. Raises TraplineError
    naming the rows whose logits are no numbers.
    """
    bad = np.flatnonzero(~finite_rows(logits))
    if len(bad):
        raise TraplineError(
            f"the model's outputs are no numbers for {len(bad)} of {len(logits)} images, the first in row"
            f" {bad[0]}; use precision fp32, or train again"
        )
    return _probabilities(logits.astype(np.float64) / temperature, task)


def _probabilities(logits: np.ndarray, task: Task) -> np.ndarray:
    return np.asarray(expit(logits) if task == "multilabel" else softmax(logits, axis=1))


# --- precision, recall and F1, from how often a class is true, found and predicted --------------------------


def class_counts(labels: np.ndarray, predicted: np.ndarray, num_classes: int = 0) -> np.ndarray:
    """int64 (classes, 3) from two (images,) of class indices; `num_classes` at least."""
    num_classes = max(num_classes, labels.max(initial=-1) + 1, predicted.max(initial=-1) + 1)
    return np.stack(
        [
            np.bincount(values, minlength=num_classes)
            for values in (labels, labels[labels == predicted], predicted)
        ],
        axis=1,
    )


def label_counts(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """int64 (classes, 3) from two (images, classes) of 0 and 1, or false and true."""
    true, said = labels.astype(bool), predicted.astype(bool)
    return np.asarray(np.stack([true, true & said, said], axis=-1).sum(axis=0))


def precision_recall_f1(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F1 of each row of `counts`, (..., 3), each float64 (...)."""
    images, correct, predicted = (counts[..., column].astype(np.float64) for column in range(3))
    precision, recall = correct / np.maximum(1, predicted), correct / np.maximum(1, images)
    return precision, recall, 2 * correct / np.maximum(1, images + predicted)


def averaged(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean over the classes with these weights, both (..., classes); NaN where no class has any."""
    counted, total = np.where(weights > 0, values, 0) * weights, weights.sum(axis=-1)
    return np.where(total > 0, counted.sum(axis=-1) / np.maximum(1, total), np.nan)


def occurring(counts: np.ndarray) -> np.ndarray:
    """Which classes have an image, bool (..., classes): the others are left out of macro averages."""
    return np.asarray(counts[..., IMAGES] > 0)


def macro(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The means of precision, recall and F1 over the classes that occur, of `counts` (..., classes, 3)."""
    precision, recall, f1 = (averaged(of, occurring(counts)) for of in precision_recall_f1(counts))
    return precision, recall, f1


def macro_f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    """The macro F1 of class indices, (images,), or of labels of 0 and 1, (images, classes)."""
    counts = label_counts(labels, predicted) if labels.ndim == 2 else class_counts(labels, predicted)
    return float(macro(counts)[2])


# --- one label an image -------------------------------------------------------------------------------------


def classification_metrics(predictions: Predictions) -> dict[str, float]:
    """Log loss (natural logarithm), accuracy, macro and weighted F1, of one label an image.

    Under the names of the metric registry, without `val_` or `test_` before them.
    """
    from sklearn.metrics import accuracy_score, log_loss  # late: serving needs none of it

    predicted = predictions.logits.argmax(axis=1)
    classes = predictions.logits.shape[1]
    counts = class_counts(predictions.labels, predicted, classes)
    _, _, f1 = precision_recall_f1(counts)
    return {
        "loss": float(log_loss(predictions.labels, predictions.probabilities, labels=range(classes))),
        "acc": float(accuracy_score(predictions.labels, predicted)),
        "macro_f1": float(averaged(f1, occurring(counts))),
        "weighted_f1": float(averaged(f1, counts[:, IMAGES])),
    }


# --- several labels an image --------------------------------------------------------------------------------


def multilabel_metrics(predictions: Predictions, thresholds: float | np.ndarray) -> dict[str, float]:
    """Metrics under the names of the registry, without `val_` or `test_` before them.

    A label is predicted from its probability in `thresholds` on, one for all or (classes,). The accuracy is
    that of whole images, all labels right; the loss is the mean binary log loss, natural logarithm.
    """
    predicted = predictions.probabilities >= thresholds
    counts = label_counts(predictions.labels, predicted)
    precision, recall, f1 = map(float, macro(counts))
    micro_precision, micro_recall, micro_f1 = map(float, precision_recall_f1(counts.sum(axis=0)))
    return {
        "loss": binary_log_loss(predictions),
        "acc": float((predicted == predictions.labels.astype(bool)).all(axis=1).mean()),
        "micro_f1": micro_f1,
        "micro_precision": micro_precision,
        "micro_recall": micro_recall,
        "macro_f1": f1,
        "macro_precision": precision,
        "macro_recall": recall,
        "map": float(averaged(average_precisions(predictions), occurring(counts))),
    }


def binary_log_loss(predictions: Predictions) -> float:
    """The mean over images and labels of -log(probability of what is true), exact for large logits."""
    logits = predictions.logits.astype(np.float64)
    return float(np.logaddexp(0, np.where(predictions.labels.astype(bool), -logits, logits)).mean())


def average_precisions(predictions: Predictions) -> np.ndarray:
    """The average precision of each label, float64 (classes,); NaN for a label that no image has.

    By logits, whose order is that of the probabilities, without the ties of those that are rounded to 1.
    """
    from sklearn.metrics import average_precision_score  # late: serving needs none of it

    return np.array(
        [
            average_precision_score(truth, scores) if truth.any() else np.nan
            for truth, scores in zip(predictions.labels.T, predictions.logits.T, strict=True)
        ]
    )


def tuned_thresholds(predictions: Predictions, usual: float) -> np.ndarray:
    """For each label the threshold with the best F1 score on these predictions, float64 (classes,).

    On the images that chose them the scores are optimistic. So epochs are compared at `usual`, and these
    decide only in test and serving. `usual` stays for a label that no image has, and wherever none is better.
    """
    return np.array(
        [
            _best_threshold(truth.astype(bool), own, usual)
            for truth, own in zip(predictions.labels.T, predictions.probabilities.T, strict=True)
        ]
    )


def _best_threshold(truth: np.ndarray, probabilities: np.ndarray, usual: float) -> float:
    """Half-way between two neighbouring probabilities, and of equally good ones the nearest to `usual`."""
    values = np.unique(probabilities)
    lower = np.concatenate([[0.0], values[:-1]])
    halves = np.maximum((lower + values) / 2, np.nextafter(lower, 1))  # above `lower`, however near it is
    candidates = np.concatenate([[usual], np.minimum(halves, values)])
    # From a threshold on are the images from a place on, in ascending order of their probabilities.
    order = np.argsort(probabilities)
    first = np.searchsorted(probabilities[order], candidates)
    correct = np.concatenate([np.cumsum(truth[order][::-1])[::-1], [0]])[first]
    counts = np.stack([np.full(len(first), truth.sum()), correct, len(truth) - first], axis=1)
    f1 = precision_recall_f1(counts)[2]
    if f1[0] == f1.max():
        return usual
    best = candidates[f1 == f1.max()]
    return float(best[np.abs(best - usual).argmin()])


def label_outcome(predictions: Predictions, usual: float, *, tune: bool) -> dict[str, np.ndarray]:
    """What the report of an epoch's labels is made of.

    counts: int64 (classes, 3), at the threshold `usual`; thresholds: float64 (classes,), tuned or `usual`;
    tuned_counts: at these; average_precision: float64 (classes,), NaN for a label that no image has.
    """
    probabilities, classes = predictions.probabilities, predictions.labels.shape[1]
    thresholds = tuned_thresholds(predictions, usual) if tune else np.full(classes, usual)
    return {
        "counts": label_counts(predictions.labels, probabilities >= usual),
        "thresholds": thresholds,
        "tuned_counts": label_counts(predictions.labels, probabilities >= thresholds),
        "average_precision": average_precisions(predictions),
    }


# --- temperature scaling ------------------------------------------------------------------------------------
#
# One number that makes a classifier's probabilities as sure as they are right. Guo, Pleiss, Sun and
# Weinberger, "On Calibration of Modern Neural Networks", ICML 2017: the logits are divided by the temperature
# that minimises the log loss on validation. The order of the classes never changes. For several labels an
# image the log loss is the mean binary one.


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
        scaled = logits.astype(np.float64) / np.asarray(temperature, dtype=np.float64).reshape(-1, 1)
        return np.asarray((np.logaddexp(0, scaled) - labels * scaled).mean(axis=1))
    return -log_probabilities(logits, temperature)[np.arange(len(labels)), labels]


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature between LOWEST and HIGHEST that minimises the log loss of float (images, classes).

    `labels` are of either kind. The log loss is convex in the inverse of the temperature, so that the minimum
    found is the only one. Raises TraplineError when there are no images or a logit is not finite.
    """
    refusals = (
        (not len(labels), "there are no validation images to fit it on; prepare some"),
        (
            not np.isfinite(logits).all(),
            "the model's outputs on validation are no finite numbers; train anew",
        ),
    )
    refuse_any(((found, f"temperature: {fault}") for found, fault in refusals), TraplineError)

    from scipy.optimize import minimize_scalar  # late: serving fits nothing

    def loss(logarithm: float) -> float:
        return float(image_losses(logits, labels, float(np.exp(logarithm))).mean())

    ends = (np.log(LOWEST), np.log(HIGHEST))
    found = minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": PRECISION})
    # The search comes near its ends but never to them.
    return float(np.exp(min((*ends, float(found.x)), key=loss)))


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
