"""Pickles from elsewhere that hold plain data and NumPy arrays, read without running any code of theirs.

The unpickler knows no class but the two stand-ins below: a pickle that asks for any other is refused. The
array's bytes are looked at only after kind and shape have been checked.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from trapline.errors import TraplineError
from trapline.pickle_checks import check_pickle

AGAIN = "download the set again"


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """The bytes of a file. Raises TraplineError where it cannot be read or has more than `largest`."""
    try:
        if path.stat().st_size > max_bytes:
            raise TraplineError(f"{path}: has more than {max_bytes} bytes, unlike any of the set; {AGAIN}")
        return path.read_bytes()
    except OSError as error:
        raise TraplineError(f"{path}: cannot be read ({error.strerror}); {AGAIN}") from None


def read_dictionary(path: Path, max_bytes: int) -> dict[str, Any]:
    """The dictionary in the pickle `path`, its keys as text. Raises TraplineError for anything else."""
    data = read_bytes(path, max_bytes)
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
