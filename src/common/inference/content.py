"""What a request holds: the bytes of one image file, an array of pixels, or a JSON with several images.

Whatever comes, each image of a request becomes the bytes of an image file, so that one function, the one of
packing, makes all pixels. Arrays become PPM, which stores them as they are.
"""

import base64
import binascii
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.data.canonical import ImageProblem, Reason
from common.errors import TraplineError

JSON_TYPE, NPY_TYPE, CSV_TYPE = "application/json", "application/x-npy", "text/csv"
IMAGE_TYPES = ("application/x-image", "application/octet-stream", "")  # and image/*; "": none given
MOST_IMAGES = 64  # in one request: each needs the model's input in memory, however small its file is

BAD_REQUEST, PAYLOAD_TOO_LARGE, NOT_FINITE = "bad_request", "payload_too_large", "not_finite"


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


def read_request(body: bytes, content_type: str, most_images: int = MOST_IMAGES) -> ImageRequest:
    """The images in a request's body.

    image/* (whatever its name says, the content counts), application/x-image, application/octet-stream: one
    image file. application/x-npy: uint8 RGB, (height, width, 3) or (images, height, width, 3).
    application/json: {"images": [base64 of a file, ...], "ids": [...]}, ids at will.

    Raises RequestError: 415 for another type, 400 for a body that is not of its type, 413 for more than
    `most_images`. An image that is damaged by itself is no error of the request.
    """
    media_type = check_content_type(content_type)
    if media_type == JSON_TYPE:
        return _read_json(body, most_images)
    if media_type == NPY_TYPE:
        return _read_npy(body, most_images)
    return ImageRequest([SentImage(body)], many=False)


def check_content_type(content_type: str) -> str:
    """The media type without parameters, in lower case. Raises RequestError 415 for one that is not read."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in (JSON_TYPE, NPY_TYPE, *IMAGE_TYPES) or media_type.startswith("image/"):
        return media_type
    known = ", ".join(["image/*", *IMAGE_TYPES[:2], NPY_TYPE, JSON_TYPE])
    raise RequestError(
        415, "unsupported_content_type", f"Content-Type {media_type!r:.80}; send one of {known}"
    )


def _read_json(body: bytes, most_images: int) -> ImageRequest:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, BAD_REQUEST, f"the body is not valid JSON ({error})") from None
    images, ids = _images_and_ids(content)
    _check_count(len(images), most_images)
    return ImageRequest(
        [SentImage(_from_base64(text), name) for text, name in zip(images, ids, strict=True)], True
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
    return images, [str(name) for name in ids]


def _from_base64(text: Any) -> bytes | ImageProblem:
    if not isinstance(text, str):
        return ImageProblem(Reason.CORRUPT, "the image is not a base64 text")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        return ImageProblem(Reason.CORRUPT, f"the image is not valid base64 ({error})")


def _read_npy(body: bytes, most_images: int) -> ImageRequest:
    pixels = _array(body)
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or pixels.shape[-1] != 3 or not pixels.size:
        raise RequestError(
            400,
            BAD_REQUEST,
            f"the array is {pixels.dtype} {pixels.shape}; send uint8 RGB (height, width, 3) or"
            " (images, height, width, 3)",
        )
    many = pixels.ndim == 4
    images = pixels if many else pixels[None]
    _check_count(len(images), most_images)
    return ImageRequest([SentImage(as_ppm(image)) for image in images], many)


def _array(body: bytes) -> np.ndarray:
    """The array of an .npy file; its header is not trusted with memory, and nothing is unpickled."""
    stream = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        if version not in read_header:
            raise ValueError(f"version {version} of the format is not read")
        shape, column_order, dtype = read_header[version](stream)
        if dtype.hasobject:
            raise ValueError("it holds Python objects")
        flat = np.frombuffer(body, dtype, offset=stream.tell())
        return flat.reshape(shape, order="F" if column_order else "C")
    except Exception as error:  # the parser of the header raises whatever damaged bytes lead it to
        reason = " ".join(str(error).split())[:120]
        raise RequestError(400, BAD_REQUEST, f"the body is not a whole .npy file ({reason})") from None


def as_ppm(pixels: np.ndarray) -> bytes:
    """A PPM file (Netpbm's P6) of uint8 RGB pixels (height, width, 3): a header and the samples."""
    height, width, _ = pixels.shape
    return b"P6 %d %d 255\n" % (width, height) + np.ascontiguousarray(pixels).tobytes()


def _check_count(images: int, most: int) -> None:
    if images > most:
        raise RequestError(
            413, PAYLOAD_TOO_LARGE, f"{images} images in one request, of which at most {most} are taken"
        )
