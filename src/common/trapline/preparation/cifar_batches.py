"""CIFAR-10 as it is published: batches of images without files, written out as class folders.

The binary version holds `data_batch_1.bin` to `data_batch_5.bin`, `test_batch.bin` and `batches.meta.txt`,
the python version pickles of the same names without suffixes.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from trapline.errors import TraplineError
from trapline.names import Kind, refuse
from trapline.pickle_checks import check_pickle

SIDE = 32
PPM_START = b"P6 %d %d 255\n" % (SIDE, SIDE)
PIXELS = 3 * SIDE * SIDE  # bytes of an image: its red plane, its green one, its blue one
PART_OF_BATCH = {**{f"data_batch_{number}": "train" for number in range(1, 6)}, "test_batch": "test"}
BINARY = ".bin"
LARGEST = 1 << 30  # bytes; a batch has 31 million
AGAIN = "download the set again"
Batch = tuple[np.ndarray, np.ndarray]  # labels, (images,) whole numbers, and planes, uint8 (images, PIXELS)


def batches_in(folder: Path) -> Path | None:
    """Where CIFAR-10's batches lie: `folder`, or in it the folder of the published archives; else None."""
    inner = (
        sorted(path for path in folder.glob("cifar-10-batches-*") if path.is_dir()) if folder.is_dir() else []
    )
    return next((place for place in (folder, *inner) if _suffix(place) is not None), None)


def _suffix(folder: Path) -> str | None:
    """What the names of the batches in `folder` end with; None where there are none."""
    return next(
        (
            suffix
            for suffix in (BINARY, "")
            if any((folder / f"{name}{suffix}").is_file() for name in PART_OF_BATCH)
        ),
        None,
    )


def write_class_folders(batches: Path, folder: Path) -> Path:
    """Write each image to `train/<class>/<batch>-<number>.ppm`, or `test/...`, in a new `folder`; return it.

    PPM holds the pixels as they are: the same set gives the same bytes everywhere. Raises TraplineError
    naming the file where a batch is missing or damaged (a wrong length, a label that is no class).
    """
    suffix = _suffix(batches) or ""
    classes = _classes(batches, suffix)
    if absent := [name for name in PART_OF_BATCH if not (batches / f"{name}{suffix}").is_file()]:
        raise TraplineError(
            f"{batches / absent[0]}{suffix}: no such file, though other batches are there; {AGAIN}"
        )
    for name, part in PART_OF_BATCH.items():
        labels, planes = _read(batches / f"{name}{suffix}", classes)
        for label in np.unique(labels):
            (folder / part / classes[label]).mkdir(parents=True, exist_ok=True)
        pictures = planes.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
        for number, (label, picture) in enumerate(zip(labels, pictures, strict=True)):
            path = folder / part / classes[label] / f"{name}-{number:05d}.ppm"
            path.write_bytes(PPM_START + picture.tobytes())
    return folder


def _classes(batches: Path, suffix: str) -> list[str]:
    path = batches / ("batches.meta.txt" if suffix else "batches.meta")
    if suffix:
        names = _read_bytes(path).decode("utf-8", "replace").split()
    else:
        listed = read_dictionary(path, LARGEST).get("label_names")
        names = [text(name) for name in listed] if isinstance(listed, list) else []
    are_folders = all(name.isprintable() and "/" not in name and name[:1] not in ("", ".") for name in names)
    if not names or len(set(names)) < len(names) or not are_folders:
        raise TraplineError(f"{path}: names no classes, or not as CIFAR-10 does; {AGAIN}")
    refuse(names, Kind.CLASS, str(path))
    return names


def _read(path: Path, classes: list[str]) -> Batch:
    labels, planes = _binary(path) if path.suffix == BINARY else _pickled(path)
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(wrong):
        raise TraplineError(
            f"{path}: image {wrong[0]} has the label {labels[wrong[0]]}, but there are {len(classes)} "
            f"classes: it is damaged, or no batch of CIFAR-10; {AGAIN}"
        )
    return labels, planes


