"""Image sets that come with a split of their own: Tiny-ImageNet, and class folders below train/, val/, test/.

Classes are those of train. Where the set has a file of words, the first word names the class and the folder's
name, such as WordNet's id, is kept as its code.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from common.data.listing import (
    COLUMNS,
    GIVEN,
    UNLABELED,
    UNLABELED_FOLDER,
    SiteRule,
    Source,
    files_below,
    loose_images,
    printable,
    with_sites,
)
from common.data.quarantine import AMBIGUOUS_LABEL, MISSING, UNKNOWN_LABEL, Quarantined
from common.errors import TraplineError

CODES = "wnids.txt"  # Tiny-ImageNet's classes, a WordNet id a line
WORDS = ("words.txt", "LOC_synset_mapping.txt")  # id, blank, words: of Tiny-ImageNet, of ImageNet
ANNOTATIONS = "val/val_annotations.txt"
IMAGES = "images"
TRAIN, VAL, TEST = "train", "val", "test"

Row = tuple[str, str, str, int, None, None, str | None]  # COLUMNS and GIVEN


# --- Tiny-ImageNet ------------------------------------------------------------------------------------------


def is_tiny_imagenet(folder: Path) -> bool:
    """Whether `folder` holds wnids.txt and train."""
    return (folder / CODES).is_file() and (folder / TRAIN).is_dir()


def read_tiny_imagenet(folder: Path, rule: SiteRule) -> Source:
    """List `train/<wnid>/images/*`, `val/images/*` with val_annotations.txt, and `test/images/*`, unlabelled.

    The classes are those of wnids.txt, in its order. A validation part that was sorted into class folders,
    without val_annotations.txt, is read as well. Raises TraplineError where a class or its images lack.
    """
    codes = list(dict.fromkeys(_lines(folder / CODES)))
    rows: list[Row] = []
    quarantined = loose_images(folder) + _of_unknown_classes(folder, TRAIN, codes)
    for label, code in enumerate(codes):
        place = f"{TRAIN}/{code}/{IMAGES}"
        files = _files(folder, place)
        if not files:
            raise TraplineError(f"{folder / place}: holds no image, though {CODES} names the class")
        rows += _rows(folder, files, label, TRAIN)
    if (folder / ANNOTATIONS).is_file():
        rows += _annotated(folder, codes, quarantined)
    else:
        quarantined += _of_unknown_classes(folder, VAL, codes)
        rows += _class_rows(folder, VAL, codes)
    rows += _rows(folder, _files(folder, f"{TEST}/{IMAGES}"), UNLABELED, None)
    return _source(folder, rule, rows, codes, quarantined)


def _annotated(folder: Path, codes: Sequence[str], quarantined: list[Quarantined]) -> list[Row]:
    """The validation images with the class that val_annotations.txt gives them."""
    path, place = folder / ANNOTATIONS, f"{VAL}/{IMAGES}"
    label_of = {code: label for label, code in enumerate(codes)}
    given: dict[str, set[str]] = {}
    for line in _lines(path):
        name, _, rest = line.partition("\t")
        given.setdefault(f"{place}/{name}", set()).add(rest.partition("\t")[0])
    rows: list[Row] = []
    for file in _files(folder, place):
        found = given.pop(file, set())
        if len(found) == 1 and (code := next(iter(found))) in label_of:
            rows += _rows(folder, [file], label_of[code], VAL)
        else:
            reason = AMBIGUOUS_LABEL if len(found) > 1 else UNKNOWN_LABEL
            said = f"{path.name} says {', '.join(sorted(found)) or 'nothing'} of it"
            quarantined.append(_quarantined(file, reason, said))
    quarantined += [_quarantined(file, MISSING, f"{path.name} has it, {place} has not") for file in given]
    return rows


# --- class folders below parts ------------------------------------------------------------------------------


def has_parts(folder: Path) -> bool:
    """Whether `folder` holds train, with class folders, and val or test, and no folder that is no part."""
    names = set(_subfolders(folder))
    known = {TRAIN, VAL, TEST, UNLABELED_FOLDER}
    return TRAIN in names <= known and bool(names & {VAL, TEST}) and bool(_subfolders(folder / TRAIN))


def read_parts(folder: Path, rule: SiteRule) -> Source:
    """List `train/<class>/**/*` and `val/<class>/**/*`, and `test`, as ImageNet lies for ImageFolder.

    `val` may be absent, as CIFAR-10 has none. A `test` without class folders is unlabelled, as is
    `unlabeled`. Images in no class folder, or in one that train lacks, are quarantined. Raises TraplineError
    for an empty class of train, or a val without classes.
    """
    codes = _subfolders(folder / TRAIN)
    held = [name for name in (VAL, TEST) if set(codes) & set(_subfolders(folder / name))]
    if (folder / VAL).is_dir() and VAL not in held:
        raise TraplineError(
            f"{folder / VAL}: holds none of the class folders of {TRAIN} ({codes[0]}, ...); sort the "
            "validation images into class folders"
        )
    labelled = [TRAIN, *held]
    rows: list[Row] = []
    quarantined = loose_images(folder)
    for part in labelled:
        quarantined += _of_unknown_classes(folder, part, codes)
        rows += _class_rows(folder, part, codes)
    empty = set(range(len(codes))) - {label for *_, label, _, _, part in rows if part == TRAIN}
    if empty:
        raise TraplineError(f"{folder / TRAIN / codes[min(empty)]}: an empty class folder; fill or remove it")
    for part in [name for name in (TEST, UNLABELED_FOLDER) if name not in labelled]:
        rows += _rows(folder, _files(folder, part), UNLABELED, None)
    return _source(folder, rule, rows, codes, quarantined)


def _class_rows(folder: Path, part: str, codes: Sequence[str]) -> list[Row]:
    rows: list[Row] = []
    for label, code in enumerate(codes):
        rows += _rows(folder, _files(folder, f"{part}/{code}"), label, part)
    return rows


def _of_unknown_classes(folder: Path, part: str, codes: Sequence[str]) -> list[Quarantined]:
    """The files of `part` that lie in no class folder, or in that of a class that is none."""
    if not (folder / part).is_dir():
        return []
    loose = sorted(printable(path.name) for path in (folder / part).iterdir() if path.is_file())
    found = [
        _quarantined(f"{part}/{name}", UNKNOWN_LABEL, "lies in no class folder")
        for name in loose
        if not name.startswith(".")
    ]
    for name in sorted(set(_subfolders(folder / part)) - set(codes)):
        files = _files(folder, f"{part}/{name}")
        found += [_quarantined(file, UNKNOWN_LABEL, f"{name} is no class of the set") for file in files]
    return found


# --- what both have in common -------------------------------------------------------------------------------


def _source(
    folder: Path, rule: SiteRule, rows: list[Row], codes: list[str], quarantined: list[Quarantined]
) -> Source:
    images = pd.DataFrame(rows, columns=[*COLUMNS, GIVEN], dtype=object)
    names = class_names(folder, codes)
    return Source(
        with_sites(images, folder, rule),
        names,
        quarantined,
        class_codes=codes if names != codes else None,
    )


def class_names(folder: Path, codes: Sequence[str]) -> list[str]:
    """A name for each class: the first of its words where `folder` has a file of words, else its code.

    Two classes with the same first word, as ImageNet's two cranes, have their codes added.
    """
    words = next((_words(folder / name) for name in WORDS if (folder / name).is_file()), {})
    names = [words.get(code, "") or code for code in codes]
    count = Counter(names)
    return [name if count[name] == 1 else f"{name} ({code})" for name, code in zip(names, codes, strict=True)]


def _words(path: Path) -> dict[str, str]:
    """Code -> the first of its words, which commas divide."""
    entries = (line.split(maxsplit=1) for line in _lines(path))
    return {entry[0]: entry[1].partition(",")[0].strip() for entry in entries if len(entry) == 2}


def _lines(path: Path) -> list[str]:
    """The lines that hold something. Raises TraplineError where the file cannot be read or holds none."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except OSError as error:
        raise TraplineError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise TraplineError(f"{path}: is no UTF-8 text") from None
    if not any(lines):
        raise TraplineError(f"{path}: is empty")
    return [line for line in lines if line]


def _subfolders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _files(folder: Path, place: str) -> list[str]:
    """The files below folder/place, relative to `folder`, sorted."""
    return [f"{place}/{file}" for file in files_below(folder / place)] if (folder / place).is_dir() else []


def _rows(folder: Path, files: Iterable[str], label: int, part: str | None) -> list[Row]:
    top = str(folder)
    return [
        (shown := printable(file), shown, os.path.join(top, file), label, None, None, part)  # noqa: PTH118
        for file in files
    ]


def _quarantined(file: str, reason: str, detail: str) -> Quarantined:
    return Quarantined(printable(file), printable(file), reason, detail)
