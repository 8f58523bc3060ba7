"""A model's outputs over a part of the prepared data, view by view, and what belongs together in the part."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import log_softmax, logsumexp

from common.console import progress
from common.data.canonical import decode_packed
from common.data.prepared import PackedPart
from common.errors import TraplineError
from common.inference.predictor import Predictor

BATCH = 64  # images


@dataclass(frozen=True)
class ViewLogits:
    """logits: float32 (images, views, classes); averaging: of "logits" or of "probabilities"."""

    logits: np.ndarray
    views: tuple[str, ...]
    averaging: str

    def averaged(self, views: Sequence[str]) -> np.ndarray:
        """The outputs over some of the views as logits, float64 (images, classes).

        The mean of logits is the renormalised geometric mean of probabilities; the logarithm of the mean of
        probabilities is their arithmetic one.
        """
        chosen = self.logits[:, [self.views.index(view) for view in views]].astype(np.float64)
        if self.averaging == "logits":
            return np.asarray(chosen.mean(axis=1))
        return np.asarray(logsumexp(log_softmax(chosen, axis=2), axis=1) - np.log(len(views)))


@dataclass(frozen=True)
class Clusters:
    """What is resampled as one. numbers: int64 (images,); names: of the sites, None where images stand alone."""

    numbers: np.ndarray
    names: list[str] | None

    @property
    def unit(self) -> str:
        """What a cluster is."""
        return "image" if self.names is None else "site"

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.numbers.max()) + 1


def clusters_of(part: PackedPart) -> Clusters:
    """The sites of a part where every image has one, else each image for itself."""
    sites = part.table["site"].to_pylist()
    if any(site is None for site in sites):
        return Clusters(np.arange(len(sites)), None)
    names, numbers = np.unique(np.asarray(sites, dtype=str), return_inverse=True)
    return Clusters(numbers.astype(np.int64), names.tolist())


def view_logits(predictor: Predictor, part: PackedPart, doing: str) -> ViewLogits:
    """The outputs over a part, in its order, in the predictor's views; `doing` names it in the progress.

    Raises TraplineError naming the image that is damaged, or whose outputs are not finite.
    """
    description = predictor.description
    starts = progress(range(0, len(part), BATCH), doing, -(-len(part) // BATCH), "batches")
    blocks = []
    for start in starts:
        rows = range(start, min(start + BATCH, len(part)))
        block = predictor.view_logits([_pixels(part, row) for row in rows])
        _check_finite(block, part, start)
        blocks.append(block)
    return ViewLogits(np.concatenate(blocks), tuple(predictor.views), description.averaging)


def _pixels(part: PackedPart, row: int) -> np.ndarray:
    try:
        return decode_packed(part.jpeg(row))
    except ValueError as error:
        raise TraplineError(f"{_name(part, row)} is damaged ({error}); prepare again") from None


def _check_finite(block: np.ndarray, part: PackedPart, start: int) -> None:
    bad = np.flatnonzero(~np.isfinite(block).all(axis=(1, 2)))
    if len(bad):
        raise TraplineError(
            f"{_name(part, start + int(bad[0]))}: the model's outputs are no finite numbers; train it anew, "
            "in fp32"
        )


def _name(part: PackedPart, row: int) -> str:
    folder: Path = part.files[0].parent
    return f"{folder}: image {part.table['id'][row].as_py()}"
