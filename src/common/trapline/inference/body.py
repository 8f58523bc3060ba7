"""Reading a request's body: piece by piece, no slower than it may be, never more than there is room for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect, Request

from trapline.data.quarantine import PAYLOAD_TOO_LARGE
from trapline.inference.content import BUSY, RequestError
from trapline.inference.room import Room

DISCARDED = 16 * 2**20  # bytes beyond the limit that are read to be thrown away


@dataclass(frozen=True)
class Pace:
    """How long a body may take.

    patience: seconds for a whole body to arrive: what the platform allows a whole invocation. min_rate:
    bytes a second that must come, on the whole, once `grace` seconds have gone by; 0: any.
    """

    patience: float = 60.0
    grace: float = 10.0
    min_rate: int = 8 * 1024

    def allowed(self, received: int) -> float:
        """Seconds after which the next bytes must have come, where so many have."""
        if not self.min_rate:
            return self.patience
        return min(self.patience, self.grace + received / self.min_rate)


@dataclass
class Body:
    """The body of `request`; `limit` in bytes; `room`: bytes of all bodies that are held at a time.

    waits: whether a body for which there is no room waits for it, as in batch.
    """

    request: Request
    limit: int
    room: Room
    pace: Pace
    waits: bool = False
    finished: bool = False  # nothing more will come, or is wanted
    held: int = 0  # bytes of the room
    pieces: list[bytes] = field(default_factory=list)

    async def read(self) -> list[bytes]:
        """All of it, in pieces. It holds its room until `release`.

        Raises RequestError: 413 beyond the limit, 408 where it does not come in time, 503 where there is no
        room for it.
        """
        announced = self.request.headers.get("content-length")
        if announced is not None and int(announced) > self.limit:
            raise self._too_large()
        if self.waits:  # before it is read: bodies that wait for each other in the midst would do so for ever
            self.held = await self.room.take(self.limit if announced is None else int(announced))
        size = 0
        with self._refusing():
            async for piece in self._arriving():
                size += len(piece)
                self._make_room(size, len(piece))
                self.pieces.append(piece)
        if self.held > size:  # what came is less than what was waited for
            self._give(self.held - size)
        return self.pieces

    def release(self) -> None:
        """Drop its bytes, which are not needed any more, and give its room back."""
        self.pieces.clear()
        self._give(self.held)

    async def discard(self) -> None:
        """Read what is left without keeping it, so that a client that is still sending gets to its answer.

        It would see a reset connection otherwise. One that asks first (Expect: 100-continue) is not sending.
        """
        if "expect" in self.request.headers:
            return
        left = self.limit + DISCARDED
        with contextlib.suppress(TimeoutError, ClientDisconnect):
            async for piece in self._arriving():
                left -= len(piece)
                if left < 0:
                    return

    def _make_room(self, size: int, more: int) -> None:
        if size > self.limit:
            raise self._too_large()
        if self.waits:
            return
        if not self.room.try_take(more):
            raise RequestError(503, BUSY, f"{self.room.held} bytes of requests are held; try again")
        self.held += more

    def _give(self, amount: int) -> None:
        give = self.room.give_after_waiting if self.waits else self.room.give
        give(amount)
        self.held -= amount

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            self.finished = True
            detail = f"no whole body within {self.pace.patience:.0f} s"
            if self.pace.min_rate:
                detail += f", or less than {self.pace.min_rate} bytes a second"
            raise RequestError(408, "slow_request", detail) from None

    async def _arriving(self) -> AsyncIterator[bytes]:
        """What comes, at the pace that is asked for. Raises TimeoutError, and ClientDisconnect."""
        started, received = asyncio.get_running_loop().time(), 0
        while not self.finished:
            async with asyncio.timeout_at(started + self.pace.allowed(received)):
                message = await self.request.receive()
            if message["type"] != "http.request":
                self.finished = True
                raise ClientDisconnect
            self.finished = not message.get("more_body", False)
            piece = message.get("body", b"")
            received += len(piece)
            yield piece

    def _too_large(self) -> RequestError:
        detail = f"the body is larger than {self.limit} bytes, the limit of SAGEMAKER_MAX_PAYLOAD_IN_MB"
        return RequestError(413, PAYLOAD_TOO_LARGE, detail)
