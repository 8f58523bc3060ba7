"""What a request gets: an answer for each of its images, as JSON or CSV, and an HTTP status.

A number is never NaN: an image has all its numbers or none, and then a reason. A model that gives an image
several labels answers with them too: `labels`, a list in JSON, in CSV a column with spaces between them.

From images to answers it is two steps: each image alone, then all of them with the model. The server runs the
first step in threads and the second for several requests at once; `answer_request` runs one after the other.
Both are the same functions, and so give the same numbers. `predict` answers a program, for image files.
"""

import contextlib
import csv
import io
import json
import math
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from os import PathLike, fspath
from typing import Any, Literal

import numpy as np

from trapline.data.quarantine import MISSING, UNREADABLE
from trapline.errors import TraplineError
from trapline.images.budget import PREPARATION, DecodeBudget, Work, check_work, work_of
from trapline.images.canonical import DecodingProcesses, as_problem
from trapline.images.files import ImageProblem, Reason, read_file
from trapline.inference.content import CSV_TYPE, JSON_TYPE, NOT_FINITE, ImageRequest, RequestError, SentImage
from trapline.inference.predictor import Predictor, chunks
from trapline.scoring.predictions import finite_rows
from trapline.storage import joined

COLUMNS = ("id", "status", "reason", "label", "confidence")  # then a column for each class
LABELS = "labels"  # before them where an image can have several labels
NOT_FINITE_DETAIL = "the model's outputs are no numbers for this image; take precision fp32"
Image = str | PathLike[str] | bytes  # a path, or what is in the file


@dataclass(frozen=True)
class Answer:
    """What is said of one image: probabilities in the order of the classes, or why there are none.

    labels: the classes that reach their threshold, possibly none; None where an image has one label.
    """

    id: str | None
    status: Literal["ok", "failed"]
    reason: str | None = None
    detail: str | None = None
    label: str | None = None
    confidence: float | None = None
    probabilities: tuple[float, ...] | None = None
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Answers:
    """The answers to one request; `many` says whether JSON gives them as a list.

    multilabel: whether CSV has a column for the labels, also where every image failed.
    """

    answers: list[Answer]
    classes: list[str]
    many: bool
    multilabel: bool = False


def predicted(
    probabilities: np.ndarray,
    classes: Sequence[str],
    id: str | None = None,
    thresholds: np.ndarray | None = None,
) -> Answer:
    """The answer from an image's probabilities, float64 (classes,); `thresholds` where it may have several.

    The label is the most probable class, whether it reaches its threshold or not.
    """
    best = int(probabilities.argmax())
    labels = None if thresholds is None else tuple(compress(classes, probabilities >= thresholds))
    numbers = tuple(map(float, probabilities))
    return Answer(id, "ok", None, None, classes[best], numbers[best], numbers, labels)


def failed(reason: str, detail: str, id: str | None = None) -> Answer:
    """The answer for an image without a prediction: a reason for programs, a line for a person."""
    return Answer(id, "failed", reason, detail)


def http_status(answers: Answers, *, batch: bool) -> int:
    """200, but where every image of a real-time request failed: 422, or 500 when the model is to blame.

    A batch transform job fails as a whole with one failed request, so there a bad image is an answer as well.
    """
    if batch or any(answer.status == "ok" for answer in answers.answers):
        return 200
    return 500 if any(answer.reason == NOT_FINITE for answer in answers.answers) else 422


def choose_type(accept: str) -> str:
    """application/json or text/csv, as the Accept header prefers. Raises RequestError 406 for neither."""
    offered = {
        JSON_TYPE: JSON_TYPE,
        "application/*": JSON_TYPE,
        "*/*": JSON_TYPE,
        CSV_TYPE: CSV_TYPE,
        "text/*": CSV_TYPE,
    }
    wanted = [_preference(part) for part in accept.split(",") if part.strip()] or [(1.0, JSON_TYPE)]
    taken = [(quality, offered[name]) for quality, name in wanted if quality > 0 and name in offered]
    if not taken:
        raise RequestError(
            406, "not_acceptable", f"Accept {accept!r:.80}; there are {JSON_TYPE} and {CSV_TYPE}"
        )
    return max(taken, key=lambda pair: pair[0])[1]


