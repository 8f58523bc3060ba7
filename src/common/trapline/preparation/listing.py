"""What a listing of raw images is made of, whatever their layout.

Listing opens no image. What is wrong with a listing (an id twice, a label that is none) is quarantined, so
that every input of the source is either an image or a quarantined row.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from trapline.data.quarantine import Quarantined
from trapline.losses import Task

UNLABELED = -1
UNLABELED_FOLDER = "unlabeled"
GIVEN = "given"  # the column of a split that the data set comes with
LABELS, CAPTION = "labels", "caption"  # the columns of a set whose images may have several labels
COLUMNS = ["id", "filepath", "path", "label", "site", "sequence"]


@dataclass(frozen=True)
class SiteRule:
    """Where sites come from, before what the data say: a CSV (filepath, site) or a pattern on the path.

    `csv` may be an S3 URI, which whoever reads the source replaces by a local copy.
    """

    csv: Path | str | None = None
    pattern: re.Pattern[str] | None = None


@dataclass(frozen=True)
class Source:
    """The inputs of a raw data set.

    `images` has the columns id, filepath (as the source names it), path (to open), label (index into
    `classes`, or UNLABELED), site and sequence (None where unknown), and, where the data set comes with a
    split of its own, `given`: train, val or test (None for unlabelled images). `class_codes`: what the source
    calls the classes, such as WordNet's ids, where `classes` are other names for them.

    Where an image may have several labels there are two more columns: `labels`, a tuple of all its class
    indices, ascending, and `caption`, a text. `label` then is a number that images of the same labels share.

    `barred`: the images that must not be opened, by their paths, with reason code and detail. `merged`: for
    each kind of name (site, class, sequence) the names that came in several spellings, and those. `notes`:
    what a person should know of how the source was read.
    """

    images: pd.DataFrame
    classes: list[str]
    quarantined: list[Quarantined] = field(default_factory=list)
    submission_format: Path | None = None
    class_codes: list[str] | None = None
    barred: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    merged: Mapping[str, Mapping[str, Mapping[str, int]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def task(self) -> Task:
        """Whether an image has one label, or any number of them."""
        return "multilabel" if LABELS in self.images.columns else "multiclass"

    @property
    def has_split(self) -> bool:
        """Whether the data set comes with a split of its own."""
        return GIVEN in self.images.columns

    @property
    def lacks_val(self) -> bool:
        """Whether the data set comes with a split of its own in which nothing is for validation."""
        return self.has_split and not (self.images[GIVEN] == "val").any()

    @property
    def has_sites(self) -> bool:
        """Whether any labelled image has a site."""
        labelled = self.images["label"] != UNLABELED
        return bool(self.images.loc[labelled, "site"].notna().any())


def label_indices(labelled: pd.DataFrame) -> npt.NDArray[np.int64]:
    """The class indices of labelled images, one after another: of each image its label, or all of them."""
    if LABELS not in labelled.columns:
        return labelled["label"].to_numpy(dtype=np.int64)
    return np.array([label for labels in labelled[LABELS] for label in labels], dtype=np.int64)


def label_matrix(labelled: pd.DataFrame, classes: int) -> npt.NDArray[np.bool_]:
    """Whether an image has a class, shape (images, classes), of images that may have several labels."""
    matrix = np.zeros((len(labelled), classes), dtype=bool)
    lengths = [len(labels) for labels in labelled[LABELS]]
    matrix[np.repeat(np.arange(len(labelled)), lengths), label_indices(labelled)] = True
    return matrix


def limited(source: Source, limit: int, seed: int) -> Source:
    """`most` images of each class at the most, drawn by `seed`; unlabelled images count as a class.

    Where the data set comes with a split, so many in each of its parts. An image of several labels is left
    out where there are `most` of each of them already.
    """
    order = np.random.default_rng(seed).permutation(len(source.images))
    images = source.images.iloc[order]
    if source.task == "multilabel":
        drawn = pd.Series(_wanted(images, limit), index=images.index)
    else:
        groups = ["label", *([GIVEN] if source.has_split else [])]
        drawn = images.groupby(groups, dropna=False).cumcount() < limit
    return replace(source, images=source.images[drawn.sort_index()].reset_index(drop=True))


def _wanted(images: pd.DataFrame, limit: int) -> list[bool]:
    """Whether fewer than `most` images before it have one of an image's labels, or none as itself."""
    held: Counter[tuple[int, int]] = Counter()  # by whether labelled at all, and by class
    wanted = []
    for label, labels in zip(images["label"], images[LABELS], strict=True):
        keys = [(0, index) for index in labels] or [(1, -1 if label == UNLABELED else 0)]
        wanted.append(any(held[key] < limit for key in keys))
        held.update(keys if wanted[-1] else [])
    return wanted


def first(ids: pd.Series) -> str:
    """The first of some names, for a message."""
    return repr(ids.iloc[0]) if len(ids) else "no rows"


def printable(name: str) -> str:
    """A file's name as valid Unicode: bytes of another encoding become escapes."""
    return name.encode("utf-8", "backslashreplace").decode()
