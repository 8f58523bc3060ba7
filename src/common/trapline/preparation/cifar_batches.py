"""CIFAR-10 as it is published: batches of images without files, written out as class folders.

The binary version holds `data_batch_1.bin` to `data_batch_5.bin`, `test_batch.bin` and `batches.meta.txt`,
the python version pickles of the same names without suffixes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trapline.errors import TraplineError
from trapline.names import Kind, refuse
from trapline.preparation.plain_pickles import PickledArray, read_bytes, read_dictionary, text

SIDE = 32
PIXELS = 3 * SIDE * SIDE  # bytes of an image: its red plane, its green one, its blue one
TRAIN, TEST = "train", "test"
PART_OF_BATCH = {**{f"data_batch_{number}": TRAIN for number in range(1, 6)}, "test_batch": TEST}
META = "batches.meta"
BINARY, BINARY_META = ".bin", ".txt"
INNER = "cifar-10-batches-*"  # the folder in which the published archives hold everything
LARGEST = 1 << 30  # bytes; a batch has 31 million
AGAIN = "download the set again"


@dataclass(frozen=True)
class Batch:
    """Some images: labels, (images,) whole numbers, and planes, uint8 (images, PIXELS)."""

    labels: np.ndarray
    planes: np.ndarray


def batches_in(folder: Path) -> Path | None:
    """Where CIFAR-10's batches lie: `folder`, or in it the folder of the published archives; else None."""
    inner = sorted(path for path in folder.glob(INNER) if path.is_dir()) if folder.is_dir() else []
    places = [place for place in (folder, *inner) if _suffix(place) is not None]
    return places[0] if places else None


def _suffix(folder: Path) -> str | None:
    """What the names of the batches in `folder` end with; None where there are none."""
    found = (
        suffix
        for suffix in (BINARY, "")
        if any((folder / f"{name}{suffix}").is_file() for name in PART_OF_BATCH)
    )
    return next(found, None)


def write_class_folders(batches: Path, folder: Path) -> Path:
    """Write each image to `train/<class>/<batch>-<number>.ppm`, or `test/...`, in a new `folder`; return it.

    PPM holds the pixels as they are: the same set gives the same bytes everywhere. Raises TraplineError
    naming the file where a batch is missing or damaged (a wrong length, a label that is no class).
    """
    suffix = _suffix(batches) or ""
    classes = _classes(batches, suffix)
    absent = [name for name in PART_OF_BATCH if not (batches / f"{name}{suffix}").is_file()]
    if absent:
        raise TraplineError(
            f"{batches / absent[0]}{suffix}: no such file, though other batches are there; {AGAIN}"
        )
    for name, part in PART_OF_BATCH.items():
        batch = _read(batches / f"{name}{suffix}", classes)
        for label in np.unique(batch.labels):
            (folder / part / classes[label]).mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(_pictures(batch.planes)):
            path = folder / part / classes[batch.labels[number]] / f"{name}-{number:05d}.ppm"
            path.write_bytes(picture)
    return folder


def _pictures(planes: np.ndarray) -> Iterator[bytes]:
    """The images as PPM files."""
    start = b"P6 %d %d 255\n" % (SIDE, SIDE)
    for image in planes.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1):
        yield start + image.tobytes()


def _classes(batches: Path, suffix: str) -> list[str]:
    path = batches / (META + (BINARY_META if suffix else ""))
    if suffix:
        names = read_bytes(path, LARGEST).decode("utf-8", "replace").split()
    else:
        listed = read_dictionary(path, LARGEST).get("label_names")
        names = [text(name) for name in listed] if isinstance(listed, list) else []
    if not names or len(set(names)) < len(names) or not all(_is_folder_name(name) for name in names):
        raise TraplineError(f"{path}: names no classes, or not as CIFAR-10 does; {AGAIN}")
    refuse(names, Kind.CLASS, str(path))
    return names


def _is_folder_name(name: str) -> bool:
    return name.isprintable() and "/" not in name and not name.startswith(".") and bool(name)


def _read(path: Path, classes: list[str]) -> Batch:
    batch = _binary(path) if path.suffix == BINARY else _pickled(path)
    wrong = np.flatnonzero((batch.labels < 0) | (batch.labels >= len(classes)))
    if len(wrong):
        raise TraplineError(
            f"{path}: image {wrong[0]} has the label {batch.labels[wrong[0]]}, but there are {len(classes)} "
            f"classes: it is damaged, or no batch of CIFAR-10; {AGAIN}"
        )
    return batch


def _binary(path: Path) -> Batch:
    data = read_bytes(path, LARGEST)
    if not data or len(data) % (1 + PIXELS):
        raise TraplineError(
            f"{path}: {len(data)} bytes are not a whole number of images of {1 + PIXELS}; {AGAIN}"
        )
    records = np.frombuffer(data, dtype=np.uint8).reshape(-1, 1 + PIXELS)
    return Batch(records[:, 0].astype(np.int64), records[:, 1:])


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
    return Batch(np.array(labels, dtype=np.int64), planes)
