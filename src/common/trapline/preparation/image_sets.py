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
from trapline.preparation.class_names import Classes, named
from trapline.preparation.input_folder import InputFolder
from trapline.preparation.listing import COLUMNS, GIVEN, UNLABELED, Source, printable
from trapline.preparation.split_names import TEST, TRAIN, VAL, is_unlabeled, part_folders, part_of
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
    wrong = next((code for code in codes if "/" in code or "\\" in code or code in (".", "..")), None)
    if wrong is not None:
        raise TraplineError(f"{path}: {wrong!r} is no class: a folder outside its place is not read")
    rows: list[Row] = []
    quarantined = loose_images(folder) + _of_unknown_classes(folder, parts[TRAIN], set(codes))
    for label, code in enumerate(codes):
        place = f"{parts[TRAIN]}/{code}/{IMAGES}"
        files = folder.files(place)
        if not files:
            raise TraplineError(f"{folder.path / place}: holds no image, though {CODES} names the class")
        rows += _rows(folder, files, label, TRAIN)
    val = parts.get(VAL, VAL)
    if folder.table(f"{val}/{ANNOTATIONS}") is not None:
        rows += _annotated(folder, val, codes, quarantined)
    else:
        quarantined += _of_unknown_classes(folder, val, set(codes))
        rows += _class_rows(folder, val, VAL, {code: label for label, code in enumerate(codes)})
    test = parts.get(TEST, TEST)
    if set(codes) & set(folder.folders(test)):
        quarantined += _of_unknown_classes(folder, test, set(codes))
        rows += _class_rows(folder, test, TEST, {code: label for label, code in enumerate(codes)})
    else:
        rows += _rows(folder, folder.files(test), UNLABELED, None)
    for name in folder.folders():
        rows += _rows(folder, folder.files(name), UNLABELED, None) if is_unlabeled(name) else []
    return _source(folder, rows, codes, quarantined + _elsewhere(folder, rows, quarantined))


def _elsewhere(
    folder: InputFolder, rows: Sequence[Row], quarantined: Sequence[Quarantined]
) -> list[Quarantined]:
    """The image files that lie where the layout has none: without a label, but not lost."""
    known = {filepath for _, filepath, *_ in rows} | {row.filepath for row in quarantined}
    return [
        _quarantined(file, UNKNOWN_LABEL, "lies where the layout has no images")
        for file in folder.files()
        if _is_image(file) and printable(file) not in known
    ]


def _is_image(name: str) -> bool:
    from PIL import Image

    return Path(name).suffix.lower() in Image.registered_extensions()


def _annotated(
    folder: InputFolder, val: str, codes: Sequence[str], quarantined: list[Quarantined]
) -> list[Row]:
    """The validation images with the class that val_annotations.txt gives them."""
    path, place = folder.path / val / ANNOTATIONS, f"{val}/{IMAGES}"
    label_of = {code: label for label, code in enumerate(codes)}
    given: dict[str, set[str]] = {}
    for line in _lines(path):
        name, _, rest = line.partition("\t")
        given.setdefault(key(f"{place}/{name}", Kind.PATH), set()).add(rest.partition("\t")[0].strip())
    rows: list[Row] = []
    for file in folder.files(place):
        found = given.pop(key(file, Kind.PATH), set())
        if len(found) == 1 and (code := next(iter(found))) in label_of:
            rows += _rows(folder, [file], label_of[code], VAL)
        else:
            reason = AMBIGUOUS_LABEL if len(found) > 1 else UNKNOWN_LABEL
            said = f"{path.name} says {', '.join(sorted(found)) or 'nothing'} of it"
            quarantined.append(_quarantined(file, reason, said))
    quarantined += [_quarantined(file, MISSING, f"{path.name} has it, {place} has not") for file in given]
    return rows


# --- class folders below parts ------------------------------------------------------------------------------


def has_parts(folder: InputFolder) -> bool:
    """Whether `folder` is a split: train with class folders, perhaps val and test, under any of their names.

    Raises TraplineError where it is half a split (`split_names.part_folders`).
    """
    return part_folders(folder) is not None


def read_parts(folder: InputFolder) -> Source:
    """List `train/<class>/**/*` and `val/<class>/**/*`, and `test`, as ImageNet lies for ImageFolder.

    `val` may be absent, as CIFAR-10 has none. A `test` without class folders is unlabelled, as is
    `unlabeled`. Images in no class folder, or in one that train lacks, are quarantined. Raises TraplineError
    for an empty class of train, or a val without classes.
    """
    parts = part_folders(folder) or {}
    classes = _classes_of(folder, parts)
    held = [part for part in (VAL, TEST) if part in parts and _holds_one_of(folder, parts[part], classes)]
    for part in (part for part in (VAL, TEST) if part in parts and part not in held):
        inner = [name for name in folder.folders(parts[part]) if not is_unlabeled(name)]
        if part == VAL or len(inner) > 1:  # a single one is a wrapper of images without labels
            raise TraplineError(
                f"{folder.path / parts[part]}: holds none of the class folders of {parts[TRAIN]} "
                f"({classes.names[0]}, ...); sort its images into class folders, or rename it to unlabeled"
            )
    rows: list[Row] = []
    quarantined = loose_images(folder)
    for part in (TRAIN, *held):
        quarantined += _of_unknown_classes(folder, parts[part], classes.index)
        rows += _class_rows(folder, parts[part], part, classes.index)
    unlabelled = [name for part, name in parts.items() if part == TEST and part not in held]
    unlabelled += [name for name in folder.folders() if is_unlabeled(name)]
    unlabelled += [
        f"{parts[part]}/{name}"
        for part in (TRAIN, *held)
        for name in folder.folders(parts[part])
        if is_unlabeled(name)
    ]
    for name in unlabelled:
        rows += _rows(folder, folder.files(name), UNLABELED, None)
    return _source(folder, rows, classes.names, quarantined, classes)


