"""Which labelled image is for training, which for validation and which for the test.

A split by site keeps every camera's images on one side, so that a score speaks of cameras that the model
has never seen. A random split is stratified by class and keeps byte-identical images together. Neither
divides a sequence. Both are pure functions of arrays: the same rows and the same seed give the same parts on
every platform. What a person should know of a split is said in plain sentences, for the log and summary.json.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from trapline.data.groups import (
    Integers,
    Labels,
    Sequences,
    Sites,
    Units,
    binding_copies,
    image_units,
    site_units,
    straddling,
)
from trapline.errors import TraplineError, UsageError, refuse_any
from trapline.job_contract import prepare_option
from trapline.preparation.random_splits import (
    LabelMatrix,
    Shares,
    grouped_parts,
    iterative_parts,
    stratified_parts,
)
from trapline.preparation.site_splits import best_arrangement

PARTS = ("train", "val", "test")
HONEST_SHARES = (0.65, 0.20, 0.15)
# What public random-split solutions use: no test part, validation does both jobs.
RANDOM_SHARES = (0.75, 0.25, 0.0)
LABEL_SHARES = (0.70, 0.15, 0.15)
NOTED_DEVIATION = 0.05
WITHOUT_TEST = "0.8,0.2,0"  # shares

SplitKind: TypeAlias = Literal["site", "group", "random", "given"]
Parts = npt.NDArray[np.str_]


@dataclass(frozen=True)
class SplitPolicy:
    """How to divide: `kind` of split, `shares` of the images for train, val and test, and the seed.

    `group_by`: what a split by site keeps together, where that is something else (kind "group").

    `val_share`: what to take from train for val, where the split is the data's own and has no val.

    Raises UsageError, naming the field, for an unknown kind, a share outside 0 to 1, shares that do not sum
    to 1, an empty train or val, or a negative seed.
    """

    kind: SplitKind = "site"
    shares: Shares = HONEST_SHARES
    seed: int = 0
    val_share: float | None = None
    group_by: str = "site"

    def __post_init__(self) -> None:
        kinds = get_args(SplitKind)
        refusals: list[tuple[object, str]] = [
            (self.kind not in kinds, f"kind: {self.kind!r} is not a kind of split; use {', '.join(kinds)}"),
            (self.seed < 0, f"seed: {self.seed} is negative; use 0 or more"),
            (
                len(self.shares) != len(PARTS),
                f"shares: {len(self.shares)} given; give three, for train, val and test",
            ),
        ]
        for part, share in zip(PARTS, self.shares, strict=False):
            refusals += [
                (not 0 <= share <= 1, f"shares: {share} for {part} is not between 0 and 1"),
                (
                    share == 0 and part != "test",
                    f"shares: {part} must be above 0; only test may be left out",
                ),
            ]
        total = sum(self.shares)
        refuse_any(
            [
                *refusals,
                (abs(total - 1) > 1e-6, f"shares: {self.shares} sum to {total:g}; they must sum to 1"),
            ]
        )


@dataclass(frozen=True)
class SplitResult:
    """`part`: shape (n,), "train", "val" or "test" for each row; `notes`: plain sentences for a person."""

    part: Parts
    notes: list[str]


def split(
    labels: Labels | LabelMatrix,
    sites: Sites | None,
    groups_of_duplicates: Labels | None,
    policy: SplitPolicy,
    class_names: Sequence[str],
    sequences: Sequences | None = None,
    known: Integers | None = None,
) -> SplitResult:
    """Divide n labelled images into train, val and test.

    `labels`: shape (n,), indices into `class_names`; or, where an image may have any number of them, shape
    (n, classes), 1 where an image has the class. `sites`: shape (n,), the camera of each image, or None.
    `groups_of_duplicates`: shape (n,), equal values for byte-identical images, or None when all differ.
    `sequences`: of n images, or None when none is in one. `known`: shape (n,), the index of the part in which
    the site of each image must stay, -1 where it is new; of images that share a unit it must be the same.

    A split by site puts no site and no sequence into two parts and does not depend on the order of the rows;
    nor does it divide the sites of byte-identical images, unless these would join most sites.
    A random split is exact within rounding for each class; byte-identical images stay together, and so do
    those of one sequence: then it is as near to the shares as these allow.

    Raises TraplineError when there are no images, when an image has no site (split by site only), or when a
    part with a share above 0 would be empty; ValueError when shapes or labels do not fit.
    """
    groups = np.arange(len(labels)) if groups_of_duplicates is None else groups_of_duplicates
    if len(labels) == 0:
        raise TraplineError("there are no labelled images to split; check the labels and the quarantine list")
    if len(groups) != len(labels) or (sites is not None and len(sites) != len(labels)):
        raise ValueError("labels, sites and groups_of_duplicates must have the same length")
    _, classes = labels_of_rows(labels)
    if ((classes < 0) | (classes >= len(class_names))).any():
        raise ValueError(
            f"labels must lie between 0 and {len(class_names) - 1}, the number of class names less 1"
        )
    units = units_of(sites, groups, policy, sequences)
    part = divided(labels, units, policy, len(class_names), known)
    wanted = np.flatnonzero(policy.shares).tolist()
    if empty := [PARTS[index] for index in wanted if index not in part]:
        raise TraplineError(_empty_parts(empty, units))
    notes = [
        *join_notes(units),
        *class_notes(labels, part, wanted, units, class_names),
        *_size_notes(part, policy.shares, units),
        *duplicate_notes(part, groups, "as their sites are"),
    ]
    return SplitResult(np.array(PARTS)[part], notes)


def duplicate_groups(sha256s: Sequence[str]) -> Integers:
    """A number for each image, shape (n,), equal for byte-identical ones: what `split` takes."""
    return pd.factorize(np.asarray(sha256s, dtype=object))[0].astype(np.int64)


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
    bound = site_units(sites, found, binding_copies(groups, sites))
    # Where copies would leave too few sites for the parts, they are noted instead.
    return bound if len(bound) >= np.count_nonzero(policy.shares) else site_units(sites, found)


def divided(
    labels: Labels | LabelMatrix,
    units: Units,
    policy: SplitPolicy,
    classes: int,
    known: Integers | None = None,
) -> Integers:
    """The part index of each of n images, shape (n,), such that no unit is in two parts.

    `known` as in `split`. Raises UsageError where it has a part that is to be empty, and TraplineError where
    a split by site has fewer units than parts.
    """
    image, label = labels_of_rows(labels)
    if policy.kind == "random" and labels.ndim == 2:
        return iterative_parts(labels, units.unit_of, policy.shares, policy.seed)
    if policy.kind == "random":
        deal = grouped_parts if units.bound else stratified_parts
        return deal(label, units.unit_of, policy.shares, policy.seed)
    active = np.flatnonzero(policy.shares)
    if len(units) < len(active):
        raise TraplineError(_too_few_units(units, [PARTS[index] for index in active]))
    fixed = None if known is None else _fixed(known, units, active)
    cells = units.unit_of[image] * classes + label
    counts = np.bincount(cells, minlength=len(units) * classes).reshape(-1, classes)
    where = best_arrangement(counts, np.bincount(units.unit_of), policy.shares, policy.seed, fixed)
    part = active[where][units.unit_of]
    if units.site_of is not None and straddling(units.site_of, part):
        raise TraplineError("split: a site came out in two parts; this is a defect of Trapline, report it")
    return part


def _fixed(known: Integers, units: Units, active: Integers) -> Integers:
    """The part of each unit among the `active` ones, (units,), -1 where it is to be placed."""
    part = np.full(len(units), -1)
    rows = np.flatnonzero(known >= 0)
    part[units.unit_of[rows]] = known[rows]
    if lost := [PARTS[index] for index in np.unique(part[part >= 0]) if index not in active]:
        raise UsageError(
            f"{prepare_option('shares')}: leaves {lost[0]} out, and the division has sites in it; give it a "
            "share"
        )
    return np.where(part < 0, -1, np.searchsorted(active, part))


def labels_of_rows(labels: Labels | LabelMatrix) -> tuple[Labels, Labels]:
    """Row and class of each label that an image has, (labels,) each; `labels` as in `split`."""
    if labels.ndim == 1:
        return np.arange(len(labels)), labels.astype(np.int64)
    image, label = np.nonzero(labels)
    return image, label


def _empty_parts(empty: Sequence[str], units: Units) -> str:
    """The error of a split at random that leaves parts empty."""
    images = f"{len(units.unit_of)} images"
    why, more = f"each class has too few different images ({images} in all)", ""
    if units.bound:
        why = (
            "the images of one sequence stay together and each class is in too few of these groups "
            f"({images} in {count(len(units), 'group')} in all)"
        )
        more = ", or correct the sequences in the source"
    return (
        f"split: {list_of(empty)} would be empty, for {why}; add images, or leave out the test part with "
        f"{prepare_option('shares', WITHOUT_TEST)}{more}"
    )


def _too_few_units(units: Units, parts: Sequence[str]) -> str:
    """The error of a split by site that has fewer sites, or groups of joined sites, than `parts`."""
    ways_out = f"use {prepare_option('split', 'random')}"
    if len(units) == 2:
        ways_out += f", or leave out the test part, for example with {prepare_option('shares', WITHOUT_TEST)}"
    if units.bound:
        ways_out += ", or correct the sequences in the source"
    joined = (
        f", but sequences span them (for instance {units.example}), which leaves "
        f"{count(len(units), 'group')} of sites"
    )
    whole = "sequence" if units.bound else "site"
    return (
        f"site: the images come from {count(units.sites, 'site')}{joined if units.bound else ''}, "
        f"too few for {list_of(parts)} without a {whole} in two of them: "
        f"{list_of(parts[len(units) :])} cannot be filled; {ways_out}"
    )


# --- what a person should know ------------------------------------------------------------------------------


def class_notes(
    labels: Labels | LabelMatrix,
    part: Integers,
    parts: Sequence[int],
    units: Units | None,
    names: Sequence[str],
) -> list[str]:
    """One sentence for each class that one of `parts` lacks.

    `labels` and `part`: of n images. `units`: what a split that Trapline made has not divided.
    """
    image, label = labels_of_rows(labels)
    rows = pd.DataFrame({"label": label, "part": part[image]})
    rows["unit"] = image if units is None else units.unit_of[image]
    rows["place"] = rows["unit"] if units is None or units.site_of is None else units.site_of[image]
    held, numbers = (
        pd.crosstab(rows["label"], rows["part"]),
        rows.groupby("label")[["unit", "place"]].nunique(),
    )
    wanted, notes = "all of " + list_of([PARTS[index] for index in parts]), []
    for own, name in enumerate(names):
        if own not in held.index:
            notes.append(f"class {name} has no labelled image")
        elif absent := [PARTS[index] for index in parts if not held.loc[own, index]]:
            images = count(held.loc[own].to_numpy().sum(), "image")
            amount = images + _kept_whole(units, numbers["place"][own])
            verdict = "cannot be in" if numbers["unit"][own] < len(parts) else "is not in"
            notes.append(f"class {name} ({amount}) {verdict} {wanted}: it has none in {list_of(absent)}")
    return notes


def _kept_whole(units: Units | None, number: int) -> str:
    """Where the images of a class are: at which number of sites, or of groups that sequences make."""
    if units is not None and units.by_site:
        return f" at {count(number, 'site')}"
    return f" in {count(number, 'group')} kept whole" if units is not None and units.bound else ""


def _size_notes(part: Integers, shares: Sequence[float], units: Units) -> list[str]:
    """One sentence for each part, (n,) indices, that is far from the share it should have, and why."""
    cause = "sequences stay whole" if units.bound else "classes are small or images identical"
    if units.by_site:
        cause = "sites stay whole" + (", and those that sequences join" if units.bound else "")
    held = np.bincount(part, minlength=len(PARTS)) / len(part)
    return [
        f"{name} holds {found:.1%} of the images instead of {share:.1%}, because {cause}"
        for name, found, share in zip(PARTS, held, shares, strict=True)
        if abs(found - share) > NOTED_DEVIATION
    ]


def join_notes(units: Units) -> list[str]:
    """A sentence where sites were joined, for sequences span them."""
    note = (
        f"{units.joined_sites} sites were joined because sequences span them (for instance {units.example})"
    )
    return [note] if units.joined_sites else []


def duplicate_notes(part: Integers, groups: Labels, cause: str) -> list[str]:
    """A sentence where byte-identical images, of one of `groups`, are in several parts; `cause`: why."""
    rows = pd.DataFrame({"part": part, "group": groups})
    spanning = rows["group"][rows.groupby("group")["part"].transform("nunique") > 1]
    note = (
        f"{count(spanning.nunique(), 'group')} of byte-identical images ({len(spanning)} images) in two "
        f"parts, {cause}"
    )
    return [note] if len(spanning) else []


def list_of(names: Sequence[str]) -> str:
    """ "train", "train and val", "train, val and test"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def count(number: int, noun: str) -> str:
    """ "1 site", "2 sites"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