def _preference(part: str) -> tuple[float, str]:
    """Quality (RFC 9110, 12.4.2; 1 where it is missing or damaged) and media type of one part of Accept."""
    name, *parameters = (text.strip().lower() for text in part.split(";"))
    given = [parameter[2:] for parameter in parameters if parameter.startswith("q=")]
    try:
        quality = float(given[-1])
    except (IndexError, ValueError):
        quality = 1.0
    return (quality if math.isfinite(quality) else 1.0), name


def render(answers: Answers, media_type: str) -> bytes:
    """The body in UTF-8. JSON: an object, or a list for `many`. CSV: a header and a row for each image."""
    if media_type == CSV_TYPE:
        return _as_csv(answers).encode(errors="backslashreplace")
    records = [as_record(answer, answers.classes) for answer in answers.answers]
    return as_json(records if answers.many else records[0])


def as_record(answer: Answer, classes: Sequence[str]) -> dict[str, Any]:
    """An answer as JSON knows it; `id` only where the request gave one."""
    probabilities = answer.probabilities
    record = {
        "status": answer.status,
        "reason": answer.reason,
        "label": answer.label,
        "confidence": answer.confidence,
        **({} if answer.labels is None else {LABELS: list(answer.labels)}),
        "probabilities": None if probabilities is None else dict(zip(classes, probabilities, strict=True)),
    }
    return record if answer.id is None else {"id": answer.id, **record}


def as_json(content: Any) -> bytes:
    """JSON in UTF-8, newline at the end; ValueError for NaN and infinity."""
    return (json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n").encode(errors="backslashreplace")


def _as_csv(answers: Answers) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *([LABELS] if answers.multilabel else []), *answers.classes])
    for answer in answers.answers:
        writer.writerow(
            [
                *(answer.id, answer.status, answer.reason, answer.label, answer.confidence),  # None: empty
                *([joined(answer.labels or ())] if answers.multilabel else []),
                *(answer.probabilities or [None] * len(answers.classes)),
            ]
        )
    return text.getvalue()


@dataclass(frozen=True)
class ReadyImage:
    """An image as the model's views need it (uint8 `Predictor.squares`), or the problem that it is not."""

    squares: np.ndarray | ImageProblem
    id: str | None


def make_ready(
    image: SentImage,
    predictor: Predictor,
    budget: DecodeBudget = PREPARATION,
    processes: DecodingProcesses | None = None,
) -> ReadyImage:
    """Decode one image, in one of `processes`, for which a thread waits, or here, within the budget.

    Never raises for what the image holds, or for what goes wrong with it.
    """
    content = image.content
    try:
        if isinstance(content, ImageProblem):
            return ReadyImage(content, image.id)
        if processes is None:
            pixels = predictor.decode(content, budget)
        else:
            pixels = processes.canonicalise(content, predictor.pixels).pixels
        return ReadyImage(predictor.squares(pixels), image.id)
    except ImageProblem as problem:
        return ReadyImage(problem, image.id)
    except (TraplineError, OSError) as error:  # of the process: it cannot start, or cannot be talked to
        return ReadyImage(ImageProblem(Reason.DECODER_CRASHED, str(error)), image.id)
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
        return failed(NOT_FINITE, NOT_FINITE_DETAIL, id)
    probabilities = predictor.probabilities(logits[None])[0]
    return predicted(probabilities, predictor.classes, id, predictor.thresholds)


def answer_request(request: ImageRequest, predictor: Predictor, processes: DecodingProcesses) -> Answers:
    """Answers for all images of a request, in their order; `processes` decode those that may take long."""
    images = []
    for image in request.images:
        work = announced(image.content, processes.budget)
        is_cheap = work is None or work.is_cheap
        images.append(make_ready(image, predictor, processes.budget, None if is_cheap else processes))
    logits = predictor.logits_of_squares(squares_of(images))
    return gathered(answers_from(images, logits, predictor), predictor, request.many)


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


def predict(predictor: Predictor, images: Iterable[Image]) -> list[Answer]:
    """An answer for each image, in their order: label, confidence, and a probability for each class.

    `images` are paths, or the bytes of image files. One that cannot be read or decoded gets an answer with
    status `failed`, a reason and a detail, and costs nothing but itself. A path is its answer's id.
    """
    with contextlib.closing(DecodingProcesses(1, PREPARATION)) as processes:
        return [
            answer
            for chunk in chunks(images, 64)  # in memory at a time
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
