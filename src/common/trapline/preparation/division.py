"""Dividing a source's labelled images into parts: which split it is to be, and what comes out.

The split may be the one that a data set comes with; where that has train and test alone, val is drawn.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from trapline.data.groups import (
    Labels,
    Scope,
    Sequences,
    Sites,
    numbered,
    straddling,
)
from trapline.data.quarantine import FILE_NAME
from trapline.errors import TraplineError, UsageError, refuse_any
from trapline.job_contract import prepare_option
from trapline.preparation.bursts import sequence_scope
from trapline.preparation.known_division import (
    Division,
)
from trapline.preparation.listing import GIVEN, GROUP, LABELS, UNLABELED, Source, label_indices, label_matrix
from trapline.preparation.random_splits import Shares
from trapline.preparation.splits import (
    HONEST_SHARES,
    LABEL_SHARES,
    PARTS,
    RANDOM_SHARES,
    Parts,
    SplitKind,
    SplitPolicy,
    SplitResult,
    class_notes,
    count,
    divided,
    duplicate_groups,
    duplicate_notes,
    join_notes,
    list_of,
    split,
    units_of,
)

VAL_SHARE = 0.1
KEPT = "kept"  # the column of what a split by other groups than sites keeps together


def split_policy(
    source: Source,
    kind: SplitKind | None,
    shares: Shares | None,
    val_share: float | None,
    seed: int,
    group_by: str | None = None,
) -> SplitPolicy:
    """The split asked for, else the source's own, else by site where there are sites, else random.

    `group_by`: what is to be kept together in place of sites. Raises TraplineError where the source has no
    such split, UsageError where shares do not go with it.
    """
    if group_by not in (None, "site"):
        kind = "group"
        if group_by not in ("sequence", "date", "camera") and GROUP not in source.images.columns:
            raise TraplineError(
                f"{prepare_option('group-by', str(group_by))}: no table of the input has such a column, or "
                "it is empty; give site, sequence, camera, date, or a column"
            )
    elif group_by == "site":
        kind = "site"
    chosen: SplitKind = kind or ("given" if source.has_split else "site" if source.has_sites else "random")
    draws_val = chosen == "given" and source.has_split and not (source.images[GIVEN] == "val").any()
    at_random, asked = prepare_option("split", "random"), prepare_option("shares")
    refuse_any(
        [
            (
                chosen == "site" and not source.has_sites,
                f"{prepare_option('split', 'site')}: the source names no sites; give "
                f"{prepare_option('site-csv')} or {prepare_option('site-regex')}",
            ),
            (
                chosen == "given" and not source.has_split,
                f"{prepare_option('split', 'given')}: the source comes with no split; use {at_random}",
            ),
        ],
        TraplineError,
    )
    refuse_any(
        [
            (
                chosen == "given" and shares,
                f"{asked}: the source comes with a split; leave it out, or use {at_random}",
            ),
            (
                val_share is not None and not draws_val,
                f"{prepare_option('val-share')}: only for a source that comes with train and test but no "
                f"val; leave it out, or use {asked} with another split",
            ),
        ]
    )
    usual = RANDOM_SHARES if kind == "random" else HONEST_SHARES
    if source.task == "multilabel" and chosen == "random":
        usual = LABEL_SHARES
    drawn = (val_share or VAL_SHARE) if draws_val else None
    return SplitPolicy(chosen, shares or usual, seed, drawn, group_by or "site")


def divide(
    images: pd.DataFrame, classes: list[str], policy: SplitPolicy, known: Division | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """The images with their part in the column `part`, and notes for a person.

    `images` has the columns label, site, sequence and sha256, `labels` where an image may have several,
    `kept` where the split is by other groups than sites, and `given` where the data set comes with a split.
    `known`: groups that keep their parts. Raises TraplineError where a class has no image, or as the splits
    do.
    """
    labelled = images[images["label"] != UNLABELED]
    _check_classes(labelled, classes)
    notes, scope = [], sequence_scope(images)
    if GIVEN in labelled.columns and policy.kind != "given":
        held = labelled[GIVEN].value_counts()
        sizes = ", ".join(f"{part} {held[part]}" for part in PARTS if part in held)
        notes.append(
            f"the data set's own split ({sizes}) was not used: {prepare_option('split', policy.kind)}"
        )
    if scope == "by_site":
        notes.append(
            "equal names of sequences at different sites are taken for different sequences: as one each they "
            "would join more than half of the sites"
        )
    result = _split(labelled, classes, policy, scope, known)
    part = pd.Series("unlabeled", index=images.index)
    part[labelled.index] = result.part
    return images.assign(part=part), [*notes, *result.notes]


def require_classes(classes: Sequence[str], left_out: Sequence[str] = ()) -> None:
    """Raise TraplineError for less than two classes, with notes on labels that are left out."""
    if len(classes) < 2:
        lacking = f"only one class ({classes[0]})" if classes else "no image of the input has a label"
        said = f"{lacking}: a classifier needs at least two classes"
        raise TraplineError("; ".join([said, *left_out]))


def _check_classes(labelled: pd.DataFrame, classes: list[str]) -> None:
    require_classes(classes)
    counts = np.bincount(label_indices(labelled), minlength=len(classes))
    if empty := [classes[index] for index in np.flatnonzero(counts == 0)]:
        raise TraplineError(
            f"no usable image of class {', '.join(empty)}: add some (see {FILE_NAME}) or remove the class"
        )


def _split(
    labelled: pd.DataFrame, classes: list[str], policy: SplitPolicy, scope: Scope, known: Division | None
) -> SplitResult:
    groups = duplicate_groups(labelled["sha256"].tolist())
    sites = labelled["site"].to_numpy(dtype=object)
    sequences = Sequences.of(labelled["sequence"], sites, scope)
    numbers = labelled["label"].to_numpy(dtype=np.int64)
    labels = label_matrix(labelled, len(classes)) if LABELS in labelled.columns else numbers
    if policy.kind != "given":
        kept = labelled[KEPT].to_numpy(dtype=object) if policy.kind == "group" else sites
        fixed = known.part_of(kept.tolist()) if known else None
        return split(labels, kept, groups, policy, classes, sequences, fixed)
    given = labelled[GIVEN].to_numpy(dtype=str)
    notes = straddling_notes(given, sites, sequences)
    if policy.val_share is not None:
        # Of several labels an image each set of them counts as a class.
        given, drawn = with_val(given, numbers, groups, sites, policy, int(numbers.max()) + 1, sequences)
        notes = [*drawn, *notes]
    part = np.array([PARTS.index(name) for name in given], dtype=np.int64)
    parts = [index for index, name in enumerate(PARTS) if name != "test" or index in part]
    if empty := [PARTS[index] for index in parts if index not in part]:
        raise TraplineError(
            f"split: {list_of(empty)} of the data set's own split holds no usable image; "
            f"mend the source, or use {prepare_option('split', 'random')}"
        )
    notes = ["the split is the data set's own", *notes, *class_notes(labels, part, parts, None, classes)]
    return SplitResult(given, notes + duplicate_notes(part, groups, "as the data set has them"))


def straddling_notes(given: Parts, sites: Sites, sequences: Sequences) -> list[str]:
    """A sentence where sites or sequences, (n,) each, are in two parts of the data set's own split."""
    counts = {"site": straddling(numbered(sites), given), "sequence": straddling(sequences.number, given)}
    found = [count(number, noun) for noun, number in counts.items() if number]
    if not found:
        return []
    verb = "has" if sum(counts.values()) == 1 else "have"
    return [
        f"{list_of(found)} {verb} images in two parts of the data set's own split: nothing can be claimed "
        "about unseen cameras"
    ]


