"""The section of evaluation.json that measures a part whose images have several labels.

It has the keys of `common.reports.measured` but for these: micro and macro F1, precision and recall, and
`map` (mean average precision over the classes that occur) are in the place of weighted F1 and top-3 accuracy;
`labels_per_image` {true, predicted} is new; a row of `per_class` has an average precision, a threshold and
the images in which it was found (correct) too, one of `per_site` a micro F1; `confusion_matrix` is None.

`log_loss` is the mean binary log loss, `accuracy` that of whole images, all labels right; calibration is that
of every label of every image. `uniform_log_loss` is that of a half for each label, `prior_log_loss` that of
the labels' frequencies in train, and `prior_accuracy` that of the labels that most images in train have.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from common.data.prepared import DatasetDescription
from common.reports.bootstrap import Resampling, metric_intervals
from common.reports.calibration import expected_calibration_error, reliability
from common.reports.clusters import Clusters
from common.reports.label_scores import (
    METRICS,
    SUMMED,
    WITH_INTERVAL,
    LabelsScored,
    label_metrics_of,
    label_sums,
    labels_scored,
    per_label,
    per_site_of_labels,
)
from common.reports.measured import BINNING, ONLY_WITH_SITES, too_few, unmeasured


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
    totals = label_metrics_of(sums.sum(axis=0))
    numbers: dict[str, float | None] = {name: float(totals[name]) for name in SUMMED}
    if clusters.names is None:
        numbers |= dict.fromkeys(ONLY_WITH_SITES)
    intervals = metric_intervals(sums, WITH_INTERVAL, resampling, label_metrics_of)
    shown = {name: asdict(found) for name, found in (intervals or {}).items()}
    return {
        "available": True,
        "reason": None,
        "images": len(labels),
        "sites": None if clusters.names is None else clusters.count,
        **numbers,
        "map": _mean([row["average_precision"] for row in by_class]),
        "labels_per_image": _labels_per_image(predictions),
        **_label_baselines(labels, frequencies, float(totals["log_loss"])),
        "calibration": _label_calibration(labels_scored(logits, labels, clusters.numbers, 1.0, thresholds),
                                          predictions),
        "intervals": {name: shown.get(name) for name in METRICS},
        "interval_unit": clusters.unit if intervals else None,
        "interval_reason": None if intervals else too_few(clusters),
        "per_class": by_class,
        "per_site": None if clusters.names is None else per_site_of_labels(sums, clusters.names),
        "confusion_matrix": None,
    }  # fmt: skip


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


def _label_baselines(labels: np.ndarray, frequencies: np.ndarray, log_loss: float) -> dict[str, float]:
    """What is reached without looking: a half for every label, and the frequencies of train."""
    true = labels.astype(bool)
    by_prior = float(-np.log(np.where(true, frequencies, 1 - frequencies)).mean())
    return {
        "uniform_log_loss": float(np.log(2)),
        "prior_log_loss": by_prior,
        "gain_over_prior": by_prior - log_loss,
        "prior_accuracy": float((true == (frequencies > 0.5)).all(axis=1).mean()),
    }


def _label_calibration(before: LabelsScored, after: LabelsScored) -> dict[str, Any]:
    bins = {
        name: reliability(each.probabilities.ravel(), each.labels.ravel())
        for name, each in (("before", before), ("after", after))
    }
    errors = {name: expected_calibration_error(found) for name, found in bins.items()}
    return {**BINNING, **errors, "reliability": bins}
