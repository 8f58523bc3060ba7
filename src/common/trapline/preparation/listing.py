"""What a listing of raw images is made of, whatever their layout: images, classes, and parts.

Listing opens no image. What is wrong with a listing (an id twice, a label that is none) is quarantined, so
that every input of the source is either an image or a quarantined row.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from trapline.data.quarantine import Quarantined
from trapline.errors import TraplineError, UsageError
from trapline.job_contract import prepare_option
from trapline.learning import Task
from trapline.names import Kind, clean, key, keys, merged, refuse
from trapline.preparation.input_folder import InputFolder
from trapline.tables import read_table

UNLABELED = -1
UNLABELED_FOLDER = "unlabeled"
GIVEN = "given"  # the column of a split that the data set comes with
LABELS, CAPTION = "labels", "caption"  # the columns of a set whose images may have several labels
TIME, GROUP = "time", "group"  # the columns of when an image was taken, and of what a split keeps together
COLUMNS = ["id", "filepath", "path", "label", "site", "sequence"]
LABEL, NAME = "Label", "Name"  # the columns of a table of names for classes
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


@dataclass(frozen=True)
class SiteRule:
    """Where sites come from, before what the data say: a CSV (filepath, site) or a pattern on the path.

    `csv` may be an S3 URI, which whoever reads the source replaces by a local copy.
    """

    csv: Path | str | None = None
    pattern: re.Pattern[str] | None = None


@dataclass(frozen=True)
class Reading:
    """What a person says of how an input is to be read, where it does not say so itself.

    `layout`: its name in LAYOUTS of `preparation.sources`. `table`: the table or JSON that was given itself,
    in the place of its folder. `media`: where the images lie that it names. `origin`: the s3:// URI that a
    copy is of. `copies`: a folder for images that are fetched from S3. `folders`, `label_tag` and
    `machine_labels` as the options of prepare.py; `--columns` stands in the `InputFolder`. `among_others`:
    whether there are other inputs, of which what a person says may be meant. `needs_labels`: whether a table
    must have a column of them, as it must for training.
    """

    layout: str | None = None
    table: Path | None = None
    media: InputFolder | None = None
    origin: str | None = None
    copies: Path | None = None
    folders: str | None = None
    label_tag: str | None = None
    machine_labels: bool = False
    among_others: bool = False
    needs_labels: bool = True


def refuse_asked(folder: InputFolder, reading: Reading, options: Sequence[str], what: str) -> None:
    """Raise UsageError for one of `options` that a person gives though `what` says it all itself.

    Of several inputs another may be meant. Columns that --group-by names are looked for in all.
    """
    columns = [f"{known}={column}" for known, column in folder.columns.items() if known != GROUP]
    given = {
        "columns": " ".join(columns),
        "folders": reading.folders,
        "label-tag": reading.label_tag,
    }
    for name in options:
        if given[name] and not reading.among_others:
            raise UsageError(f"{prepare_option(name, given[name])}: {what}; leave it out")


@dataclass(frozen=True)
class Source:
    """The inputs of a raw data set.

    `images` has the columns id, filepath (as the source names it), path (to open), label (index into
    `classes`, or UNLABELED), site and sequence (None where unknown), and, where the data set comes with a
    split of its own, `given`: train, val or test (None for unlabelled images). `class_codes`: what the source
    calls the classes, such as WordNet's ids, where `classes` are other names for them.

    Where an image may have several labels there are two more columns: `labels`, a tuple of all its class
    indices, ascending, and `caption`, a text. `label` then is a number that images of the same labels share.
    `undecided`: whether that is so only because some images have several; `preparation.labelling` decides.

    What tables say beside that stands in two columns more, where they say anything: `time`, when an image was
    taken, as it is written, and `group`, the column of `--group-by`; None where nothing is said.

    `barred`: the images that must not be opened, by their paths, with reason code and detail. `merged`: for
    each kind of name (site, class, sequence) the names that came in several spellings, and those. `notes`:
    what a person should know of how the source was read. `of_machines`: those on labels that a machine
    gave, and that are left out.
    """

    images: pd.DataFrame
    classes: list[str]
    quarantined: list[Quarantined] = field(default_factory=list)
    submission_format: Path | None = None
    class_codes: list[str] | None = None
    barred: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    merged: Mapping[str, Mapping[str, Mapping[str, int]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    undecided: bool = False
    of_machines: list[str] = field(default_factory=list)

    @property
    def task(self) -> Task:
        """Whether an image has one label, or any number of them."""
        return "multilabel" if LABELS in self.images.columns else "multiclass"

    @property
    def has_split(self) -> bool:
        """Whether the data set comes with a split of its own."""
        return GIVEN in self.images.columns

    @property
    def has_sites(self) -> bool:
        """Whether any labelled image has a site."""
        return bool((self.images["site"].notna() & (self.images["label"] != UNLABELED)).any())


def named_rows(table: pd.DataFrame) -> Iterator[Any]:
    """The rows as named tuples; what is in their columns is known here and not to the type checker."""
    yield from table.itertuples()


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
    """`limit` images of each class at the most, drawn by `seed`; unlabelled images count as a class.

    Where the data set comes with a split, so many in each of its parts. An image of several labels is left
    out where there are `limit` of each of them already.
    """
    images = source.images.iloc[np.random.default_rng(seed).permutation(len(source.images))]
    if source.task == "multilabel":
        drawn = pd.Series(_wanted(images, limit), index=images.index)
    else:
        columns = ["label", GIVEN] if source.has_split else ["label"]
        drawn = images.groupby(columns, dropna=False).cumcount() < limit
    return replace(source, images=source.images[drawn.sort_index()].reset_index(drop=True))


def _wanted(images: pd.DataFrame, limit: int) -> list[bool]:
    """Whether fewer than `limit` images before it have one of an image's labels, or none as itself."""
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
    if name.isascii():
        return name
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


