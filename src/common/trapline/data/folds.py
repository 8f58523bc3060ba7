"""Cross-validation: the images of train and val together in folds, each of which validates once.

Where the split is by site no site is in two folds, else byte-identical images stay together; in either case
no sequence is in two. Labels, one or several an image, are spread over the folds as evenly as that allows.
The folds are a pure function of the data and of their number; the test part has no share in them.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array, hstack

from trapline.data.groups import Integers, joined
from trapline.data.prepared import PackedPart, PreparedSet
from trapline.data.prepared_groups import sites_and_sequences
from trapline.errors import UsageError

FOLDED = ("train", "val")
UNIT = 2**24  # all images of a class, in whole numbers


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

    Raises UsageError where there are fewer sites, or different images, than `folds`; those that a sequence
    joins count as one.
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
    unit_of, what = _units(prepared, pa.concat_tables([part.table for part in parts]))
    units = int(unit_of.max(initial=-1)) + 1
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


def _units(prepared: PreparedSet, table: pa.Table) -> tuple[Integers, str]:
    """The unit of each row, from 0, that no two folds share, (images,), and what units are, in words.

    Units are in the order of their first site, or content, so that the order of the rows cannot show.
    """
    by_site = prepared.description.split.unseen_sites
    sites, sequences = sites_and_sequences(table, prepared.description.split)
    apart = joined(_ranks(table["site"]), sites) if by_site else _ranks(table["sha256"])
    unit_of = joined(apart, sequences.number)
    bound = unit_of.max(initial=-1) < apart.max(initial=-1)
    what = "sites" if by_site else "different images"
    return unit_of, f"{what} (those that a sequence joins count as one)" if bound else what


def _ranks(column: pa.ChunkedArray) -> Integers:
    """The place of each text among all different ones in order, from 0, (rows,)."""
    ranks = pc.rank(column, sort_keys="ascending", tiebreaker="dense")
    return np.asarray(ranks, dtype=np.int64) - 1


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
    """The fold, from 0, of each unit, (units,); none is empty. A unit is never divided.

    `counts` (units, classes): images of each class in a unit. `sizes` (units,): its images; there are as many
    units as folds at least. Units with the largest shares of their classes come first, each into the fold
    that holds least of what it has: as StratifiedGroupKFold does it, for several labels an image too.
    """
    shares = _in_whole_units(counts, sizes)
    importance = np.asarray((shares * shares).sum(axis=1))
    places, columns, data = (part.tolist() for part in (shares.indptr, shares.indices, shares.data))
    held = [[0] * folds for _ in range(shares.shape[1])]  # lists: read and written one number at a time
    fold_of, empty = np.empty(len(sizes), dtype=np.int64), list(range(folds))
    for turn, unit in enumerate(np.argsort(-importance, kind="stable").tolist()):
        span = slice(places[unit], places[unit + 1])
        row = list(zip(columns[span], data[span], strict=True))
        cost = _costs(row, held, folds)
        fold = min(empty if len(sizes) - turn <= len(empty) else range(folds), key=cost.__getitem__)
        for column, own in row:
            held[column][fold] += own
        fold_of[unit] = fold
        if fold in empty:
            empty.remove(fold)
    return fold_of


def _costs(row: list[tuple[int, int]], held: list[list[int]], folds: int) -> list[int]:
    """What a unit adds in each fold to the sum of squares, but for what is alike in all of them."""
    cost = [0] * folds
    for column, own in row:
        cost = [so_far + own * there for so_far, there in zip(cost, held[column], strict=True)]
    return cost


def _in_whole_units(counts: csr_array, sizes: Integers) -> csr_array:
    """The share of each class, and of all images, that a unit holds: whole numbers, (units, classes + 1).

    With these no platform can come to another result. The size of a fold weighs half as much as all its
    classes together, as in `trapline.preparation.splits`.
    """
    totals = np.asarray(counts.sum(axis=0))
    of_classes = csr_array((counts.data * UNIT // totals[counts.indices], counts.indices, counts.indptr))
    of_classes.resize(counts.shape)
    weight = round(UNIT * float(np.sqrt(counts.shape[1] / 2)))
    return csr_array(hstack([of_classes, csr_array((sizes * weight // sizes.sum())[:, None])]))
