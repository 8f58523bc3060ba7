"""The section of evaluation.json that measures a part whose images have several labels.

It has the keys of `trapline.evaluation.measured` but for these: micro and macro F1, precision and recall, and
`map` (mean average precision over the classes that occur) are in the place of weighted F1 and top-3 accuracy;
`labels_per_image` {true, predicted} is new; a row of `per_class` has an average precision, a threshold and
the images in which it was found (correct) too, one of `per_site` a micro F1; `confusion_matrix` is None.

`log_loss` is the mean binary log loss, `accuracy` that of whole images, all labels right; calibration is that
of every label of every image. `uniform_log_loss` is that of a half for each label, `prior_log_loss` that of
the labels' frequencies in train, and `prior_accuracy` that of the labels that most images in train have.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from trapline.data.prepared import DatasetDescription
from trapline.evaluation.bootstrap import Resampling
from trapline.evaluation.clusters import Clusters
from trapline.evaluation.measured import baselines, calibration, metrics_section, unmeasured
from trapline.scoring.label_scores import (
    METRICS,
    WITH_INTERVAL,
    LabelsScored,
    label_metrics_of,
    label_sums,
    labels_scored,
    per_label,
    per_site_of_labels,
)
from trapline.scoring.predictions import calibrated


def label_frequencies(description: DatasetDescription) -> np.ndarray:
    """The share of the images in train that have each label, float64 (classes,).

    A label that none or all of them have counts as if half an image were otherwise: a probability of 0 or 1
    would cost infinitely much.
    """
    counts, images = description.counts["train"], description.parts["train"].images
    having = np.array([float(counts.get(name, 0)) for name in description.classes])
    return np.asarray(np.clip(having, 0.5, max(images - 0.5, 0.5)) / max(images, 1))


def measure_labels(
    logits: np.ndarray,
    labels: np.ndarray,
    clusters: Clusters,
    temperature: float,
    thresholds: Sequence[float],
    classes: Sequence[str],
    frequencies: np.ndarray,
    resampling: Resampling,
) -> dict[str, Any]:
    """The section for logits and labels, both (images, classes); all its numbers are finite or None."""
    predictions = labels_scored(logits, labels, clusters.numbers, temperature, thresholds)
    sums = label_sums(predictions)
    by_class = per_label(predictions, classes, thresholds)
    section = metrics_section(sums, clusters, label_metrics_of, WITH_INTERVAL, resampling)
    true = predictions.labels
    by_prior = float(-np.log(np.where(true, frequencies, 1 - frequencies)).mean())
    prior_is_right = (true == (frequencies > 0.5)).all(axis=1)
    return {
        **section,
        "intervals": {name: section["intervals"].get(name) for name in METRICS},
        "map": _mean([row["average_precision"] for row in by_class]),
        "labels_per_image": _labels_per_image(predictions),
        **baselines(float(np.log(2)), by_prior, section, prior_is_right),
        "calibration": calibration(
            (calibrated(logits, each, "multilabel").ravel(), true.ravel()) for each in (1.0, temperature)
        ),
        "per_class": by_class,
        "per_site": None if clusters.names is None else per_site_of_labels(sums, clusters.names),
        "confusion_matrix": None,
    }


def unmeasured_labels(reason: str) -> dict[str, Any]:
    """The same section, all None, where there is nothing to measure."""
    return {**unmeasured(reason, METRICS), "labels_per_image": None}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _labels_per_image(predictions: LabelsScored) -> dict[str, float]:
    return {
        "true": float(predictions.labels.sum(axis=1).mean()),
        "predicted": float(predictions.decided.sum(axis=1).mean()),
    }