# --- classes ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Classes:
    """Classes in their order: what they are called, and the class index of each spelling.

    `merged`: the classes that came in several spellings, each with its number, as `Source.merged` has them.
    """

    names: list[str]
    index: Mapping[str, int]
    merged: dict[str, dict[str, dict[str, int]]]


def named(order: Sequence[str], used: Sequence[str] = (), place: object = "the labels") -> Classes:
    """The classes that the names in `order` are, in that order, each under its commonest spelling.

    `used`: names as often as they come, one an image, which say what is common; `order` alone without them.
    Raises TraplineError for a name that none may be (`trapline.names.fault`), found in `place`.
    """
    refuse(dict.fromkeys([*order, *used]), Kind.CLASS, str(place))
    known = set(used)
    counted = [*used, *(name for name in order if name not in known)]
    found = merged(counted, Kind.CLASS)
    name_of = dict(zip(counted, found.names, strict=True))  # None: it holds nothing
    names = [own for own in dict.fromkeys(name_of[name] for name in order) if own is not None]
    place = {name: index for index, name in enumerate(names)}
    index = {name: place[own] for name, own in name_of.items() if own in place}
    return Classes(names, index, {Kind.CLASS: found.spellings} if found.spellings else {})


def renamed(source: Source, path: Path, shown_as: str) -> Source:
    """`source` with the names of the CSV `path` (Label, Name) for its classes, and its own as their codes.

    A label without a row, or with an empty name, keeps its own. Raises UsageError, which calls the file
    `shown_as`, where there is none; TraplineError where it names none of the labels, a label twice, two
    classes alike, or one with a name that none may have.
    """
    if not path.is_file():
        raise UsageError(f"{prepare_option('label-names', shown_as)}: no such file, here or in the input")
    table = read_table(path, [LABEL, NAME]).cells
    codes = source.class_codes or source.classes
    both = keys([*codes, *table[LABEL]], Kind.CLASS)
    own, labels = both[: len(codes)], both[len(codes) :]
    twice = table[LABEL][pd.Series(labels, dtype=object).duplicated()]
    if len(twice):
        raise TraplineError(f"{shown_as}: label {twice.iloc[0]} has two rows; keep one")
    refuse(table[NAME], Kind.CLASS, shown_as)
    names = dict(zip(labels, table[NAME].map(clean), strict=True))
    if not set(own) & set(names):
        raise TraplineError(f"{shown_as}: names none of the set's labels ({', '.join(codes[:5])}, ...)")
    classes = [names.get(code) or known for code, known in zip(own, source.classes, strict=True)]
    alike = Counter(key(name, Kind.CLASS) for name in classes)
    if shared := [name for name in classes if alike[key(name, Kind.CLASS)] > 1]:
        raise TraplineError(f"{shown_as}: two labels are called {shared[0]!r}; give each its own name")
    return replace(source, classes=classes, class_codes=codes)


# --- the names that people give to parts --------------------------------------------------------------------


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


def part_folders(folder: InputFolder) -> dict[str, str] | None:
    """The folder of each part, by its name on disk, where the folder is a split; None where it is none.

    Raises TraplineError where it is half a split, for its parts would pass for classes: two folders for one
    part, a part of uncertain name, folders of classes beside them, no class folders below train.
    """
    names = folder.folders()
    if closed := sorted(name for name in folder.closed if "/" not in name and part_of(name)):
        raise TraplineError(f"{folder.path / closed[0]}: {folder.outside[folder.full(closed[0])]}")
    seeming = [name for name in names if part_of(name) is not None or _plain(name) in UNCERTAIN]
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


def parts_named(cells: Sequence[str], column: str, path: Path, notes: list[str]) -> list[str | None] | None:
    """The part that each cell of a column names; None, with a note, where the column is about something else.

    Raises TraplineError, naming the file at `path`, for a value that names no part.
    """
    parts = {value: part_of(value) for value in set(cells)}
    foreign = sorted(
        value for value in parts if parts[value] is None and key(value, Kind.CLASS) not in NO_PART
    )
    # A column called split is one; the other known names of it may mean anything.
    if foreign and not any(parts.values()) and key(column, Kind.CLASS) != "split":
        notes.append(f"{path.name}: the column {column} is no split ({foreign[0]!r}, ...)")
        return None
    if foreign:
        raise TraplineError(
            f"{path}: column {column}: {foreign[0]!r} is none of train, val and test; write it so, or rename "
            "the column"
        )
    return [parts[value] for value in cells]
