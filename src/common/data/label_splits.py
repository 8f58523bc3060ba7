"""Which image of several labels is for training, which for validation and which for the test.

By site as in `common.data.splits`. At random by iterative stratification (Sechidis, Tsoumakas and Vlahavas,
On the Stratification of Multi-Label Data, ECML PKDD 2011, algorithm 1): the rarest label is dealt out first,
for the frequent ones can still be balanced afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from common.data.split_notes import PARTS, class_notes, duplicate_notes, size_notes
from common.data.splits import (
    Integers,
    Labels,
    Sites,
    SplitPolicy,
    SplitResult,
    number_sites,
    refuse_empty_parts,
    site_parts,
    whole_shares,
)
from common.errors import TraplineError, UsageError

LABEL_SHARES = (0.70, 0.15, 0.15)
LabelMatrix = npt.NDArray[np.integer | np.bool_]


def split_label_lists(
    matrix: LabelMatrix, sites: Sites | None, groups: Labels, policy: SplitPolicy, class_names: Sequence[str]
) -> SplitResult:
    """Divide n labelled images into train, val and test.

    `matrix`: shape (n, classes), 1 where an image has the class; a row may be empty. `sites` and `groups` of
    byte-identical images: shape (n,), as in `splits.split`, which this follows; copies stay together in a
    random split. Raises TraplineError without images or sites, or where a part would be empty.
    """
    if not len(matrix):
        raise TraplineError("there are no labelled images to split; check the labels and the quarantine list")
    if policy.kind == "random":
        unit_of, part = groups, iterative_parts(matrix, groups, policy.shares, policy.seed)
    elif sites is None:
        raise UsageError("split: site needs a site for each image, and there is none; use --split random")
    else:
        unit_of = number_sites(sites)
        part = site_parts(_sums(matrix, unit_of), unit_of, policy)
    refuse_empty_parts(part, policy)
    return SplitResult(np.array(PARTS)[part], _notes(matrix, part, unit_of, groups, policy, class_names))


def _notes(
    matrix: LabelMatrix,
    part: Integers,
    unit_of: Labels,
    groups: Labels,
    policy: SplitPolicy,
    class_names: Sequence[str],
) -> list[str]:
    image, label = np.nonzero(matrix)
    pairs = pd.DataFrame({"label": label, "part": part[image], "unit": unit_of[image]})
    notes = class_notes(pairs, np.flatnonzero(policy.shares).tolist(), policy.kind, class_names)
    notes += size_notes(part, policy.shares, policy.kind)
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
    order = order[
        np.argsort(-state.sizes[order], kind="stable")
    ]  # many copies go while there is room for them
    while (label := state.rarest_label()) is not None:
        for unit in order[(state.held[order, label] > 0) & (state.part[order] < 0)]:
            state.place(unit, label, generator)
    for unit in order[state.part[order] < 0]:
        state.place(unit, None, generator)
    return state.part[unit_of]


@dataclass
class _Dealing:
    """Units (images, or the copies of one) on their way into parts.

    held: (units, labels), images of a unit with a label. sizes: (units,). wanted: (labels + 1, parts), images
    that a part still lacks of each label and, in the last row, of all. part: (units,), -1 for none yet. left:
    (labels,), images in no part yet.
    """

    held: Integers
    sizes: Integers
    wanted: Integers
    part: Integers
    left: Integers

    @classmethod
    def begin(cls, held: Integers, sizes: Integers, shares: npt.NDArray[np.float64]) -> "_Dealing":
        """All units in no part."""
        totals = [*held.sum(axis=0), sizes.sum()]
        wanted = np.array([whole_shares(int(total), shares, np.zeros(len(shares))) for total in totals])
        wanted[:, shares == 0] = np.iinfo(np.int64).min // 2
        return cls(held, sizes, wanted, np.full(len(sizes), -1), held.sum(axis=0))

    def rarest_label(self) -> int | None:
        """The label with the fewest images left, but one at least; None where all are dealt out."""
        labels = np.flatnonzero(self.left)
        return int(labels[np.argmin(self.left[labels])]) if len(labels) else None

    def place(self, unit: int, label: int | None, generator: np.random.Generator) -> None:
        """Put `unit` where `label` is wanted most, then where images are, then anywhere of those."""
        best = np.arange(self.wanted.shape[1])
        for row in (-1,) if label is None else (label, -1):
            best = best[self.wanted[row, best] == self.wanted[row, best].max()]
        part = int(best[0] if len(best) == 1 else generator.choice(best))
        self.part[unit] = part
        self.wanted[:-1, part] -= self.held[unit]
        self.wanted[-1, part] -= self.sizes[unit]
        self.left -= self.held[unit]


def _sums(matrix: LabelMatrix, unit_of: Integers) -> Integers:
    """The images of each unit that have a label, shape (units, labels)."""
    sums = np.zeros((int(unit_of.max()) + 1, matrix.shape[1]), dtype=np.int64)
    np.add.at(sums, unit_of, matrix.astype(np.int64))
    return sums
