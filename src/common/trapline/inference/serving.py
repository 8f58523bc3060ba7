"""The server: GET /ping, GET /execution-parameters and POST /invocations, as SageMaker calls them.

A request is read, admitted, and its images are decoded; what the model needs of them waits for a micro-batch;
each request then gets its own answers. The bytes of bodies and the number of admitted requests bound every
queue; nothing that takes long runs in the event loop, so that /ping always answers.
"""

import contextlib
import traceback
from collections.abc import AsyncIterator
from dataclasses import dataclass

import cv2
import numpy as np
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from trapline.inference.answers import Answers, as_json, as_record, choose_type, failed, http_status, render
from trapline.inference.batching import Batcher
from trapline.inference.body import Body
from trapline.inference.content import JSON_TYPE, RequestError, check_content_type
from trapline.inference.handler import answers_from, gathered, squares_of
from trapline.inference.image_work import ImageWork
from trapline.inference.predictor import Predictor
from trapline.inference.queue_places import place_in
from trapline.inference.room import Room
from trapline.inference.settings import ServingSettings

RETRY_AFTER = "1"  # seconds
CLIENT_GONE = 400  # nobody is there to read it


@dataclass
class Service:
    """What the requests share. bodies: bytes that they hold; places: of those that are being answered."""

    predictor: Predictor
    settings: ServingSettings
    batcher: "Batcher[np.ndarray, np.ndarray]"
    work: ImageWork
    bodies: Room
    places: Room

    @property
    def admitted(self) -> int:
        """Requests that are being answered."""
        return self.places.held


def make_app(predictor: Predictor, settings: ServingSettings) -> Starlette:
    """The ASGI application that serves `predictor`, which is loaded: /ping answers 200 from the start."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        cv2.setNumThreads(1)  # the decoding threads are the parallelism
        service = _make_service(predictor, settings)
        app.state.service = service
        service.batcher.start()
        yield
        await service.batcher.close()
        service.work.close()

    routes = [
        Route("/ping", _ping),
        Route("/execution-parameters", _execution_parameters),
        Route("/invocations", _invocations, methods=["POST"]),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def _make_service(predictor: Predictor, settings: ServingSettings) -> Service:
    batcher: Batcher[np.ndarray, np.ndarray] = Batcher(
        function=lambda squares: list(predictor.logits_of_squares(squares)),
        max_batch=settings.max_batch,
        max_delay=settings.max_delay,
    )
    work = ImageWork(predictor, settings)
    bodies = Room(settings.queue_mb * 2**20)
    service = Service(predictor, settings, batcher, work, bodies, places=Room(settings.queue))
    batcher.coming = lambda: service.admitted - work.costly.held
    return service


async def _ping(request: Request) -> Response:
    service: Service = request.app.state.service
    return Response(status_code=200 if service.batcher.alive else 500)


async def _execution_parameters(request: Request) -> Response:
    settings: ServingSettings = request.app.state.service.settings
    return JSONResponse(
        {
            "MaxConcurrentTransforms": settings.concurrent_transforms,
            "BatchStrategy": "SINGLE_RECORD",
            "MaxPayloadInMB": settings.max_payload_mb,
        }
    )


async def _invocations(request: Request) -> Response:
    service: Service = request.app.state.service
    settings = service.settings
    body = Body(request, settings.max_payload, service.bodies, settings.pace, waits=settings.batch)
    media_type = JSON_TYPE
    try:
        media_type = choose_type(request.headers.get("accept", ""))
        content_type = check_content_type(request.headers.get("content-type", ""))
        answers = await _answer(body, content_type, service)
    except RequestError as error:
        body.release()
        await body.discard()
        return _refusal(error, service, media_type)
    except ClientDisconnect:
        return Response(status_code=CLIENT_GONE)
    except Exception as error:
        traceback.print_exc()
        return _refusal(RequestError(500, "internal_error", type(error).__name__), service, media_type)
    finally:
        body.release()
    status = http_status(answers, batch=settings.batch)
    if status != 200 and not answers.many:
        first = answers.answers[0]
        return _refusal(RequestError(status, first.reason or "", first.detail or ""), service, media_type)
    return Response(render(answers, media_type), status, media_type=media_type)


async def _answer(body: Body, content_type: str, service: Service) -> Answers:
    pieces = await body.read()
    busy = f"{service.admitted} requests are being answered; try again"
    async with place_in(service.places, waits=service.settings.batch, busy=busy):
        images, many = await service.work.ready(pieces, content_type)
        body.release()  # the bytes are not needed while the model is waited for
        logits = await service.batcher.submit(squares_of(images))
    rows = np.stack(logits) if logits else np.empty((0, len(service.predictor.classes)), np.float32)
    return gathered(answers_from(images, rows, service.predictor), service.predictor, many)


def _refusal(error: RequestError, service: Service, media_type: str) -> Response:
    """An answer without a prediction: `failed` with its reason, in real time with the line for a person.

    In batch an input that cannot be used is answered with 200: one failed request would fail the whole job.
    What is wrong with the job itself (content type, Accept, the model) stays an error.
    """
    print(f"[SERVE] {error.status} {error}", flush=True)
    if service.settings.batch and error.status in (400, 413, 422):
        answer = failed(error.reason, error.detail)
        body = render(gathered([answer], service.predictor, many=False), media_type)
        return Response(body, 200, media_type=media_type)
    record = as_record(failed(error.reason, error.detail), service.predictor.classes)
    headers = {"Retry-After": RETRY_AFTER} if error.status == 503 else None
    return Response(as_json({**record, "detail": error.detail}), error.status, headers, media_type=JSON_TYPE)
