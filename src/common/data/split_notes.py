"""What a person should know of a split: plain sentences for the log and summary.json."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

PARTS = ("train", "val", "test")
NOTED_DEVIATION = 0.05

SplitKind: TypeAlias = Literal["site", "random", "given"]


def class_notes(rows: pd.DataFrame, parts: Sequence[int], kind: SplitKind, names: Sequence[str]) -> list[str]:
    """One sentence for each class that one of `parts` lacks; a row's unit is what is not divided."""
    wanted = "all of " + list_of([PARTS[part] for part in parts])
    held = pd.crosstab(rows["label"], rows["part"])
    images, units = np.bincount(rows["label"]), rows.groupby("label")["unit"].nunique()
    notes = []
    for label, name in enumerate(names):
        if label not in held.index:
            notes.append(f"class {name} has no labelled image")
        elif absent := [PARTS[part] for part in parts if not held.loc[label, part]]:
            places = f" at {count(units[label], 'site')}" if kind == "site" else ""
            amount = count(images[label], "image") + places
            verdict = "cannot be in" if units[label] < len(parts) else "is not in"
            notes.append(f"class {name} ({amount}) {verdict} {wanted}: it has none in {list_of(absent)}")
    return notes


def size_notes(part: npt.NDArray[np.int64], shares: Sequence[float], kind: SplitKind) -> list[str]:
    """One sentence for each part, (n,) indices, that is far from the share it should have."""
    cause = "sites stay whole" if kind == "site" else "classes are small or images identical"
    held = np.bincount(part, minlength=len(PARTS)) / len(part)
    return [
        f"{name} holds {found:.1%} of the images instead of {share:.1%}, because {cause}"
        for name, found, share in zip(PARTS, held, shares, strict=True)
        if abs(found - share) > NOTED_DEVIATION
    ]


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
