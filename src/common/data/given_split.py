"""The split that a data set comes with, and the validation part of one that has train and test alone."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from common.data.split_notes import PARTS, class_notes, count, duplicate_notes, list_of
from common.data.splits import (
    Labels,
    Sites,
    SplitPolicy,
    SplitResult,
    number_sites,
    site_parts,
    stratified_parts,
)
from common.errors import TraplineError, UsageError

VAL_SHARE = 0.1
Parts = npt.NDArray[np.str_]


def given_split(
    given: Parts, labels: Labels, groups_of_duplicates: Labels, class_names: Sequence[str]
) -> SplitResult:
    """The split that a data set comes with: `given` names the part of each of the n labelled images, (n,).

    Raises TraplineError where train or val would be empty; test may be.
    """
    part = np.array([PARTS.index(name) for name in given], dtype=np.int64)
    parts = [index for index, name in enumerate(PARTS) if name != "test" or index in part]
    empty = [PARTS[index] for index in parts if index not in part]
    if empty:
        raise TraplineError(
            f"split: {list_of(empty)} of the data set's own split holds no usable image; "
            "mend the source, or use --split random"
        )
    rows = pd.DataFrame({"label": labels, "part": part, "unit": np.arange(len(part))})
    rows["group"] = groups_of_duplicates
    notes = ["the split is the data set's own", *class_notes(rows, parts, "given", class_names)]
    return SplitResult(np.array(PARTS)[part], notes + duplicate_notes(rows, "as the data set has them"))


def with_val(
    given: Parts, labels: Labels, groups: Labels, sites: Sites, policy: SplitPolicy, classes: int
) -> tuple[Parts, str]:
    """`given` with `policy.val_share` of the rows of train moved to val, and a note that says so.

    All (n,), as in `splits.split`. Val is drawn by site where each image of train has one, and else
    stratified by class, byte-identical images together. Raises TraplineError where the sites of train are
    too few, UsageError where the share is too small for a single image.
    """
    share = policy.val_share or VAL_SHARE
    rows = np.flatnonzero(given == "train")
    by_site = len(rows) > 0 and not pd.isna(sites[rows]).any()
    shares = (1 - share, share, 0.0)
    if by_site:
        site_of = number_sites(sites[rows])
        counts = np.zeros((int(site_of.max()) + 1, classes), dtype=np.int64)
        np.add.at(counts, (site_of, labels[rows]), 1)
        drawn = site_parts(counts, site_of, SplitPolicy("site", shares, policy.seed))
    else:
        drawn = stratified_parts(labels[rows], groups[rows], shares, policy.seed)
    val = rows[drawn == 1]
    if len(rows) and not len(val):
        raise UsageError(f"--val-share {share:g}: too small for an image in val; use a larger share")
    how = "by site" if by_site else "stratified by class"
    note = (
        f"val was drawn from train, {how}: {count(len(val), 'image')} of {len(rows)} (--val-share {share:g})"
    )
    return np.where(np.isin(np.arange(len(given)), val), "val", given), note
