"""Several inputs as one set: one order of classes, and names that stay apart.

The first input keeps its ids and sites as they are, so that one more input renames no camera; a later one's
that are also an earlier one's get the name of their input before them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import pandas as pd

from trapline.errors import TraplineError
from trapline.names import Kind, key
from trapline.preparation.listing import CAPTION, GIVEN, GROUP, LABELS, TIME, UNLABELED, Source, named

INPUT = "input"  # the column that says which input an image is of


def named_inputs(inputs: Sequence[str]) -> list[str]:
    """A short name for each input: the last part of its path, with as much before it as tells them apart.

    Raises TraplineError for an input that is given twice.
    """
    parts = [[part for part in PurePosixPath(given.rstrip("/")).parts if part != "/"] for given in inputs]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(own[-depth:]) for own in parts]
        if len(set(names)) == len(names):
            return names
    raise TraplineError(f"--input: {inputs[0]} is given twice; give each input once")


def together(sources: Mapping[str, Source], same_sites: bool) -> Source:
    """One source of several, each by the name of its input.

    Classes of one name are one. Sites, sequences and ids of one name in two inputs are two, sites only unless
    `same_sites`. Raises TraplineError where some inputs have several labels an image by their layout and
    others have one, or some come with a split of their own and others do not.
    """
    _check_alike(sources)
    every = [name for source in sources.values() for name in source.classes]
    spelt = named(every, every, "the inputs")
    taken: dict[Kind, set[str]] = {kind: set() for kind in (Kind.ID, Kind.SITE, Kind.SEQUENCE)}
    several = any(LABELS in source.images.columns for source in sources.values())
    frames, notes = [], []
    for name, source in sources.items():
        images = source.images.assign(**{INPUT: name})
        for kind, known in taken.items():
            images, changed = _apart(images, kind, name, known, same_sites)
            notes += changed
        frames.append(_with_index(images, source, [spelt.index[own] for own in source.classes], several))
        notes += [f"{name}: {note}" for note in source.notes]
    images = pd.concat(frames, ignore_index=True)
    if several:
        images["label"] = _numbers_of(images)
    for column in (GIVEN, TIME, GROUP):
        if column in images.columns:
            images[column] = images[column].astype(object).where(images[column].notna(), None)
    first = next(iter(sources.values()))
    return replace(
        first,
        images=images,
        classes=spelt.names,
        class_codes=None,
        quarantined=[row for source in sources.values() for row in source.quarantined],
        submission_format=next((found.submission_format for found in sources.values()), None),
        barred={path: why for source in sources.values() for path, why in source.barred.items()},
        merged=_all_merged([*(source.merged for source in sources.values()), spelt.merged]),
        notes=notes,
        undecided=several and any(source.undecided for source in sources.values()),
        of_machines=[note for source in sources.values() for note in source.of_machines],
    )


def _check_alike(sources: Mapping[str, Source]) -> None:
    decided = {
        name for name, source in sources.items() if source.task == "multilabel" and not source.undecided
    }
    if decided and len(decided) < len(sources):
        other = next(name for name in sources if name not in decided)
        raise TraplineError(
            f"--input: {min(decided)} lists several labels an image and {other} one; prepare them apart"
        )
    split = {name for name, source in sources.items() if source.has_split}
    if split and len(split) < len(sources):
        other = next(name for name in sources if name not in split)
        raise TraplineError(
            f"--input: {min(split)} comes with a split of its own and {other} does not; prepare them apart, "
            "or "
            "take the column or the folders of the split away"
        )


def _apart(
    images: pd.DataFrame, kind: Kind, name: str, known: set[str], same_sites: bool
) -> tuple[pd.DataFrame, list[str]]:
    """The images with names of `kind` that no earlier input has; `known` gets them. And what a person is
    told.
    """
    column = images[kind.value]
    own = {text: key(text, kind) for text in column.dropna().unique()}
    shared = sorted(text for text, of_text in own.items() if of_text in known)
    notes = []
    if shared and not (kind is Kind.SITE and same_sites):
        renamed = {text: f"{name}/{text}" for text in shared}
        column = column.map(lambda text: renamed.get(text, text))
        own = {text: key(text, kind) for text in column.dropna().unique()}
        if kind is Kind.SITE:
            notes = [
                f"{name}: {len(shared)} sites are called as sites of an earlier input and are taken for "
                "others "
                f"({shared[0]!r} is now {renamed[shared[0]]!r}); --same-sites true makes them one"
            ]
    known |= set(own.values())
    return images.assign(**{kind.value: column}), notes


def _with_index(images: pd.DataFrame, source: Source, index: Sequence[int], several: bool) -> pd.DataFrame:
    """The images with the class indices of all inputs together."""
    if not several:
        own = [UNLABELED if label == UNLABELED else index[int(label)] for label in images["label"]]
        return images.assign(label=pd.Series(own, index=images.index, dtype=object))
    labels: list[tuple[int, ...]] = [() if label == UNLABELED else (int(label),) for label in images["label"]]
    if LABELS in images.columns:
        labels = images[LABELS].tolist()
    images = images.copy()
    images[LABELS] = [tuple(sorted({index[own] for own in each})) for each in labels]
    if CAPTION not in images.columns:
        images[CAPTION] = ""
    return images


def _numbers_of(images: pd.DataFrame) -> list[int]:
    numbers: dict[tuple[int, ...], int] = {}
    return [
        UNLABELED if label == UNLABELED else numbers.setdefault(labels, len(numbers))
        for label, labels in zip(images["label"], images[LABELS], strict=True)
    ]


def _all_merged(
    found: Sequence[Mapping[str, Mapping[str, Mapping[str, int]]]],
) -> dict[str, dict[str, Mapping[str, int]]]:
    every: dict[str, dict[str, Mapping[str, int]]] = {}
    for merged in found:
        for kind, spellings in merged.items():
            every.setdefault(kind, {}).update(spellings)
    return every
