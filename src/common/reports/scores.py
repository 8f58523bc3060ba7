"""What is reported of a classifier, made of sums over clusters of images.

A cluster is a site, or one image where sites are not known. All that the metrics need of a cluster is a row
of sums; the metrics of any collection of clusters are made of the sum of their rows. One function therefore
serves for the numbers themselves and for thousands of resamples of sites at once.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from common.inference.temperature import log_probabilities

TOP = 3
SCALARS = ("clusters", "images", "loss", "correct", "top", "cluster_loss", "cluster_correct")


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
    """Float64 (clusters, sums): SCALARS, then by class the images that were hit, predicted and true."""
    classes, clusters = predictions.log_probabilities.shape[1], predictions.clusters
    count = int(clusters.max()) + 1
    labels, predicted = predictions.labels, predictions.predicted
    correct = predicted == labels

    def summed(values: np.ndarray) -> np.ndarray:
        return np.bincount(clusters, weights=values, minlength=count)

    def by_class(of: np.ndarray, where: np.ndarray) -> np.ndarray:
        cells = np.bincount(clusters[where] * classes + of[where], minlength=count * classes)
        return cells.reshape(count, classes)

    everywhere = np.ones(len(labels), dtype=bool)
    images = np.bincount(clusters, minlength=count)
    loss, right = summed(predictions.losses), summed(correct)
    top = summed(_true_class_ranks(predictions) < TOP)
    scalars = [np.ones(count), images, loss, right, top, loss / images, right / images]
    return np.column_stack(
        [*scalars, by_class(labels, correct), by_class(predicted, everywhere), by_class(labels, everywhere)]
    )


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
    of = {name: sums[..., place] for place, name in enumerate(SCALARS)}
    f1, support = _f1(sums)
    present = support > 0
    return {
        "log_loss": of["loss"] / of["images"],
        "accuracy": of["correct"] / of["images"],
        "macro_f1": np.where(present, f1, 0).sum(axis=-1) / present.sum(axis=-1),
        "weighted_f1": (f1 * support).sum(axis=-1) / of["images"],
        "top3_accuracy": of["top"] / of["images"],
        "site_balanced_log_loss": of["cluster_loss"] / of["clusters"],
        "site_balanced_accuracy": of["cluster_correct"] / of["clusters"],
    }


METRICS = (
    "log_loss",
    "accuracy",
    "macro_f1",
    "weighted_f1",
    "top3_accuracy",
    "site_balanced_log_loss",
    "site_balanced_accuracy",
)


def _class_sums(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hits, predicted and true images, each (..., classes)."""
    hits, predicted, support = np.split(sums[..., len(SCALARS) :], 3, axis=-1)
    return hits, predicted, support


def _f1(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    hits, predicted, support = _class_sums(sums)
    return _ratio(2 * hits, predicted + support), support


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(part, dtype=np.float64), where=whole > 0)


def per_class(sums: np.ndarray, classes: list[str]) -> list[dict[str, Any]]:
    """Precision, recall, F1, support and predicted images of each class, from the sum of all rows, (sums,).

    Recall and F1 are None for a class without a true image; precision is None where none was predicted.
    """
    hits, predicted, support = _class_sums(sums)
    f1, _ = _f1(sums)
    return [
        {
            "class": name,
            "precision": float(hits[k] / predicted[k]) if predicted[k] else None,
            "recall": float(hits[k] / support[k]) if support[k] else None,
            "f1": float(f1[k]) if support[k] else None,
            "support": int(support[k]),
            "predicted": int(predicted[k]),
        }
        for k, name in enumerate(classes)
    ]


def per_site(sums: np.ndarray, sites: list[str]) -> list[dict[str, Any]]:
    """Images, accuracy and log loss of each cluster, (clusters, sums), under the name of its site."""
    numbers = metrics_of(sums)
    return [
        {
            "site": site,
            "images": int(sums[place, SCALARS.index("images")]),
            "accuracy": float(numbers["accuracy"][place]),
            "log_loss": float(numbers["log_loss"][place]),
        }
        for place, site in enumerate(sites)
    ]


def confusion_matrix(predictions: Scored) -> list[list[int]]:
    """Images by true class (rows) and predicted class (columns)."""
    classes = predictions.log_probabilities.shape[1]
    cells = np.bincount(predictions.labels * classes + predictions.predicted, minlength=classes**2)
    return [[int(count) for count in row] for row in cells.reshape(classes, classes)]
