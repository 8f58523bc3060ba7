"""What a request holds: the bytes of one image file, an array of pixels, or a JSON with several images.

Whatever comes, each image of a request becomes the bytes of an image file, so that one function, the one of
packing, makes all pixels. Arrays become PPM, which stores them as they are; of their files nothing is
believed before it is looked at: numpy reads a header by Python's own parser; here it is three fields of known
forms.
"""

import base64
import binascii
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trapline.data.quarantine import PAYLOAD_TOO_LARGE
from trapline.errors import TraplineError
from trapline.images.files import ImageProblem, Reason
from trapline.names import Kind, fault, shown

JSON_TYPE, NPY_TYPE, CSV_TYPE = "application/json", "application/x-npy", "text/csv"
IMAGE_TYPES = ("application/x-image", "application/octet-stream", "")  # and image/*; "": none given
MAX_IMAGES = 64  # in one request: each needs the model's input in memory, however small its file is
BAD_REQUEST, BUSY, NOT_FINITE = "bad_request", "busy", "not_finite"

# NumPy's file format.
MAGIC = b"\x93NUMPY"
MAX_HEADER_BYTES = 1000  # numpy writes about 118
FIELD = r"""\s*['"](\w{1,20})['"]\s*:\s*('[^'\\]{1,20}'|"[^"\\]{1,20}"|True|False|\([\d\s,L]*\))\s*"""
HEADER = re.compile(rf"\s*\{{{FIELD}(?:,{FIELD})*(?:,\s*)?\}}\s*")


class RequestError(TraplineError):
    """A request without an answer: HTTP `status`, `reason` for programs, `detail` (one line) for a person."""

    def __init__(self, status: int, reason: str, detail: str) -> None:
        self.status = status
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


@dataclass(frozen=True)
class SentImage:
    """One image of a request: the bytes of its file, or why there are none, and its id if it has one."""

    content: bytes | ImageProblem
    id: str | None = None


@dataclass(frozen=True)
class ImageRequest:
    """The images of a request; `many`: the answer is a list, even for one image."""

    images: list[SentImage]
    many: bool


def read_request(body: bytes, content_type: str, max_images: int = MAX_IMAGES) -> ImageRequest:
    """The images in a request's body.

    image/* (whatever its name says, the content counts), application/x-image, application/octet-stream: one
    image file. application/x-npy: uint8 RGB, (height, width, 3) or (images, height, width, 3).
    application/json: {"images": [base64 of a file, ...], "ids": [...]}, ids at will.

    Raises RequestError: 415 for another type, 400 for a body that is not of its type, 413 for more than
    `max_images`. An image that is damaged by itself is no error of the request.
    """
    media_type = check_content_type(content_type)
    if media_type == JSON_TYPE:
        return _read_json(body, max_images)
    if media_type == NPY_TYPE:
        return _read_npy(body, max_images)
    return ImageRequest([SentImage(body)], many=False)


