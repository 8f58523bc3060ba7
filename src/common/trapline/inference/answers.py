"""What a request gets: an answer for each of its images, as JSON or CSV, and an HTTP status.

A number is never NaN: an image has all its numbers or none, and then a reason. A model that gives an image
several labels answers with them too: `labels`, a list in JSON, in CSV a column with spaces between them.
"""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, Literal

import numpy as np

from trapline.cells import joined
from trapline.inference.content import CSV_TYPE, JSON_TYPE, NOT_FINITE, RequestError

COLUMNS = ("id", "status", "reason", "label", "confidence")  # then a column for each class
LABELS = "labels"  # before them where an image can have several labels
UNPROCESSABLE, MODEL_FAILED = 422, 500


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
    confidence = float(probabilities[best])
    labels = None
    if thresholds is not None:
        labels = tuple(compress(classes, probabilities >= thresholds))
    return Answer(id, "ok", None, None, classes[best], confidence, tuple(map(float, probabilities)), labels)


def failed(reason: str, detail: str, id: str | None = None) -> Answer:
    """The answer for an image without a prediction: a reason for programs, a line for a person."""
    return Answer(id, "failed", reason, detail)


def http_status(answers: Answers, *, batch: bool) -> int:
    """200, but where every image of a real-time request failed: 422, or 500 when the model is to blame.

    A batch transform job fails as a whole with one failed request, so there a bad image is an answer as well.
    """
    if batch or any(answer.status == "ok" for answer in answers.answers):
        return 200
    reasons = {answer.reason for answer in answers.answers}
    return MODEL_FAILED if NOT_FINITE in reasons else UNPROCESSABLE


def choose_type(accept: str) -> str:
    """application/json or text/csv, as the Accept header prefers. Raises RequestError 406 for neither."""
    offered = {JSON_TYPE: JSON_TYPE, CSV_TYPE: CSV_TYPE, "*/*": JSON_TYPE, "application/*": JSON_TYPE}
    offered |= {"text/*": CSV_TYPE}
    wanted = sorted(
        (_preference(part) for part in accept.split(",") if part.strip()), key=lambda pair: -pair[0]
    )
    if not wanted:
        return JSON_TYPE
    for quality, name in wanted:
        if name in offered and quality > 0:
            return offered[name]
    raise RequestError(406, "not_acceptable", f"Accept {accept!r:.80}; there are {JSON_TYPE} and {CSV_TYPE}")


def _preference(part: str) -> tuple[float, str]:
    """Quality (RFC 9110, 12.4.2; 1 where it is missing or damaged) and media type of one part of Accept."""
    name, *parameters = (text.strip().lower() for text in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                quality = float(parameter[2:])
            except ValueError:
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
    labels = {} if answer.labels is None else {LABELS: list(answer.labels)}
    record = {
        "status": answer.status,
        "reason": answer.reason,
        "label": answer.label,
        "confidence": answer.confidence,
        **labels,
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
        labels = [joined(answer.labels or ())] if answers.multilabel else []
        numbers = answer.probabilities or [""] * len(answers.classes)
        confidence = "" if answer.confidence is None else answer.confidence
        words = [answer.id or "", answer.status, answer.reason or "", answer.label or ""]
        writer.writerow([*words, confidence, *labels, *numbers])
    return text.getvalue()
