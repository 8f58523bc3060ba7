"""A model's outputs over a part of the prepared data, view by view, and the truth beside them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trapline.console import progress
from trapline.data.prepared import DatasetDescription, PackedPart
from trapline.errors import TraplineError
from trapline.inference.predictor import Averaging, Predictor, average_views
from trapline.losses import Task
from trapline.scoring.predictions import finite_rows

BATCH = 64  # images


@dataclass(frozen=True)
class ViewLogits:
    """logits: float32 (images, views, classes); averaging: of "logits" or of "probabilities"."""

    logits: np.ndarray
    views: tuple[str, ...]
    averaging: Averaging
    task: Task = "multiclass"

    def averaged(self, views: Sequence[str]) -> np.ndarray:
        """The logits over some of the views, float32 (images, classes), as the model will average them."""
        chosen = [self.views.index(view) for view in views]
        return average_views(self.logits[:, chosen], self.averaging, self.task)


def truth(part: PackedPart, data: DatasetDescription) -> np.ndarray:
    """The labels of a part: class indices, (images,); for several labels 0 and 1, (images, classes)."""
    return part.label_matrix(len(data.classes)) if data.task == "multilabel" else part.labels


def view_logits(predictor: Predictor, part: PackedPart, doing: str) -> ViewLogits:
    """The outputs over a part, in its order, in the predictor's views; `doing` names it in the progress.

    Raises TraplineError naming the image that is damaged, or whose outputs are not finite.
    """
    starts = progress(range(0, len(part), BATCH), doing, -(-len(part) // BATCH), "batches")
    blocks = []
    for start in starts:
        rows = range(start, min(start + BATCH, len(part)))
        block = predictor.view_logits([part.pixels(row) for row in rows])
        _check_finite(block, part, start)
        blocks.append(block)
    described = predictor.description
    return ViewLogits(np.concatenate(blocks), predictor.views, described.averaging, described.task)


def _check_finite(block: np.ndarray, part: PackedPart, start: int) -> None:
    bad = np.flatnonzero(~finite_rows(block.reshape(len(block), -1)))
    if len(bad):
        raise TraplineError(
            f"{part.name(start + int(bad[0]))}: the model's outputs are no finite numbers; train it anew, "
            "in fp32"
        )