def check_content_type(content_type: str) -> str:
    """The media type without parameters, in lower case. Raises RequestError 415 for one that is not read."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in (JSON_TYPE, NPY_TYPE, *IMAGE_TYPES) or media_type.startswith("image/"):
        return media_type
    raise RequestError(
        415,
        "unsupported_content_type",
        f"Content-Type {media_type!r:.80}; send one of image/*, {', '.join(IMAGE_TYPES[:2])}, {NPY_TYPE}, "
        f"{JSON_TYPE}",
    )


def _read_json(body: bytes, max_images: int) -> ImageRequest:
    _check_marks(body, max_images)
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(
            400, BAD_REQUEST, f"the body is not valid JSON ({' '.join(str(error).split())[:120]})"
        ) from None
    images, ids = _images_and_ids(content)
    _check_count(len(images), max_images)
    return ImageRequest(
        [SentImage(_from_base64(text), name) for text, name in zip(images, ids, strict=True)], True
    )


def _check_marks(body: bytes, max_images: int) -> None:
    """Refuse what has far more values than a request can use: reading them would hold up all others."""
    limit = 10_000 + 64 * max_images  # the ids of a request may hold some as text
    commas, brackets = body.count(b","), body.count(b"[") + body.count(b"{")
    if brackets > limit:
        raise RequestError(
            400, BAD_REQUEST, f"the JSON has {brackets} lists and objects, which no request needs"
        )
    if commas > limit:
        raise RequestError(
            413,
            PAYLOAD_TOO_LARGE,
            f"the JSON has {commas} commas, of which at most {limit} are read: send fewer images at a time",
        )


def _images_and_ids(content: Any) -> tuple[Sequence[Any], Sequence[str | None]]:
    shape = '{"images": [base64, ...], "ids": [...]}, ids at will'
    if not isinstance(content, dict) or not content.keys() <= {"images", "ids"}:
        raise RequestError(400, BAD_REQUEST, f"the JSON must be {shape}")
    images, ids = content.get("images"), content.get("ids")
    if not isinstance(images, list) or not images:
        raise RequestError(
            400, BAD_REQUEST, f"images: must be a list with one image or more; the JSON is {shape}"
        )
    if ids is None:
        return images, [None] * len(images)
    if not isinstance(ids, list) or len(ids) != len(images):
        raise RequestError(
            400, BAD_REQUEST, f"ids: must be a list as long as images, which has {len(images)}"
        )
    if not all(isinstance(name, str | int) and not isinstance(name, bool) for name in ids):
        raise RequestError(400, BAD_REQUEST, "ids: must be texts or whole numbers")
    names = [str(name) for name in ids]
    if problem := next((f"{shown(name)} {found}" for name in names if (found := fault(name, Kind.ID))), None):
        raise RequestError(400, BAD_REQUEST, f"ids: {problem}")
    return images, names


def _from_base64(text: Any) -> bytes | ImageProblem:
    if not isinstance(text, str):
        return ImageProblem(Reason.CORRUPT, "the image is not a base64 text")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        return ImageProblem(Reason.CORRUPT, f"the image is not valid base64 ({error})")


def _read_npy(body: bytes, max_images: int) -> ImageRequest:
    wanted = "send uint8 RGB (height, width, 3) or (images, height, width, 3)"
    try:
        pixels = read_array(body)
    except ValueError as error:
        raise RequestError(
            400, BAD_REQUEST, f"the body is not such an .npy file: {error}; {wanted}"
        ) from None
    if pixels.ndim not in (3, 4) or pixels.shape[-1] != 3 or not pixels.size:
        raise RequestError(400, BAD_REQUEST, f"the array is uint8 {pixels.shape}; {wanted}")
    many = pixels.ndim == 4
    images = pixels if many else pixels[None]
    _check_count(len(images), max_images)
    return ImageRequest([SentImage(as_ppm(image)) for image in images], many)


def as_ppm(pixels: np.ndarray) -> bytes:
    """A PPM file (Netpbm's P6) of uint8 RGB pixels (height, width, 3): a header and the samples."""
    height, width, _ = pixels.shape
    return b"P6 %d %d 255\n" % (width, height) + np.ascontiguousarray(pixels).tobytes()


def _check_count(images: int, limit: int) -> None:
    if images > limit:
        raise RequestError(
            413, PAYLOAD_TOO_LARGE, f"{images} images in one request, of which at most {limit} are taken"
        )


def read_array(body: bytes) -> np.ndarray:
    """The uint8 array of an .npy file, without a copy. Raises ValueError saying what it is instead."""
    text, start = _header(body)
    fields = _fields(text)
    descr, shape = fields["descr"][1:-1], _shape(fields["shape"])
    if descr not in ("|u1", "<u1", ">u1", "=u1", "u1", "B", "uint8"):
        raise ValueError(f"the array is {descr} {shape}")
    if math.prod(shape) != len(body) - start:
        raise ValueError(f"its header says {shape}, which are not the {len(body) - start} bytes that follow")
    return np.frombuffer(body, np.uint8, offset=start).reshape(
        shape, order="F" if fields["fortran_order"] == "True" else "C"
    )


def _header(body: bytes) -> tuple[str, int]:
    """The text of the header, and where the samples begin."""
    if not body.startswith(MAGIC):
        raise ValueError("it does not begin as one")
    begins = len(MAGIC) + 2
    size = {b"\x01\x00": 2, b"\x02\x00": 4}.get(body[len(MAGIC) : begins])  # of the length that follows
    if size is None:
        raise ValueError("its version of the format is not 1.0 or 2.0")
    length = int.from_bytes(body[begins : begins + size], "little")
    start = begins + size + length
    if length > MAX_HEADER_BYTES or start > len(body):
        raise ValueError(f"its header is cut off, or longer than {MAX_HEADER_BYTES} bytes")
    return body[begins + size : start].decode("latin-1"), start


def _fields(text: str) -> dict[str, str]:
    """The fields of a header, as they are written."""
    fields = dict(re.findall(FIELD, text)) if HEADER.fullmatch(text) else {}
    kinds = "".join(fields.get(name, "?")[0] for name in ("descr", "fortran_order", "shape"))
    if len(fields) != 3 or not re.fullmatch(r"""['"][TF]\(""", kinds):
        raise ValueError("its header is not descr, fortran_order and shape of plain samples")
    return fields


def _shape(text: str) -> tuple[int, ...]:
    sizes = [size.strip().removesuffix("L") for size in text[1:-1].split(",")]
    sizes = sizes[:-1] if not sizes[-1] else sizes
    if len(sizes) > 32 or not all(re.fullmatch(r"\d{1,18}", size, re.ASCII) for size in sizes):
        raise ValueError("the shape in its header is not made of sizes")
    return tuple(map(int, sizes))
