"""What becomes of each label between the listing of a source and its split.

In this order: corrections say the labels of single images; a table renames, merges and removes classes;
images with several labels become what the person wants; rare classes become one class, or go. Every image is
then in the source or in quarantine, and the record says of every label what became of it.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trapline.data.quarantine import AMBIGUOUS_LABEL, CLASS_REMOVED, UNKNOWN_LABEL
from trapline.errors import TraplineError
from trapline.job_contract import prepare_option
from trapline.job_options import PrepareOptions
from trapline.names import Kind, key, keys, shown
from trapline.preparation.label_changes import (
    REMOVED,
    Corrections,
    Integers,
    listed,
    read_class_map,
    read_corrections,
    refuse_contradictions,
)
from trapline.preparation.label_pairs import Booleans, Labelling, begun, record_of, split
from trapline.preparation.listed_rows import label_columns
from trapline.preparation.listing import CAPTION, LABELS, UNLABELED, Source, first
from trapline.preparation.splits import count
from trapline.storage import file_digest

OTHER = "other"  # the class of rare ones
TOGETHER = "+"  # between the names of classes that an image has together


def labelled(
    source: Source, options: PrepareOptions, files: Mapping[str, Path]
) -> tuple[Source, dict[str, Any]]:
    """`source` with the labels that `options` make of its own, and the record of it for `summary.json`.

    `files`: local copies of `classes` and `corrections`, by the name of the option, where they are given.

    The record has, under `found`, for each label of the source the number of its images, the class that it
    became (None: none) and by which option; `classes`, the images of each class; `quarantined`, by reason;
    `together`, where images with several labels are classes of their own, their images; and `corrections` and
    `map`, of each table its SHA-256 and how many of its rows were used.

    Raises TraplineError where a table is wrong (`preparation.label_changes`) or names nothing of the set, and
    where fewer than two classes are left.
    """
    own, by_layout = begun(source), LABELS in source.images.columns and not source.undecided
    if path := files.get("corrections"):
        _correct(own, source, options, path, by_layout)
    if path := files.get("classes"):
        _map(own, source, options, path)
    is_multilabel = _decide(own, options, by_layout)
    if options.min_images is not None:
        _without_rare(own, options.min_images, options.rare)
    record = record_of(own)
    if not own.steps and not source.undecided:
        return source, record
    return _written(source, own, is_multilabel, record), record


def _finish(own: Labelling, option: str, said: str, way_out: str) -> None:
    """Note what a step made of the labels. Raises TraplineError where it leaves fewer than two classes."""
    own.steps.append((option, own.names()))
    left = [name for name, images in zip(own.classes, own.counts().tolist(), strict=True) if images]
    if len(left) < 2:
        only = f"only the class {shown(left[0])}" if left else "no class"
        raise TraplineError(f"{said}: leaves {only}, and a classifier needs at least two; {way_out}")


# --- corrections of single images ---------------------------------------------------------------------------


def _correct(own: Labelling, source: Source, options: PrepareOptions, path: Path, by_layout: bool) -> None:
    """Give images the labels that a table says, whatever they had."""
    called = options.corrections or str(path)
    several = "cells" if by_layout else "rows" if options.several == "multilabel" else None
    table = read_corrections(path, called, source.classes, source.class_codes, several)
    of_image, of_row = _joined(table, source)
    if several is None:
        refuse_contradictions(table, of_row, called)
    fits, is_named = np.isin(of_row, of_image), np.isin(of_image, of_row)
    if not fits.any():
        raise TraplineError(
            f"{called}: none of its rows names an image of the set ({shown(table.names[0])} against "
            f"{first(source.images[table.column])}){_aside_too(table, fits, source)}; write the "
            f"{table.column} as the set does"
        )
    changed = _replace_labels(own, table, of_image, of_row, is_named)
    labelled = is_named & own.is_unlabelled
    own.is_unlabelled = own.is_unlabelled & ~is_named
    own.record["corrections"] = {
        "sha256": file_digest(path),
        "rows": int(fits.sum()),
        "images": int(is_named.sum()),
        "changed": int((changed | labelled).sum()),
        "labelled": int(labelled.sum()),
    }
    own.notes += [*table.notes, *_notes_on_corrections(own, source, Path(called).name, table, fits)]
    _finish(own, "corrections", called, "leave some labels as they are")


def _joined(table: Corrections, source: Source) -> tuple[Integers, Integers]:
    """A number for the name of each image and of each row; equal ones mean the same image.

    Where images are alike but for blanks or the like, a row means the one that is written as it is.
    """
    written = [*source.images[table.column], *table.names]
    own = pd.Series(keys(written, table.kind), dtype=object)
    of_images = own[: len(source.images)]
    alike = {None, *of_images[of_images.duplicated()]}
    names = [f"\0{name}" if each in alike else each for name, each in zip(written, own, strict=True)]
    numbers, _ = pd.factorize(np.array(names, dtype=object))
    return numbers[: len(of_images)].astype(np.int64), numbers[len(of_images) :].astype(np.int64)


def _replace_labels(
    own: Labelling, table: Corrections, of_image: Integers, of_row: Integers, is_named: Booleans
) -> Booleans:
    """Give the images that the table names its labels; which of them had others."""
    pairs = pd.DataFrame({"name": of_row[table.row], "label": table.label})
    rows = np.flatnonzero(is_named)
    said = pd.DataFrame({"name": of_image[rows], "image": rows}).merge(pairs, on="name")
    number = _with_new_classes(own, table, said["label"].to_numpy())
    image, label, stays = own.image, own.label, ~is_named[own.image]
    own.set_pairs(
        np.append(image[stays], said["image"].to_numpy()),
        np.append(label[stays], number[said["label"].to_numpy()]),
    )
    return own.differing(image, label, is_named)


def _with_new_classes(own: Labelling, table: Corrections, used: Integers) -> Integers:
    """The class of each of the table's; those that images get are added where they are new."""
    known = len(own.classes)
    number = np.arange(len(table.classes))
    new = np.unique(used[used >= known])
    number[new] = known + np.arange(len(new))
    own.add_classes([table.classes[label] for label in new.tolist()])
    own.add_found(own.classes[known:], number[new].tolist(), [0] * len(new))
    own.own_labels = len(own.found)
    return number