def _binary(path: Path) -> Batch:
    data = _read_bytes(path)
    if not data or len(data) % (1 + PIXELS):
        raise TraplineError(
            f"{path}: {len(data)} bytes are not a whole number of images of {1 + PIXELS}; {AGAIN}"
        )
    records = np.frombuffer(data, dtype=np.uint8).reshape(-1, 1 + PIXELS)
    return records[:, 0].astype(np.int64), records[:, 1:]


def _pickled(path: Path) -> Batch:
    content = read_dictionary(path, LARGEST)
    labels, array = content.get("labels"), content.get("data")
    if not isinstance(labels, list) or not all(
        isinstance(label, int) and -LARGEST < label < LARGEST for label in labels
    ):
        raise TraplineError(f"{path}: has no list of whole numbers under 'labels'; {AGAIN}")
    planes = array.rows(PIXELS) if isinstance(array, PickledArray) else None
    if planes is None or not labels or len(planes) != len(labels):
        held = "none" if planes is None else str(len(planes))
        raise TraplineError(f"{path}: has {len(labels)} labels but {held} images of {PIXELS} bytes; {AGAIN}")
    return np.array(labels, dtype=np.int64), planes


def _read_bytes(path: Path, max_bytes: int = LARGEST) -> bytes:
    """The bytes of a file. Raises TraplineError where it cannot be read or has more than `max_bytes`."""
    try:
        if path.stat().st_size > max_bytes:
            raise TraplineError(f"{path}: has more than {max_bytes} bytes, unlike any of the set; {AGAIN}")
        return path.read_bytes()
    except OSError as error:
        raise TraplineError(f"{path}: cannot be read ({error.strerror}); {AGAIN}") from None


def read_dictionary(path: Path, max_bytes: int) -> dict[str, Any]:
    """The dictionary in the pickle `path`, its keys as text. Raises TraplineError for anything else."""
    data = _read_bytes(path, max_bytes)
    try:
        check_pickle(data, sets=False)
        content = _PlainUnpickler(io.BytesIO(data), encoding="bytes").load()
    except pickle.UnpicklingError as error:
        raise TraplineError(f"{path}: is no pickle of plain data ({error}); {AGAIN}") from None
    except Exception as error:  # damaged pickles raise whatever their bytes lead to
        raise TraplineError(f"{path}: is no pickle, or damaged ({type(error).__name__}); {AGAIN}") from None
    if not isinstance(content, dict):
        raise TraplineError(f"{path}: holds no dictionary; {AGAIN}")
    if not all(isinstance(key, str | bytes) for key in content):
        raise TraplineError(f"{path}: holds a dictionary whose keys are no texts; {AGAIN}")
    return {text(key): value for key, value in content.items()}


def text(value: object) -> str:
    """A text of Python 2, which arrives as bytes, or of Python 3."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


class PickledArray:
    """What a pickle says of a NumPy array."""

    def __init__(self, *arguments: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def rows(self, length: int) -> np.ndarray | None:
        """The array where it is uint8 (rows, length) in C order, and None where it is not."""
        match self.state:
            case (int(), (int(rows), int(size)), _Kind() as kind, False | 0, bytes(data)):
                if kind.is_uint8 and size == length and len(data) == rows * size:
                    return np.frombuffer(data, dtype=np.uint8).reshape(rows, size)
        return None


class _Kind:
    """What a pickle says of an array's kind of numbers; also `ndarray` itself, of which nothing is needed."""

    def __init__(self, *arguments: object) -> None:
        self.is_uint8 = arguments[:1] in (("u1",), (b"u1",))

    def __setstate__(self, state: object) -> None:
        """Byte order and the like, which single bytes do not have."""


KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): PickledArray,
    ("numpy._core.multiarray", "_reconstruct"): PickledArray,
    ("numpy", "ndarray"): _Kind,
    ("numpy", "dtype"): _Kind,
}


class _PlainUnpickler(pickle.Unpickler):
    """Builds containers, numbers, texts and the stand-ins for arrays: no other class, and no function."""

    def find_class(self, module: str, name: str) -> type:
        try:
            return KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None
