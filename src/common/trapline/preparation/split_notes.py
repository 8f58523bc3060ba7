"""What a person should know of a split: plain sentences for the log and summary.json."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from trapline.data.groups import Units
from trapline.typed import prepare_option

PARTS = ("train", "val", "test")
NOTED_DEVIATION = 0.05
WITHOUT_TEST = "0.8,0.2,0"  # shares

SplitKind: TypeAlias = Literal["site", "random", "given"]


def class_notes(
    rows: pd.DataFrame, parts: Sequence[int], units: Units | None, names: Sequence[str]
) -> list[str]:
    """One sentence for each class that one of `parts` lacks.

    `rows` has the columns label, part and unit, and site where the split is by site. `units`: what a split
    that Trapline made has not divided.
    """
    wanted = "all of " + list_of([PARTS[part] for part in parts])
    held = pd.crosstab(rows["label"], rows["part"])
    images, count_of = np.bincount(rows["label"]), rows.groupby("label")["unit"].nunique()
    places, notes = _places(rows, units), []
    for label, name in enumerate(names):
        if label not in held.index:
            notes.append(f"class {name} has no labelled image")
        elif absent := [PARTS[part] for part in parts if not held.loc[label, part]]:
            amount = count(images[label], "image") + places.get(label, "")
            verdict = "cannot be in" if count_of[label] < len(parts) else "is not in"
            notes.append(f"class {name} ({amount}) {verdict} {wanted}: it has none in {list_of(absent)}")
    return notes


def _places(rows: pd.DataFrame, units: Units | None) -> dict[Any, str]:
    """Where the images of each class are: at which number of sites, or of groups that sequences make."""
    if units is None or not (units.by_site or units.bound):
        return {}
    column, what = ("site", " at {}") if units.by_site else ("unit", " in {} kept whole")
    noun = "site" if units.by_site else "group"
    numbers = rows.groupby("label")[column].nunique()
    return {label: what.format(count(number, noun)) for label, number in numbers.items()}


def size_cause(units: Units) -> str:
    """Why a part may be far from its share."""
    if units.by_site:
        return "sites stay whole" + (", and those that sequences join" if units.bound else "")
    return "sequences stay whole" if units.bound else "classes are small or images identical"


def size_notes(part: npt.NDArray[np.int64], shares: Sequence[float], cause: str) -> list[str]:
    """One sentence for each part, (n,) indices, that is far from the share it should have; `cause`: why."""
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


def too_few_units(units: Units, parts: Sequence[str]) -> str:
    """The error of a split by site that has fewer sites, or groups of joined sites, than `parts`."""
    ways_out = f"use {prepare_option('split', 'random')}"
    if len(units) == 2:
        ways_out += f", or leave out the test part, for example with {prepare_option('shares', WITHOUT_TEST)}"
    if units.bound:
        ways_out += ", or correct the sequences in the source"
    groups = count(len(units), "group")
    joined = f", but sequences span them (for instance {units.example}), which leaves {groups} of sites"
    whole = "sequence" if units.bound else "site"
    return (
        f"site: the images come from {count(units.sites, 'site')}{joined if units.bound else ''}, "
        f"too few for {list_of(parts)} without a {whole} in two of them: "
        f"{list_of(parts[len(units) :])} cannot be filled; {ways_out}"
    )


def empty_parts(empty: Sequence[str], units: Units) -> str:
    """The error of a split at random that leaves parts empty."""
    images = len(units.unit_of)
    ways_out = f"add images, or leave out the test part with {prepare_option('shares', WITHOUT_TEST)}"
    if not units.bound:
        return (
            f"split: {list_of(empty)} would be empty, for each class has too few different images "
            f"({images} images in all); {ways_out}"
        )
    groups = count(len(units), "group")
    return (
        f"split: {list_of(empty)} would be empty, for the images of one sequence stay together and each "
        f"class is in too few of these groups ({images} images in {groups} in all); {ways_out}, or correct "
        "the sequences in the source"
    )


def duplicate_notes(rows: pd.DataFrame, cause: str) -> list[str]:
    """A sentence where byte-identical images, of one group, are in several parts; `cause`: why."""
    parts = rows.groupby("group")["part"].transform("nunique")
    spanning = rows["group"][parts > 1]
    groups = count(spanning.nunique(), "group")
    note = f"{groups} of byte-identical images ({len(spanning)} images) in two parts, {cause}"
    return [note] if len(spanning) else []


def list_of(names: Sequence[str]) -> str:
    """ "train", "train and val", "train, val and test"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def count(number: int, noun: str) -> str:
    """ "1 site", "2 sites"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