def _classes_of(folder: InputFolder, parts: Mapping[str, str]) -> Classes:
    """The classes: the folders of train, with those of other parts that are spelt otherwise."""
    used, empty = [], None
    own = [name for name in folder.folders(parts[TRAIN]) if not is_unlabeled(name)]
    for name in own:
        files = len(folder.files(f"{parts[TRAIN]}/{name}"))
        empty = name if not files and empty is None else empty
        used += [printable(name)] * files
    if empty is not None:
        raise TraplineError(f"{folder.path / parts[TRAIN] / empty}: an empty class folder; fill or remove it")
    known = {key(printable(name), Kind.CLASS) for name in own}
    order = [printable(name) for name in own]
    for part in (part for part in parts if part != TRAIN):
        for name in map(printable, folder.folders(parts[part])):
            if key(name, Kind.CLASS) in known:
                order.append(name)
                used += [name] * len(folder.files(f"{parts[part]}/{name}"))
    return named(order, used, folder.path)


def _holds_one_of(folder: InputFolder, place: str, classes: Classes) -> bool:
    return any(printable(name) in classes.index for name in folder.folders(place))


def _class_rows(folder: InputFolder, place: str, part: str, index: Mapping[str, int]) -> list[Row]:
    """The images below the class folders of a part, in the order of the classes."""
    found = [(index[printable(name)], name) for name in folder.folders(place) if printable(name) in index]
    rows: list[Row] = []
    for label, name in sorted(found):
        rows += _rows(folder, folder.files(f"{place}/{name}"), label, part)
    return rows


def _of_unknown_classes(folder: InputFolder, place: str, known: Iterable[str]) -> list[Quarantined]:
    """The files of a part that lie in no class folder, or in that of a class that is none."""
    found = [
        _quarantined(f"{place}/{name}", UNKNOWN_LABEL, "lies in no class folder")
        for name in folder.loose(place)
    ]
    names = set(known)
    for name in folder.folders(place):
        if printable(name) not in names and not is_unlabeled(name):
            files = folder.files(f"{place}/{name}")
            found += [_quarantined(file, UNKNOWN_LABEL, f"{name} is no class of the set") for file in files]
    return found


# --- what both have in common -------------------------------------------------------------------------------


def _source(
    folder: InputFolder,
    rows: list[Row],
    codes: list[str],
    quarantined: list[Quarantined],
    classes: Classes | None = None,
) -> Source:
    images = pd.DataFrame(rows, columns=[*COLUMNS, GIVEN], dtype=object)
    names = class_names(folder.path, codes, follow_links=folder.follow_links)
    return Source(
        images,
        names,
        quarantined,
        class_codes=codes if names != codes else None,
        merged={Kind.CLASS: classes.spellings} if classes and classes.spellings else {},
    )


def class_names(folder: Path, codes: Sequence[str], *, follow_links: bool = False) -> list[str]:
    """A name for each class: the first of its words where `folder` has a file of words, else its code.

    Two classes with the same first word, as ImageNet's two cranes, have their codes added. Raises
    TraplineError where the file leads out of the folder, or a name is none that a class may have.
    """
    place = InputFolder(folder, follow_links)
    path = next((path for name in WORDS if (path := place.table(name)) is not None), None)
    words = {} if path is None else _words(path)
    names = [words.get(code, "") or code for code in codes]
    refuse(names, Kind.CLASS, str(path or folder))
    count = Counter(names)
    return [name if count[name] == 1 else f"{name} ({code})" for name, code in zip(names, codes, strict=True)]


def _words(path: Path) -> dict[str, str]:
    """Code -> the first of its words, which commas divide."""
    entries = (line.split(maxsplit=1) for line in _lines(path))
    return {entry[0]: entry[1].partition(",")[0].strip() for entry in entries if len(entry) == 2}


def _lines(path: Path) -> list[str]:
    """The lines that hold something. Raises TraplineError where the file cannot be read or holds none."""
    lines = [line.strip() for line in read_text(path).text.splitlines()]
    if not any(lines):
        raise TraplineError(f"{path}: is empty")
    return [line for line in lines if line]


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
        if _is_image(name) and name not in folder.closed
    ] + [
        _quarantined(name, OUTSIDE, folder.outside[folder.full(name)])
        for name in loose
        if name in folder.closed
    ]
