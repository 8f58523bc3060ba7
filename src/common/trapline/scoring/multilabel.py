"""Images with several labels: the metrics, and a threshold for each label.

Everything is counted label by label, as scikit-learn does it for label indicators.
"""

import numpy as np
from sklearn.metrics import average_precision_score

from trapline.scoring.counts import averaged, label_counts, macro, occurring, precision_recall_f1
from trapline.scoring.predictions import Predictions


def average_precisions(predictions: Predictions) -> np.ndarray:
    """The average precision of each label, float64 (classes,); NaN for a label that no image has.

    By logits, whose order is that of the probabilities, without the ties of those that are rounded to 1.
    """
    return np.array(
        [
            average_precision_score(truth, scores) if truth.any() else np.nan
            for truth, scores in zip(predictions.labels.T, predictions.logits.T, strict=True)
        ]
    )


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


def tuned_thresholds(predictions: Predictions, usual: float) -> np.ndarray:
    """For each label the threshold with the best F1 score on these predictions, float64 (classes,).

    On the images that chose them the scores are optimistic. So epochs are compared at `usual`, and these
    decide only in test and serving. `usual` stays for a label that no image has, and wherever none is better.
    """
    probabilities = predictions.probabilities
    return np.array(
        [
            _best_threshold(truth.astype(bool), own, usual)
            for truth, own in zip(predictions.labels.T, probabilities.T, strict=True)
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
