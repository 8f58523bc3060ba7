"""The prepared data set on disk: what `prepare.py` writes and everything else reads.

`dataset.json` describes it; `train/`, `val/`, `test/` and `unlabeled/` hold Arrow IPC files of one row an
image, memory-mapped when read: a random row costs microseconds and no memory.
"""

import atexit
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import (
    BaseModel,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
)

from trapline.data.groups import Integers, Scope, Sequences, numbered, scope_of
from trapline.data.leakage import LeakageGap
from trapline.errors import TraplineError
from trapline.images.canonical import Pixels, decode_packed
from trapline.names import Kind, check_class_names, keys
from trapline.s3_copies import fetch_folder
from trapline.storage import read_json

DESCRIPTION, SUBMISSION_FORMAT = "dataset.json", "submission_format.csv"
DIVISION = "division.csv"  # which sites, or other groups, are in which part
PARTS = ("train", "val", "test", "unlabeled")

# What every set has. width and height are those of the original frame, orientation applied; sha256 is of the
# original bytes.
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("image", pa.large_binary()),
        pa.field("labels", pa.list_(pa.int32())),
        pa.field("site", pa.string()),
        pa.field("sequence", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("sha256", pa.string()),
        pa.field("weight", pa.float32()),
    ]
)
# And when the frame was taken: ISO 8601 in the camera's own time, with the offset from UTC where that is
# known. Sets that were made before it was kept are read with an empty column.
TIMED_SCHEMA = SCHEMA.append(pa.field("time", pa.string()))


class PartFiles(BaseModel, frozen=True, extra="forbid"):
    """The Arrow files of one part, relative to the data set's folder, and the images in them."""

    images: int
    files: list[str]


# Fields of Split that came later, with the values that say nothing.
NEWER = {"group_by": "site", "division": None, "line": None, "folds": None, "fold": None}


