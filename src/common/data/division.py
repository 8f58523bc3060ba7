"""Dividing a source's labelled images into parts: which split it is to be, and what comes out."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from common.data.given_split import VAL_SHARE, given_split, with_val
from common.data.label_splits import LABEL_SHARES, split_label_lists
from common.data.leakage import duplicate_groups
from common.data.listing import GIVEN, LABELS, UNLABELED, Source, label_indices, label_matrix
from common.data.quarantine import FILE_NAME
from common.data.split_notes import SplitKind
from common.data.splits import HONEST_SHARES, RANDOM_SHARES, Shares, SplitPolicy, SplitResult, split
from common.errors import TraplineError, UsageError

LABELLED = ("train", "val", "test")


def split_policy(
    source: Source, kind: SplitKind | None, shares: Shares | None, val_share: float | None, seed: int
) -> SplitPolicy:
    """The split asked for, else the source's own, else by site where there are sites, else random.

    Raises TraplineError where the source has no such split, UsageError where shares do not go with it.
    """
    natural: SplitKind = "given" if source.has_split else "site" if source.has_sites else "random"
    chosen = kind or natural
    if chosen == "site" and not source.has_sites:
        raise TraplineError("--split site: the source names no sites; give --site-csv or --site-regex")
    if chosen == "given" and not source.has_split:
        raise TraplineError("--split given: the source comes with no split; use --split random")
    if chosen == "given" and shares:
        raise UsageError("--shares: the source comes with a split; leave it out, or use --split random")
    draws_val = chosen == "given" and source.lacks_val
    if val_share is not None and not draws_val:
        raise UsageError(
            "--val-share: only for a source that comes with train and test but no val; leave it out, or use "
            "--shares with another split"
        )
    own = (val_share or VAL_SHARE) if draws_val else None
    return SplitPolicy(chosen, shares or _default_shares(source, kind, chosen), seed, own)


def _default_shares(source: Source, asked: SplitKind | None, kind: SplitKind) -> Shares:
    if source.task == "multilabel" and kind == "random":
        return LABEL_SHARES
    return RANDOM_SHARES if asked == "random" else HONEST_SHARES


def divide(images: pd.DataFrame, classes: list[str], policy: SplitPolicy) -> tuple[pd.DataFrame, list[str]]:
    """The images with their part in the column `part`, and notes for a person.

    Raises TraplineError where a class has no image, or as the splits do.
    """
    labelled = images[images["label"] != UNLABELED]
    _check_classes(labelled, classes)
    result = _split(labelled, classes, policy)
    part = pd.Series("unlabeled", index=images.index)
    part[labelled.index] = result.part
    return images.assign(part=part), result.notes


def _split(labelled: pd.DataFrame, classes: list[str], policy: SplitPolicy) -> SplitResult:
    groups = duplicate_groups(labelled["sha256"].tolist())
    sites = labelled["site"].to_numpy(dtype=object)
    if LABELS in labelled.columns:
        matrix = label_matrix(labelled, len(classes))
        return split_label_lists(matrix, sites, groups, policy, classes)
    labels = labelled["label"].to_numpy(dtype=np.int64)
    if policy.kind != "given":
        return split(labels, sites if policy.kind == "site" else None, groups, policy, classes)
    given = labelled[GIVEN].to_numpy(dtype=str)
    if policy.val_share is None:
        return given_split(given, labels, groups, classes)
    given, note = with_val(given, labels, groups, sites, policy, len(classes))
    result = given_split(given, labels, groups, classes)
    return SplitResult(result.part, [result.notes[0], note, *result.notes[1:]])


def _check_classes(labelled: pd.DataFrame, classes: list[str]) -> None:
    if len(classes) < 2:
        raise TraplineError(f"only one class ({', '.join(classes)}): a classifier needs at least two")
    counts = np.bincount(label_indices(labelled), minlength=len(classes))
    empty = [classes[index] for index in np.flatnonzero(counts == 0)]
    if empty:
        raise TraplineError(
            f"no usable image of class {', '.join(empty)}: add some (see {FILE_NAME}) or remove the class"
        )


def counts_of_classes(images: pd.DataFrame, classes: int) -> dict[str, npt.NDArray[np.int64]]:
    """For each labelled part how many of its images have each class, (classes,)."""
    labelled = images[images["label"] != UNLABELED]
    return {
        part: np.bincount(label_indices(labelled[labelled["part"] == part]), minlength=classes)
        for part in LABELLED
    }


def shares_of(policy: SplitPolicy, images: pd.DataFrame) -> dict[str, float]:
    """The shares asked for; of a split that came with the data, those found."""
    if policy.kind != "given":
        return dict(zip(LABELLED, policy.shares, strict=True))
    held = images["part"].value_counts()
    total = sum(int(held.get(part, 0)) for part in LABELLED)
    return {part: round(int(held.get(part, 0)) / total, 4) for part in LABELLED}


def has_unseen_sites(policy: SplitPolicy, images: pd.DataFrame) -> bool:
    """Whether no site is in two parts: by the split, or in one that came with the data and has all sites."""
    if policy.kind != "given":
        return policy.kind == "site"
    labelled = images[images["label"] != UNLABELED]
    if labelled["site"].isna().any():
        return False
    return bool((labelled.groupby("site")["part"].nunique() == 1).all())
