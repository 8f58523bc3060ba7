"""Which image of several labels is for training, which for validation and which for the test.

By site as in `preparation.splits`. At random by iterative stratification (Sechidis, Tsoumakas and Vlahavas,
On the Stratification of Multi-Label Data, ECML PKDD 2011, algorithm 1): the rarest label is dealt out first,
for the frequent ones can still be balanced afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_array

from trapline.data.groups import Integers, Labels, Sequences, Sites, Units
from trapline.errors import TraplineError
from trapline.preparation.split_notes import (
    PARTS,
    class_notes,
    duplicate_notes,
    join_notes,
    size_cause,
    size_notes,
)
from trapline.preparation.splits import SplitPolicy, SplitResult, refuse_empty_parts, site_parts, units_of
from trapline.preparation.stratified import whole_shares

LABEL_SHARES = (0.70, 0.15, 0.15)
LabelMatrix = npt.NDArray[np.integer | np.bool_]


def split_label_lists(
    matrix: LabelMatrix,
    sites: Sites | None,
    groups: Labels,
    policy: SplitPolicy,
    class_names: Sequence[str],
    sequences: Sequences | None = None,
) -> SplitResult:
    """Divide n labelled images into train, val and test.

    `matrix`: shape (n, classes), 1 where an image has the class; a row may be empty. `sites`, `groups` of
    byte-identical images and `sequences`: as in `splits.split`, which this follows; copies and the images of
    a sequence stay together in a random split. Raises TraplineError without images or sites, or where a part
    would be empty.
    """
    if not len(matrix):
        raise TraplineError("there are no labelled images to split; check the labels and the quarantine list")
    units = units_of(sites, groups, policy, sequences)
    if policy.kind == "random":
        part = iterative_parts(matrix, units.unit_of, policy.shares, policy.seed)
    else:
        part = site_parts(_sums(matrix, units.unit_of).toarray(), units, policy)
    refuse_empty_parts(part, units, policy)
    return SplitResult(np.array(PARTS)[part], _notes(matrix, part, units, groups, policy, class_names))


def _notes(
    matrix: LabelMatrix,
    part: Integers,
    units: Units,
    groups: Labels,
    policy: SplitPolicy,
    class_names: Sequence[str],
) -> list[str]:
    image, label = np.nonzero(matrix)
    pairs = pd.DataFrame({"label": label, "part": part[image], "unit": units.unit_of[image]})
    pairs["site"] = None if units.site_of is None else units.site_of[image]
    notes = join_notes(units)
    notes += class_notes(pairs, np.flatnonzero(policy.shares).tolist(), units, class_names)
    notes += size_notes(part, policy.shares, size_cause(units))
    return notes + duplicate_notes(pd.DataFrame({"part": part, "group": groups}), "as their sites are")


def iterative_parts(matrix: LabelMatrix, groups: Labels, shares: Sequence[float], seed: int) -> Integers:
    """A part index for each of n images, shape (n,), stratified by label; equal `groups` stay together.

    `matrix`: shape (n, labels). Every part with a share above 0 gets an image of each label that has enough
    of them. A pure function of its arguments; ties are broken by `seed`.
    """
    _, unit_of = np.unique(groups, return_inverse=True)
    state = _Dealing.begin(_sums(matrix, unit_of), np.bincount(unit_of), np.array(shares))
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(state.sizes))
    # Many copies go while there is room for them.
    order = order[np.argsort(-np.array(state.sizes)[order], kind="stable")]
    with_label = _in_order(state.held, order)
    while (label := state.rarest_label()) is not None:
        state.place(with_label[label], label, generator)
    state.place(order, None, generator)
    return np.array(state.part)[unit_of]


def _in_order(held: csr_array, order: Integers) -> list[Integers]:
    """For each label the units that have it, in the order of `order`, (units,)."""
    turn = np.empty(len(order), dtype=np.int64)
    turn[order] = np.arange(len(order))
    by_label = held.tocsc()
    columns = np.split(by_label.indices, by_label.indptr[1:-1])
    return [units[np.argsort(turn[units])] for units in columns]


@dataclass
class _Dealing:
    """Units (images, the copies of one, or a sequence) on their way into parts.

    held: (units, labels), images of a unit with a label. sizes: (units,). wanted: (labels + 1, parts), images
    that a part still lacks of each label and, in the last row, of all. part: (units,), -1 for none yet. left:
    (labels,), images in no part yet. Lists, for they are read and written one number at a time.
    """

    held: csr_array
    sizes: list[int]
    wanted: list[list[int]]
    part: list[int]
    left: list[int]

    @classmethod
    def begin(cls, held: csr_array, sizes: Integers, shares: npt.NDArray[np.float64]) -> "_Dealing":
        """All units in no part."""
        left = np.asarray(held.sum(axis=0)).tolist()
        totals = [*left, int(sizes.sum())]
        wanted = np.array([whole_shares(total, shares, np.zeros(len(shares))) for total in totals])
        wanted[:, shares == 0] = np.iinfo(np.int64).min // 2
        return cls(held, sizes.tolist(), wanted.tolist(), [-1] * len(sizes), left)

    def rarest_label(self) -> int | None:
        """The label with the fewest images left, but one at least; None where all are dealt out."""
        labels = [label for label, images in enumerate(self.left) if images]
        return min(labels, key=lambda label: self.left[label], default=None)

    def place(self, units: Integers, label: int | None, generator: np.random.Generator) -> None:
        """Put those of `units` that are in no part, one by one, where `label`, or any image, is wanted."""
        for unit in units.tolist():
            if self.part[unit] < 0:
                self._put(unit, self._best(label, generator))

    def _best(self, label: int | None, generator: np.random.Generator) -> int:
        """The part where `label` is wanted most, of these where images are, of these any."""
        best = list(range(len(self.wanted[-1])))
        for wanted in (self.wanted[-1],) if label is None else (self.wanted[label], self.wanted[-1]):
            largest = max(wanted[part] for part in best)
            best = [part for part in best if wanted[part] == largest]
        return best[0] if len(best) == 1 else best[int(generator.integers(len(best)))]

    def _put(self, unit: int, part: int) -> None:
        self.part[unit] = part
        self.wanted[-1][part] -= self.sizes[unit]
        row = slice(self.held.indptr[unit], self.held.indptr[unit + 1])
        for label, images in zip(self.held.indices[row].tolist(), self.held.data[row].tolist(), strict=True):
            self.wanted[label][part] -= images
            self.left[label] -= images


def _sums(matrix: LabelMatrix, unit_of: Integers) -> csr_array:
    """The images of each unit that have a label, shape (units, labels)."""
    image, label = np.nonzero(matrix)
    shape = (int(unit_of.max()) + 1, matrix.shape[1])
    sums = csr_array((np.ones(len(image), dtype=np.int64), (unit_of[image], label)), shape=shape)
    sums.sum_duplicates()
    return sums
