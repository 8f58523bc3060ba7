"""The server: GET /ping, GET /execution-parameters and POST /invocations, as SageMaker calls them.

A request is read, admitted, and its images are decoded; what the model needs of them waits for a micro-batch;
each request then gets its own answers. The bytes of bodies and the number of admitted requests bound every
queue; nothing that takes long runs in the event loop, so that /ping always answers.

`serve` is the server as a process: its socket, its model, its first line.
"""

import contextlib
import functools
import socket
import traceback
from collections.abc import AsyncIterator
from pathlib import Path

import cv2
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from trapline.errors import TraplineError
from trapline.inference.answers import (
    Answers,
    answers_from,
    as_json,
    as_record,
    choose_type,
    failed,
    gathered,
    http_status,
    render,
    squares_of,
)
from trapline.inference.connections import (
    ConnectionLimits,
    LimitedProtocol,
    affordable_connections,
)
from trapline.inference.content import JSON_TYPE, RequestError, check_content_type
from trapline.inference.limits import Body, Room, ServingSettings, place_in
from trapline.inference.predictor import Predictor, load_predictor
from trapline.inference.work import Batcher, ImageWork

BACKLOG = 2048


class Service:
    """What the requests share, and their routes.

    bodies: bytes that the requests hold; places: of those that are being answered.
    """

    def __init__(self, predictor: Predictor, settings: ServingSettings) -> None:
        self.predictor, self.settings = predictor, settings
        self.work, self.places = ImageWork(predictor, settings), Room(settings.queue)
        self.bodies = Room(settings.queue_mb * 2**20)
        # How many images go together changes the last digits; which ones do in batch, the moment decides.
        alone = settings.batch and predictor.description.deterministic
        self.batcher = Batcher(
            function=lambda squares: list(predictor.logits_of_squares(squares)),
            max_batch=1 if alone else settings.max_batch,
            max_delay=settings.max_delay,
            coming=lambda: self.places.held - self.work.costly.held,
        )

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Work from the start of the application to its end."""
        cv2.setNumThreads(1)  # the decoding threads are the parallelism
        self.batcher.start()
        yield
        await self.batcher.close()
        self.work.close()

    async def ping(self, request: Request) -> Response:
        """Whether the model still works."""
        return Response(status_code=200 if self.batcher.alive else 500)

    async def execution_parameters(self, request: Request) -> Response:
        """How batch transform should send its requests."""
        return JSONResponse(
            {
                "MaxConcurrentTransforms": self.settings.concurrent_transforms,
                "BatchStrategy": "SINGLE_RECORD",
                "MaxPayloadInMB": self.settings.max_payload_mb,
            }
        )

    async def invocations(self, request: Request) -> Response:
        """POST: the answers for a request's images, or why there are none."""
        settings = self.settings
        body = Body(request, settings.max_payload, self.bodies, settings.pace, waits=settings.batch)
        media_type = JSON_TYPE
        try:
            media_type = choose_type(request.headers.get("accept", ""))
            content_type = check_content_type(request.headers.get("content-type", ""))
            answers = await self._answer(body, content_type)
        except RequestError as error:
            body.release()
            await body.discard()
            return self._refusal(error, media_type)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        except Exception as error:
            traceback.print_exc()
            return self._refusal(RequestError(500, "internal_error", type(error).__name__), media_type)
        finally:
            body.release()
        status = http_status(answers, batch=settings.batch)
        if status != 200 and not answers.many:
            first = answers.answers[0]
            return self._refusal(RequestError(status, first.reason or "", first.detail or ""), media_type)
        return Response(render(answers, media_type), status, media_type=media_type)

    async def _answer(self, body: Body, content_type: str) -> Answers:
        pieces = await body.read()
        busy = f"{self.places.held} requests are being answered; try again"
        async with place_in(self.places, waits=self.settings.batch, busy=busy):
            images, many = await self.work.ready(pieces, content_type)
            body.release()  # the bytes are not needed while the model is waited for
            logits = await self.batcher.submit(squares_of(images))
        rows = np.stack(logits) if logits else np.empty((0, len(self.predictor.classes)), np.float32)
        return gathered(answers_from(images, rows, self.predictor), self.predictor, many)

    def _refusal(self, error: RequestError, media_type: str) -> Response:
        """An answer without a prediction: `failed` with its reason, in real time with the line for a person.

        In batch an input that cannot be used is answered with 200: one failed request would fail the whole
        job. What is wrong with the job itself (content type, Accept, the model) stays an error.
        """
        print(f"[SERVE] {error.status} {error}", flush=True)
        answer = failed(error.reason, error.detail)
        if self.settings.batch and error.status in (400, 413, 422):
            body = render(gathered([answer], self.predictor, many=False), media_type)
            return Response(body, 200, media_type=media_type)
        record = {**as_record(answer, self.predictor.classes), "detail": error.detail}
        headers = {"Retry-After": "1"} if error.status == 503 else None
        return Response(as_json(record), error.status, headers, media_type=JSON_TYPE)


def make_app(predictor: Predictor, settings: ServingSettings) -> Starlette:
    """The ASGI application that serves `predictor`, which is loaded: /ping answers 200 from the start."""
    service = Service(predictor, settings)
    app = Starlette(
        routes=[
            Route("/ping", service.ping),
            Route("/execution-parameters", service.execution_parameters),
            Route("/invocations", service.invocations, methods=["POST"]),
        ],
        lifespan=service.lifespan,
    )
    app.state.service = service
    return app


class _Listener(socket.socket):
    """A socket that always listens with BACKLOG; asyncio wants as many as it takes at a time."""

    def listen(self, backlog: int = BACKLOG, /) -> None:
        super().listen(BACKLOG)


def serve(model: Path, settings: ServingSettings, host: str) -> None:
    """Load the model and answer requests until SIGTERM, which lets the requests in progress end.

    Raises TraplineError when the model cannot be loaded or the port is taken.
    """
    with _listening(host, settings.port) as listener:
        predictor = load_predictor(model, precision=settings.precision)
        execution, description = predictor.execution, predictor.description
        side = description.image_size
        predictor.logits([np.zeros((side, side, 3), np.uint8)])  # the first ones take longer
        limits = ConnectionLimits(affordable_connections(settings.max_connections, settings.decode_threads))
        config = uvicorn.Config(
            make_app(predictor, settings),
            # It is called, no more.
            http=functools.partial(LimitedProtocol, limits=limits),  # type: ignore[arg-type]
            ws="none",
            loop="asyncio",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,  # seconds of an idle connection: callers keep theirs for a minute
            timeout_graceful_shutdown=60,  # seconds for requests in progress
            backlog=64,  # connections accepted together, before those beyond the limit are closed
        )
        listener.listen()
        print(
            f"[SERVE] port={listener.getsockname()[1]} arch={description.architecture}"
            f" classes={len(description.classes)} views={','.join(predictor.views)}"
            f" device={execution.device} runs_in={predictor.runs_in} batch={settings.batch}"
            f" max_batch={settings.max_batch} queue={settings.queue} payload_mb={settings.max_payload_mb}",
            flush=True,
        )
        uvicorn.Server(config).run(sockets=[listener])


def _listening(host: str, port: int) -> _Listener:
    """A bound socket that takes no connections yet: the model is not loaded."""
    # asyncio switches Nagle's algorithm off only where the protocol is named; with it each answer's body
    # would wait 40 ms for the acknowledgement of its head.
    listener = _Listener(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise TraplineError(
            f"port {port}: cannot be used ({error.strerror}); choose another --port"
        ) from None
    return listener
