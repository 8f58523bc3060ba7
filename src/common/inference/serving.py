"""The server: GET /ping, GET /execution-parameters and POST /invocations, as SageMaker calls them.

A request is admitted, read, and its images decoded in threads; what the model needs of them waits for a
micro-batch; each request then gets its own answers. The number of admitted requests bounds every queue.
"""

import asyncio
import contextlib
import functools
import traceback
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import cv2
import numpy as np
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from common.inference.answers import Answers, as_json, as_record, choose_type, failed, http_status, render
from common.inference.batching import Batcher
from common.inference.body import Body
from common.inference.content import JSON_TYPE, RequestError, check_content_type, read_request
from common.inference.handler import ReadyImage, answers_from, gathered, make_ready, squares_of
from common.inference.predictor import Predictor
from common.inference.settings import ServingSettings

RETRY_AFTER = "1"  # seconds
CLIENT_GONE = 400  # nobody is there to read it


@dataclass
class Service:
    """What the requests share."""

    predictor: Predictor
    settings: ServingSettings
    batcher: "Batcher[np.ndarray, np.ndarray]"
    decoders: ThreadPoolExecutor
    admitted: int = 0
    freed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @contextlib.asynccontextmanager
    async def admission(self) -> AsyncIterator[None]:
        """A place among the requests being answered; in real time RequestError 503 where there is none."""
        async with self.freed:
            if self.admitted >= self.settings.queue and not self.settings.batch:
                raise RequestError(503, "busy", f"{self.admitted} requests are being answered; try again")
            await self.freed.wait_for(lambda: self.admitted < self.settings.queue)
            self.admitted += 1
        try:
            yield
        finally:
            async with self.freed:
                self.admitted -= 1
                self.freed.notify()


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
        service.decoders.shutdown()

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
    service = Service(predictor, settings, batcher, ThreadPoolExecutor(settings.decode_threads, "decode"))
    batcher.coming = lambda: service.admitted
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
    body = Body(request, service.settings.max_payload)
    media_type = JSON_TYPE
    try:
        media_type = choose_type(request.headers.get("accept", ""))
        content_type = check_content_type(request.headers.get("content-type", ""))
        async with service.admission():
            answers = await _answer(body, content_type, service)
    except RequestError as error:
        await body.discard()
        return _refusal(error, service, media_type)
    except ClientDisconnect:
        return Response(status_code=CLIENT_GONE)
    except Exception as error:
        traceback.print_exc()
        return _refusal(RequestError(500, "internal_error", type(error).__name__), service, media_type)
    status = http_status(answers, batch=service.settings.batch)
    if status != 200 and not answers.many:
        first = answers.answers[0]
        return _refusal(RequestError(status, first.reason or "", first.detail or ""), service, media_type)
    return Response(render(answers, media_type), status, media_type=media_type)


async def _answer(body: Body, content_type: str, service: Service) -> Answers:
    decoding = functools.partial(_decode, await body.read(), content_type, service)
    loop = asyncio.get_running_loop()
    images, many = await loop.run_in_executor(service.decoders, decoding)
    del decoding  # the bytes are not needed while the model is waited for
    logits = await service.batcher.submit(squares_of(images))
    rows = np.stack(logits) if logits else np.empty((0, len(service.predictor.classes)), np.float32)
    return gathered(answers_from(images, rows, service.predictor), service.predictor, many)


def _decode(body: bytes, content_type: str, service: Service) -> tuple[list[ReadyImage], bool]:
    request = read_request(body, content_type, service.settings.max_images)
    return [make_ready(image, service.predictor) for image in request.images], request.many


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
