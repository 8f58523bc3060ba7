"""Decoding every input once, on all cores, into packed JPEG or, without loss, PNG.

Streaming: only a bounded number of images is in flight, whatever the number of inputs. An input that cannot
be used is a result like any other, also one that a decoder crashes on or that takes more than its budget.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from trapline.data.quarantine import MISSING, UNREADABLE
from trapline.images.budget import PREPARATION
from trapline.images.canonical import PixelSettings, as_problem, canonicalise, encode_jpeg, encode_png
from trapline.images.decoding import limits_of, problem_of
from trapline.images.files import read_file
from trapline.images.problems import ImageProblem
from trapline.processes import available_cores
from trapline.workers import Lost, mapped


@dataclass(frozen=True)
class Packed:
    """One usable image: packed JPEG or PNG bytes, size of the original in pixels, SHA-256 of its bytes."""

    image: bytes
    width: int
    height: int
    sha256: str


@dataclass(frozen=True)
class Unusable:
    """One input without pixels: a reason code of `trapline.data.quarantine` and a line for a person."""

    reason: str
    detail: str


Result: TypeAlias = Packed | Unusable
Quality: TypeAlias = int | None  # of JPEG; None: PNG, without loss
PackOne: TypeAlias = Callable[[str, PixelSettings, Quality], Result]


def pack_file(path: str, settings: PixelSettings, quality: Quality) -> Result:
    """Read, decode and pack one file. Whatever goes wrong with it is its own result."""
    try:
        data = read_file(path)
        image = canonicalise(data, settings, PREPARATION)
        packed = encode_png(image.pixels) if quality is None else encode_jpeg(image.pixels, quality)
    except ImageProblem as problem:
        return _unusable(problem)
    except FileNotFoundError:
        return Unusable(MISSING, "no such file")
    except (OSError, ValueError) as error:
        return Unusable(UNREADABLE, getattr(error, "strerror", None) or str(error))
    except Exception as error:  # OpenCV and the encoders raise what they like; no image is worth the others
        return _unusable(as_problem(error))
    return Packed(packed, image.width, image.height, hashlib.sha256(data).hexdigest())


def pack_files(
    paths: Sequence[str],
    settings: PixelSettings,
    quality: Quality,
    processes: int | None = None,
    pack_one: PackOne = pack_file,
) -> Iterator[Result]:
    """Pack `paths` on `processes` processes (None: all cores) and yield a result for each, in their order."""
    items = [(path, settings, quality) for path in paths]
    for result in mapped(pack_one, items, processes or available_cores(), limits_of(PREPARATION)):
        yield _unusable(problem_of(result, PREPARATION)) if isinstance(result, Lost) else result


def _unusable(problem: ImageProblem) -> Unusable:
    return Unusable(str(problem.reason), problem.detail)
