"""A random split that is stratified by class, exactly, where only the copies of an image stay together."""

import numpy as np
import numpy.typing as npt

from trapline.data.groups import Integers, Labels
from trapline.preparation.split_notes import PARTS

Floats = npt.NDArray[np.float64]
Shares = tuple[float, float, float]


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
    owed = np.zeros(len(PARTS))
    for label in np.unique(unit_label):
        units = generator.permutation(np.flatnonzero(unit_label == label))
        total = int(sizes[units].sum())
        quotas = whole_shares(total, np.array(shares), owed)
        owed += total * np.array(shares) - quotas
        unit_part[units] = _fill_quotas(sizes[units], quotas)
    return unit_part[unit_of]


def whole_shares(total: int, shares: Floats, owed: Floats) -> Integers:
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
