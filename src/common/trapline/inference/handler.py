"""From a request's images to its answers, in two steps: each image alone, then all of them with the model.

The server runs the first step in threads and the second for several requests at once; `answer_request` runs
one after the other. Both are the same functions, and so give the same numbers.
"""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from trapline.errors import TraplineError
from trapline.images.budget import PREPARATION, DecodeBudget, check_work, is_cheap_work
from trapline.images.canonical import as_problem
from trapline.images.decoding import DecodingProcesses
from trapline.images.headers import Work, work_of
from trapline.images.problems import ImageProblem, Reason
from trapline.inference.answers import Answer, Answers, failed, predicted
from trapline.inference.content import NOT_FINITE, ImageRequest, SentImage
from trapline.inference.predictor import Predictor
from trapline.scoring.predictions import finite_rows


@dataclass(frozen=True)
class ReadyImage:
    """An image as the model's views need it (uint8 `Predictor.squares`), or the problem that it is not."""

    squares: np.ndarray | ImageProblem
    id: str | None


def make_ready(image: SentImage, predictor: Predictor, budget: DecodeBudget = PREPARATION) -> ReadyImage:
    """Decode one image. Never raises for what the image holds, or for what goes wrong with it."""
    content = image.content
    if isinstance(content, ImageProblem):
        return ReadyImage(content, image.id)
    return ready_from(image, lambda: predictor.decode(content, budget), predictor)


def make_ready_apart(image: SentImage, predictor: Predictor, processes: DecodingProcesses) -> ReadyImage:
    """The same in a process that its limits end; for a thread, which waits. `image` holds bytes."""
    content = image.content
    assert isinstance(content, bytes)

    def decode() -> np.ndarray:
        try:
            return processes.canonicalise(content, predictor.pixels).pixels
        except (TraplineError, OSError) as error:
            raise ImageProblem(Reason.DECODER_CRASHED, str(error)) from None

    return ready_from(image, decode, predictor)


def ready_from(image: SentImage, decode: Callable[[], np.ndarray], predictor: Predictor) -> ReadyImage:
    """The image from what `decode` gives, uint8 (height, width, 3), or the problem that stands in the way."""
    try:
        return ReadyImage(predictor.squares(decode()), image.id)
    except ImageProblem as problem:
        return ReadyImage(problem, image.id)
    except Exception as error:  # of one image; the others of its request, and all other requests, go on
        traceback.print_exc()
        return ReadyImage(as_problem(error), image.id)


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


def answer_request(request: ImageRequest, predictor: Predictor, processes: DecodingProcesses) -> Answers:
    """Answers for all images of a request, in their order; `processes` decode those that may take long."""
    images = [_made_ready(image, predictor, processes) for image in request.images]
    logits = predictor.logits_of_squares(squares_of(images))
    return gathered(answers_from(images, logits, predictor), predictor, request.many)


def _made_ready(image: SentImage, predictor: Predictor, processes: DecodingProcesses) -> ReadyImage:
    work = announced(image.content, processes.budget)
    if work is None or is_cheap_work(work):
        return make_ready(image, predictor, processes.budget)
    return make_ready_apart(image, predictor, processes)


def announced(content: bytes | ImageProblem, budget: DecodeBudget) -> Work | None:
    """What the header announces; None where decoding ends with it, saying what is wrong."""
    if isinstance(content, ImageProblem):
        return None
    try:
        work = work_of(content)
        check_work(work, budget)
    except Exception:  # decoding begins alike, and says it in its own order
        return None
    return work


def gathered(answers: Sequence[Answer], predictor: Predictor, many: bool) -> Answers:
    """The answers to one request, as the model's task has them."""
    return Answers(list(answers), predictor.classes, many, predictor.description.task == "multilabel")
