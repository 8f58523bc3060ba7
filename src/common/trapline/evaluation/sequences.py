"""Sequences in evaluation: metrics in which each counts as one, and whether predictions are pooled over them.

`by_sequence`, in the sections `test` and `validation` of evaluation.json:

available, reason   false, with the reason, where no sequence of the part has two images: the numbers are null
counted             how many predictions were counted: sequences, and images without one
sequences, images_in_sequences   of two images or more
log_loss, ...       the metrics of the section that are made of sums, of the pooled predictions
sites, intervals, interval_unit, interval_reason   as in the section, resampled by site

`pooling`, in evaluation.json:

chosen, reason      whether each image gets its sequence's pooled probabilities, and why
log_loss_difference, interval {low, high}   pooled minus unpooled, of validation images; null if not compared
unit, clusters      what the interval is over
sequences, images_in_sequences   of validation, of two images or more

The temperature, and thresholds of labels, are those of single images, chosen before anything is pooled.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from trapline.data.prepared import DatasetDescription, PackedPart, sites_and_sequences
from trapline.evaluation.choices import Choice
from trapline.evaluation.measured import (
    MIN_CLUSTERS,
    Clusters,
    Interval,
    Resampling,
    metrics_section,
    paired_difference,
)
from trapline.learning import Task
from trapline.scoring.pooling import pool_numbers, pool_sizes, pooled_logits
from trapline.scoring.predictions import cross_fitted_temperatures, image_losses
from trapline.scoring.scores import (
    LABEL_METRICS,
    METRICS,
    WITH_INTERVAL,
    cluster_sums,
    label_metrics_of,
    label_sums,
    labels_scored,
    metrics_of,
    scored,
)

NO_SEQUENCES = "no sequence of {part} has two images or more"
LABEL_SUM_METRICS = tuple(name for name in LABEL_METRICS if name != "map")  # which is not made of sums


def sequences_of(part: PackedPart, data: DatasetDescription) -> np.ndarray:
    """The number of each image's sequence, int64 (images,), -1 for none."""
    return sites_and_sequences(part.table, data.split)[1].number


@dataclass(frozen=True)
class Extent:
    """How many sequences of two images or more there are, and the images in them."""

    sequences: int
    images_in_sequences: int


def extent(sequences: np.ndarray) -> Extent:
    """That of sequences (images,), as `sequences_of` numbers them."""
    several = pool_sizes(sequences) > 1
    return Extent(len(np.unique(sequences[several])), int(several.sum()))


# --- each sequence counts as one ----------------------------------------------------------------------------


def by_sequence(
    logits: np.ndarray,
    labels: np.ndarray,
    sequences: np.ndarray,
    clusters: Clusters,
    temperature: float,
    thresholds: Sequence[float] | None,
    resampling: Resampling,
    part: str,
) -> dict[str, Any]:
    """The section `by_sequence` of the part of that name; `logits` (images, classes) are of single images.

    A sequence counts once, with its pooled prediction and the label of its images, of either kind; an image
    without a sequence counts as one. Where the images of a sequence have different labels, the images of each
    label count once as a group of their own, all with the prediction of the whole sequence: who predicts does
    not know the labels by which to divide it. A sequence that is at two sites counts at each.
    """
    found = extent(sequences)
    if not found.sequences:
        reason = NO_SEQUENCES.format(part=part)
        return without_sequences(reason, "multiclass" if thresholds is None else "multilabel")
    rows, groups = sequence_groups(labels, sequences, clusters)
    pooled, truth = pooled_logits(logits, sequences)[rows], labels[rows]
    if thresholds is None:
        sums = cluster_sums(scored(pooled, truth, groups.numbers, temperature))
        section = metrics_section(sums, groups, metrics_of, METRICS, resampling)
    else:
        sums = label_sums(labels_scored(pooled, truth, groups.numbers, temperature, thresholds))
        section = metrics_section(sums, groups, label_metrics_of, WITH_INTERVAL, resampling)
    counted = section.pop("images")
    return {**section, "counted": counted, **asdict(found)}


def sequence_groups(
    labels: np.ndarray, sequences: np.ndarray, clusters: Clusters
) -> tuple[np.ndarray, Clusters]:
    """The first image of each group that counts as one, int64 (groups,), and what is resampled of them.

    A group is the images of one sequence with the same label, or labels, at one site. Where sites are not
    known, sequences are resampled.
    """
    numbers = pool_numbers(sequences)
    label_of = np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)
    site_of = np.zeros_like(numbers) if clusters.names is None else clusters.numbers
    _, rows = np.unique(np.stack([numbers, site_of, label_of], axis=1), axis=0, return_index=True)
    if clusters.names is None:
        return rows, Clusters(numbers[rows], None, alone="sequence")
    return rows, Clusters(clusters.numbers[rows], clusters.names)


