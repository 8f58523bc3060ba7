"""Dividing a source's labelled images into parts: which split it is to be, and what comes out."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from trapline.data.groups import Scope, Sequences, numbered, scope_of, straddling
from trapline.data.quarantine import FILE_NAME
from trapline.errors import TraplineError, UsageError
from trapline.preparation.given_split import VAL_SHARE, given_split, straddling_notes, with_val
from trapline.preparation.label_splits import LABEL_SHARES, split_label_lists
from trapline.preparation.leakage import duplicate_groups
from trapline.preparation.listing import GIVEN, LABELS, UNLABELED, Source, label_indices, label_matrix
from trapline.preparation.split_notes import SplitKind
from trapline.preparation.splits import HONEST_SHARES, RANDOM_SHARES, SplitPolicy, SplitResult, split
from trapline.preparation.stratified import Shares
from trapline.typed import prepare_option

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
        raise TraplineError(
            f"{prepare_option('split', 'site')}: the source names no sites; give "
            f"{prepare_option('site-csv')} or {prepare_option('site-regex')}"
        )
    if chosen == "given" and not source.has_split:
        raise TraplineError(
            f"{prepare_option('split', 'given')}: the source comes with no split; use "
            f"{prepare_option('split', 'random')}"
        )
    if chosen == "given" and shares:
        raise UsageError(
            f"{prepare_option('shares')}: the source comes with a split; leave it out, or use "
            f"{prepare_option('split', 'random')}"
        )
    draws_val = chosen == "given" and source.lacks_val
    if val_share is not None and not draws_val:
        raise UsageError(
            f"{prepare_option('val-share')}: only for a source that comes with train and test but no val; "
            f"leave it out, or use {prepare_option('shares')} with another split"
        )
    own = (val_share or VAL_SHARE) if draws_val else None
    return SplitPolicy(chosen, shares or _default_shares(source, kind, chosen), seed, own)


def _default_shares(source: Source, asked: SplitKind | None, kind: SplitKind) -> Shares:
    if source.task == "multilabel" and kind == "random":
        return LABEL_SHARES
    return RANDOM_SHARES if asked == "random" else HONEST_SHARES


def divide(images: pd.DataFrame, classes: list[str], policy: SplitPolicy) -> tuple[pd.DataFrame, list[str]]:
    """The images with their part in the column `part`, and notes for a person.

    `images` has the columns label, site, sequence and sha256, `labels` where an image may have several, and
    `given` where the data set comes with a split. Raises TraplineError where a class has no image, or as the
    splits do.
    """
    labelled = images[images["label"] != UNLABELED]
    _check_classes(labelled, classes)
    scope = sequence_scope(images)
    result = _split(labelled, classes, policy, scope)
    part = pd.Series("unlabeled", index=images.index)
    part[labelled.index] = result.part
    return images.assign(part=part), [*_unused_split(labelled, policy), *_scope_notes(scope), *result.notes]


def sequence_scope(images: pd.DataFrame) -> Scope:
    """What equal names of sequences mean at two sites, by all images, labelled or not: see `scope_of`."""
    return scope_of(images["site"], images["sequence"])


def _scope_notes(scope: Scope) -> list[str]:
    note = (
        "equal names of sequences at different sites are taken for different sequences: as one each they "
        "would join more than half of the sites"
    )
    return [note] if scope == "by_site" else []


def _unused_split(labelled: pd.DataFrame, policy: SplitPolicy) -> list[str]:
    """A sentence where the data set comes with a split and another one is made."""
    if GIVEN not in labelled.columns or policy.kind == "given":
        return []
    held = labelled[GIVEN].value_counts()
    sizes = ", ".join(f"{part} {held[part]}" for part in LABELLED if part in held)
    return [f"the data set's own split ({sizes}) was not used: {prepare_option('split', policy.kind)}"]


def _split(labelled: pd.DataFrame, classes: list[str], policy: SplitPolicy, scope: Scope) -> SplitResult:
    groups = duplicate_groups(labelled["sha256"].tolist())
    sites = labelled["site"].to_numpy(dtype=object)
    sequences = Sequences.of(labelled["sequence"], sites, scope)
    matrix = label_matrix(labelled, len(classes)) if LABELS in labelled.columns else None
    labels = labelled["label"].to_numpy(dtype=np.int64)
    if policy.kind != "given":
        if matrix is not None:
            return split_label_lists(matrix, sites, groups, policy, classes, sequences)
        return split(labels, sites, groups, policy, classes, sequences)
    given = labelled[GIVEN].to_numpy(dtype=str)
    notes = straddling_notes(given, sites, sequences)
    if policy.val_share is not None:
        # Of several labels an image each set of them counts as a class.
        given, drawn = with_val(given, labels, groups, sites, policy, int(labels.max()) + 1, sequences)
        notes = [*drawn, *notes]
    result = given_split(given, labels if matrix is None else matrix, groups, classes)
    return SplitResult(result.part, [result.notes[0], *notes, *result.notes[1:]])


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
    """Whether no camera is in two parts: by the split, or in one that came with the data and has all sites.

    Of the latter no sequence may be in two parts either: one burst may span two cameras.
    """
    if policy.kind != "given":
        return policy.kind == "site"
    labelled = images[images["label"] != UNLABELED]
    sites = numbered(labelled["site"])
    if (sites < 0).any():
        return False
    sequences = Sequences.of(labelled["sequence"], labelled["site"], sequence_scope(images))
    part = labelled["part"].to_numpy()
    return not straddling(sites, part) and not straddling(sequences.number, part)
