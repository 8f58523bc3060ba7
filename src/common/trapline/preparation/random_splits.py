"""Random splits, stratified by class, of images of which some must stay together: copies, or sequences.

There are three ways, by what is dealt out. Where only the copies of an image stay together the split is exact
(`stratified_parts`). Sequences, of any length, with images of one class or of several, go by kind
(`grouped_parts`): groups with the same number of images of each class are of one kind. The kinds are dealt
out one by one, those of the most images first, each so that the parts get what they lack by then: what large
groups leave uneven the small ones and the single images even out. Images of several labels go by iterative
stratification (`iterative_parts`): the rarest label is dealt out first, for the frequent ones can still be
balanced afterwards.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from trapline.data.groups import Integers, Labels

Floats = npt.NDArray[np.float64]
Shares = tuple[float, float, float]
LabelMatrix = npt.NDArray[np.integer | np.bool_]


# --- copies of an image -------------------------------------------------------------------------------------


def stratified_parts(labels: Labels, groups: Labels, shares: Shares, seed: int) -> Integers:
    """A random part index for each row, shape (n,), stratified by class; equal `groups` stay together.

    Counts for each class are within 1 of its share, unless a part would lack the class or a group is large.
    A class with fewer images than parts goes to train first, then to val. A part may come out empty.
    """
    generator = np.random.default_rng(seed)
    _, unit_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    # Identical images can bear different labels: the unit counts for the smallest, whatever the row order.
    unit_label = np.full(len(sizes), np.iinfo(np.int64).max)
    np.minimum.at(unit_label, unit_of, labels)
    unit_part = np.zeros(len(sizes), dtype=np.int64)
    owed = np.zeros(len(shares))
    for label in np.unique(unit_label):
        units = generator.permutation(np.flatnonzero(unit_label == label))
        total = int(sizes[units].sum())
        quotas = _whole_shares(total, np.array(shares), owed)
        owed += total * np.array(shares) - quotas
        unit_part[units] = _fill_quotas(sizes[units], quotas)
    return unit_part[unit_of]


def _whole_shares(total: int, shares: Floats, owed: Floats) -> Integers:
    """Whole numbers of images for each part that sum to `total`, shape (parts,).

    `owed`: what rounding took from each part in the classes before, so that errors do not add up.
    """
    active = np.flatnonzero(shares)
    if total < len(active):
        return np.bincount(active[:total], minlength=len(shares))
    ideal = np.round(total * shares, 9)  # 0.65 x 20 is a hair above 13 in binary
    quotas = np.floor(ideal).astype(np.int64)
    wishes = np.where(ideal > quotas, ideal - quotas + owed, -np.inf)
    quotas[np.argsort(-wishes, kind="stable")[: total - quotas.sum()]] += 1
    for part in active[quotas[active] == 0]:
        quotas[np.argmax(quotas)] -= 1
        quotas[part] = 1
    return quotas


def _fill_quotas(sizes: Integers, quotas: Integers) -> Integers:
    """A part for each unit of `sizes` images: large units first, single ones exactly into what is left."""
    part = np.zeros(len(sizes), dtype=np.int64)
    room = quotas.copy()
    for unit in np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes > 1)]:
        part[unit] = np.argmax(room)
        room[part[unit]] -= sizes[unit]
    singles = np.flatnonzero(sizes == 1)
    room = np.maximum(room, 0)
    for _ in range(int(room.sum()) - len(singles)):
        room[len(room) - 1 - np.argmax(room[::-1])] -= 1  # on a tie test gives way first, train last
    part[singles] = np.repeat(np.arange(len(room)), room)
    return part


# --- sequences ----------------------------------------------------------------------------------------------


def grouped_parts(labels: Labels, unit_of: Integers, shares: Shares, seed: int) -> Integers:
    """A random part index for each of n images, shape (n,), such that no unit, numbered from 0, is divided.

    A class that is in as many units as there are parts is in each part, where that takes it from no other
    class; one in fewer is in train, then in val. A part may come out empty.
    """
    counts = _counts(unit_of, labels, int(unit_of.max()) + 1, int(labels.max()) + 1)
    active = np.flatnonzero(shares)
    part = active[_dealt_out(counts, np.array(shares)[active], np.random.default_rng(seed))]
    _fill_gaps(counts, part, active)
    return part[unit_of]


def _counts(unit_of: Integers, labels: Labels, units: int, classes: int) -> csr_array:
    """The images of each unit that have a label, shape (units, classes), by the unit and label of each."""
    ones = np.ones(len(labels), dtype=np.int64)
    counts = csr_array((ones, (unit_of, labels)), shape=(units, classes))
    counts.sum_duplicates()
    return counts


def _dealt_out(counts: csr_array, shares: np.ndarray, generator: np.random.Generator) -> Integers:
    """The place in `shares` of each unit, (units,); `counts` (units, classes): its images of each class."""
    kind_of = _kinds(counts)
    _, examples, members = np.unique(kind_of, return_index=True, return_counts=True)
    units = generator.permutation(len(kind_of))
    members_of = np.split(units[np.argsort(kind_of[units], kind="stable")], np.cumsum(members)[:-1])
    balance = _Balance(np.asarray(counts.sum(axis=0)), shares)
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


class _Balance:
    """What the parts lack of the units dealt out so far: images wanted less held.

    `lacking`: of each class, and in the last row of all images, a number for each part. `weights`: for each
    row, of a squared image. The size of a part weighs half as much as all its classes together, as in
    `preparation.site_splits`. Lists, for they are read and written one number at a time.
    """

    def __init__(self, totals: Integers, shares: Floats) -> None:
        """Nothing is dealt out. `totals` (classes,): all images of each; `shares` (parts,): above 0."""
        weights = 1 / np.maximum(totals, 1) ** 2
        self.weights: list[float] = [*weights.tolist(), len(totals) / 2 / int(totals.sum()) ** 2]
        self.shares: list[float] = shares.tolist()
        self.lacking = [[0.0] * len(shares) for _ in self.weights]

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


def _fill_gaps(counts: csr_array, part: Integers, active: Integers) -> None:
    """Move a small unit of each class that a part lacks into it, where another part can spare it.

    `counts` (units, classes), and `part` (units,), which is changed; `active`: the parts, train first.
    """
    unit = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    shape = (int(active.max()) + 1, counts.shape[1])
    cells = part[unit] * shape[1] + counts.indices
    held = np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)  # units that have the class
    sizes = np.asarray(counts.sum(axis=1))
    for label in np.flatnonzero((held[active] == 0).any(axis=0) & held[active].any(axis=0)):
        with_label = unit[counts.indices == label]
        with_label = with_label[np.argsort(sizes[with_label], kind="stable")]
        for place in active:
            for small in with_label if not held[place, label] else ():
                classes = counts.indices[counts.indptr[small] : counts.indptr[small + 1]]
                # No class may be worse off: another unit has it, or this part comes before the other.
                spared = held[part[small], classes] > 1
                earlier = (held[place, classes] == 0) & (place < part[small])
                if part[small] != place and (spared | earlier).all():
                    held[part[small], classes] -= 1
                    held[place, classes] += 1
                    part[small] = place
                    break


# --- several labels an image --------------------------------------------------------------------------------


def iterative_parts(matrix: LabelMatrix, groups: Labels, shares: Sequence[float], seed: int) -> Integers:
    """A part index for each of n images, shape (n,), stratified by label; equal `groups` stay together.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, On the Stratification of Multi-Label Data,
    ECML PKDD 2011, algorithm 1). `matrix`: shape (n, labels). Every part with a share above 0 gets an image
    of each label that has enough of them. A pure function of its arguments; ties are broken by `seed`.
    """
    _, unit_of = np.unique(groups, return_inverse=True)
    image, label_of = np.nonzero(matrix)
    counts = _counts(unit_of[image], label_of, int(unit_of.max()) + 1, matrix.shape[1])
    sizes, generator = np.bincount(unit_of), np.random.default_rng(seed)
    state = _Dealing(counts, sizes, np.array(shares), generator)
    order = generator.permutation(len(sizes))
    # Many copies go while there is room for them.
    order = order[np.argsort(-sizes[order], kind="stable")]
    turn = np.argsort(order)  # of each label the units that have it, in that order
    by_label = counts.tocsc()
    with_label = [
        units[np.argsort(turn[units])] for units in np.split(by_label.indices, by_label.indptr[1:-1])
    ]
    while (label := state.rarest_label()) is not None:
        state.place(with_label[label], label)
    state.place(order, None)
    return np.array(state.part)[unit_of]


class _Dealing:
    """Units (images, the copies of one, or a sequence) on their way into parts.

    held: (units, labels), images of a unit with a label. sizes: (units,). wanted: (labels + 1, parts), images
    that a part still lacks of each label and, in the last row, of all. part: (units,), -1 for none yet. left:
    (labels,), images in no part yet. Lists, for they are read and written one number at a time.
    """

    def __init__(
        self, held: csr_array, sizes: Integers, shares: Floats, generator: np.random.Generator
    ) -> None:
        """All units in no part; ties are broken by `generator`."""
        self.held, self.generator = held, generator
        self.sizes: list[int] = sizes.tolist()
        self.part = [-1] * len(sizes)
        self.left: list[int] = np.asarray(held.sum(axis=0)).tolist()
        totals = [*self.left, int(sizes.sum())]
        wanted = np.array([_whole_shares(total, shares, np.zeros(len(shares))) for total in totals])
        wanted[:, shares == 0] = np.iinfo(np.int64).min // 2
        self.wanted: list[list[int]] = wanted.tolist()

    def rarest_label(self) -> int | None:
        """The label with the fewest images left, but one at least; None where all are dealt out."""
        left = (label for label, images in enumerate(self.left) if images)
        return min(left, key=self.left.__getitem__, default=None)

    def place(self, units: Integers, label: int | None) -> None:
        """Put those of `units` that are in no part, one by one, where `label`, or any image, is wanted."""
        for unit in units.tolist():
            if self.part[unit] >= 0:
                continue
            self.part[unit] = part = self._best(label)
            self.wanted[-1][part] -= self.sizes[unit]
            row = slice(self.held.indptr[unit], self.held.indptr[unit + 1])
            for own, images in zip(
                self.held.indices[row].tolist(), self.held.data[row].tolist(), strict=True
            ):
                self.wanted[own][part] -= images
                self.left[own] -= images

    def _best(self, label: int | None) -> int:
        """The part where `label` is wanted most, of these where images are, of these any."""
        best = list(range(len(self.wanted[-1])))
        for wanted in (self.wanted[-1],) if label is None else (self.wanted[label], self.wanted[-1]):
            largest = max(wanted[part] for part in best)
            best = [part for part in best if wanted[part] == largest]
        return best[0] if len(best) == 1 else best[int(self.generator.integers(len(best)))]
