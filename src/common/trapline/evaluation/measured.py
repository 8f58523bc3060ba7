"""The section of evaluation.json that measures one part of the data, with intervals and baselines.

Where images have several labels, micro and macro F1, precision and recall, and `map` (mean average precision
over the classes that occur) are in the place of weighted F1 and top-3 accuracy; `labels_per_image` {true,
predicted} is new; a row of `per_class` has an average precision, a threshold and the images in which it was
found (correct) too, one of `per_site` a micro F1; `confusion_matrix` is None.

`log_loss` is then the mean binary log loss, `accuracy` that of whole images, all labels right; calibration is
that of every label of every image. `uniform_log_loss` is that of a half for each label, `prior_log_loss` that
of the labels' frequencies in train, and `prior_accuracy` that of the labels that most images in train have.

Confidence intervals come of resampling whole sites: what another draw of cameras would have given. Images of
one camera are alike, so that resampling images would promise too much. The interval is the percentile
interval of Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13, with clusters, which
are the images of one site, in the place of observations.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from trapline.data.prepared import DatasetDescription, PackedPart
from trapline.learning import Task
from trapline.names import Kind, Merged, merged
from trapline.scoring.predictions import calibrated
from trapline.scoring.scores import (
    LABEL_METRICS,
    METRICS,
    WITH_INTERVAL,
    class_rows,
    cluster_sums,
    confusion_matrix,
    counts_of,
    label_metrics_of,
    label_sums,
    labels_scored,
    metrics_of,
    per_label,
    per_site,
    scored,
)

BINS = 15
BINNING = {"bins": BINS, "binning": "equal width"}
ONLY_WITH_SITES = ("site_balanced_log_loss", "site_balanced_accuracy")
MIN_CLUSTERS = 5
DRAWS_AT_ONCE = 4_000_000  # cluster numbers that are in memory at a time


# --- what is resampled as one -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clusters:
    """What is resampled as one. numbers: int64 (images,); names: of the sites; None: every `alone` itself."""

    numbers: np.ndarray
    names: list[str] | None
    alone: str = "image"

    @property
    def unit(self) -> str:
        """What a cluster is."""
        return self.alone if self.names is None else "site"

    @property
    def counted(self) -> str:
        """Their number in words, as in `4 sites`."""
        return f"{self.count} {self.unit}{'' if self.count == 1 else 's'}"

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.numbers.max()) + 1


def clusters_of(part: PackedPart) -> Clusters:
    """The sites of a part where every image has one, else each image for itself.

    A site that is spelt in several ways is one, under its commonest spelling.
    """
    sites = merged_sites(part).names
    if any(site is None for site in sites):
        return Clusters(np.arange(len(sites)), None)
    names, numbers = np.unique(np.asarray(sites, dtype=str), return_inverse=True)
    return Clusters(numbers.astype(np.int64), names.tolist())


def merged_sites(part: PackedPart) -> Merged:
    """The site of each image, (images,), in one spelling each; None where it is not known."""
    return merged(part.table["site"].to_pylist(), Kind.SITE)


# --- intervals ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Resampling:
    """How intervals are made."""

    resamples: int = 2000
    seed: int = 0
    confidence: float = 0.95


@dataclass(frozen=True)
class Interval:
    """A percentile interval."""

    low: float
    high: float


def resampled(sums: np.ndarray, resampling: Resampling) -> Iterator[np.ndarray]:
    """Sums of as many clusters as there are, drawn with replacement, in blocks of (resamples, sums).

    `sums`: float (clusters, sums), a row for each cluster. The same for the same seed.
    """
    clusters = len(sums)
    random = np.random.default_rng(resampling.seed)
    left = resampling.resamples
    while left:
        rows = min(left, max(1, DRAWS_AT_ONCE // clusters))
        drawn = random.integers(0, clusters, (rows, clusters), dtype=np.int64)
        drawn += np.arange(rows)[:, None] * clusters
        yield np.bincount(drawn.ravel(), minlength=rows * clusters).reshape(rows, clusters) @ sums
        left -= rows


def percentile(values: np.ndarray, resampling: Resampling) -> Interval:
    """The interval that holds the middle `confidence` of `values`, (resamples,)."""
    tail = 50 * (1 - resampling.confidence)
    low, high = np.percentile(values, [tail, 100 - tail])
    return Interval(float(low), float(high))


def metric_intervals(
    sums: np.ndarray,
    names: Sequence[str],
    resampling: Resampling,
    metrics: Callable[[np.ndarray], Mapping[str, np.ndarray]] = metrics_of,
) -> dict[str, Interval] | None:
    """An interval for each metric in `names`, from rows of sums, one a cluster; None below MIN_CLUSTERS.

    `metrics` makes them of rows of sums, by default of those of `cluster_sums`.
    """
    if len(sums) < MIN_CLUSTERS:
        return None
    blocks = [metrics(block) for block in resampled(sums, resampling)]
    return {name: percentile(np.concatenate([block[name] for block in blocks]), resampling) for name in names}


def paired_difference(
    first: np.ndarray, second: np.ndarray, clusters: np.ndarray, resampling: Resampling
) -> Interval | None:
    """The interval of mean(`second`) - mean(`first`), both (images,) and of the same images.

    `clusters`: int64 (images,). Both are resampled with the same sites, so that what makes a site hard for
    both cancels. None below MIN_CLUSTERS.
    """
    images = np.bincount(clusters)
    if len(images) < MIN_CLUSTERS:
        return None
    sums = np.column_stack([np.bincount(clusters, weights=second - first), images])
    blocks = [block[:, 0] / block[:, 1] for block in resampled(sums, resampling)]
    return percentile(np.concatenate(blocks), resampling)


# --- the section --------------------------------------------------------------------------------------------


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
    return {
        **metrics_section(sums, clusters, metrics_of, METRICS, resampling),
        **baselines(
            uniform=float(np.log(len(prior))),
            by_prior=float(-np.log(prior[labels]).mean()),
            metrics=metrics_of(total),
            prior_is_right=labels == prior.argmax(),
        ),
        "calibration": calibration(
            (each.confidences, each.predicted == each.labels)
            for each in (scored(logits, labels, clusters.numbers), predictions)
        ),
        "per_class": class_rows(counts_of(total, others=1), classes),
        "per_site": None if clusters.names is None else per_site(sums, clusters.names),
        "confusion_matrix": confusion_matrix(predictions),
    }


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
    precisions = [row["average_precision"] for row in by_class if row["average_precision"] is not None]
    true = predictions.labels
    return {
        **section,
        "intervals": {name: section["intervals"].get(name) for name in LABEL_METRICS},
        "map": float(np.mean(precisions)) if precisions else None,
        "labels_per_image": {
            "true": float(true.sum(axis=1).mean()),
            "predicted": float(predictions.decided.sum(axis=1).mean()),
        },
        **baselines(
            uniform=float(np.log(2)),
            by_prior=float(-np.log(np.where(true, frequencies, 1 - frequencies)).mean()),
            metrics=section,
            prior_is_right=(true == (frequencies > 0.5)).all(axis=1),
        ),
        "calibration": calibration(
            (calibrated(logits, each, "multilabel").ravel(), true.ravel()) for each in (1.0, temperature)
        ),
        "per_class": by_class,
        "per_site": None
        if clusters.names is None
        else per_site(sums, clusters.names, ("accuracy", "micro_f1", "log_loss"), label_metrics_of),
        "confusion_matrix": None,
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
        "interval_reason": None
        if intervals
        else f"{clusters.counted}, fewer than {MIN_CLUSTERS}: no interval can be given",
    }


def unmeasured(reason: str, task: Task = "multiclass") -> dict[str, Any]:
    """The same section, all None, where there is nothing to measure: a gate finds its path all the same."""
    metrics = LABEL_METRICS if task == "multilabel" else METRICS
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
        **({"labels_per_image": None} if task == "multilabel" else {}),
    }


# --- what is reached without looking ------------------------------------------------------------------------


def class_prior(description: DatasetDescription) -> np.ndarray:
    """The frequencies of the classes in train, float64 (classes,), sum 1.

    A class without a train image counts as half an image: a probability of 0 would cost infinitely much.
    """
    images = np.maximum(
        [float(description.counts["train"].get(name, 0)) for name in description.classes], 0.5
    )
    return np.asarray(images / images.sum())


def label_frequencies(description: DatasetDescription) -> np.ndarray:
    """The share of the images in train that have each label, float64 (classes,).

    A label that none or all of them have counts as if half an image were otherwise: a probability of 0 or 1
    would cost infinitely much.
    """
    counts, images = description.counts["train"], description.parts["train"].images
    having = np.array([float(counts.get(name, 0)) for name in description.classes])
    return np.asarray(np.clip(having, 0.5, max(images - 0.5, 0.5)) / max(images, 1))


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


# --- calibration: whether answers that are given with 80% confidence are right 80% of the time --------------


def calibration(before_and_after: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """Calibration of (confidences, correct) without a temperature, and with it."""
    bins = {
        name: reliability(*each) for name, each in zip(("before", "after"), before_and_after, strict=True)
    }
    return {
        **BINNING,
        **{name: expected_calibration_error(found) for name, found in bins.items()},
        "reliability": bins,
    }


def reliability(confidences: np.ndarray, correct: np.ndarray) -> list[dict[str, Any]]:
    """For each of BINS equal-width bins of confidence: images, mean confidence, accuracy.

    `confidences`: float (images,), the probability of the predicted class; `correct`: bool (images,). A bin
    holds its upper end, as in Guo et al. 2017; an empty one has None for its mean and its accuracy.
    """
    bin_of = np.clip(np.ceil(confidences * BINS).astype(np.int64) - 1, 0, BINS - 1)
    images = np.bincount(bin_of, minlength=BINS)
    confidence = np.bincount(bin_of, weights=confidences, minlength=BINS)
    hits = np.bincount(bin_of, weights=correct, minlength=BINS)
    return [
        {
            "low": place / BINS,
            "high": (place + 1) / BINS,
            "images": int(count),
            "confidence": float(confidence[place] / count) if count else None,
            "accuracy": float(hits[place] / count) if count else None,
        }
        for place, count in enumerate(images)
    ]


def expected_calibration_error(bins: list[dict[str, Any]]) -> float:
    """The mean distance of confidence and accuracy over the bins, weighted by their images (0 to 1).

    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI
    2015, here over the predicted class alone, as in Guo et al. 2017.
    """
    filled = [item for item in bins if item["images"]]
    images = sum(item["images"] for item in filled)
    return float(sum(item["images"] * abs(item["confidence"] - item["accuracy"]) for item in filled) / images)
