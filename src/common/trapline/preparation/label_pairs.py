"""Which images have which labels, as pairs of both, while labels are renamed, merged and removed.

Pairs are arrays, so that a million images take seconds, whether they have one label or several.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from trapline.data.quarantine import Quarantined
from trapline.preparation.label_changes import REMOVED, Integers
from trapline.preparation.listing import LABELS, UNLABELED, Source, label_indices

Booleans = npt.NDArray[np.bool_]


@dataclass
class Labelling:
    """The labels of a source on their way: a pair of an image and a class for each label of an image.

    image, label: (pairs,), rows of `images` and indices of `classes`; no pair comes twice. is_unlabelled,
    is_kept: (images,). may_be_empty: (classes,), classes that had no image to begin with, and are not
    removed. found: the labels as the source has them, then what steps add, each with the number of its images
    at that time (images_of) and the class that it is now, or REMOVED (becomes); the first `own_labels` are
    labels, the others classes of several. steps: the option of each step, and `names()` after it.
    """

    images: pd.DataFrame
    classes: list[str]
    image: Integers
    label: Integers
    is_unlabelled: Booleans
    is_kept: Booleans
    may_be_empty: Booleans
    found: list[str]
    images_of: list[int]
    becomes: Integers
    own_labels: int
    steps: list[tuple[str, list[str | None]]] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)

    def counts(self) -> Integers:
        """How many images each class has."""
        return np.bincount(self.label, minlength=len(self.classes))

    def labels_of(self) -> Integers:
        """How many labels each image has."""
        return np.bincount(self.image, minlength=len(self.images))

    def present(self) -> Booleans:
        """The classes that have images, or never had any."""
        return (self.counts() > 0) | self.may_be_empty

    def names(self) -> list[str | None]:
        """The class of each of the labels that were found, None where it is gone."""
        present = self.present()
        return [
            self.classes[label] if label != REMOVED and present[label] else None
            for label in self.becomes.tolist()
        ]

    def set_pairs(self, image: Integers, label: Integers) -> None:
        """Take these pairs, in order and each once."""
        size = max(1, len(self.classes))
        codes = np.sort(image * size + label)
        codes = codes[_begins(codes)]
        self.image, self.label = codes // size, codes % size

    def differing(self, image: Integers, label: Integers, among: Booleans) -> Booleans:
        """Those `among` the images, (images,), that have other labels than these pairs give them."""
        size = max(1, len(self.classes))
        own = self.image * size + self.label
        both = np.sort(np.append(own[among[self.image]], (image * size + label)[among[image]]))
        begins = _begins(both)
        found = np.zeros(len(self.images), dtype=bool)
        found[both[begins & np.append(begins[1:], True)] // size] = True
        return found

    def losing_all(self, index: Integers) -> Booleans:
        """The images of which every label is of a class c with `index[c]` REMOVED."""
        gone = np.bincount(self.image[index[self.label] == REMOVED], minlength=len(self.images))
        return (gone > 0) & (gone == self.labels_of())

    def remap(self, classes: list[str], index: Integers) -> None:
        """Make class `index[c]` of `classes` of each class c, or REMOVED."""
        may_be_empty = np.zeros(len(classes), dtype=bool)
        may_be_empty[index[self.may_be_empty & (index != REMOVED)]] = True
        label = index[self.label]
        self.classes, self.may_be_empty = classes, may_be_empty
        self.becomes = np.array(
            [REMOVED if old == REMOVED else index[old] for old in self.becomes], dtype=np.int64
        )
        self.set_pairs(self.image[label != REMOVED], label[label != REMOVED])

    def add_classes(self, names: Sequence[str]) -> None:
        """Have these classes besides; they get images before the step ends."""
        self.classes = [*self.classes, *names]
        self.may_be_empty = np.append(self.may_be_empty, np.zeros(len(names), dtype=bool))

    def add_found(self, names: Sequence[str], becomes: Sequence[int], images: Sequence[int]) -> None:
        """Have these labels in the record besides: the class of each, and the number of its images."""
        self.found = [*self.found, *names]
        self.images_of = [*self.images_of, *images]
        self.becomes = np.append(self.becomes, np.array(becomes, dtype=np.int64))

    def set_aside(self, rows: Booleans, reason: str, details: Sequence[str]) -> None:
        """Put images into quarantine: `rows`, (images,), with a detail for each of them."""
        images = self.images.loc[rows, ["id", "filepath"]]
        self.quarantined += [
            Quarantined(str(name), str(filepath), reason, detail)
            for name, filepath, detail in zip(images["id"], images["filepath"], details, strict=True)
        ]
        self.is_kept = self.is_kept & ~rows
        stays = ~rows[self.image]
        self.image, self.label = self.image[stays], self.label[stays]

    def names_of(self, rows: Booleans) -> list[tuple[str, ...]]:
        """The names of the classes of each of some images, sorted."""
        mine = rows[self.image]
        lists = split(self.label[mine], self.labels_of()[rows])
        return [tuple(sorted(self.classes[label] for label in labels)) for labels in lists]


def begun(source: Source) -> Labelling:
    """The labels of a source as they are."""
    images, classes = source.images, list(source.classes)
    is_unlabelled = (images["label"] == UNLABELED).to_numpy(dtype=bool)
    image, label = np.flatnonzero(~is_unlabelled), label_indices(images[~is_unlabelled])
    if LABELS in images.columns:
        lengths = [len(labels) for labels in images.loc[~is_unlabelled, LABELS]]
        image = np.repeat(image, np.array(lengths, dtype=np.int64))
    counts = np.bincount(label, minlength=len(classes))
    return Labelling(
        images=images,
        classes=classes,
        image=image,
        label=label,
        is_unlabelled=is_unlabelled,
        is_kept=np.ones(len(images), dtype=bool),
        may_be_empty=counts == 0,
        found=classes,
        images_of=counts.tolist(),
        becomes=np.arange(len(classes)),
        own_labels=len(classes),
    )


def _begins(ordered: Integers) -> Booleans:
    """Whether each of the ordered numbers is another than the one before it."""
    return np.append(np.ones(min(1, len(ordered)), dtype=bool), ordered[1:] != ordered[:-1])


def split(values: Integers, lengths: Integers) -> list[tuple[int, ...]]:
    """`values` one after another, so many to each."""
    flat, ends = values.tolist(), np.cumsum(lengths).tolist()
    return [tuple(flat[end - length : end]) for end, length in zip(ends, lengths.tolist(), strict=True)]


def record_of(own: Labelling) -> dict[str, Any]:
    """What became of the labels, as `preparation.labelling` describes it."""
    entries = []
    for number, label in enumerate(own.found):
        entry: dict[str, Any] = {"images": own.images_of[number], "class": label}
        for option, names in own.steps:
            if number < len(names) and names[number] != entry["class"]:
                entry |= {"class": names[number], "by": option}
        entries.append((label, entry))
    present, counts = own.present(), own.counts().tolist()
    record = {
        "found": dict(entries[: own.own_labels]),
        "classes": {name: counts[label] for label, name in enumerate(own.classes) if present[label]},
        "quarantined": dict(Counter(row.reason for row in own.quarantined)),
        **own.record,
    }
    return record | ({"together": dict(entries[own.own_labels :])} if entries[own.own_labels :] else {})
