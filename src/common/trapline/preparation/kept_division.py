"""A division that is kept from set to set: who must go for it, its folds, and what a person is told of it."""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from trapline.data.groups import Sequences, binding_copies, site_units
from trapline.data.parts import spread
from trapline.data.quarantine import ACROSS_PARTS, AMBIGUOUS_LABEL, Quarantined
from trapline.errors import UsageError
from trapline.job_contract import prepare_option
from trapline.preparation.bursts import sequence_scope
from trapline.preparation.division import KEPT, counts_of_classes, divide
from trapline.preparation.known_division import (
    MAX_DEVIATION,
    Division,
    group_key,
    grown,
    newcomers_between,
)
from trapline.preparation.listing import LABELS, UNLABELED, label_matrix
from trapline.preparation.random_splits import Shares
from trapline.preparation.splits import PARTS, SplitPolicy, count, duplicate_groups, labels_of_rows


class Divided(NamedTuple):
    """What came out: `images` with their `part`, `notes` for a person, and what was set aside for its copies.

    `division`: the part of each group, where the split keeps groups together. `fold`: which fold val is.
    """

    images: pd.DataFrame
    notes: list[str]
    quarantined: Sequence[Quarantined] = ()
    division: Division | None = None
    folds: int | None = None
    fold: int | None = None


def divide_kept(
    images: pd.DataFrame,
    classes: list[str],
    policy: SplitPolicy,
    known: Division | None = None,
    folds: int | None = None,
    fold: int | None = None,
) -> Divided:
    """`divide`, and where the split keeps groups together, as sites, what there is to keep of it.

    `images` as there, with the columns id and filepath, and `kept`: the group that stays together, the site
    where that is it. `folds`: train and val are divided into so many, of which val is `fold`. Raises as
    `divide`, and UsageError for folds of another split, or of too few groups.
    """
    if policy.kind not in ("site", "group"):
        if folds:
            raise UsageError(
                f"{prepare_option('folds', folds)}: needs a split that keeps sites together, and this one is "
                f"{policy.kind}; give {prepare_option('split', 'site')}, or {prepare_option('group-by')}"
            )
        return Divided(*divide(images, classes, policy))
    images, quarantined = _without_conflicts(images, known)
    images, notes = divide(images, classes, policy, known)
    fold_of: dict[str, int] = {}
    if folds:
        fold = fold or 1
        images, fold_of = in_folds(images, len(classes), folds, fold, known)
        notes.append(
            f"val is fold {fold} of {folds} frozen folds of train and val; the test part is not in them"
        )
    rows = images[images["label"] != UNLABELED]
    division = grown(known, policy.group_by, rows[KEPT].tolist(), _parts_to_keep(rows, fold_of), fold_of)
    if known:
        notes += _told_of(known, rows, policy.shares, classes)
    return Divided(images, notes, quarantined, division, folds, fold if folds else None)


def _parts_to_keep(rows: pd.DataFrame, fold_of: Mapping[str, int]) -> list[str]:
    """The part that each image's group keeps: of folds, the first is val, whichever is val this once."""
    if not fold_of:
        return rows["part"].tolist()
    first = [fold_of.get(group_key(name)) == 1 for name in rows[KEPT]]
    return [
        part if part == "test" else "val" if is_first else "train"
        for part, is_first in zip(rows["part"], first, strict=True)
    ]


def _without_conflicts(
    images: pd.DataFrame, known: Division | None
) -> tuple[pd.DataFrame, list[Quarantined]]:
    """The images without those that two cameras, or two parts, claim; and these, with the reason.

    Byte-identical images of two cameras with different labels all go, and newcomers that would join cameras
    of different parts of a known division. What joins cameras depends on the images that there are: it is
    asked again until nothing more goes.
    """
    images, quarantined = _without(images, _labelled_twice(images), AMBIGUOUS_LABEL)
    while known is not None:
        images, gone = _without(images, _between_parts(images, known), ACROSS_PARTS)
        if not gone:
            break
        quarantined += gone
    return images, quarantined


def _labelled_twice(images: pd.DataFrame) -> dict[Hashable, str]:
    """The images whose bytes another camera's image has with another label; by their place in the index."""
    rows = images.loc[images["label"] != UNLABELED, ["id", "sha256", "label", KEPT]]
    rows = rows[rows["sha256"].duplicated(keep=False)]
    counts = rows.groupby("sha256")[[KEPT, "label"]].nunique()
    bad = rows[rows["sha256"].isin(counts.index[(counts[KEPT] > 1) & (counts["label"] > 1)])]
    ends = bad.groupby("sha256")["id"].agg(["first", "last"])
    found = {}
    for row, name, digest in zip(bad.index, bad["id"], bad["sha256"], strict=True):
        first, last = ends.loc[digest]
        other = last if name == first else first
        found[row] = f"its bytes are also those of {other}, labelled otherwise"
    return found


