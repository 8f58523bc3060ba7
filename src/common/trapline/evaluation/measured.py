"""The section of evaluation.json that measures one part of the data, and the baselines beside it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from trapline.data.prepared import DatasetDescription
from trapline.evaluation.bootstrap import MIN_CLUSTERS, Resampling, metric_intervals
from trapline.evaluation.calibration import BINS, expected_calibration_error, reliability
from trapline.evaluation.clusters import Clusters
from trapline.scoring.scores import (
    METRICS,
    cluster_sums,
    confusion_matrix,
    metrics_of,
    per_class,
    per_site,
    scored,
)

BINNING = {"bins": BINS, "binning": "equal width"}
ONLY_WITH_SITES = ("site_balanced_log_loss", "site_balanced_accuracy")


def class_prior(description: DatasetDescription) -> np.ndarray:
    """The frequencies of the classes in train, float64 (classes,), sum 1.

    A class without a train image counts as half an image: a probability of 0 would cost infinitely much.
    """
    counts = description.counts["train"]
    images = np.maximum([float(counts.get(name, 0)) for name in description.classes], 0.5)
    return np.asarray(images / images.sum())


def measure(
    logits: np.ndarray,
    labels: np.ndarray,
    clusters: Clusters,
    temperature: float,
    classes: Sequence[str],
    prior: np.ndarray,
    resampling: Resampling,
) -> dict[str, Any]:
    """The section for logits (images, classes) and labels (images,); all its numbers are finite or None."""
    predictions = scored(logits, labels, clusters.numbers, temperature)
    sums = cluster_sums(predictions)
    total = sums.sum(axis=0)
    by_prior = float(-np.log(prior[labels]).mean())
    return {
        **metrics_section(sums, clusters, metrics_of, METRICS, resampling),
        **baselines(float(np.log(len(prior))), by_prior, metrics_of(total), labels == prior.argmax()),
        "calibration": calibration(
            (each.confidences, each.predicted == each.labels)
            for each in (scored(logits, labels, clusters.numbers), predictions)
        ),
        "per_class": per_class(total, classes),
        "per_site": None if clusters.names is None else per_site(sums, clusters.names),
        "confusion_matrix": confusion_matrix(predictions),
    }


def metrics_section(
    sums: np.ndarray,
    clusters: Clusters,
    metrics: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    with_interval: Sequence[str],
    resampling: Resampling,
) -> dict[str, Any]:
    """What `metrics` make of the sum of `sums` (clusters, sums), with intervals for those `with_interval`."""
    numbers: dict[str, Any] = {name: float(value) for name, value in metrics(sums.sum(axis=0)).items()}
    intervals = metric_intervals(sums, with_interval, resampling, metrics)
    shown: dict[str, Any] = {name: asdict(found) for name, found in (intervals or {}).items()}
    if clusters.names is None:
        absent = dict.fromkeys(ONLY_WITH_SITES)
        numbers, shown = {**numbers, **absent}, {**shown, **absent}
    return {
        "available": True,
        "reason": None,
        "images": len(clusters.numbers),
        "sites": None if clusters.names is None else clusters.count,
        **numbers,
        "intervals": {name: shown.get(name) for name in numbers},
        "interval_unit": clusters.unit if intervals else None,
        "interval_reason": None if intervals else too_few(clusters),
    }


def unmeasured(reason: str, metrics: Sequence[str] = METRICS) -> dict[str, Any]:
    """The same section, all None, where there is nothing to measure: a gate finds its path all the same."""
    return {
        "available": False,
        "reason": reason,
        "images": 0,
        "sites": None,
        **dict.fromkeys(metrics),
        **dict.fromkeys(("uniform_log_loss", "prior_log_loss", "gain_over_prior", "prior_accuracy")),
        "calibration": {**BINNING, **dict.fromkeys(("before", "after", "reliability"))},
        "intervals": dict.fromkeys(metrics),
        "interval_unit": None,
        "interval_reason": reason,
        "per_class": None,
        "per_site": None,
        "confusion_matrix": None,
    }  # fmt: skip


def baselines(
    uniform: float, by_prior: float, metrics: Mapping[str, Any], prior_is_right: np.ndarray
) -> dict[str, float]:
    """What is reached without looking: log losses of all classes alike, and of the frequencies of train.

    prior_is_right: bool (images,), whether what is most frequent in train is true.
    """
    return {
        "uniform_log_loss": uniform,
        "prior_log_loss": by_prior,
        "gain_over_prior": by_prior - float(metrics["log_loss"]),
        "prior_accuracy": float(prior_is_right.mean()),
    }


def calibration(before_and_after: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """Calibration of (confidences, correct) without a temperature, and with it."""
    bins = {
        name: reliability(*each) for name, each in zip(("before", "after"), before_and_after, strict=True)
    }
    errors = {name: expected_calibration_error(found) for name, found in bins.items()}
    return {**BINNING, **errors, "reliability": bins}


def too_few(clusters: Clusters) -> str:
    """Why there are no intervals."""
    return f"{clusters.counted}, fewer than {MIN_CLUSTERS}: no interval can be given"
