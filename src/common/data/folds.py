"""Cross-validation: the images of train and val together in folds, each of which validates once.

Where the split is by site no site is in two folds, else byte-identical images stay together. Labels, one or
several an image, are spread over the folds as evenly as that allows. The folds are a pure function of the
data and of their number; the test part has no share in them.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, hstack

from common.data.prepared import PackedPart, PreparedSet
from common.errors import UsageError

FOLDED = ("train", "val")
UNIT = 2**24  # all images of a class, in whole numbers
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PartRows:
    """Some of the images of several parts, as one part. Cheap to send to another process, as parts are.

    `rows` are their places, int64 (images,), where the images of the parts are numbered on, part after part.
    """

    parts: tuple[PackedPart, ...]
    rows: Integers

    def __len__(self) -> int:
        return len(self.rows)

    def __getstate__(self) -> dict[str, Any]:
        return {"parts": self.parts, "rows": self.rows}

    def located(self, row: int) -> tuple[PackedPart, int]:
        """The part in which image `row` lies, and its row there."""
        place = int(self.rows[row])
        for part in self.parts:
            if place < len(part):
                return part, place
            place -= len(part)
        raise IndexError(f"row {row}: the parts hold no image {int(self.rows[row])}")

    @cached_property
    def labels(self) -> np.ndarray:
        """The class index of each image, int64 (images,); each must have exactly one label."""
        return np.concatenate([part.labels for part in self.parts])[self.rows]

    def label_matrix(self, classes: int) -> np.ndarray:
        """1 where an image has the class and 0 where not, float32 (images, classes); made once."""
        if classes not in self._label_matrices:
            whole = np.concatenate([part.label_matrix(classes) for part in self.parts])
            self._label_matrices[classes] = whole[self.rows]
        return self._label_matrices[classes]

    @cached_property
    def _label_matrices(self) -> dict[int, np.ndarray]:
        return {}

    @cached_property
    def weights(self) -> np.ndarray:
        """The weight of each image in the training loss, float32 (images,)."""
        return np.concatenate([part.weights for part in self.parts])[self.rows]


LabelledPart: TypeAlias = PackedPart | PartRows


def training_parts(prepared: PreparedSet, folds: int, fold: int | None) -> tuple[LabelledPart, LabelledPart]:
    """What to train on and what to validate on: train and val, or all other folds and `fold` (from 1).

    Raises UsageError where there are fewer sites, or different images, than `folds`.
    """
    parts = (prepared.part("train"), prepared.part("val"))
    if not folds:
        return parts
    fold_of = fold_of_each_image(prepared, folds)
    own = fold_of == fold
    return PartRows(parts, np.flatnonzero(~own)), PartRows(parts, np.flatnonzero(own))


def fold_of_each_image(prepared: PreparedSet, folds: int) -> Integers:
    """The fold, from 1, of each image of train and val, numbered on, (images,). Raises as training_parts."""
    parts = [prepared.part(name) for name in FOLDED]
    by_site = prepared.description.split.unseen_sites
    column = "site" if by_site else "sha256"
    values = np.concatenate([np.asarray(part.table[column].to_pylist(), dtype=str) for part in parts])
    _, unit_of = np.unique(values, return_inverse=True)
    units, what = int(unit_of.max(initial=-1)) + 1, "sites" if by_site else "different images"
    if units < folds:
        raise UsageError(
            f"hyperparameter folds: {folds} folds need as many {what}, and train and val of "
            f"{prepared.folder} have {units}; take fewer folds"
        )
    rows, labels = _row_and_label_pairs(parts)
    classes = len(prepared.description.classes)
    counts = csr_array((np.ones(len(rows), dtype=np.int64), (unit_of[rows], labels)), shape=(units, classes))
    counts.sum_duplicates()
    sizes = np.bincount(unit_of, minlength=units)
    return spread(counts, sizes, folds)[unit_of] + 1


def _row_and_label_pairs(parts: list[PackedPart]) -> tuple[Integers, Integers]:
    """Every label of every image: the image's place, numbered on over the parts, and the class index."""
    rows, labels, first = [], [], 0
    for part in parts:
        column = part.table["labels"].combine_chunks()
        rows.append(first + np.repeat(np.arange(len(part)), np.diff(np.asarray(column.offsets))))
        labels.append(np.asarray(column.flatten(), dtype=np.int64))
        first += len(part)
    return np.concatenate(rows), np.concatenate(labels)


def spread(counts: csr_array, sizes: Integers, folds: int) -> Integers:
    """The fold, from 0, of each unit (a site, or an image with its copies), (units,); none is empty.

    `counts` (units, classes): images of each class in a unit. `sizes` (units,): its images; there are as many
    units as folds at least. Units with the largest shares of their classes come first, each into the fold
    that holds least of what it has: as StratifiedGroupKFold does it, for several labels an image too.
    """
    shares = _in_whole_units(counts, sizes)
    importance = np.asarray((shares * shares).sum(axis=1))
    held = np.zeros((folds, shares.shape[1]), dtype=np.int64)
    fold_of = np.empty(len(sizes), dtype=np.int64)
    empty = np.ones(folds, dtype=bool)
    for turn, unit in enumerate(np.argsort(-importance, kind="stable")):
        span = slice(shares.indptr[unit], shares.indptr[unit + 1])
        columns, own = shares.indices[span], shares.data[span]
        cost = held[:, columns] @ own  # what the sum of squares grows by, but for what is alike in all folds
        if len(sizes) - turn <= empty.sum():
            cost[~empty] = np.iinfo(np.int64).max
        fold = int(np.argmin(cost))
        held[fold, columns] += own
        fold_of[unit], empty[fold] = fold, False
    return fold_of


def _in_whole_units(counts: csr_array, sizes: Integers) -> csr_array:
    """The share of each class, and of all images, that a unit holds: whole numbers, (units, classes + 1).

    With these no platform can come to another result. The size of a fold weighs half as much as all its
    classes together, as in `common.data.splits`.
    """
    totals = np.asarray(counts.sum(axis=0))
    of_classes = csr_array((counts.data * UNIT // totals[counts.indices], counts.indices, counts.indptr))
    of_classes.resize(counts.shape)
    weight = round(UNIT * float(np.sqrt(counts.shape[1] / 2)))
    return csr_array(hstack([of_classes, csr_array((sizes * weight // sizes.sum())[:, None])]))
