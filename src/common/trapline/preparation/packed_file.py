"""One file, decoded or packed: what a process for decoding does. Light to import, for each of them does.

Beside the pixels it says what tells frames of one scene apart: the file's digest, a fingerprint of the
picture, and what its EXIF says of when and by what it was taken.
"""

import hashlib
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np

from trapline.data.quarantine import MISSING, UNREADABLE
from trapline.images.budget import PREPARATION
from trapline.images.canonical import (
    Pixels,
    PixelSettings,
    as_problem,
    canonicalise,
    encode_jpeg,
    encode_png,
)
from trapline.images.exif import taken
from trapline.images.files import ImageProblem, read_file

CAPTION_SHARE = 0.08  # of the height, at the bottom, where cameras burn in what changes with each frame
HASH_SIZE = (9, 8)  # columns and rows that are compared: 64 differences


@dataclass(frozen=True, kw_only=True)
class Usable:
    """What is known of one usable image: size of the original in pixels, SHA-256 of its bytes.

    likeness: see `likeness`. time, camera: as `trapline.images.exif.taken` has them.
    """

    width: int
    height: int
    sha256: str
    likeness: int = 0
    time: str | None = None
    camera: str | None = None


@dataclass(frozen=True, kw_only=True)
class Decoded(Usable):
    """One usable image as uint8 pixels, (height, width, 3)."""

    pixels: Pixels


@dataclass(frozen=True, kw_only=True)
class Packed(Usable):
    """One usable image as the bytes of a JPEG or PNG."""

    image: bytes


@dataclass(frozen=True)
class Unusable:
    """One input without pixels: a reason code of `trapline.data.quarantine` and a line for a person."""

    reason: str
    detail: str


Result: TypeAlias = Packed | Unusable
Quality: TypeAlias = int | None  # of JPEG; None: PNG, without loss


def decode_file(path: str, settings: PixelSettings) -> Decoded | Unusable:
    """Read and decode one file, as a server does. Whatever goes wrong with it is its own result."""
    try:
        data = read_file(path)
        image = canonicalise(data, settings, PREPARATION)
        alike = likeness(image.pixels)
    except ImageProblem as problem:
        return unusable(problem)
    except FileNotFoundError:
        return Unusable(MISSING, "no such file")
    except (OSError, ValueError) as error:
        return Unusable(UNREADABLE, getattr(error, "strerror", None) or str(error))
    except Exception as error:  # OpenCV raises what it likes; no image is worth the others
        return unusable(as_problem(error))
    time, camera = taken(data)
    return Decoded(
        pixels=image.pixels,
        width=image.width,
        height=image.height,
        sha256=hashlib.sha256(data).hexdigest(),
        likeness=alike,
        time=time,
        camera=camera,
    )


def pack_file(path: str, settings: PixelSettings, quality: Quality) -> Result:
    """Read, decode and pack one file. Whatever goes wrong with it is its own result."""
    image = decode_file(path, settings)
    if isinstance(image, Unusable):
        return image
    try:
        packed = encode_png(image.pixels) if quality is None else encode_jpeg(image.pixels, quality)
    except Exception as error:  # as the encoders do
        return unusable(as_problem(error))
    return Packed(image=packed, **{name: own for name, own in vars(image).items() if name != "pixels"})


def unusable(problem: ImageProblem) -> Unusable:
    """An image's problem as a result."""
    return Unusable(str(problem.reason), problem.detail)


def likeness(pixels: Pixels) -> int:
    """The difference hash of a picture, 64 bits: whether each of 8 x 8 cells is darker than the next one.

    `pixels`: uint8 (height, width, 3). Frames of one scene differ in few bits. The lowest 8% are left out.
    Source: N. Krawetz, "Kind of Like That", 2013 (dHash).
    """
    rows = max(1, round(len(pixels) * (1 - CAPTION_SHARE)))
    small = cv2.resize(pixels[:rows], HASH_SIZE, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    return int.from_bytes(np.packbits(grey[:, :-1] < grey[:, 1:]).tobytes(), "big")
