"""The search for the best split by site: which sites go to which part, for the shares and classes wanted."""

import numpy as np
import numpy.typing as npt

from trapline.data.groups import Integers
from trapline.preparation.random_splits import Floats, Shares

# Cost of a class that train, val or test lacks, in squared deviations of one class wholly out of its part:
# presence goes before proportion, and training before the rest.
ABSENCE_PENALTIES = (16.0, 4.0, 1.0)
# The search is bounded by the work it does, in cells of the table of sites by classes, never by the clock: a
# clock would make the result depend on the machine.
MIN_AND_MAX_RESTARTS = (2, 16)
RESTART_WORK = 15_000
SWAP_WORK = 10_000_000
MAX_SWEEPS = 8


def best_arrangement(
    counts: Integers, sizes: Integers, shares: Shares, seed: int, fixed: Integers | None = None
) -> Integers:
    """The part of each site, shape (sites,): the cheapest of several arrangements, large sites early.

    `counts`: shape (sites, classes), the images of each class at each site, or in each group of sites that
    must stay whole; `sizes`: shape (sites,), all images of each. Parts are counted among those with a share.
    `fixed`, shape (sites,): the part of sites that never move, -1 for those that are to be placed.
    """
    fixed = np.full(len(counts), -1) if fixed is None else fixed
    free = np.flatnonzero(fixed < 0)
    generator = np.random.default_rng(seed)
    best, lowest = np.empty(0, dtype=np.int64), np.inf
    for _ in range(int(np.clip(RESTART_WORK // counts.size, *MIN_AND_MAX_RESTARTS))):
        arrangement = _Arrangement(counts, sizes, shares, fixed < 0)
        noise = generator.integers(1, 1000, len(counts))
        order = np.argsort(-np.square(arrangement.features).sum(axis=1) * noise, kind="stable")
        order = order[fixed[order] < 0]
        for site in np.flatnonzero(fixed >= 0):
            arrangement.move(int(site), int(fixed[site]))
        # One site into each empty part, so that none is, and then each where it costs least.
        empty = [part for part in range(len(arrangement.excess)) if part not in fixed]
        first = free[generator.permutation(len(free))[: len(empty)]]
        for part, site in zip(empty, first, strict=False):
            arrangement.move(int(site), part)
        for site in order[~np.isin(order, first)]:
            arrangement.move(site, int(np.argmin(arrangement.placing_costs(site))))
        arrangement.improve(order)
        if arrangement.cost() < lowest:
            best, lowest = arrangement.where, arrangement.cost()
    return best


class _Arrangement:
    """Sites on their way into the parts that have a share above 0.

    `features` (sites, classes + 1): the fraction of each class, and of all images, that a site holds, in
    whole units. `present` (sites, classes): 1 where a site has the class. `penalties` (parts,): cost of a
    class that the part lacks. `movable` (sites,): whether it may change its part. `where` (sites,): the part
    of each site, -1 for none yet. `excess` (parts, classes + 1): features held less wanted. `cover` (parts,
    classes): a part's sites that have the class.

    All numbers are whole and small enough for every sum to be exact in 64-bit floating point: no order of
    summation, and so no platform, can change which of two arrangements is the better one.
    """

    def __init__(
        self, counts: Integers, sizes: Integers, shares: Shares, movable: npt.NDArray[np.bool_]
    ) -> None:
        """All sites in no part yet; the arguments are those of `best_arrangement`."""
        self.movable = movable
        counts = counts[:, counts.any(axis=0)]
        active = np.flatnonzero(shares)
        # The size of a part weighs half as much as all its classes together.
        weights = np.append(np.ones(counts.shape[1]), np.sqrt(counts.shape[1] / 2))
        columns = np.column_stack([counts, sizes])
        unit = 2.0 ** ((42 - int(np.ceil(np.log2(len(weights))))) // 2)
        self.features: Floats = np.round(columns * (weights * unit / columns.sum(axis=0)))
        self.present: Floats = (counts > 0).astype(np.float64)
        self.penalties: Floats = np.array(ABSENCE_PENALTIES)[active] * unit**2
        self.where: Integers = np.full(len(counts), -1)
        self.excess: Floats = -np.round(np.array(shares)[active, None] * self.features.sum(axis=0))
        self.cover: Floats = np.zeros((len(active), counts.shape[1]))

    def move(self, site: int, part: int) -> None:
        """Take `site` from where it is and put it into `part`; -1 leaves it in none."""
        for place, sign in ((self.where[site], -1.0), (part, 1.0)):
            if place >= 0:
                self.excess[place] += sign * self.features[site]
                self.cover[place] += sign * self.present[site]
        self.where[site] = part

    def cost(self) -> float:
        """Squared deviation from the wanted shares, plus the penalties for absent classes."""
        return float(np.square(self.excess).sum() + self.penalties @ (self.cover == 0).sum(axis=1))

    def placing_costs(self, site: int) -> Floats:
        """What a site that is in no part would add to the cost in each, up to a constant; shape (parts,)."""
        covered = (self.cover == 0) @ self.present[site]
        return 2 * (self.excess @ self.features[site]) - self.penalties * covered

    def improve(self, order: Integers) -> None:
        """Move single sites and exchange pairs for as long as that lowers the cost, within bounds."""
        cost = np.inf
        for _ in range(MAX_SWEEPS):
            if self.cost() == cost:
                return
            cost = self.cost()
            for site in order:
                self._move_if_cheaper(site)
            for site in order[: SWAP_WORK // self.features.size]:
                self._swap_if_cheaper(site)

    def _move_if_cheaper(self, site: int) -> None:
        here = int(self.where[site])
        if np.count_nonzero(self.where == here) == 1:
            return  # no part may become empty
        self.move(site, -1)
        costs = self.placing_costs(site)
        best = int(np.argmin(costs))
        self.move(site, best if costs[best] < costs[here] else here)

    def _swap_if_cheaper(self, site: int) -> None:
        """Exchange `site` with the site of another part that lowers the cost most, if there is one."""
        here = int(self.where[site])
        others = np.flatnonzero((self.where != here) & self.movable)
        if not len(others):
            return
        there = self.where[others]
        change = self.features[site] - self.features[others]
        pull = self.excess[there] - self.excess[here] + change
        brought = self.present[site] - self.present[others]
        lost = (self.cover[here] == brought).sum(axis=1) * self.penalties[here]
        lost += (self.cover[there] == -brought).sum(axis=1) * self.penalties[there]
        absent = self.penalties * (self.cover == 0).sum(axis=1)
        costs = 2 * (change * pull).sum(axis=1) + lost - absent[here] - absent[there]
        best = int(np.argmin(costs))
        if costs[best] < 0:
            self.move(site, int(there[best]))
            self.move(others[best], here)