def without_sequences(reason: str, task: Task) -> dict[str, Any]:
    """The section `by_sequence`, its numbers None, where there is nothing to count."""
    metrics = METRICS if task == "multiclass" else LABEL_SUM_METRICS
    return {
        "available": False,
        "reason": reason,
        "sites": None,
        **dict.fromkeys(metrics),
        "intervals": dict.fromkeys(metrics),
        "interval_unit": None,
        "interval_reason": reason,
        "counted": 0,
        **asdict(Extent(0, 0)),
    }


# --- pooling ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pooling:
    """Whether predictions are pooled over sequences, and why.

    difference: the log loss of validation images pooled minus unpooled; None where it was not compared.
    """

    chosen: bool
    reason: str
    extent: Extent
    difference: float | None = None
    interval: Interval | None = None

    def applied(self, logits: np.ndarray, sequences: np.ndarray) -> np.ndarray:
        """The logits (images, classes) that are measured: pooled where it was chosen, else as they are."""
        return pooled_logits(logits, sequences) if self.chosen else logits

    def record(self, clusters: Clusters) -> dict[str, Any]:
        """What evaluation.json says of it; `clusters` are those of validation."""
        return {
            "chosen": self.chosen,
            "reason": self.reason,
            "log_loss_difference": self.difference,
            "interval": asdict(self.interval) if self.interval else None,
            "unit": clusters.unit,
            "clusters": clusters.count,
            **asdict(self.extent),
        }


def choose_pooling(
    choice: Choice,
    labels: np.ndarray,
    sequences: np.ndarray,
    clusters: Clusters,
    resampling: Resampling,
    *,
    unseen_sites: bool,
    seen_validation: bool,
) -> Pooling:
    """Pool only where it is better on validation beyond chance, by a paired bootstrap over its sites.

    Compared are the log losses of the images, each with its sequence's pooled prediction and with its own, at
    temperatures that were fitted on other sites, before pooling. `unseen_sites`: whether the model was
    trained at other sites than those of validation; `seen_validation`: whether on images of validation. At
    cameras that it knows its errors are others than at new ones, and nothing is compared.
    """
    found = extent(sequences)
    refusals = {
        NO_SEQUENCES.format(part="validation"): not found.sequences,
        "validation is not known to be at unseen cameras, so that nothing can be said of them": (
            not unseen_sites or clusters.names is None
        ),
        "the champion, or a model in it, has seen validation images": seen_validation,
    }
    refusal = next((reason for reason, holds in refusals.items() if holds), None)
    if refusal:
        return Pooling(False, refusal, found)
    before, after = pooling_losses(choice.logits, labels, sequences, clusters)
    difference = float((after - before).mean())
    interval = paired_difference(before, after, clusters.numbers, resampling)
    if interval is None:
        few = f"validation has {clusters.counted}, fewer than {MIN_CLUSTERS}: no interval can be given"
        return Pooling(False, few, found, difference)
    reason = (
        f"pooling changes the log loss of validation images by {difference:+.4f} "
        f"({resampling.confidence:.0%} interval over {clusters.counted}: "
        f"{interval.low:+.4f} to {interval.high:+.4f})"
    )
    verdict = "worse beyond chance" if interval.low > 0 else "no difference beyond chance"
    if interval.high < 0:
        verdict = "better beyond chance"
    return Pooling(interval.high < 0, f"{reason}: {verdict}", found, difference, interval)


def pooling_losses(
    logits: np.ndarray, labels: np.ndarray, sequences: np.ndarray, clusters: Clusters
) -> tuple[np.ndarray, np.ndarray]:
    """The log loss of each image unpooled and pooled, (images,) both, at temperatures of other sites."""
    temperatures = cross_fitted_temperatures(logits, labels, clusters.numbers)
    scaled = logits.astype(np.float64) / temperatures[:, None]
    return image_losses(scaled, labels), image_losses(pooled_logits(scaled, sequences), labels)


def pooling_sentence(chosen: bool, reason: str) -> str:
    """The choice in words, from what `pooling` in evaluation.json says."""
    return f"Predictions are {'' if chosen else 'not '}pooled over sequences: {reason}."
