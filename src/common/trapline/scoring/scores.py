"""What is reported of a classifier, made of sums over clusters of images.

A cluster is a site, or an image where sites are not known. All that the metrics need of one is a row of sums;
the metrics of any collection of clusters are made of the sum of their rows. One function therefore serves for
the numbers themselves and for thousands of resamples of sites at once. A row begins with SCALARS and ends
with the counts of each class. First stands what is common, then one label an image, then several.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trapline.scoring.predictions import (
    CORRECT,
    IMAGES,
    PREDICTED,
    Predictions,
    average_precisions,
    averaged,
    calibrated,
    image_losses,
    log_probabilities,
    macro,
    precision_recall_f1,
)

SCALARS = ("clusters", "images", "loss", "correct", "cluster_loss", "cluster_correct")
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
LABEL_METRICS = (
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
    "map",
)
# Those of the others would say the same again, and mean average precision is not made of sums.
WITH_INTERVAL = ("log_loss", "accuracy", "micro_f1", "macro_f1")


def scalar_sums(clusters: np.ndarray, losses: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """SCALARS of each cluster, float64 (clusters, 6).

    All are (images,): `clusters` int64, 0 up to the number of clusters, none left out; `losses` log losses;
    `correct` whether an image is right.
    """
    images = np.bincount(clusters)
    loss, right = (np.bincount(clusters, weights=values) for values in (losses, correct))
    return np.column_stack([np.ones(len(images)), images, loss, right, loss / images, right / images])


def counts_of(sums: np.ndarray, others: int = 0) -> np.ndarray:
    """(..., classes, 3) as `counts` has them, from (..., sums) with `others` between SCALARS and them."""
    return sums[..., len(SCALARS) + others :].reshape(*sums.shape[:-1], -1, 3)


def scalar_metrics(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Log loss and accuracy of (..., sums), over images and over clusters: each camera counts the same."""
    of = {name: sums[..., place] for place, name in enumerate(SCALARS)}
    return {
        "log_loss": of["loss"] / of["images"],
        "accuracy": of["correct"] / of["images"],
        "site_balanced_log_loss": of["cluster_loss"] / of["clusters"],
        "site_balanced_accuracy": of["cluster_correct"] / of["clusters"],
    }


def class_rows(counts: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Precision, recall, F1, support and predicted images of each class, from `counts` (classes, 3).

    Recall and F1 are None for a class without a true image; precision is None where none was predicted.
    """
    precision, recall, f1 = precision_recall_f1(counts)
    return [
        {
            "class": name,
            "precision": float(precision[k]) if counts[k, PREDICTED] else None,
            "recall": float(recall[k]) if counts[k, IMAGES] else None,
            "f1": float(f1[k]) if counts[k, IMAGES] else None,
            "support": int(counts[k, IMAGES]),
            "predicted": int(counts[k, PREDICTED]),
        }
        for k, name in enumerate(classes)
    ]


def per_site(
    sums: np.ndarray,
    sites: Sequence[str],
    names: Sequence[str] = ("accuracy", "log_loss"),
    metrics: Callable[[np.ndarray], Mapping[str, np.ndarray]] = scalar_metrics,
) -> list[dict[str, Any]]:
    """The images of each cluster, (clusters, sums), and `names` of its `metrics`, under its site's name."""
    found = metrics(sums)
    return [
        {
            "site": site,
            "images": int(sums[place, SCALARS.index("images")]),
            **{name: float(found[name][place]) for name in names},
        }
        for place, site in enumerate(sites)
    ]


# --- one label an image -------------------------------------------------------------------------------------


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


def confusion_matrix(predictions: Scored) -> list[list[int]]:
    """Images by true class (rows) and predicted class (columns)."""
    from sklearn import metrics  # late: collection needs none of it

    cells: np.ndarray = metrics.confusion_matrix(
        predictions.labels, predictions.predicted, labels=range(predictions.log_probabilities.shape[1])
    )
    return cells.tolist()


# --- several labels an image --------------------------------------------------------------------------------


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
    scalars = scalar_sums(clusters, predictions.losses, (decided == labels).all(axis=1))
    by_class = np.stack([labels, labels & decided, decided], axis=-1).reshape(len(labels), -1)
    counts = np.zeros((len(scalars), by_class.shape[1]))
    np.add.at(counts, clusters, by_class)
    return np.column_stack([scalars, counts])


def label_metrics_of(sums: np.ndarray) -> dict[str, np.ndarray]:
    """LABEL_METRICS but for `map` of each row of sums, (..., sums), each (...).

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
