"""The split that a data set comes with, and the validation part of one that has train and test alone."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from trapline.data.groups import Labels, Sequences, Sites, Units, numbered, straddling
from trapline.errors import TraplineError, UsageError
from trapline.preparation.split_notes import PARTS, class_notes, count, duplicate_notes, join_notes, list_of
from trapline.preparation.splits import SplitPolicy, SplitResult, class_counts, site_parts, units_of
from trapline.preparation.whole_groups import random_parts
from trapline.typed import prepare_option

VAL_SHARE = 0.1
Parts = npt.NDArray[np.str_]


def given_split(
    given: Parts,
    labels: Labels | npt.NDArray[np.bool_],
    groups_of_duplicates: Labels,
    class_names: Sequence[str],
) -> SplitResult:
    """The split that a data set comes with: `given` names the part of each of the n labelled images, (n,).

    `labels`: their classes, (n,), or, where an image may have several, (n, classes), 1 where it has one.
    Raises TraplineError where train or val would be empty; test may be.
    """
    part = np.array([PARTS.index(name) for name in given], dtype=np.int64)
    parts = [index for index, name in enumerate(PARTS) if name != "test" or index in part]
    empty = [PARTS[index] for index in parts if index not in part]
    if empty:
        raise TraplineError(
            f"split: {list_of(empty)} of the data set's own split holds no usable image; "
            f"mend the source, or use {prepare_option('split', 'random')}"
        )
    image, label = np.nonzero(labels) if labels.ndim == 2 else (np.arange(len(labels)), labels)
    pairs = pd.DataFrame({"label": label, "part": part[image], "unit": image})
    notes = ["the split is the data set's own", *class_notes(pairs, parts, None, class_names)]
    rows = pd.DataFrame({"part": part, "group": groups_of_duplicates})
    return SplitResult(np.array(PARTS)[part], notes + duplicate_notes(rows, "as the data set has them"))


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
    if by_site:
        drawn = site_parts(class_counts(units, labels[rows], classes), units, drawing)
    else:
        drawn = random_parts(labels[rows], units, drawing.shares, drawing.seed)
    val = rows[drawn == 1]
    if len(rows) and not len(val):
        raise UsageError(
            f"{prepare_option('val-share', f'{share:g}')}: {_too_small(units)}; use a larger share"
        )
    how = "by site" if by_site else "stratified by class"
    note = (
        f"val was drawn from train, {how}: {count(len(val), 'image')} of {len(rows)} "
        f"({prepare_option('val-share', f'{share:g}')})"
    )
    moved = np.where(np.isin(np.arange(len(given)), val), "val", given)
    return moved, [note, *join_notes(units)]


def _too_small(units: Units) -> str:
    if not units.bound:
        return "too small for an image in val"
    return (
        f"val would be empty, for the images of one sequence stay together, and train has "
        f"{count(len(units), 'group')} of such or single images"
    )
