"""SageMaker's four functions, for containers that call them; `serve.py` runs the same code as a server."""

import os
from dataclasses import dataclass
from pathlib import Path

from trapline.images.canonical import DecodingProcesses
from trapline.inference.answers import Answers, answer_request, choose_type, http_status, render
from trapline.inference.content import ImageRequest, RequestError, read_request
from trapline.inference.limits import is_batch, settings_from
from trapline.inference.predictor import Predictor, load_predictor


@dataclass(frozen=True)
class Model:
    """What makes answers, and the processes that decode images which may take long."""

    predictor: Predictor
    processes: DecodingProcesses


def model_fn(model_dir: str) -> Model:
    """The model of an artefact's folder."""
    settings = settings_from(os.environ)
    predictor = load_predictor(Path(model_dir), precision=settings.precision)
    return Model(predictor, DecodingProcesses(1, settings.budget))


def input_fn(body: bytes, content_type: str) -> ImageRequest:
    """The images of a request: image/*, application/x-npy or a JSON with several."""
    return read_request(bytes(body), content_type)


def predict_fn(request: ImageRequest, model: Model) -> Answers:
    """An answer for each image. In real time RequestError where there is none; in batch it says `failed`."""
    answers = answer_request(request, model.predictor, model.processes)
    status = http_status(answers, batch=is_batch(os.environ))
    if status != 200:
        first = answers.answers[0]
        raise RequestError(status, first.reason or "", first.detail or "")
    return answers


def output_fn(answers: Answers, accept: str) -> tuple[bytes, str]:
    """The body as `accept` asks, application/json or text/csv, and its type."""
    media_type = choose_type(accept)
    return render(answers, media_type), media_type
