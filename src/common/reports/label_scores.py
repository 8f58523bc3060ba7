"""What is reported of a classifier that gives an image several labels, made of sums over clusters of images.

As in `common.reports.scores`: a row of sums for each site, or image where sites are not known, and metrics of
any collection of them from the sum of their rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.inference.predictor import calibrated
from common.inference.temperature import image_losses
from common.training.evaluation import Predictions
from common.training.multilabel import CORRECT, IMAGES, PREDICTED, average_precisions, shares

SCALARS = ("clusters", "images", "loss", "correct", "cluster_loss", "cluster_correct")
SUMMED = (
    "log_loss",
    "accuracy",
    "micro_f1",
    "micro_precision",
    "micro_recall",
    "macro_f1",
    "macro_precision",
    "macro_recall",
    "site_balanced_log_loss",
    "site_balanced_accuracy",
)
METRICS = (*SUMMED, "map")
# The others' intervals would say the same again, and mean average precision is not made of sums.
WITH_INTERVAL = ("log_loss", "accuracy", "micro_f1", "macro_f1")


@dataclass(frozen=True)
class LabelsScored:
    """Predictions with their truth, all (images, classes) but for `losses` and `clusters`, (images,).

    decided: bool, whether the probability reaches its threshold; labels: bool. losses: the mean binary log
    loss of each image; clusters: int64, 0 up to the number of clusters, none left out.
    """

    logits: np.ndarray
    probabilities: np.ndarray
    decided: np.ndarray
    labels: np.ndarray
    losses: np.ndarray
    clusters: np.ndarray

    @property
    def exact(self) -> np.ndarray:
        """Whether all labels of an image are right, and no others given, bool (images,)."""
        right: np.ndarray = (self.decided == self.labels).all(axis=1)
        return right


def labels_scored(
    logits: np.ndarray,
    labels: np.ndarray,
    clusters: np.ndarray,
    temperature: float,
    thresholds: Sequence[float],
) -> LabelsScored:
    """Predictions from logits and labels of 0 and 1, both (images, classes), and thresholds, (classes,)."""
    probabilities = calibrated(logits, temperature, "multilabel")
    return LabelsScored(
        logits=logits,
        probabilities=probabilities,
        decided=probabilities >= np.asarray(thresholds),
        labels=labels.astype(bool),
        losses=image_losses(logits, labels, temperature),
        clusters=clusters,
    )


def label_sums(predictions: LabelsScored) -> np.ndarray:
    """Float64 (clusters, sums): SCALARS, then for each class its images, and of them found, and predicted."""
    clusters = predictions.clusters
    images = np.bincount(clusters)
    loss = np.bincount(clusters, weights=predictions.losses)
    right = np.bincount(clusters, weights=predictions.exact)
    scalars = [np.ones(len(images)), images, loss, right, loss / images, right / images]
    labels, decided = predictions.labels, predictions.decided
    by_class = np.stack([labels, labels & decided, decided], axis=-1).reshape(len(labels), -1)
    counts = np.zeros((len(images), by_class.shape[1]))
    np.add.at(counts, clusters, by_class)
    return np.column_stack([*scalars, counts])


def _class_counts(sums: np.ndarray) -> np.ndarray:
    """(..., classes, 3) as `common.training.multilabel` counts, from (..., sums)."""
    return sums[..., len(SCALARS) :].reshape(*sums.shape[:-1], -1, 3)


def label_metrics_of(sums: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics in SUMMED of each row of sums, (..., sums), each (...).

    Log loss is the mean binary one, in natural logarithms; accuracy that of whole images, all labels right.
    Macro numbers are means over the classes that occur; the site-balanced ones over clusters.
    """
    of = {name: sums[..., place] for place, name in enumerate(SCALARS)}
    counts = _class_counts(sums)
    present = counts[..., IMAGES] > 0
    macro = [_mean_where(values, present) for values in shares(counts)]
    micro = shares(counts.sum(axis=-2))
    names = ("precision", "recall", "f1")
    return {
        "log_loss": of["loss"] / of["images"],
        "accuracy": of["correct"] / of["images"],
        **{f"micro_{name}": values for name, values in zip(names, micro, strict=True)},
        **{f"macro_{name}": values for name, values in zip(names, macro, strict=True)},
        "site_balanced_log_loss": of["cluster_loss"] / of["clusters"],
        "site_balanced_accuracy": of["cluster_correct"] / of["clusters"],
    }


def _mean_where(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    mean: np.ndarray = np.where(present, values, 0).sum(axis=-1) / np.maximum(1, present.sum(axis=-1))
    return mean


def per_label(
    predictions: LabelsScored, classes: Sequence[str], thresholds: Sequence[float]
) -> list[dict[str, Any]]:
    """Precision, recall, F1, average precision, threshold, support and predicted images of each class.

    Recall, F1 and average precision are None for a class without a true image; precision is None where none
    was predicted.
    """
    counts = _class_counts(label_sums(predictions).sum(axis=0))
    precision, recall, f1 = shares(counts)
    average = average_precisions(Predictions(predictions.logits, predictions.labels))
    return [
        {
            "class": name,
            "precision": float(precision[k]) if counts[k, PREDICTED] else None,
            "recall": float(recall[k]) if counts[k, IMAGES] else None,
            "f1": float(f1[k]) if counts[k, IMAGES] else None,
            "average_precision": float(average[k]) if counts[k, IMAGES] else None,
            "threshold": float(thresholds[k]),
            "support": int(counts[k, IMAGES]),
            "correct": int(counts[k, CORRECT]),
            "predicted": int(counts[k, PREDICTED]),
        }
        for k, name in enumerate(classes)
    ]


def per_site_of_labels(sums: np.ndarray, sites: Sequence[str]) -> list[dict[str, Any]]:
    """Images, accuracy, micro F1 and log loss of each cluster, (clusters, sums), under its site's name."""
    numbers = label_metrics_of(sums)
    return [
        {
            "site": site,
            "images": int(sums[place, SCALARS.index("images")]),
            "accuracy": float(numbers["accuracy"][place]),
            "micro_f1": float(numbers["micro_f1"][place]),
            "log_loss": float(numbers["log_loss"][place]),
        }
        for place, site in enumerate(sites)
    ]
