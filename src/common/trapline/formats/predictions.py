"""The answers for many images as one table, from which every format is written.

What is said of each image stands in a row; its probabilities stand apart, in an array that may be mapped from
a file, so that writing a format takes little memory however many images there are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd

from trapline.learning import Task

OK, FAILED = "ok", "failed"
NO_CLASS = -1
BATCH = 4096  # rows that a writer works on together
COLUMNS = (
    "id", "file", "path", "status", "reason", "detail", "label", "confidence", "site", "sequence", "time",
    "width", "height",
)  # fmt: skip


@dataclass(frozen=True)
class PredictingModel:
    """The model that predicted, as formats name it: its name, the SHA-256 of its weights, what it is."""

    name: str
    digest: str
    architecture: str


@dataclass(frozen=True)
class Predictions:
    """The answers of one model for many images, in their order.

    `rows` is indexed from 0 and has COLUMNS: `file`, relative and with forward slashes, as the input names
    it; `path`, where it lies here; `status`, ok or failed, with `reason` and `detail` of the latter (else
    None); `label`, the index of its most probable class, NO_CLASS where it failed; `confidence`, the
    probability of that, NaN where it failed; `site`, `sequence` and `time`, None where nothing is known;
    `width` and `height` of the picture as a person sees it, pixels, 0 where it failed. A time is ISO 8601,
    with an offset where that is known, else local to the camera; it may be a day alone.

    probabilities: float64 (images, classes), NaN in rows that failed. labels: bool (images, classes), the
    classes that reach their threshold, where an image may have several; None where it has one. threshold: the
    lowest confidence with which an image of one label has it; below, it is unclassified. review_below: the
    confidence below which a person should look. created: when they were made, with its zone.
    """

    rows: pd.DataFrame
    probabilities: npt.NDArray[np.float64]
    classes: Sequence[str]
    model: PredictingModel
    created: datetime
    labels: npt.NDArray[np.bool_] | None = None
    threshold: float = 0.0
    review_below: float = 0.6

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def task(self) -> Task:
        """Whether an image has one label, or any number of them."""
        return "multiclass" if self.labels is None else "multilabel"

    def batches(self) -> Iterator[slice]:
        """The rows in slices, so that only some of the probabilities are in memory at a time."""
        for start in range(0, len(self), BATCH):
            yield slice(start, min(start + BATCH, len(self)))

    def labels_of(self, rows: slice) -> npt.NDArray[np.bool_]:
        """The classes that each image has, bool (rows, classes); none of one that failed.

        With one label an image at most one is true: none where its confidence is below the threshold.
        """
        if self.labels is not None:
            return np.asarray(self.labels[rows])
        found = np.zeros((rows.stop - rows.start, len(self.classes)), dtype=bool)
        label = self.rows["label"].to_numpy(dtype=np.int64)[rows]
        confidence = self.rows["confidence"].to_numpy(dtype=np.float64)[rows]
        has_one = np.flatnonzero((label != NO_CLASS) & (confidence >= self.threshold))
        found[has_one, label[has_one]] = True
        return found

    def needs_review(self) -> npt.NDArray[np.bool_]:
        """Whether a person should look at each image, (images,): it failed, or its confidence is low."""
        confidence = self.rows["confidence"].to_numpy(dtype=np.float64)
        return ~(confidence >= max(self.review_below, self.threshold))
