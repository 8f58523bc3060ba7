"""Connections with limits: on their number, on how long a request's head may take, and on who does not read.

uvicorn has no such limits. What it has is extended here, by its own H11Protocol; what that relies on is
checked in tests/inference/test_connections.py.
"""

import asyncio
import contextlib
import resource
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

MAX_HEAD = 16 * 1024  # bytes of a request's head
FREE_CHUNKS, MIN_CHUNK = 1000, 64  # chunks of a body that may be of any size; bytes of all others


@dataclass(frozen=True)
class ConnectionLimits:
    """connections: open at a time. head_patience: seconds for a whole head, from its first byte, or from the
    connection's beginning. read_patience: seconds for the client to take what is sent."""

    connections: int = 1000
    head_patience: float = 10.0
    read_patience: float = 60.0


class _Deadline:
    """Calls `function` some seconds after it was first started, unless it is cancelled before."""

    def __init__(self, loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
        self._loop, self._function = loop, function
        self._timer: asyncio.TimerHandle | None = None

    def start(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(seconds, self._function)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None


class LimitedProtocol(H11Protocol):
    """uvicorn's protocol within ConnectionLimits."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn = _Connection(h11.SERVER, MAX_HEAD)
        self.limits = limits
        self.idle_since = self.loop.time()
        self._head_deadline = _Deadline(self.loop, self.abort)
        self._read_deadline = _Deadline(self.loop, self.abort)

    @property
    def is_answering(self) -> bool:
        """Whether the head of a request has come to which the answer is not complete."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def is_waiting(self) -> bool:
        """Whether all depends on the client: no whole request is here, or he does not read his answer."""
        return not self.is_answering or self.cycle.more_body or self.flow.write_paused

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection; where there are too many, one goes.

        It is the one that has been idle for longest; else, the one that has waited longest for the rest of a
        body; where all are being answered, this one.
        """
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            others: set[Any] = self.connections - {self}
            waiting = [one for one in others if one.is_waiting and not one.transport.is_closing()]
            min(waiting, key=lambda one: (one.is_answering, one.idle_since), default=self).abort()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget all deadlines."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._head_deadline.cancel()
        self._read_deadline.cancel()

    def data_received(self, data: bytes) -> None:
        """Take what comes; a head in small pieces, so that its size is checked before it is read."""
        while data and not self.transport.is_closing():
            size = len(data) if self.is_answering else MAX_HEAD
            super().data_received(data[:size])
            data = data[size:]
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self.idle_since = self.loop.time()
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """Stop answering a client that does not read, for so long as it may take."""
        super().pause_writing()
        self._read_deadline.start(self.limits.read_patience)

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        self._read_deadline.cancel()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, where the answer to the request has not begun."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.abort()

    def abort(self) -> None:
        """Close the connection at once, whatever has not been sent."""
        self.transport.abort()

    def _watch(self) -> None:
        """A deadline for the next head, but while a request is answered or uvicorn's own one runs."""
        if self.is_answering or self.timeout_keep_alive_task is not None or self.transport.is_closing():
            self._head_deadline.cancel()
        else:
            self._head_deadline.start(self.limits.head_patience)


class _Connection(h11.Connection):
    """An h11 connection that refuses bodies in tiny chunks, which cost far more than they bring."""

    _chunks = _bytes = 0

    def next_event(self) -> Any:
        """The next event. Raises h11.RemoteProtocolError."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._bytes = 0
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            self._bytes += len(event.data)
            if self._bytes < MIN_CHUNK * (self._chunks - FREE_CHUNKS):
                raise h11.RemoteProtocolError("the chunks of the body are too small")
        return event


def affordable_connections(wanted: int, processes: int) -> int:
    """How many connections the limit on open files leaves, which is raised as far as it may be."""
    # Descriptors for files, for connections that come while others are closed, and for each process.
    reserve = 256 + 4 * processes
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    if soft < wanted + reserve:
        soft = wanted + reserve if hard == resource.RLIM_INFINITY else min(hard, wanted + reserve)
        with contextlib.suppress(ValueError, OSError):  # a system may have a limit of its own below it
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(2, min(wanted, soft - reserve))
