"""From what a pass has kept to answers: times, sequences, pooling, labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd

from trapline.data.groups import distinct_sequences, numbered, scope_of
from trapline.formats.predictions import FAILED, NO_CLASS, OK, PredictingModel, Predictions
from trapline.inference.predictor import thresholds_of
from trapline.models.artefact import ModelDescription
from trapline.predicting.inputs import Listing
from trapline.predicting.options import PredictOptions
from trapline.predicting.shards import Shards
from trapline.predicting.streaming import read_all
from trapline.preparation.bursts import with_sequences
from trapline.preparation.clocks import with_times
from trapline.preparation.listing import TIME
from trapline.scoring.pooling import pooled_probabilities
from trapline.scoring.predictions import calibrated

POOLED_ROWS = 4096  # that are pooled together
BY_SITE = (
    "equal names of sequences come at many sites: each counts its own, so the site's name is before them"
)


@dataclass(frozen=True)
class Predicted:
    """The answers, what a person should know of them, and how many images were pooled over sequences."""

    predictions: Predictions
    notes: Sequence[str]
    pooled: int


def assembled(
    listing: Listing,
    shards: Shards,
    count: int,
    description: ModelDescription,
    options: PredictOptions,
    array: npt.NDArray[np.float64],
    model: PredictingModel,
    created: datetime,
) -> Predicted:
    """The answers that the first `count` shards hold; `array` (images, classes) gets the probabilities."""
    facts, logits = read_all(shards, count)
    at = 0
    for block in logits:
        values, good = np.full(block.shape, np.nan), np.isfinite(block).all(axis=1)
        values[good] = calibrated(block[good], description.temperature, description.task)
        array[at : at + len(block)] = values
        at += len(block)
    rows, notes = _with_times_and_sequences(listing.rows, facts, options.sequence_gap)
    pooled = _pool(array, rows, description) if description.pool_sequences else 0
    rows = rows.assign(label=NO_CLASS, confidence=np.nan)
    thresholds = thresholds_of(description)
    labels = None if thresholds is None else np.empty(array.shape, dtype=bool)
    given = options.threshold
    predictions = Predictions(
        rows,
        array,
        description.classes,
        model,
        created,
        labels,
        0.0 if given is None or labels is not None else given,
        options.review_below,
    )
    _decide(predictions, thresholds if given is None else np.full(len(description.classes), given))
    return Predicted(predictions, notes, pooled)


def _decide(predictions: Predictions, thresholds: npt.NDArray[np.float64] | None) -> None:
    """Fill in the most probable class of each image, its confidence, and the labels where it has several."""
    usable = (predictions.rows["status"] == OK).to_numpy()
    label = np.full(len(predictions), NO_CLASS, dtype=np.int64)
    confidence = np.full(len(predictions), np.nan)
    for batch in predictions.batches():
        values, good = predictions.probabilities[batch], np.flatnonzero(usable[batch])
        if len(good):
            label[batch.start + good] = values[good].argmax(axis=1)
            confidence[batch.start + good] = values[good].max(axis=1)
        if predictions.labels is not None and thresholds is not None:
            predictions.labels[batch] = values >= thresholds  # NaN is not
    predictions.rows["label"], predictions.rows["confidence"] = label, confidence


def _with_times_and_sequences(
    listed_rows: pd.DataFrame, facts: pd.DataFrame, gap: float | None
) -> tuple[pd.DataFrame, list[str]]:
    """The rows as `Predictions` has them, but label and confidence; and what is said of times."""
    images = listed_rows.assign(filepath=listed_rows["file"], exif_time=facts["exif_time"])
    if listed_rows[TIME].isna().all():
        images = images.drop(columns=TIME)
    timed, notes = with_times(images, datetime.now())
    usable = facts["reason"].isna().to_numpy()
    timed = timed.assign(likeness=facts["likeness"].to_numpy(dtype=np.uint64))
    in_sequences, of_sequences = with_sequences(timed[usable], gap)
    sequence = timed["sequence"].astype(object)
    sequence[usable] = in_sequences["sequence"]
    scope = scope_of(timed["site"], sequence)
    if scope == "by_site":
        of_sequences = [*of_sequences, BY_SITE]
    rows = pd.DataFrame(
        {
            "id": timed["id"],
            "file": timed["file"],
            "path": timed["path"],
            "status": np.where(usable, OK, FAILED).astype(object),
            "reason": facts["reason"].astype(object),
            "detail": facts["detail"].astype(object),
            "site": timed["site"],
            "sequence": distinct_sequences(sequence, timed["site"], scope),
            "time": timed[TIME],
            "width": facts["width"].astype(np.int64),
            "height": facts["height"].astype(np.int64),
        }
    )
    texts = ["reason", "detail", "site", "sequence", "time"]
    rows[texts] = rows[texts].astype(object).where(rows[texts].notna(), None)
    return rows, [*notes, *of_sequences]


def _pool(array: npt.NDArray[np.float64], rows: pd.DataFrame, description: ModelDescription) -> int:
    """Give the images of each sequence one answer, in place; returns how many images had company."""
    usable = (rows["status"] == OK).to_numpy()
    sequences = np.where(usable, numbered(rows["sequence"]), -1)
    order = np.argsort(sequences, kind="stable")
    order = order[sequences[order] >= 0]
    starts = np.flatnonzero(np.diff(sequences[order], prepend=-1))
    sizes = np.diff([*starts, len(order)])
    pooled = int(sizes[sizes > 1].sum())
    ends = np.array([*starts[1:], len(order)])
    begin = 0
    while begin < len(order):  # whole sequences, so many rows at least
        end = int(ends[np.searchsorted(ends, min(begin + POOLED_ROWS, len(order)))])
        chosen = order[begin:end]
        array[chosen] = pooled_probabilities(array[chosen], sequences[chosen], description.task)
        begin = end
    return pooled