def _between_parts(images: pd.DataFrame, known: Division) -> dict[Hashable, str]:
    """The newcomers that join cameras of different parts, by their place in the index."""
    rows = images[images["label"] != UNLABELED]
    kept = rows[KEPT].tolist()
    sequences = Sequences.of(rows["sequence"], rows["site"], sequence_scope(images)).number
    copies = binding_copies(duplicate_groups(rows["sha256"].tolist()), rows[KEPT].to_numpy(dtype=object))
    found = newcomers_between(known, kept, rows["id"].tolist(), [sequences, copies])
    return {rows.index[row]: detail for row, detail in found.items()}


def _without(
    images: pd.DataFrame, problems: Mapping[Hashable, str], reason: str
) -> tuple[pd.DataFrame, list[Quarantined]]:
    gone = images.loc[list(problems), ["id", "filepath"]]
    quarantined = [
        Quarantined(str(name), str(path), reason, detail)
        for (name, path), detail in zip(gone.itertuples(index=False), problems.values(), strict=True)
    ]
    return images.drop(index=gone.index), quarantined


def in_folds(
    images: pd.DataFrame, classes: int, folds: int, fold: int, known: Division | None
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The images with val as `fold` of `folds` and train as the others, and the fold of each group, by key.

    Known groups keep their folds. Raises UsageError where there are fewer groups than folds.
    """
    rows = images[images["part"].isin(["train", "val"])]
    kept = rows[KEPT].to_numpy(dtype=object)
    sequences = Sequences.of(rows["sequence"], rows["site"], sequence_scope(images))
    units = site_units(kept, sequences, binding_copies(duplicate_groups(rows["sha256"].tolist()), kept))
    if len(units) < folds:
        raise UsageError(
            f"{prepare_option('folds', folds)}: train and val have {count(len(units), 'group')} to divide; "
            "take "
            "fewer folds"
        )
    labels = label_matrix(rows, classes) if LABELS in rows.columns else rows["label"].to_numpy(dtype=np.int64)
    image, label = labels_of_rows(labels)
    counts = csr_array(
        (np.ones(len(image), dtype=np.int64), (units.unit_of[image], label)), shape=(len(units), classes)
    )
    counts.sum_duplicates()
    fixed = np.full(len(units), -1)
    if known and known.folds:
        for unit, name in zip(units.unit_of.tolist(), kept, strict=True):
            own = known.folds.get(group_key(name), 0)
            if 0 < own <= folds:
                fixed[unit] = own - 1
    of_row = spread(counts, np.bincount(units.unit_of, minlength=len(units)), folds, fixed)[units.unit_of] + 1
    fold_of = {group_key(name): int(own) for name, own in zip(kept, of_row, strict=True)}
    part = images["part"].copy()
    part[rows.index] = np.where(of_row == fold, "val", "train")
    return images.assign(part=part), fold_of


def _told_of(known: Division, rows: pd.DataFrame, shares: Shares, classes: Sequence[str]) -> list[str]:
    """What became of a division that is kept: known and new groups, and parts that are lopsided."""
    groups = rows.drop_duplicates(KEPT)
    old = int((known.part_of(groups[KEPT].tolist()) >= 0).sum())
    noun = known.group_by
    notes = [f"the division is kept: {count(old, f'known {noun}')} where they were, {len(groups) - old} new"]
    held = rows["part"].value_counts()
    wrong = [
        f"{part} holds {held.get(part, 0) / len(rows):.0%} of the images instead of {share:.0%}"
        for part, share in zip(PARTS, shares, strict=True)
        if abs(held.get(part, 0) / len(rows) - share) > MAX_DEVIATION
    ]
    counts = counts_of_classes(rows, classes)
    wrong += [
        f"{part} has no image of {', '.join(absent)}"
        for part, share in zip(PARTS, shares, strict=True)
        if share and (absent := [name for name in classes if not counts[part][name]])
    ]
    if wrong:
        notes.append(
            f"the division has become lopsided: {'; '.join(wrong)}. A new one, made without "
            f"{prepare_option('division')}, begins a new line of models, which cannot be compared with the "
            "old"
        )
    return notes