class Split(BaseModel, frozen=True, extra="forbid"):
    """How the labelled images were divided."""

    kind: Literal["site", "group", "random", "given"]  # given: by the data set itself; group: see group_by
    shares: dict[str, float]
    seed: int
    unseen_sites: bool  # whether a score on val or test says anything about cameras that were never seen
    sequences: Scope = "global"  # what equal names of sequences mean at two sites
    group_by: str = "site"  # what is kept together: site, sequence, camera, date, or a column of the source
    # Digests of the division, and of the one with which its line began: no camera of one line changes its
    # part.
    division: str | None = None
    line: str | None = None
    folds: int | None = None  # frozen ones, of train and val, of which val is number `fold`
    fold: int | None = None

    @model_serializer(mode="wrap")
    def _leave_out_what_is_not(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """All fields but those of NEWER that say nothing, which code of before them would refuse to read."""
        fields: dict[str, Any] = serialise(self)
        return {name: value for name, value in fields.items() if name not in NEWER or value != NEWER[name]}


class DatasetDescription(BaseModel, frozen=True, extra="forbid"):
    """The content of dataset.json."""

    format_version: Literal[1]
    task: Literal["multiclass", "multilabel"]
    classes: list[str]
    class_codes: list[str] | None = None  # what the source calls the classes, such as WordNet's ids
    source: str
    drawn: bool  # artificial images, not photographs
    split: Split
    pixels: dict[str, Any]  # how canonicalise made the packed pixels: serving must do the same
    jpeg_quality: int | None  # None: packed as PNG, without loss
    parts: dict[str, PartFiles]
    counts: dict[str, dict[str, int]]  # part -> class -> images
    fingerprint: str  # SHA-256 over the settings and every row's id, original bytes, labels, site and part
    versions: dict[str, str]
    leakage: LeakageGap | None = None  # what guesses gain on a random split; None too in sets of before

    @field_validator("classes", "class_codes")
    @classmethod
    def _check_names(cls, names: list[str] | None) -> list[str] | None:
        check_class_names(names or [])
        return names


@dataclass(frozen=True)
class PackedPart:
    """The images of one part. Cheap to send to another process, which maps the files again."""

    files: tuple[Path, ...]

    @cached_property
    def table(self) -> pa.Table:
        """All columns, memory-mapped."""
        tables = [pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in self.files]
        for place, (path, table) in enumerate(zip(self.files, tables, strict=True)):
            if table.schema.equals(SCHEMA):
                tables[place] = table.append_column(
                    TIMED_SCHEMA.field("time"), pa.nulls(len(table), pa.string())
                )
            elif not table.schema.equals(TIMED_SCHEMA):
                raise pa.ArrowInvalid(f"{path.name} has other columns than a prepared set")
        return pa.concat_tables(tables) if tables else TIMED_SCHEMA.empty_table()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getstate__(self) -> dict[str, Any]:
        return {"files": self.files}

    def located(self, row: int) -> tuple["PackedPart", int]:
        """The part in which image `row` lies, this one, and its row there."""
        return self, row

    def jpeg(self, row: int) -> memoryview:
        """The packed bytes of one image, JPEG or PNG (`decode_packed` takes both), not copied."""
        return memoryview(self.table["image"][row].as_buffer()).cast("B")

    def name(self, row: int) -> str:
        """An image as messages call it: the folder of its part, and its id."""
        return f"{self.files[0].parent}: image {self.table['id'][row].as_py()}"

    def pixels(self, row: int) -> Pixels:
        """One image, uint8 (height, width, 3), as it is packed. Raises TraplineError where it is damaged."""
        try:
            return decode_packed(self.jpeg(row))
        except ValueError as error:
            raise TraplineError(f"{self.name(row)} is damaged ({error}); prepare again") from None

    @cached_property
    def labels(self) -> np.ndarray:
        """The class index of each image, int64 (images,); each must have exactly one label."""
        return np.asarray(self.table["labels"].combine_chunks().flatten(), dtype=np.int64)

    def label_matrix(self, classes: int) -> np.ndarray:
        """1 where an image has the class and 0 where not, float32 (images, classes); made once."""
        if classes not in self._label_matrices:
            matrix = np.zeros((len(self), classes), dtype=np.float32)
            matrix[rows_and_labels(self.table)] = 1
            self._label_matrices[classes] = matrix
        return self._label_matrices[classes]

    @cached_property
    def _label_matrices(self) -> dict[int, np.ndarray]:
        return {}

    @cached_property
    def weights(self) -> np.ndarray:
        """The weight of each image in the training loss, float32 (images,)."""
        return np.asarray(self.table["weight"], dtype=np.float32)


@dataclass(frozen=True)
class PreparedSet:
    """A prepared data set, open for reading."""

    folder: Path
    description: DatasetDescription
    copies: Mapping[str, Path] = field(default_factory=dict)  # of files that cannot be mapped where they lie

    def part(self, name: str) -> PackedPart:
        """The images of `train`, `val`, `test` or `unlabeled`."""
        files = self.description.parts[name].files if name in self.description.parts else []
        return PackedPart(tuple(self.copies.get(file, self.folder / file) for file in files))


def fetch_prepared(uri: str, folder: Path, parts: Sequence[str] = PARTS) -> None:
    """Copy the description and the `parts` of the prepared data set at `uri` in S3 to `folder`.

    What an earlier call has copied and is unchanged is not copied again. Raises TraplineError as
    `fetch_folder` does, and when there is no prepared data set.
    """
    fetch_folder(uri, folder, only=(DESCRIPTION, *(f"{part}/" for part in parts)))
    if not (folder / DESCRIPTION).exists():
        raise TraplineError(
            f"{uri.rstrip('/')}/{DESCRIPTION}: no such object; entry_points/prepare.py makes a prepared set"
        )


def open_prepared(
    folder: Path | str, parts: Sequence[str] = PARTS, copies: Mapping[str, Path] | None = None
) -> PreparedSet:
    """Open the prepared data set in `folder` and check that its `parts` are whole.

    Files that cannot be memory-mapped where they lie, as on some mounts, are copied to a temporary folder
    that goes when the process ends; nothing is written to `folder`. `copies`: those of a set that another
    process on this machine has opened, in place of this one's own. Raises TraplineError naming the file that
    is missing, damaged or of another version.
    """
    folder = Path(folder)
    path = folder / DESCRIPTION
    if not path.exists():
        raise TraplineError(f"{path}: no such file; entry_points/prepare.py makes a prepared data set")
    try:
        description = DatasetDescription.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise TraplineError(f"{path}: {place}: {first['msg']}; prepare the data again") from None
    files = [file for name in parts if name in description.parts for file in description.parts[name].files]
    if copies is None:
        copies = _copies_where_mapping_fails(folder, files)
    prepared = PreparedSet(folder, description, copies)
    for name in parts:
        _check_part(prepared, name)
    return prepared


def _copies_where_mapping_fails(folder: Path, files: Sequence[str]) -> dict[str, Path]:
    unmappable = [file for file in files if (folder / file).is_file() and not _can_be_mapped(folder / file)]
    if not unmappable:
        return {}
    # Not removed with the PreparedSet: a part outlives it, in other processes too, which map the files later.
    place = Path(tempfile.mkdtemp(prefix="trapline-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    print(f"{folder}: files cannot be memory-mapped there; copying {len(unmappable)} to {place}", flush=True)
    copies = {file: place / f"{number:05d}.arrow" for number, file in enumerate(unmappable)}
    for file, copy in copies.items():
        try:
            shutil.copyfile(folder / file, copy)
        except OSError as error:
            raise TraplineError(
                f"{folder / file}: cannot be copied to {place} ({error.strerror or error}); "
                "check the mount, or set TMPDIR to a larger disk"
            ) from None
    return copies


def _can_be_mapped(path: Path) -> bool:
    try:
        pa.memory_map(str(path)).close()
    except OSError:  # a mount may refuse with ENODEV, EINVAL, EOPNOTSUPP ...
        return False
    return True


def _check_part(prepared: PreparedSet, name: str) -> None:
    description, part = prepared.description, prepared.part(name)
    expected = description.parts[name].images if name in description.parts else 0
    single = description.task == "multiclass" and name != "unlabeled"
    try:
        check_table(part.table, len(description.classes), has_one_label=single)
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise TraplineError(f"{prepared.folder / name}: damaged ({reason}); prepare the data again") from None
    if len(part) != expected:
        raise TraplineError(
            f"{prepared.folder / name}: holds {len(part)} images but {DESCRIPTION} says {expected}; "
            "prepare again"
        )


def check_table(table: pa.Table, classes: int, *, has_one_label: bool) -> None:
    """Raise ValueError (ArrowInvalid is one) where `table`, of a prepared set's schema, cannot be relied on.

    classes: labels must be below. has_one_label: whether each image must have exactly one.

    Somebody else may have written the table, and Arrow's own readers trust what a file says of its lengths:
    one wrong offset ends the process, or shows other memory. The check looks at offsets, bitmaps and small
    columns, never at the images: 10 ms for 100,000 rows.
    """
    table.validate(full=True)
    filled = ("id", "image", "labels", "width", "height", "sha256", "weight")  # of every image
    empty = next((name for name in filled if table[name].null_count), None)
    if empty is not None:
        raise ValueError(f"a row has no {empty}")
    counts = pc.list_value_length(table["labels"])
    if has_one_label and not pc.all(pc.equal(counts, 1)).as_py() and len(table):
        raise ValueError("an image has no label, or several, in a set of one label an image")
    labels = pc.list_flatten(table["labels"])
    if labels.null_count or pc.any(pc.or_(pc.less(labels, 0), pc.greater_equal(labels, classes))).as_py():
        raise ValueError(f"a label is none of the {classes} classes")
    weights = np.asarray(table["weight"], dtype=np.float32)
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("the weight of an image is negative, or no number")


def rows_and_labels(table: pa.Table) -> tuple[Integers, Integers]:
    """Every label of every image: the image's row and the class index, int64 (labels,) both."""
    column = table["labels"].combine_chunks()
    rows = np.repeat(np.arange(len(column)), np.diff(np.asarray(column.offsets)))
    return rows, np.asarray(column.flatten(), dtype=np.int64)


def keys_of(column: pa.ChunkedArray, kind: Kind) -> npt.NDArray[np.object_]:
    """The key of each of n names, (n,), None where there is none."""
    encoded = column.dictionary_encode().combine_chunks()
    distinct = np.array([*keys(encoded.dictionary.to_pylist(), kind), None], dtype=object)
    return distinct[np.asarray(encoded.indices.fill_null(len(distinct) - 1), dtype=np.int64)]


def sites_and_sequences(table: pa.Table, split: Split) -> tuple[Integers, Sequences]:
    """The number of each image's site, (n,), -1 for none, and its sequence; `table` has both as columns.

    Names are compared by their keys: sets that older versions prepared keep them as they were spelt.
    """
    sites, names = keys_of(table["site"], Kind.SITE), keys_of(table["sequence"], Kind.SEQUENCE)
    return numbered(sites), Sequences.of(names, sites, scope_of_set(split, sites, names))


def scope_of_set(split: Split, sites: Any, sequences: Any) -> Scope:
    """What equal names of sequences mean at two sites of a set; where it does not say, as its images do."""
    return split.sequences if "sequences" in split.model_fields_set else scope_of(sites, sequences)