def _notes_on_corrections(
    own: Labelling, source: Source, called: str, table: Corrections, fits: Booleans
) -> list[str]:
    record = own.record["corrections"]
    notes = [
        f"{called}: says the labels of {count(record['images'], 'image')}: {record['labelled']} had none, "
        f"{record['changed'] - record['labelled']} had another"
    ]
    if new := own.found[len(source.classes) :]:
        notes.append(f"{called}: labels that are new: {listed(new)}")
    if not fits.all():
        lost = int(np.argmin(fits))
        notes.append(
            f"{called}: {count(int((~fits).sum()), 'row')} without an image of the set, the first in line "
            f"{table.lines[lost]} ({shown(table.names[lost])}){_aside_too(table, fits, source)}"
        )
    return notes


def _aside_too(table: Corrections, fits: Booleans, source: Source) -> str:
    """What is said of rows that name images in quarantine, which stay there; nothing where none does."""
    aside = [getattr(row, table.column) for row in source.quarantined]
    names = [table.names[row] for row in np.flatnonzero(~fits)]
    own = keys([*aside, *names], table.kind)
    reasons = {each: row.reason for each, row in zip(own, source.quarantined, strict=False) if each}
    found = [
        (name, reasons[each]) for name, each in zip(names, own[len(aside) :], strict=True) if each in reasons
    ]
    if not found:
        return ""
    name, reason = found[0]
    return (
        f"; {len(found)} of these are in quarantine and stay there ({shown(name)}: {reason}): mend what the "
        "data say of them"
    )


# --- the map of classes -------------------------------------------------------------------------------------


def _map(own: Labelling, source: Source, options: PrepareOptions, path: Path) -> None:
    """Rename, merge and remove classes as a table says."""
    called = options.classes or str(path)
    table = read_class_map(path, called, own.classes, source.class_codes)
    own.record["map"] = {"sha256": file_digest(path), "rows": table.rows}
    own.notes += table.notes
    removed = [
        name for name, index in zip(own.classes, table.index.tolist(), strict=True) if index == REMOVED
    ]
    _remove(own, table.classes, table.index, f"{Path(called).name} leaves out", removed)
    _finish(own, "classes", called, "give more of the labels a class")


def _remove(own: Labelling, classes: list[str], index: Integers, why: str, removed: Sequence[str]) -> None:
    """Remap the classes; images that lose all of their labels go to quarantine, and a note says so."""
    lost = own.losing_all(index)
    details = _details(own, lost, lambda labels: f"{why} {labels}")
    own.remap(classes, index)
    own.set_aside(lost, CLASS_REMOVED, details)
    if removed:
        images = count(int(lost.sum()), "image")
        own.notes.append(f"{why} {listed(removed)}: {images} in quarantine ({CLASS_REMOVED})")


def _details(own: Labelling, images: Booleans, told: Callable[[str], str]) -> list[str]:
    """What is told of each of some images, by their labels, as text."""
    labels_of = own.names_of(images)
    text_of = {labels: told(listed(labels)) for labels in set(labels_of)}
    return [text_of[labels] for labels in labels_of]


# --- images with several labels -----------------------------------------------------------------------------


