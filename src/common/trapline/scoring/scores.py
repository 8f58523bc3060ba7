"""What is reported of a classifier of one label an image, made of sums over clusters of images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trapline.scoring.counts import CORRECT, IMAGES, PREDICTED, averaged, macro, precision_recall_f1
from trapline.scoring.site_sums import SCALARS, class_rows, counts_of, scalar_metrics, scalar_sums, site_rows
from trapline.scoring.temperature import log_probabilities

TOP = 3
METRICS = (
    "log_loss",
    "accuracy",
    "macro_f1",
    "weighted_f1",
    "top3_accuracy",
    "site_balanced_log_loss",
    "site_balanced_accuracy",
)


@dataclass(frozen=True)
class Scored:
    """Predictions with their truth.

    log_probabilities: float64 (images, classes), natural logarithms; labels: int64 (images,);
    clusters: int64 (images,), 0 up to the number of clusters, none left out.
    """

    log_probabilities: np.ndarray
    labels: np.ndarray
    clusters: np.ndarray

    @property
    def losses(self) -> np.ndarray:
        """The log loss of each image, (images,)."""
        return -self.log_probabilities[np.arange(len(self.labels)), self.labels]

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class of each image, (images,)."""
        return self.log_probabilities.argmax(axis=1)

    @property
    def confidences(self) -> np.ndarray:
        """The probability of the predicted class, (images,)."""
        return np.exp(self.log_probabilities.max(axis=1))


def scored(
    logits: np.ndarray, labels: np.ndarray, clusters: np.ndarray, temperature: float | np.ndarray = 1.0
) -> Scored:
    """Predictions from logits, (images, classes), at a temperature, one number or (images,)."""
    return Scored(log_probabilities(logits, temperature), labels, clusters)


def cluster_sums(predictions: Scored) -> np.ndarray:
    """Float64 (clusters, sums): SCALARS, the images with the true class among the TOP, counts by class."""
    clusters, labels, predicted = predictions.clusters, predictions.labels, predictions.predicted
    correct = predicted == labels
    scalars = scalar_sums(clusters, predictions.losses, correct)
    top = np.bincount(clusters, weights=_true_class_ranks(predictions) < TOP)
    counts = np.zeros((len(scalars), predictions.log_probabilities.shape[1], 3))
    np.add.at(counts[..., IMAGES], (clusters, labels), 1)
    np.add.at(counts[..., CORRECT], (clusters, labels), correct)
    np.add.at(counts[..., PREDICTED], (clusters, predicted), 1)
    return np.column_stack([scalars, top, counts.reshape(len(scalars), -1)])


def _true_class_ranks(predictions: Scored) -> np.ndarray:
    """How many classes come before the true one, (images,); of equals the first one does."""
    values = predictions.log_probabilities
    own = values[np.arange(len(values)), predictions.labels][:, None]
    earlier = np.arange(values.shape[1]) < predictions.labels[:, None]
    return np.count_nonzero((values > own) | ((values == own) & earlier), axis=1)


def metrics_of(sums: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics of each row of sums, (..., sums), each (...).

    Log loss is in natural logarithms. Macro F1 is the mean over the classes that occur among the true ones,
    weighted F1 weighs them by their images; a class that is never predicted counts 0. The site-balanced
    numbers are means over clusters of each cluster's mean: every camera counts the same.
    """
    counts = counts_of(sums, others=1)
    return {
        **scalar_metrics(sums),
        "macro_f1": macro(counts)[2],
        "weighted_f1": averaged(precision_recall_f1(counts)[2], counts[..., IMAGES]),
        "top3_accuracy": sums[..., len(SCALARS)] / sums[..., SCALARS.index("images")],
    }


def per_class(sums: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """What `class_rows` says of each class, from the sum of all rows, (sums,)."""
    return class_rows(counts_of(sums, others=1), classes)


def per_site(sums: np.ndarray, sites: Sequence[str]) -> list[dict[str, Any]]:
    """Images, accuracy and log loss of each cluster, (clusters, sums), under the name of its site."""
    found = scalar_metrics(sums)
    return site_rows(sums, sites, {name: found[name] for name in ("accuracy", "log_loss")})


def confusion_matrix(predictions: Scored) -> list[list[int]]:
    """Images by true class (rows) and predicted class (columns)."""
    from sklearn import metrics  # late: collection needs none of it

    classes = np.arange(predictions.log_probabilities.shape[1])
    cells: np.ndarray = metrics.confusion_matrix(predictions.labels, predictions.predicted, labels=classes)
    return cells.tolist()