def with_val(
    given: Parts,
    labels: Labels,
    groups: Labels,
    sites: Sites,
    policy: SplitPolicy,
    classes: int,
    sequences: Sequences | None = None,
) -> tuple[Parts, list[str]]:
    """`given` with `policy.val_share` of the rows of train moved to val, and notes that say so.

    All (n,), as in `splits.split`. Val is drawn by site where each image of train has one, and else
    stratified by class, byte-identical images together; no sequence is divided. Raises TraplineError where
    the sites of train are too few, UsageError where the share is too small for a single image, or sequence.
    """
    share = policy.val_share or VAL_SHARE
    rows = np.flatnonzero(given == "train")
    by_site = len(rows) > 0 and not pd.isna(sites[rows]).any()
    drawing = SplitPolicy("site" if by_site else "random", (1 - share, share, 0.0), policy.seed)
    units = units_of(sites[rows], groups[rows], drawing, sequences.rows(rows) if sequences else None)
    val = rows[divided(labels[rows], units, drawing, classes) == 1]
    option = prepare_option("val-share", f"{share:g}")
    if len(rows) and not len(val):
        why = "too small for an image in val"
        if units.bound:
            why = (
                "val would be empty, for the images of one sequence stay together, and train has "
                f"{count(len(units), 'group')} of such or single images"
            )
        raise UsageError(f"{option}: {why}; use a larger share")
    how = "by site" if by_site else "stratified by class"
    note = f"val was drawn from train, {how}: {count(len(val), 'image')} of {len(rows)} ({option})"
    return np.where(np.isin(np.arange(len(given)), val), "val", given), [note, *join_notes(units)]


def counts_of_classes(images: pd.DataFrame, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """For each labelled part how many of its images have each class."""
    labelled = images[images["label"] != UNLABELED]
    counts = {
        part: np.bincount(label_indices(labelled[labelled["part"] == part]), minlength=len(classes))
        for part in PARTS
    }
    return {part: dict(zip(classes, counts[part].tolist(), strict=True)) for part in PARTS}


def shares_of(policy: SplitPolicy, images: pd.DataFrame) -> dict[str, float]:
    """The shares asked for; of a split that came with the data, those found."""
    if policy.kind != "given":
        return dict(zip(PARTS, policy.shares, strict=True))
    held = images["part"].value_counts()
    total = sum(int(held.get(part, 0)) for part in PARTS)
    return {part: round(int(held.get(part, 0)) / total, 4) for part in PARTS}


def has_unseen_sites(policy: SplitPolicy, images: pd.DataFrame) -> bool:
    """Whether no camera is in two parts: by the split, else as its images show.

    Of the latter all must have sites, and no sequence may be in two parts either: one burst may span two
    cameras.
    """
    if policy.kind in ("site", "random"):
        return policy.kind == "site"
    labelled = images[images["label"] != UNLABELED]
    sites = numbered(labelled["site"])
    if (sites < 0).any():
        return False
    sequences = Sequences.of(labelled["sequence"], labelled["site"], sequence_scope(images))
    part = labelled["part"].to_numpy()
    return not straddling(sites, part) and not straddling(sequences.number, part)
