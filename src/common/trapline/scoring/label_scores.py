"""What is reported of a classifier that gives an image several labels, made of sums over clusters of images.

As in `scoring.scores`: a row of sums for each site, or image where sites are not known, and metrics of
any collection of them from the sum of their rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trapline.scoring.counts import CORRECT, macro, precision_recall_f1
from trapline.scoring.multilabel import average_precisions
from trapline.scoring.predictions import Predictions, calibrated
from trapline.scoring.site_sums import class_rows, counts_of, scalar_metrics, scalar_sums, site_rows
from trapline.scoring.temperature import image_losses

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
    clusters, labels, decided = predictions.clusters, predictions.labels, predictions.decided
    scalars = scalar_sums(clusters, predictions.losses, predictions.exact)
    by_class = np.stack([labels, labels & decided, decided], axis=-1).reshape(len(labels), -1)
    counts = np.zeros((len(scalars), by_class.shape[1]))
    np.add.at(counts, clusters, by_class)
    return np.column_stack([scalars, counts])


def label_metrics_of(sums: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics in SUMMED of each row of sums, (..., sums), each (...).

    Log loss is the mean binary one, in natural logarithms; accuracy that of whole images, all labels right.
    Macro numbers are means over the classes that occur, 0 where none does; the site-balanced ones over
    clusters.
    """
    counts = counts_of(sums)
    micro, means = precision_recall_f1(counts.sum(axis=-2)), np.nan_to_num(macro(counts))
    names = ("precision", "recall", "f1")
    return {
        **scalar_metrics(sums),
        **{f"micro_{name}": values for name, values in zip(names, micro, strict=True)},
        **{f"macro_{name}": values for name, values in zip(names, means, strict=True)},
    }


def per_label(
    predictions: LabelsScored, classes: Sequence[str], thresholds: Sequence[float]
) -> list[dict[str, Any]]:
    """What `class_rows` says of each label, with its average precision, threshold and correct images.

    Average precision is None for a label without a true image.
    """
    counts = counts_of(label_sums(predictions).sum(axis=0))
    average = average_precisions(Predictions(predictions.logits, predictions.labels))
    return [
        {
            **row,
            "average_precision": float(average[k]) if row["support"] else None,
            "threshold": float(thresholds[k]),
            "correct": int(counts[k, CORRECT]),
        }
        for k, row in enumerate(class_rows(counts, classes))
    ]


def per_site_of_labels(sums: np.ndarray, sites: Sequence[str]) -> list[dict[str, Any]]:
    """Images, accuracy, micro F1 and log loss of each cluster, (clusters, sums), under its site's name."""
    found = label_metrics_of(sums)
    return site_rows(sums, sites, {name: found[name] for name in ("accuracy", "micro_f1", "log_loss")})
