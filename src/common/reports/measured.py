"""The section of evaluation.json that measures one part of the data, and the baselines beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from common.data.prepared import DatasetDescription
from common.reports.bootstrap import FEWEST_CLUSTERS, Resampling, metric_intervals
from common.reports.calibration import BINS, expected_calibration_error, reliability
from common.reports.clusters import Clusters
from common.reports.scores import (
    METRICS,
    Scored,
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
    numbers: dict[str, float | None] = {name: float(value) for name, value in metrics_of(total).items()}
    intervals = metric_intervals(sums, METRICS, resampling)
    shown: dict[str, Any] = {name: asdict(found) for name, found in (intervals or {}).items()}
    if clusters.names is None:
        absent = dict.fromkeys(ONLY_WITH_SITES)
        numbers, shown = {**numbers, **absent}, {**shown, **absent}
    return {
        "available": True,
        "reason": None,
        "images": len(labels),
        "sites": None if clusters.names is None else clusters.count,
        **numbers,
        **_baselines(labels, prior, numbers["log_loss"]),
        "calibration": _calibration(scored(logits, labels, clusters.numbers), predictions),
        "intervals": {name: shown.get(name) for name in METRICS},
        "interval_unit": clusters.unit if intervals else None,
        "interval_reason": None if intervals else too_few(clusters),
        "per_class": per_class(total, list(classes)),
        "per_site": None if clusters.names is None else per_site(sums, clusters.names),
        "confusion_matrix": confusion_matrix(predictions),
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


def _baselines(labels: np.ndarray, prior: np.ndarray, log_loss: float | None) -> Mapping[str, float]:
    """What is reached without looking: all classes alike, and the frequencies of train."""
    assert log_loss is not None
    by_prior = float(-np.log(prior[labels]).mean())
    return {
        "uniform_log_loss": float(np.log(len(prior))),
        "prior_log_loss": by_prior,
        "gain_over_prior": by_prior - log_loss,
        "prior_accuracy": float((labels == prior.argmax()).mean()),
    }


def _calibration(before: Scored, after: Scored) -> dict[str, Any]:
    bins = {
        name: reliability(each.confidences, each.predicted == each.labels)
        for name, each in (("before", before), ("after", after))
    }
    errors = {name: expected_calibration_error(found) for name, found in bins.items()}
    return {**BINNING, **errors, "reliability": bins}


def too_few(clusters: Clusters) -> str:
    """Why there are no intervals."""
    return f"{clusters.counted}, fewer than {FEWEST_CLUSTERS}: no interval can be given"
