"""A model's answers for image files, from a program."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike, fspath

from trapline.data.quarantine import MISSING, UNREADABLE
from trapline.images.budget import PREPARATION
from trapline.images.decoding import DecodingProcesses
from trapline.images.files import read_file
from trapline.inference.answers import Answer, failed
from trapline.inference.content import ImageRequest, SentImage
from trapline.inference.handler import answer_request
from trapline.inference.predictor import Predictor

Image = str | PathLike[str] | bytes
IMAGES_TOGETHER = 64  # in memory at a time


def predict(predictor: Predictor, images: Iterable[Image]) -> list[Answer]:
    """An answer for each image, in their order: label, confidence, and a probability for each class.

    `images` are paths, or the bytes of image files. One that cannot be read or decoded gets an answer with
    status `failed`, a reason and a detail, and costs nothing but itself. A path is its answer's id.
    """
    with contextlib.closing(DecodingProcesses(1, PREPARATION)) as processes:
        return [
            answer
            for chunk in _chunks(iter(images))
            for answer in _answers([_read(image) for image in chunk], predictor, processes)
        ]


def _answers(
    images: Sequence[SentImage | Answer], predictor: Predictor, processes: DecodingProcesses
) -> Iterator[Answer]:
    sent = [image for image in images if isinstance(image, SentImage)]
    found = iter(answer_request(ImageRequest(sent, many=True), predictor, processes).answers)
    for image in images:
        yield next(found) if isinstance(image, SentImage) else image


def _read(image: Image) -> SentImage | Answer:
    """The image's bytes, or the answer that says why there are none."""
    if isinstance(image, bytes):
        return SentImage(image)
    path = fspath(image)
    try:
        return SentImage(read_file(path), path)
    except OSError as error:
        reason = MISSING if isinstance(error, FileNotFoundError) else UNREADABLE
        return failed(reason, error.strerror or str(error), path)


def _chunks(images: Iterator[Image]) -> Iterator[list[Image]]:
    while chunk := list(itertools.islice(images, IMAGES_TOGETHER)):
        yield chunk
