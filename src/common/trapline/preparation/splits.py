"""Which labelled image is for training, which for validation and which for the test.

A split by site keeps every camera's images on one side, so that a score speaks of cameras that the model
has never seen. A random split is stratified by class and keeps byte-identical images together. Neither
divides a sequence. Both are pure functions of arrays: the same rows and the same seed give the same parts on
every platform.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from trapline.data.groups import (
    Integers,
    Labels,
    Sequences,
    Sites,
    Units,
    image_units,
    site_units,
    straddling,
)
from trapline.errors import TraplineError, UsageError
from trapline.preparation.split_notes import (
    PARTS,
    SplitKind,
    class_notes,
    duplicate_notes,
    empty_parts,
    join_notes,
    size_cause,
    size_notes,
    too_few_units,
)
from trapline.preparation.stratified import Floats, Shares
from trapline.preparation.whole_groups import random_parts
from trapline.typed import prepare_option

HONEST_SHARES = (0.65, 0.20, 0.15)
# What public random-split solutions use: no test part, validation does both jobs.
RANDOM_SHARES = (0.75, 0.25, 0.0)

# Cost of a class that train, val or test lacks, in squared deviations of one class wholly out of its part:
# presence goes before proportion, and training before the rest.
ABSENCE_PENALTIES = (16.0, 4.0, 1.0)
# The search is bounded by the work it does, in cells of the table of sites by classes, never by the clock: a
# clock would make the result depend on the machine.
MIN_AND_MAX_RESTARTS = (2, 16)
RESTART_WORK = 15_000
SWAP_WORK = 10_000_000
MAX_SWEEPS = 8


@dataclass(frozen=True)
class SplitPolicy:
    """How to divide: `kind` of split, `shares` of the images for train, val and test, and the seed.

    `val_share`: what to take from train for val, where the split is the data's own and has no val.

    Raises UsageError, naming the field, for an unknown kind, a share outside 0 to 1, shares that do not sum
    to 1, an empty train or val, or a negative seed.
    """

    kind: SplitKind = "site"
    shares: Shares = HONEST_SHARES
    seed: int = 0
    val_share: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(SplitKind):
            raise UsageError(
                f"kind: {self.kind!r} is not a kind of split; use {', '.join(get_args(SplitKind))}"
            )
        if self.seed < 0:
            raise UsageError(f"seed: {self.seed} is negative; use 0 or more")
        _check_shares(self.shares)


def _check_shares(shares: Shares) -> None:
    if len(shares) != len(PARTS):
        raise UsageError(f"shares: {len(shares)} given; give three, for train, val and test")
    for part, share in zip(PARTS, shares, strict=True):
        if not 0 <= share <= 1:
            raise UsageError(f"shares: {share} for {part} is not between 0 and 1")
        if share == 0 and part != "test":
            raise UsageError(f"shares: {part} must be above 0; only test may be left out")
    if abs(sum(shares) - 1) > 1e-6:
        raise UsageError(f"shares: {shares} sum to {sum(shares):g}; they must sum to 1")


@dataclass(frozen=True)
class SplitResult:
    """`part`: shape (n,), "train", "val" or "test" for each row; `notes`: plain sentences for a person."""

    part: npt.NDArray[np.str_]
    notes: list[str]


def split(
    labels: Labels,
    sites: Sites | None,
    groups_of_duplicates: Labels | None,
    policy: SplitPolicy,
    class_names: Sequence[str],
    sequences: Sequences | None = None,
) -> SplitResult:
    """Divide n labelled images into train, val and test.

    `labels`: shape (n,), indices into `class_names`. `sites`: shape (n,), the camera of each image, or None.
    `groups_of_duplicates`: shape (n,), equal values for byte-identical images, or None when all differ.
    `sequences`: of n images, or None when none is in one.

    A split by site puts no site and no sequence into two parts and does not depend on the order of the rows.
    A random split is exact within rounding for each class; byte-identical images stay together, and so do
    those of one sequence: then it is as near to the shares as these allow.

    Raises TraplineError when there are no images, when an image has no site (split by site only), or when a
    part with a share above 0 would be empty; ValueError when shapes or labels do not fit.
    """
    groups = np.arange(len(labels)) if groups_of_duplicates is None else groups_of_duplicates
    _check_rows(labels, sites, groups, len(class_names))
    units = units_of(sites, groups, policy, sequences)
    if policy.kind == "random":
        part = random_parts(labels, units, policy.shares, policy.seed)
    else:
        part = site_parts(class_counts(units, labels, len(class_names)), units, policy)
    refuse_empty_parts(part, units, policy)
    rows = pd.DataFrame({"label": labels, "part": part, "unit": units.unit_of, "group": groups})
    wanted = [index for index, share in enumerate(policy.shares) if share]
    notes = join_notes(units) + class_notes(rows.assign(site=units.site_of), wanted, units, class_names)
    notes += size_notes(part, policy.shares, size_cause(units)) + duplicate_notes(rows, "as their sites are")
    return SplitResult(np.array(PARTS)[part], notes)


def units_of(sites: Sites | None, groups: Labels, policy: SplitPolicy, sequences: Sequences | None) -> Units:
    """What a split by site, or at random, may not divide; the arguments are those of `split`.

    Raises UsageError without sites and TraplineError where one is missing, for a split by site.
    """
    found = sequences or Sequences.none(len(groups))
    if policy.kind == "random":
        return image_units(groups, found)
    if sites is None:
        raise UsageError(
            f"split: site needs a site for each image, and there is none; use "
            f"{prepare_option('split', 'random')}"
        )
    return site_units(sites, found)


def class_counts(units: Units, labels: Labels, classes: int) -> Integers:
    """The images of each class in each unit, shape (units, classes), by their `labels`, (n,)."""
    cells = np.bincount(units.unit_of * classes + labels, minlength=len(units) * classes)
    return cells.reshape(-1, classes)


def _check_rows(labels: Labels, sites: Sites | None, groups: Labels, classes: int) -> None:
    if len(labels) == 0:
        raise TraplineError("there are no labelled images to split; check the labels and the quarantine list")
    if len(groups) != len(labels) or (sites is not None and len(sites) != len(labels)):
        raise ValueError("labels, sites and groups_of_duplicates must have the same length")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels must lie between 0 and {classes - 1}, the number of class names less 1")


def refuse_empty_parts(part: Integers, units: Units, policy: SplitPolicy) -> None:
    """Raise TraplineError where a part that `policy` gives a share is not in `part`, (n,) indices."""
    empty = [PARTS[index] for index in np.flatnonzero(policy.shares) if index not in part]
    if empty:
        raise TraplineError(empty_parts(empty, units))


@dataclass
class _Arrangement:
    """Sites on their way into the parts that have a share above 0.

    `features` (sites, classes + 1): the fraction of each class, and of all images, that a site holds, in
    whole units. `present` (sites, classes): 1 where a site has the class. `penalties` (parts,): cost of a
    class that the part lacks. `where` (sites,): the part of each site, -1 for none yet. `excess` (parts,
    classes + 1): features held less wanted. `cover` (parts, classes): a part's sites that have the class.

    All numbers are whole and small enough for every sum to be exact in 64-bit floating point: no order of
    summation, and so no platform, can change which of two arrangements is the better one.
    """

    features: Floats
    present: Floats
    penalties: Floats
    where: Integers
    excess: Floats
    cover: Floats

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


def site_parts(counts: Integers, units: Units, policy: SplitPolicy) -> Integers:
    """The part index of each of n images such that no unit, a site or several, is in two parts, shape (n,).

    `counts`: shape (units, classes), the images of each class in each unit. Raises TraplineError where there
    are fewer units than parts.
    """
    active = np.flatnonzero(policy.shares)
    if len(counts) < len(active):
        raise TraplineError(too_few_units(units, [PARTS[index] for index in active]))
    part = active[_best_arrangement(counts, np.bincount(units.unit_of), policy)][units.unit_of]
    if units.site_of is not None and straddling(units.site_of, part):
        raise TraplineError("split: a site came out in two parts; this is a defect of Trapline, report it")
    return part


def _unplaced(counts: Integers, sizes: Integers, shares: Shares) -> _Arrangement:
    """All sites in no part yet; `counts` as in `site_parts`, `sizes`: shape (sites,), all images of each."""
    counts = counts[:, counts.any(axis=0)]
    active = np.flatnonzero(shares)
    # The size of a part weighs half as much as all its classes together.
    weights = np.append(np.ones(counts.shape[1]), np.sqrt(counts.shape[1] / 2))
    columns = np.column_stack([counts, sizes])
    unit = 2.0 ** ((42 - int(np.ceil(np.log2(len(weights))))) // 2)
    features = np.round(columns * (weights * unit / columns.sum(axis=0)))
    return _Arrangement(
        features=features,
        present=(counts > 0).astype(np.float64),
        penalties=np.array(ABSENCE_PENALTIES)[active] * unit**2,
        where=np.full(len(counts), -1),
        excess=-np.round(np.array(shares)[active, None] * features.sum(axis=0)),
        cover=np.zeros((len(active), counts.shape[1])),
    )


def _best_arrangement(counts: Integers, sizes: Integers, policy: SplitPolicy) -> Integers:
    """The part of each site, shape (sites,): the cheapest of several arrangements, large sites early."""
    generator = np.random.default_rng(policy.seed)
    best, lowest = np.empty(0, dtype=np.int64), np.inf
    for _ in range(int(np.clip(RESTART_WORK // counts.size, *MIN_AND_MAX_RESTARTS))):
        arrangement = _unplaced(counts, sizes, policy.shares)
        noise = generator.integers(1, 1000, len(counts))
        order = np.argsort(-np.square(arrangement.features).sum(axis=1) * noise, kind="stable")
        _place(arrangement, order, first=generator.permutation(len(counts))[: len(arrangement.excess)])
        _improve(arrangement, order)
        if arrangement.cost() < lowest:
            best, lowest = arrangement.where, arrangement.cost()
    return best


def _placing_costs(arrangement: _Arrangement, site: int) -> Floats:
    """What a site that is in no part would add to the cost in each part, up to a constant; shape (parts,)."""
    covered = (arrangement.cover == 0) @ arrangement.present[site]
    return 2 * (arrangement.excess @ arrangement.features[site]) - arrangement.penalties * covered


def _place(arrangement: _Arrangement, order: Integers, first: Integers) -> None:
    """Put one site of `first` into each part, so that none is empty, and then each where it costs least."""
    for part, site in enumerate(first):
        arrangement.move(site, part)
    for site in order[~np.isin(order, first)]:
        arrangement.move(site, int(np.argmin(_placing_costs(arrangement, site))))


def _improve(arrangement: _Arrangement, order: Integers) -> None:
    """Move single sites and exchange pairs for as long as that lowers the cost, within bounds."""
    swappable = order[: SWAP_WORK // arrangement.features.size]
    cost = np.inf
    for _ in range(MAX_SWEEPS):
        if arrangement.cost() == cost:
            return
        cost = arrangement.cost()
        for site in order:
            _move_if_cheaper(arrangement, site)
        for site in swappable:
            _swap_if_cheaper(arrangement, site)


def _move_if_cheaper(arrangement: _Arrangement, site: int) -> None:
    here = int(arrangement.where[site])
    if np.count_nonzero(arrangement.where == here) == 1:
        return  # no part may become empty
    arrangement.move(site, -1)
    costs = _placing_costs(arrangement, site)
    best = int(np.argmin(costs))
    arrangement.move(site, best if costs[best] < costs[here] else here)


def _swap_if_cheaper(arrangement: _Arrangement, site: int) -> None:
    """Exchange `site` with the site of another part that lowers the cost most, if there is one."""
    here = int(arrangement.where[site])
    others = np.flatnonzero(arrangement.where != here)
    costs = _swap_costs(arrangement, site, others)
    best = int(np.argmin(costs))
    if costs[best] < 0:
        there = int(arrangement.where[others[best]])
        arrangement.move(site, there)
        arrangement.move(others[best], here)


def _swap_costs(arrangement: _Arrangement, site: int, others: Integers) -> Floats:
    """What the exchange of `site` with each of `others`, all in other parts, adds to the cost."""
    here, there = int(arrangement.where[site]), arrangement.where[others]
    change = arrangement.features[site] - arrangement.features[others]
    pull = arrangement.excess[there] - arrangement.excess[here] + change
    brought = arrangement.present[site] - arrangement.present[others]
    lost = (arrangement.cover[here] == brought).sum(axis=1) * arrangement.penalties[here]
    lost += (arrangement.cover[there] == -brought).sum(axis=1) * arrangement.penalties[there]
    absent = arrangement.penalties * (arrangement.cover == 0).sum(axis=1)
    return 2 * (change * pull).sum(axis=1) + lost - absent[here] - absent[there]
