"""Image sets that come with a split of their own: Tiny-ImageNet, and class folders below train/, val/, test/.

Classes are those of train. Where the set has a file of words, the first word names the class and the folder's
name, such as WordNet's id, is kept as its code.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from trapline.data.quarantine import AMBIGUOUS_LABEL, MISSING, OUTSIDE, UNKNOWN_LABEL, Quarantined
from trapline.errors import TraplineError
from trapline.names import Kind, key, refuse
from trapline.preparation.input_folder import InputFolder, is_image_name
from trapline.preparation.listing import (
    COLUMNS,
    GIVEN,
    TEST,
    TRAIN,
    UNLABELED,
    VAL,
    Classes,
    Source,
    is_unlabeled,
    named,
    part_folders,
    part_of,
    printable,
)
from trapline.tables import read_text

CODES = "wnids.txt"  # Tiny-ImageNet's classes, a WordNet id a line
WORDS = ("words.txt", "LOC_synset_mapping.txt")  # id, blank, words: of Tiny-ImageNet, of ImageNet
ANNOTATIONS = "val_annotations.txt"
IMAGES = "images"

Row = tuple[str, str, str, int, None, None, str | None]  # COLUMNS and GIVEN


# --- Tiny-ImageNet ------------------------------------------------------------------------------------------


def is_tiny_imagenet(folder: InputFolder) -> bool:
    """Whether `folder` holds wnids.txt and train."""
    return folder.table(CODES) is not None and TRAIN in _parts(folder)


def _parts(folder: InputFolder) -> dict[str, str]:
    """The folder of each part, by its name on disk."""
    return {part: name for name in reversed(folder.folders()) if (part := part_of(name)) is not None}


def read_tiny_imagenet(folder: InputFolder) -> Source:
    """List `train/<wnid>/images/*`, `val/images/*` with val_annotations.txt, and `test/images/*`, unlabelled.

    The classes are those of wnids.txt, in its order. A validation part that was sorted into class folders,
    without val_annotations.txt, is read as well. Raises TraplineError where a class or its images lack, or a
    code is no folder's name.
    """
    path, parts = folder.path / CODES, _parts(folder)
    codes = list(dict.fromkeys(_lines(path)))
    refuse(codes, Kind.CLASS, str(path))
    if wrong := [code for code in codes if "/" in code or "\\" in code or code in (".", "..")]:
        raise TraplineError(f"{path}: {wrong[0]!r} is no class: a folder outside its place is not read")
    rows: list[Row] = []
    index = {code: label for label, code in enumerate(codes)}
    quarantined = loose_images(folder) + _of_unknown_classes(folder, parts[TRAIN], index)
    for code, label in index.items():
        place = f"{parts[TRAIN]}/{code}/{IMAGES}"
        files = folder.files(place)
        if not files:
            raise TraplineError(f"{folder.path / place}: holds no image, though {CODES} names the class")
        rows += _rows(folder, files, label, TRAIN)
    val, test = parts.get(VAL, VAL), parts.get(TEST, TEST)
    if folder.table(f"{val}/{ANNOTATIONS}") is not None:
        rows += _annotated(folder, val, index, quarantined)
    else:
        rows += _class_rows(folder, val, VAL, index, quarantined)
    if index.keys() & set(folder.folders(test)):
        rows += _class_rows(folder, test, TEST, index, quarantined)
    else:
        rows += _rows(folder, folder.files(test), UNLABELED, None)
    unlabelled = [file for name in folder.folders() if is_unlabeled(name) for file in folder.files(name)]
    rows += _rows(folder, unlabelled, UNLABELED, None)
    return _source(folder, rows, codes, quarantined + _elsewhere(folder, rows, quarantined))


def _elsewhere(
    folder: InputFolder, rows: Sequence[Row], quarantined: Sequence[Quarantined]
) -> list[Quarantined]:
    """The image files that lie where the layout has none: without a label, but not lost."""
    known = {filepath for _, filepath, *_ in rows} | {row.filepath for row in quarantined}
    return [
        _quarantined(file, UNKNOWN_LABEL, "lies where the layout has no images")
        for file in folder.files()
        if is_image_name(file) and printable(file) not in known
    ]


def _annotated(
    folder: InputFolder, val: str, index: Mapping[str, int], quarantined: list[Quarantined]
) -> list[Row]:
    """The validation images with the class that val_annotations.txt gives them."""
    path, place = folder.path / val / ANNOTATIONS, f"{val}/{IMAGES}"
    given: dict[str, set[str]] = {}
    for line in _lines(path):
        name, _, rest = line.partition("\t")
        given.setdefault(key(f"{place}/{name}", Kind.PATH), set()).add(rest.partition("\t")[0].strip())
    rows: list[Row] = []
    for file in folder.files(place):
        found = given.pop(key(file, Kind.PATH), set())
        if len(found) == 1 and (code := next(iter(found))) in index:
            rows += _rows(folder, [file], index[code], VAL)
        else:
            reason = AMBIGUOUS_LABEL if len(found) > 1 else UNKNOWN_LABEL
            said = f"{path.name} says {', '.join(sorted(found)) or 'nothing'} of it"
            quarantined.append(_quarantined(file, reason, said))
    quarantined += [_quarantined(file, MISSING, f"{path.name} has it, {place} has not") for file in given]
    return rows


# --- class folders below parts ------------------------------------------------------------------------------


def read_parts(folder: InputFolder) -> Source:
    """List `train/<class>/**/*` and `val/<class>/**/*`, and `test`, as ImageNet lies for ImageFolder.

    `val` may be absent, as CIFAR-10 has none. A `test` without class folders is unlabelled, as is
    `unlabeled`. Images in no class folder, or in one that train lacks, are quarantined. Raises TraplineError
    for an empty class of train, or a val without classes.
    """
    parts = part_folders(folder) or {}
    classes = _classes_of(folder, parts)
    held = [TRAIN]
    for part in (part for part in (VAL, TEST) if part in parts):
        inner = [name for name in folder.folders(parts[part]) if not is_unlabeled(name)]
        if any(printable(name) in classes.index for name in folder.folders(parts[part])):
            held.append(part)
        elif part == VAL or len(inner) > 1:  # a single one is a wrapper of images without labels
            raise TraplineError(
                f"{folder.path / parts[part]}: holds none of the class folders of {parts[TRAIN]} "
                f"({classes.names[0]}, ...); sort its images into class folders, or rename it to unlabeled"
            )
    rows: list[Row] = []
    quarantined = loose_images(folder)
    for part in held:
        rows += _class_rows(folder, parts[part], part, classes.index, quarantined)
    unlabelled = [
        *(name for part, name in parts.items() if part not in held),
        *(name for name in folder.folders() if is_unlabeled(name)),
        *(
            f"{parts[part]}/{name}"
            for part in held
            for name in folder.folders(parts[part])
            if is_unlabeled(name)
        ),
    ]
    rows += _rows(folder, [file for name in unlabelled for file in folder.files(name)], UNLABELED, None)
    return _source(folder, rows, classes.names, quarantined, classes)


def _classes_of(folder: InputFolder, parts: Mapping[str, str]) -> Classes:
    """The classes: the folders of train, with those of other parts that are spelt otherwise."""
    own = [name for name in folder.folders(parts[TRAIN]) if not is_unlabeled(name)]
    files = {name: len(folder.files(f"{parts[TRAIN]}/{name}")) for name in own}
    if empty := [name for name in own if not files[name]]:
        raise TraplineError(
            f"{folder.path / parts[TRAIN] / empty[0]}: an empty class folder; fill or remove it"
        )
    order = [printable(name) for name in own]
    used = [printable(name) for name in own for _ in range(files[name])]
    known = {key(name, Kind.CLASS) for name in order}
    others = [
        (printable(name), len(folder.files(f"{place}/{printable(name)}")))
        for part, place in parts.items()
        if part != TRAIN
        for name in folder.folders(place)
        if key(printable(name), Kind.CLASS) in known
    ]
    used += [name for name, images in others for _ in range(images)]
    return named([*order, *(name for name, _ in others)], used, folder.path)


def _class_rows(
    folder: InputFolder, place: str, part: str, index: Mapping[str, int], quarantined: list[Quarantined]
) -> list[Row]:
    """The images below the class folders of a part, in the order of the classes; others are quarantined."""
    quarantined += _of_unknown_classes(folder, place, index)
    found = [(index[printable(name)], name) for name in folder.folders(place) if printable(name) in index]
    return [
        row
        for label, name in sorted(found)
        for row in _rows(folder, folder.files(f"{place}/{name}"), label, part)
    ]


def _of_unknown_classes(folder: InputFolder, place: str, index: Mapping[str, int]) -> list[Quarantined]:
    """The files of a part that lie in no class folder, or in that of a class that is none."""
    strange = [
        name for name in folder.folders(place) if printable(name) not in index and not is_unlabeled(name)
    ]
    loose = [
        _quarantined(f"{place}/{name}", UNKNOWN_LABEL, "lies in no class folder")
        for name in folder.loose(place)
    ]
    return loose + [
        _quarantined(file, UNKNOWN_LABEL, f"{name} is no class of the set")
        for name in strange
        for file in folder.files(f"{place}/{name}")
    ]


# --- what both have in common -------------------------------------------------------------------------------


def _source(
    folder: InputFolder,
    rows: list[Row],
    codes: list[str],
    quarantined: list[Quarantined],
    classes: Classes | None = None,
) -> Source:
    names = class_names(folder.path, codes, follow_links=folder.follow_links)
    return Source(
        pd.DataFrame(rows, columns=[*COLUMNS, GIVEN], dtype=object),
        names,
        quarantined,
        class_codes=codes if names != codes else None,
        merged=classes.merged if classes else {},
    )


def class_names(folder: Path, codes: Sequence[str], *, follow_links: bool = False) -> list[str]:
    """A name for each class: the first of its words where `folder` has a file of words, else its code.

    Two classes with the same first word, as ImageNet's two cranes, have their codes added. Raises
    TraplineError where the file leads out of the folder, or a name is none that a class may have.
    """
    place = InputFolder(folder, follow_links)
    path = next((path for name in WORDS if (path := place.table(name)) is not None), None)
    entries = [] if path is None else [line.split(maxsplit=1) for line in _lines(path)]
    words = {entry[0]: entry[1].partition(",")[0].strip() for entry in entries if len(entry) == 2}
    names = [words.get(code, "") or code for code in codes]
    refuse(names, Kind.CLASS, str(path or folder))
    count = Counter(names)
    return [name if count[name] == 1 else f"{name} ({code})" for name, code in zip(names, codes, strict=True)]


def _lines(path: Path) -> list[str]:
    """The lines that hold something. Raises TraplineError where the file cannot be read or holds none."""
    lines = [line for line in map(str.strip, read_text(path)[0].splitlines()) if line]
    if not lines:
        raise TraplineError(f"{path}: is empty")
    return lines


def _rows(folder: InputFolder, files: Iterable[str], label: int, part: str | None) -> list[Row]:
    return [(shown := printable(file), shown, folder.full(file), label, None, None, part) for file in files]


def _quarantined(file: str, reason: str, detail: str) -> Quarantined:
    return Quarantined(printable(file), printable(file), reason, detail)


def loose_images(folder: InputFolder) -> list[Quarantined]:
    """What lies directly in `folder` and is lost: image files, told by their suffixes, and closed folders."""
    loose = folder.loose()
    return [
        _quarantined(name, UNKNOWN_LABEL, "lies in no class folder")
        for name in loose
        if is_image_name(name) and name not in folder.closed
    ] + [
        _quarantined(name, OUTSIDE, folder.outside[folder.full(name)])
        for name in loose
        if name in folder.closed
    ]
