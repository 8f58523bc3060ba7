"""Sums over clusters of images, of which metrics are made: a row for each site, or image of no known site.

All that the metrics need of a cluster is a row of sums; the metrics of any collection of clusters are made of
the sum of their rows. One function therefore serves for the numbers themselves and for thousands of resamples
of sites at once. A row begins with SCALARS and ends with the counts of each class.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trapline.scoring.counts import IMAGES, PREDICTED, precision_recall_f1

SCALARS = ("clusters", "images", "loss", "correct", "cluster_loss", "cluster_correct")


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


def site_rows(
    sums: np.ndarray, sites: Sequence[str], metrics: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """The images of each cluster, (clusters, sums), and its `metrics`, under the name of its site."""
    return [
        {
            "site": site,
            "images": int(sums[place, SCALARS.index("images")]),
            **{name: float(values[place]) for name, values in metrics.items()},
        }
        for place, site in enumerate(sites)
    ]
