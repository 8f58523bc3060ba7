"""Request bodies with all content types: image files, JSON with base64, arrays."""

import base64
import functools
import io
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.fuzzing import images
from tests.fuzzing.inputs import Failure, Input, Kind
from tests.fuzzing.mutations import mutated
from trapline.images.files import ImageProblem
from trapline.inference.answers import Answers, choose_type, failed, render
from trapline.inference.content import CSV_TYPE, IMAGE_TYPES, JSON_TYPE, NPY_TYPE, RequestError, read_request

TARGET = "request"
MAX_IMAGES = 8
STATUSES = (400, 406, 413, 415)
TYPES = (*IMAGE_TYPES, "image/jpeg", "IMAGE/png; charset=x", "application/json; charset=utf-8", "text/csv",
         "image/", "application/json;", "\udcff/\n", "image/" + "x" * 3_000)  # fmt: skip
ACCEPTED = ("", "*/*", "application/json", "text/csv", "text/csv;q=0.5, application/json;q=nan", "image/png",
            "text/*;q=1e999", ",;,;q=", "a" * 3_000)  # fmt: skip
WORDS = (b'"', b"[", b"]", b"{", b"}", b",", b":", b'"images":', b'"ids":', b"null", b"NaN", b"-Infinity",
         b"1e999", b"9" * 5_000, b"[" * 5_000, b'{"images":' * 300, b'"\\ud800"', b"\\u0000",
         b"\xef\xbb\xbf", b"\xff", b"true", b"'descr': '|O'", b"'shape': (1, 1, 3)", b"'shape': (0, -1, 3)",
         b"'fortran_order': True", b"(" * 2_000, b"9999999999999999999999")  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 10**40, 1.5, float("nan"), float("inf"), "", "a", "=", "QQ==", "Q Q=", "QQ==\n",
    "A" * 4_001, "\ud800", "\0", "\x1b[31m",
    "\u202e", "caf\u00e9", [], {}, ["a"], {"images": []}, "9" * 5_000,
)  # fmt: skip


def make(chance: Random) -> Input:
    """A mutated body, most often with a content type of its own."""
    kind = chance.choice((JSON_TYPE, JSON_TYPE, NPY_TYPE, NPY_TYPE, "image/jpeg"))
    if kind == JSON_TYPE and chance.random() < 0.5:
        data = _assembled(chance)
    else:
        data = mutated(chance.choice(_bodies()[kind]), chance, _every_body(), WORDS)
    return Input(TARGET, data, kind if chance.random() < 0.85 else chance.choice(TYPES))


def check(given: Input, folder: Path) -> str:
    """Read it, and word the answer that says why there is none, as JSON and as CSV."""
    try:
        request = read_request(given.data, given.called, MAX_IMAGES)
        accepted = choose_type(ACCEPTED[len(given.data) % len(ACCEPTED)])
    except RequestError as error:
        if error.status not in STATUSES or len(error.detail) > 2_000:
            raise Failure(f"{error.status}, {error.detail!r:.300}") from None
        return f"{error.status} {error.reason}"
    sizes = [len(image.content) for image in request.images if isinstance(image.content, bytes)]
    if len(request.images) > MAX_IMAGES or sum(sizes) > len(given.data) + 100 * MAX_IMAGES:
        raise Failure(f"{len(request.images)} images of {sum(sizes)} bytes from {len(given.data)}")
    answers = [failed("corrupt", "no pixels", image.id) for image in request.images]
    for media_type in (accepted, JSON_TYPE, CSV_TYPE):
        render(Answers(answers, ["blank", "bird"], request.many), media_type)
    if any(isinstance(image.content, ImageProblem) for image in request.images):
        return "read, with images that are none"
    return "read"


def examples(target: str) -> Sequence[Input]:
    """Every body as it should be."""
    return [Input(target, body, kind) for kind, bodies in _bodies().items() for body in bodies]


def _assembled(chance: Random) -> bytes:
    """JSON that is whole, of values that may be anything: what lies behind the parser has to bear them."""
    files = _bodies()["image/jpeg"]
    images = [
        base64.b64encode(mutated(chance.choice(files), chance, files)).decode()
        if chance.random() < 0.7
        else chance.choice(VALUES)
        for _ in range(chance.choice((0, 1, 1, 2, 3, MAX_IMAGES, MAX_IMAGES + 1)))
    ]
    content = {"images": images, "ids": [chance.choice(VALUES) for _ in images]}
    for name in chance.sample(["images", "ids", "ids"], chance.choice((0, 0, 1))):
        content[name] = chance.choice(VALUES)
    return json.dumps(content, ensure_ascii=chance.random() < 0.9).encode(errors="surrogatepass")


@functools.cache
def _bodies() -> dict[str, list[bytes]]:
    files = [data for data in images.seeds().values() if len(data) < 3_000][:12]
    texts = [base64.b64encode(data).decode() for data in files]
    contents: tuple[Any, ...] = (
        {"images": texts[:1]}, {"images": texts[:3], "ids": ["a", 7, "\u00e9"]}, {"images": texts,
        "ids": None}, {"images": ["", "=",
        "@@", None, 5, []]}, {"images": [], "ids": []}, {"ids": ["a"]}, [], "text", 7, None,
    )  # fmt: skip
    arrays = (
        np.zeros((4, 5, 3), np.uint8), np.zeros((2, 4, 5, 3), np.uint8), np.zeros((4, 5, 3), np.float32),
        np.asfortranarray(np.zeros((4, 5, 3), np.uint8)), np.zeros((0, 5, 3), np.uint8),
        np.zeros((20, 2, 2, 3), "u1"), np.zeros(3, [("a", "u1"), ("b", "f8")]), np.zeros((), np.uint8),
    )  # fmt: skip
    return {
        JSON_TYPE: [json.dumps(content).encode() for content in contents],
        NPY_TYPE: [_npy(array) for array in arrays] + [_npy(arrays[0], (2, 0))],
        "image/jpeg": files,
    }


@functools.cache
def _every_body() -> list[bytes]:
    return [body for bodies in _bodies().values() for body in bodies]


def _npy(array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version)
    return stream.getvalue()


KIND = Kind("requests", make, check, examples)
