"""Confidence intervals by resampling whole sites: what another draw of cameras would have given.

Images of one camera are alike, so that resampling images would promise too much. The interval is the
percentile interval of Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13, with
clusters in the place of observations.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trapline.scoring.scores import metrics_of

MIN_CLUSTERS = 5
DRAWS_AT_ONCE = 4_000_000  # cluster numbers that are in memory at a time


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
        times = np.bincount(drawn.ravel(), minlength=rows * clusters).reshape(rows, clusters)
        yield times @ sums
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
