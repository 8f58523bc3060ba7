"""SageMaker's four functions, for containers that call them; `serve.py` runs the same code as a server."""

import os
from pathlib import Path

from common.inference.answers import Answers, choose_type, http_status, render
from common.inference.content import ImageRequest, RequestError, read_request
from common.inference.handler import answer_request
from common.inference.predictor import Predictor, load_predictor
from common.inference.settings import is_batch, settings_from


def model_fn(model_dir: str) -> Predictor:
    """The model of an artefact's folder."""
    return load_predictor(Path(model_dir), precision=settings_from(os.environ).precision)


def input_fn(body: bytes, content_type: str) -> ImageRequest:
    """The images of a request: image/*, application/x-npy or a JSON with several."""
    return read_request(bytes(body), content_type)


def predict_fn(request: ImageRequest, predictor: Predictor) -> Answers:
    """An answer for each image. In real time RequestError where there is none; in batch it says `failed`."""
    answers = answer_request(request, predictor)
    status = http_status(answers, batch=is_batch(os.environ))
    if status != 200:
        first = answers.answers[0]
        raise RequestError(status, first.reason or "", first.detail or "")
    return answers


def output_fn(answers: Answers, accept: str) -> tuple[bytes, str]:
    """The body as `accept` asks, application/json or text/csv, and its type."""
    media_type = choose_type(accept)
    return render(answers, media_type), media_type
