"""From a request's images to its answers, in two steps: each image alone, then all of them with the model.

The server runs the first step in threads and the second for several requests at once; `answer_request` runs
one after the other. Both are the same functions, and so give the same numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.data.canonical import ImageProblem
from common.inference.answers import Answer, Answers, failed, predicted
from common.inference.content import NOT_FINITE, ImageRequest, SentImage
from common.inference.predictor import Predictor, finite_rows


@dataclass(frozen=True)
class ReadyImage:
    """An image as the model's views need it (uint8 `Predictor.squares`), or the problem that it is not."""

    squares: np.ndarray | ImageProblem
    id: str | None


def make_ready(image: SentImage, predictor: Predictor) -> ReadyImage:
    """Decode one image. Never raises for what the image holds."""
    if isinstance(image.content, ImageProblem):
        return ReadyImage(image.content, image.id)
    try:
        return ReadyImage(predictor.squares(predictor.decode(image.content)), image.id)
    except ImageProblem as problem:
        return ReadyImage(problem, image.id)


def squares_of(images: Sequence[ReadyImage]) -> list[np.ndarray]:
    """What goes to the model: the images without a problem, in their order."""
    return [image.squares for image in images if isinstance(image.squares, np.ndarray)]


def answers_from(images: Sequence[ReadyImage], logits: np.ndarray, predictor: Predictor) -> list[Answer]:
    """An answer for each image; `logits` (images without a problem, classes) are those of `squares_of`."""
    rows = iter(logits)
    return [
        failed(str(image.squares.reason), image.squares.detail, image.id)
        if isinstance(image.squares, ImageProblem)
        else _answer(next(rows), predictor, image.id)
        for image in images
    ]


def _answer(logits: np.ndarray, predictor: Predictor, id: str | None) -> Answer:
    if not finite_rows(logits[None])[0]:
        detail = "the model's outputs are no numbers for this image; serve it in precision fp32"
        return failed(NOT_FINITE, detail, id)
    probabilities = predictor.probabilities(logits[None])[0]
    return predicted(probabilities, predictor.classes, id, predictor.thresholds)


def answer_request(request: ImageRequest, predictor: Predictor) -> Answers:
    """Answers for all images of a request, in their order."""
    images = [make_ready(image, predictor) for image in request.images]
    logits = predictor.logits_of_squares(squares_of(images))
    return gathered(answers_from(images, logits, predictor), predictor, request.many)


def gathered(answers: Sequence[Answer], predictor: Predictor, many: bool) -> Answers:
    """The answers to one request, as the model's task has them."""
    return Answers(list(answers), predictor.classes, many, predictor.description.task == "multilabel")
