"""A random split of groups that stay whole: sequences, of any length, with images of one class or of several.

Groups with the same number of images of each class are of one kind. The kinds are dealt out one by one, those
of the most images first, each so that the parts get what they lack by then: what large groups leave uneven
the small ones and the single images even out.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from trapline.data.groups import Integers, Labels, Units
from trapline.preparation.stratified import Floats, Shares, stratified_parts


def random_parts(labels: Labels, units: Units, shares: Shares, seed: int) -> Integers:
    """A random part index for each of n images, shape (n,), stratified by class; no unit is divided.

    Counts are as near to the shares as whole units allow; without sequences as in `stratified_parts`.
    """
    deal = grouped_parts if units.bound else stratified_parts
    return deal(labels, units.unit_of, shares, seed)


def grouped_parts(labels: Labels, unit_of: Integers, shares: Shares, seed: int) -> Integers:
    """A random part index for each of n images, shape (n,), such that no unit, numbered from 0, is divided.

    A class that is in as many units as there are parts is in each part, where that takes it from no other
    class; one in fewer is in train, then in val. A part may come out empty.
    """
    ones = np.ones(len(labels), dtype=np.int64)
    counts = csr_array((ones, (unit_of, labels)), shape=(int(unit_of.max()) + 1, int(labels.max()) + 1))
    counts.sum_duplicates()
    active = np.flatnonzero(shares)
    part = active[_dealt_out(counts, np.array(shares)[active], np.random.default_rng(seed))]
    _Cover.of(counts, part, active).fill_gaps()
    return part[unit_of]


def _dealt_out(counts: csr_array, shares: np.ndarray, generator: np.random.Generator) -> Integers:
    """The place in `shares` of each unit, (units,); `counts` (units, classes): its images of each class."""
    kind_of = _kinds(counts)
    _, examples, members = np.unique(kind_of, return_index=True, return_counts=True)
    units = generator.permutation(len(kind_of))
    members_of = np.split(units[np.argsort(kind_of[units], kind="stable")], np.cumsum(members)[:-1])
    balance = _Balance.begin(np.asarray(counts.sum(axis=0)), shares)
    place = np.empty(len(kind_of), dtype=np.int64)
    for kind in np.argsort(-np.asarray(counts.sum(axis=1))[examples], kind="stable"):
        row = slice(counts.indptr[examples[kind]], counts.indptr[examples[kind] + 1])
        given = balance.give(counts.indices[row].tolist(), counts.data[row].tolist(), int(members[kind]))
        place[members_of[kind]] = np.repeat(np.arange(len(shares)), given)
    return place


def _kinds(counts: csr_array) -> Integers:
    """The kind of each unit, (units,), from 0: equal for equal rows of `counts`."""
    pairs = counts.indices.astype(np.int64) * (counts.data.max() + 1) + counts.data
    _, pair_of = np.unique(pairs, return_inverse=True)
    lengths = np.diff(counts.indptr)
    kind = np.zeros(counts.shape[0], dtype=np.int64)
    for turn in range(lengths.max()):  # as many turns as the most mixed unit has classes
        longer = np.flatnonzero(lengths > turn)
        codes = kind[longer] * (pair_of.max() + 1) + pair_of[counts.indptr[longer] + turn]
        kind[longer] = kind.max() + 1 + np.unique(codes, return_inverse=True)[1]
    return np.unique(kind, return_inverse=True)[1]


@dataclass
class _Balance:
    """What the parts lack of the units dealt out so far: images wanted less held.

    `lacking`: of each class, and in the last row of all images, a number for each part. `weights`: for each
    row, of a squared image. The size of a part weighs half as much as all its classes together, as in
    `preparation.splits`. `shares`: of each part. Lists, for they are read and written one number at a time.
    """

    lacking: list[list[float]]
    weights: list[float]
    shares: list[float]

    @classmethod
    def begin(cls, totals: Integers, shares: Floats) -> "_Balance":
        """Nothing is dealt out. `totals` (classes,): all images of each; `shares` (parts,): above 0."""
        weights = [*(1 / np.maximum(totals, 1) ** 2).tolist(), len(totals) / 2 / int(totals.sum()) ** 2]
        return cls([[0.0] * len(shares) for _ in weights], weights, shares.tolist())

    def give(self, classes: list[int], images: list[int], units: int) -> list[int]:
        """How many of `units` that have so many `images` of `classes` each part gets: least squares."""
        rows = [(-1, sum(images)), *zip(classes, images, strict=True)]
        pulls, scale = [0.0] * len(self.shares), 0.0
        for row, own in rows:
            pull = self.weights[row] * own
            scale += pull * own
            for part, share in enumerate(self.shares):
                self.lacking[row][part] += share * units * own
                pulls[part] += pull * self.lacking[row][part]
        given = _whole_numbers([pull / scale for pull in pulls], units)
        for row, own in rows:
            for part, number in enumerate(given):
                self.lacking[row][part] -= number * own
        return given


def _whole_numbers(wanted: list[float], total: int) -> list[int]:
    """Whole numbers, none below 0, that sum to `total` as `wanted` does, and are near to it."""
    positive = [max(number, 0.0) for number in wanted]
    # Rounded, so that no platform's last digit decides.
    ideal = [round(number * total / sum(positive), 9) for number in positive]
    whole = [int(number) for number in ideal]
    by_rest = sorted(range(len(whole)), key=lambda part: whole[part] - ideal[part])
    for part in by_rest[: total - sum(whole)]:
        whole[part] += 1
    return whole


@dataclass
class _Cover:
    """In which parts the classes are. `units` (parts, classes): a part's units that have the class.

    `counts` (units, classes) and `part` (units,), changed by `fill_gaps`; `active`: the parts, train first.
    """

    counts: csr_array
    part: Integers
    active: Integers
    units: Integers

    @classmethod
    def of(cls, counts: csr_array, part: Integers, active: Integers) -> "_Cover":
        """As the units are now."""
        unit = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
        shape = (int(active.max()) + 1, counts.shape[1])
        cells = np.bincount(part[unit] * shape[1] + counts.indices, minlength=shape[0] * shape[1])
        return cls(counts, part, active, cells.reshape(shape))

    def fill_gaps(self) -> None:
        """Move a small unit of each class that a part lacks into it, where another part can spare it."""
        held = self.units[self.active]
        for label in np.flatnonzero((held == 0).any(axis=0) & held.any(axis=0)):
            own = self._units_with(int(label))
            for place in self.active:
                spare = (unit for unit in own if not self.units[place, label] and self._may_move(unit, place))
                if (unit := next(spare, None)) is not None:
                    self._move(unit, place)

    def _units_with(self, label: int) -> Integers:
        """The units that have a class, the smallest first."""
        unit = np.searchsorted(self.counts.indptr, np.flatnonzero(self.counts.indices == label), "right") - 1
        sizes = np.asarray(self.counts[unit].sum(axis=1))
        return unit[np.argsort(sizes, kind="stable")]

    def _classes(self, unit: int) -> Integers:
        return self.counts.indices[self.counts.indptr[unit] : self.counts.indptr[unit + 1]]

    def _may_move(self, unit: int, place: int) -> bool:
        """Whether no class is worse off: its part has another unit of each, or `place` comes before it."""
        here, classes = self.part[unit], self._classes(unit)
        spared = self.units[here, classes] > 1
        earlier = (self.units[place, classes] == 0) & (place < here)
        return bool(here != place and (spared | earlier).all())

    def _move(self, unit: int, place: int) -> None:
        classes = self._classes(unit)
        self.units[self.part[unit], classes] -= 1
        self.units[place, classes] += 1
        self.part[unit] = place
