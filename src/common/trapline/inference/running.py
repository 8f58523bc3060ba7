"""The server as a process: its socket, its model, its first line."""

import socket
from pathlib import Path

import numpy as np
import uvicorn

from trapline.errors import TraplineError
from trapline.inference.connections import (
    ConnectionLimits,
    affordable_connections,
    limited_protocol,
)
from trapline.inference.predictor import Predictor, load_predictor
from trapline.inference.serving import make_app
from trapline.inference.settings import ServingSettings

KEEP_ALIVE = 75  # seconds that an idle connection stays open: callers keep theirs for about a minute
BACKLOG = 2048
ACCEPTED_TOGETHER = 64  # connections, before those beyond the limit are closed
LAST_ANSWERS = 60  # seconds, at the end, for requests in progress
LOOPBACK = "127.0.0.1"


class _Listener(socket.socket):
    """A socket that always listens with BACKLOG; asyncio wants as many as it takes at a time."""

    def listen(self, backlog: int = BACKLOG, /) -> None:
        super().listen(BACKLOG)


def serve(model: Path, settings: ServingSettings, host: str = LOOPBACK) -> None:
    """Load the model and answer requests until SIGTERM, which lets the requests in progress end.

    Raises TraplineError when the model cannot be loaded or the port is taken.
    """
    with _listening(host, settings.port) as listener:
        predictor = load_predictor(model, precision=settings.precision)
        _warm_up(predictor)
        config = _configuration(predictor, settings)
        listener.listen()
        _say_ready(listener, predictor, settings)
        uvicorn.Server(config).run(sockets=[listener])


def _configuration(predictor: Predictor, settings: ServingSettings) -> uvicorn.Config:
    connections = affordable_connections(settings.max_connections, settings.decode_threads)
    return uvicorn.Config(
        make_app(predictor, settings),
        http=limited_protocol(ConnectionLimits(connections)),  # type: ignore[arg-type]  # it is called, no more
        ws="none",
        loop="asyncio",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=LAST_ANSWERS,
        backlog=ACCEPTED_TOGETHER,
    )


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


def _warm_up(predictor: Predictor) -> None:
    side = predictor.description.image_size
    predictor.logits([np.zeros((side, side, 3), np.uint8)])


def _say_ready(listener: socket.socket, predictor: Predictor, settings: ServingSettings) -> None:
    execution, description = predictor.execution, predictor.description
    print(
        f"[SERVE] port={listener.getsockname()[1]} arch={description.architecture}"
        f" classes={len(description.classes)} views={','.join(predictor.views)}"
        f" device={execution.device} runs_in={predictor.runs_in} batch={settings.batch}"
        f" max_batch={settings.max_batch} queue={settings.queue} payload_mb={settings.max_payload_mb}",
        flush=True,
    )
