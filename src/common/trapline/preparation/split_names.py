"""The names that people give to the parts of a split: of folders, and in a table's column."""

import re
from collections.abc import Sequence
from pathlib import Path

from trapline.errors import TraplineError
from trapline.names import Kind, key
from trapline.preparation.input_folder import InputFolder
from trapline.preparation.listing import UNLABELED_FOLDER
from trapline.tables import Table

TRAIN, VAL, TEST = "train", "val", "test"
NAMES = {
    TRAIN: TRAIN, "training": TRAIN, "trn": TRAIN,
    VAL: VAL, "valid": VAL, "validate": VAL, "validation": VAL, "validating": VAL, "dev": VAL,
    "development": VAL,
    TEST: TEST, "testing": TEST, "tst": TEST,
}  # fmt: skip
UNCERTAIN = ("eval", "evaluation", "holdout", "heldout")  # some mean validation, some the test
NO_PART = ("", "unlabeled", "unlabelled", "none", "nan", "null", "na")
# What is added to them, before or after, as in training_set, train2017 and data_val.
ADDED = frozenset(
    ("set", "dataset", "data", "images", "image", "imgs", "frames", "photos", "split", "part", "subset",
     "folder", "new", "old", "final", "copy", "labeled", "labelled", "raw", "all", "x", "v")
)  # fmt: skip
GLUED = re.compile(r"(?<=[a-z]{3})(set|data|images|imgs|split)$")
CERTAIN_COLUMN = "split"  # the other known names of the column may mean anything


def part_of(name: str) -> str | None:
    """The part that `name` means: train, val or test; None where it means none of them."""
    return NAMES.get(_plain(name))


def _plain(name: str) -> str:
    """A folder's name or a value without numbers, punctuation, and the words that people add."""
    whole = key(name, Kind.CLASS)
    words = [word for word in re.findall(r"[^\W\d_]+", whole) if word not in ADDED]
    return GLUED.sub("", words[0]) if len(words) == 1 else whole


def is_unlabeled(name: str) -> bool:
    """Whether a folder of this name holds the images without labels."""
    return key(name, Kind.CLASS) in (UNLABELED_FOLDER, "unlabelled")


def _seems_a_part(name: str) -> bool:
    return part_of(name) is not None or _plain(name) in UNCERTAIN


def part_folders(folder: InputFolder) -> dict[str, str] | None:
    """The folder of each part, by its name on disk, where the folder is a split; None where it is none.

    Raises TraplineError where it is half a split, for its parts would pass for classes: two folders for one
    part, a part of uncertain name, folders of classes beside them, no class folders below train.
    """
    names = folder.folders()
    closed = next((name for name in sorted(folder.closed) if "/" not in name and part_of(name)), None)
    if closed is not None:
        raise TraplineError(f"{folder.path / closed}: {folder.outside[folder.full(closed)]}")
    seeming = [name for name in names if _seems_a_part(name)]
    others = [name for name in names if name not in seeming and not is_unlabeled(name)]
    if not seeming or _are_classes(folder, seeming, others):
        return None
    found: dict[str, str] = {}
    for name in seeming:
        part = part_of(name)
        if part is None:
            raise TraplineError(f"{folder.path / name}: means val or test? Rename it to one of them")
        if part in found:
            raise TraplineError(
                f"{folder.path}: {found[part]} and {name} are both folders of {part}; merge or remove one"
            )
        found[part] = name
    _check(folder, found, others)
    return found


def _are_classes(folder: InputFolder, seeming: Sequence[str], others: Sequence[str]) -> bool:
    """Whether a single folder called train, beside classes, is one too: trains are photographed."""
    if len(seeming) > 1 or not others or part_of(seeming[0]) != TRAIN:
        return False
    inner = {key(name, Kind.CLASS) for name in folder.folders(seeming[0])}
    return not inner & {key(name, Kind.CLASS) for name in others}


def _check(folder: InputFolder, found: dict[str, str], others: Sequence[str]) -> None:
    names = ", ".join(sorted(found.values()))
    if others:
        raise TraplineError(
            f"{folder.path}: {names}: by their names parts of a split, but {others[0]} lies beside them; "
            f"move it into a part, or rename them (a folder {UNLABELED_FOLDER} holds images without labels)"
        )
    if TRAIN not in found:
        raise TraplineError(
            f"{folder.path}: {names}: by their names parts of a split, but there is no {TRAIN}; add it, or "
            "give a single one of them as the input"
        )
    if not folder.folders(found[TRAIN]):
        raise TraplineError(
            f"{folder.path / found[TRAIN]}: by its name the {TRAIN} part of a split, but it holds no class "
            "folders; sort its images into class folders, or give a table of labels"
        )


def parts_in(table: Table) -> list[str | None] | None:
    """The part of each row by the table's column of the split, None where there is no such column.

    Raises TraplineError for a value that names no part.
    """
    cells = table.column("split")
    return (
        None if cells is None else parts_named(list(cells), table.columns["split"], table.path, table.notes)
    )


def parts_named(cells: Sequence[str], column: str, path: Path, notes: list[str]) -> list[str | None] | None:
    """The part that each cell of a column names; None, with a note, where the column is about something else.

    Raises TraplineError, naming the file at `path`, for a value that names no part.
    """
    parts = {value: part_of(value) for value in set(cells)}
    foreign = sorted(
        value for value in parts if parts[value] is None and key(value, Kind.CLASS) not in NO_PART
    )
    if foreign and not any(parts.values()) and key(column, Kind.CLASS) != CERTAIN_COLUMN:
        notes.append(f"{path.name}: the column {column} is no split ({foreign[0]!r}, ...)")
        return None
    if foreign:
        raise TraplineError(
            f"{path}: column {column}: {foreign[0]!r} is none of train, val and test; write it so, or rename "
            "the column"
        )
    return [parts[value] for value in cells]