def _decide(own: Labelling, options: PrepareOptions, by_layout: bool) -> bool:
    """Make of images with several labels what the person wants; whether the set stays one of several."""
    way = options.several or ("multilabel" if by_layout else "quarantine")
    several, option = own.labels_of() > 1, prepare_option("several", way)
    images = count(int(several.sum()), "image")
    if way == "multilabel":
        if not by_layout and several.any():
            own.notes.append(f"{option}: a set of several labels an image; several: {images}")
        return by_layout or bool(several.any())
    if not by_layout and not several.any():
        return False
    if way == "class":
        _join(own, several)
        own.notes.append(f"{option}: classes of their own, such as a+b, for {images} of several labels")
    else:
        others = f"{prepare_option('several', 'multilabel')} or class"
        details = _details(own, several, lambda labels: f"several labels: {labels}; {others} keeps it")
        own.set_aside(several, AMBIGUOUS_LABEL, details)
        own.notes.append(f"{images} of several labels in quarantine; {others} keeps them")
    without = own.is_kept & ~own.is_unlabelled & (own.labels_of() == 0)
    detail = f"none of the labels, and with {option} each image has one; --corrections can give it one"
    own.set_aside(without, UNKNOWN_LABEL, [detail] * int(without.sum()))
    _finish(own, "several", option, "use multilabel")
    return False


def _join(own: Labelling, several: Booleans) -> None:
    """Give images of several labels one class each: that of the joined names, which may be there already."""
    names = [TOGETHER.join(labels) for labels in own.names_of(several)]
    number = {key(name, Kind.CLASS): label for label, name in enumerate(own.classes)}
    images = dict(sorted(Counter(names).items()))
    key_of = {name: key(name, Kind.CLASS) for name in images}
    new = list({key_of[name]: name for name in images if key_of[name] not in number}.values())
    number |= {key_of[name]: len(own.classes) + place for place, name in enumerate(new)}
    own.add_classes(new)
    joined = np.array([number[key_of[name]] for name in names], dtype=np.int64)
    stays = ~several[own.image]
    own.set_pairs(np.append(own.image[stays], np.flatnonzero(several)), np.append(own.label[stays], joined))
    own.add_found(list(images), [number[key_of[name]] for name in images], list(images.values()))


# --- rare classes -------------------------------------------------------------------------------------------


def _without_rare(own: Labelling, least: int, rare: str) -> None:
    """Make one class of those with fewer than `least` images, or remove them."""
    counts, option = own.counts(), prepare_option("min-images", least)
    is_rare = counts < least
    if rare == "other":
        is_rare &= np.array([not _is_other(name) for name in own.classes], dtype=bool)
    moved = np.flatnonzero(is_rare & (counts > 0))
    few, sizes = [own.classes[label] for label in moved.tolist()], counts[moved].tolist()
    classes = [name for name, goes in zip(own.classes, is_rare.tolist(), strict=True) if not goes]
    index = np.where(is_rare, REMOVED, np.cumsum(~is_rare) - 1)
    if rare == "other" and few:
        if not any(map(_is_other, classes)):
            classes.append(OTHER)
        index[moved] = place = next(label for label, name in enumerate(classes) if _is_other(name))
        own.notes.append(f"{option} makes {shown(classes[place])} of {listed(few, sizes)}")
    why = f"{option} and {prepare_option('rare', rare)} leave out"
    _remove(own, classes, index, why, few if rare == "remove" else [])
    _finish(own, "min_images", option, "use a smaller number")


def _is_other(name: str) -> bool:
    return key(name, Kind.CLASS) == OTHER


# --- what comes out -----------------------------------------------------------------------------------------


def _written(source: Source, own: Labelling, is_multilabel: bool, record: Mapping[str, Any]) -> Source:
    """The source with its labels as they are now, without the classes that are gone."""
    present, kept = own.present(), own.is_kept
    label = (np.cumsum(present) - 1)[own.label]
    classes = [name for name, is_there in zip(own.classes, present, strict=True) if is_there]
    images = source.images[kept]
    if is_multilabel:
        columns = label_columns(split(label, own.labels_of()[kept]), own.is_unlabelled[kept].tolist())
        columns |= {CAPTION: images[CAPTION].tolist()} if CAPTION in images.columns else {}
    else:
        single = np.full(len(source.images), UNLABELED)
        single[own.image] = label
        images = images.drop(columns=[LABELS, CAPTION], errors="ignore")
        columns = {"label": single[kept].tolist()}
    series = {name: pd.Series(values, index=images.index, dtype=object) for name, values in columns.items()}
    return replace(
        source,
        images=images.assign(**series).reset_index(drop=True),
        classes=classes,
        class_codes=_codes_of(source, classes, record),
        quarantined=[*source.quarantined, *own.quarantined],
        notes=[*source.notes, *own.notes],
        undecided=False,
    )


def _codes_of(source: Source, classes: Sequence[str], record: Mapping[str, Any]) -> list[str] | None:
    """What the source calls the classes, where they are its own and nothing else became one of them."""
    known = dict(zip(source.classes, source.class_codes or (), strict=False))
    others = any(entry["class"] not in (None, name) for name, entry in record["found"].items())
    if not known or others or "together" in record or not all(name in known for name in classes):
        return None
    return [known[name] for name in classes]
