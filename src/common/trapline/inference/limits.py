"""The limits of a server: its settings, and who is let in within them.

The settings are SageMaker's variables, and the project's own, which begin with TRAPLINE_. There is so much
room for requests, bodies and pixels; a body is read piece by piece, no slower than it may be, never more than
there is room for.
"""

import asyncio
import contextlib
import dataclasses
import functools
import math
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from starlette.requests import ClientDisconnect, Request

from trapline.data.quarantine import PAYLOAD_TOO_LARGE
from trapline.errors import UsageError
from trapline.images.budget import CHEAP, PREPARATION, DecodeBudget
from trapline.images.canonical import PILLOW_MAX_PIXELS
from trapline.inference.content import BUSY, MAX_IMAGES, RequestError
from trapline.inference.predictor import ServingPrecision
from trapline.workers import available_cores

MAX_PAYLOAD_MB = 100  # the platform's own limit; its 0 means no limit, and stands for this one
LIVE = DecodeBudget(max_pixels=50_000_000, max_seconds=5.0)
LIVE_SECONDS = 30.0  # for all images of a request; the platform gives up a request after 60
PIXELS_IN_FLIGHT = 100_000_000  # beside those of images that are quickly decoded
MIN_SECONDS = 0.01


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
        return min(self.patience, self.grace + received / self.min_rate) if self.min_rate else self.patience


@dataclass(frozen=True)
class ServingSettings:
    """The settings of a server.

    port: 0 takes a free one. batch: whether a batch transform job is served: bad images get answers, and a
    full queue waits. max_payload_mb: MiB of a request's body.
    max_batch, max_delay: images that go through the model together, and seconds that the first of them waits
    for more. queue: requests that are read, waiting or being answered; more get 503, or wait in batch.
    max_images: in one request. decode_threads: images that are decoded at a time, and as many again of those
    that may take long.
    queue_mb: MiB of bodies that are being read, waiting or being decoded; more get 503, or wait in batch.
    budget: of decoding one image. max_pixels_in_flight: of all images that are being decoded.
    request_seconds: from a whole body to its last image; images that are not decoded by then are too_costly.
    max_connections: beyond them the one that has been idle for longest is closed.
    """

    port: int = 8080
    batch: bool = False
    max_payload_mb: int = 6
    max_batch: int = 32
    max_delay: float = 0.005
    queue: int = 128
    max_images: int = MAX_IMAGES
    decode_threads: int = 2
    precision: ServingPrecision = "auto"
    queue_mb: int = 256
    budget: DecodeBudget = LIVE
    max_pixels_in_flight: int = PIXELS_IN_FLIGHT
    request_seconds: float = LIVE_SECONDS
    max_connections: int = 1000

    @property
    def pace(self) -> Pace:
        """How long bodies may take; in batch there is one sender, who is not hurried while he works."""
        return Pace(min_rate=0) if self.batch else Pace()

    @property
    def max_payload(self) -> int:
        """Bytes of a request's body."""
        return self.max_payload_mb * 2**20

    @property
    def concurrent_transforms(self) -> int:
        """Requests that batch transform should send at a time: a full batch, within the platform's limit."""
        return max(1, min(self.max_batch, MAX_PAYLOAD_MB // self.max_payload_mb))


def settings_from(environment: Mapping[str, str], port: int | None = None) -> ServingSettings:
    """The settings that the variables give; `port` wins. Raises UsageError naming a variable and its value.

    SAGEMAKER_BIND_TO_PORT, SAGEMAKER_BATCH, SAGEMAKER_MAX_PAYLOAD_IN_MB; TRAPLINE_MAX_BATCH,
    TRAPLINE_MAX_DELAY_MS, TRAPLINE_QUEUE, TRAPLINE_MAX_IMAGES, TRAPLINE_DECODE_THREADS, TRAPLINE_PRECISION,
    TRAPLINE_QUEUE_MB, TRAPLINE_MAX_CONNECTIONS; and what decoding may cost: TRAPLINE_MAX_PIXELS,
    TRAPLINE_MAX_SECONDS, TRAPLINE_MAX_PIXELS_IN_FLIGHT and TRAPLINE_MAX_REQUEST_SECONDS; of that, what a
    batch transform job does not say is as in preparation.
    """
    number = functools.partial(_number, environment)
    precision = environment.get("TRAPLINE_PRECISION", "auto")
    if precision not in get_args(ServingPrecision):
        raise UsageError(
            f"TRAPLINE_PRECISION={precision}: must be one of {', '.join(get_args(ServingPrecision))}"
        )
    payload = number("SAGEMAKER_MAX_PAYLOAD_IN_MB", 6, 0, MAX_PAYLOAD_MB) or MAX_PAYLOAD_MB
    batch = is_batch(environment)
    threads = number("TRAPLINE_DECODE_THREADS", available_cores(), 1, 256)
    usual = PREPARATION if batch else LIVE
    max_pixels = number("TRAPLINE_MAX_PIXELS", usual.max_pixels, 1, PILLOW_MAX_PIXELS)
    max_seconds = number("TRAPLINE_MAX_SECONDS", usual.max_seconds, MIN_SECONDS, 3600, float)
    in_flight = number(
        "TRAPLINE_MAX_PIXELS_IN_FLIGHT", max(max_pixels, PIXELS_IN_FLIGHT) + threads * CHEAP, 1, 10**12
    )
    return ServingSettings(
        port=number("SAGEMAKER_BIND_TO_PORT", 8080, 0, 65_535) if port is None else port,
        batch=batch,
        max_payload_mb=payload,
        max_batch=number("TRAPLINE_MAX_BATCH", 32, 1, 4096),
        max_delay=number("TRAPLINE_MAX_DELAY_MS", 5, 0, 10_000, float) / 1000,
        queue=number("TRAPLINE_QUEUE", 128, 1, 65_536),
        max_images=number("TRAPLINE_MAX_IMAGES", MAX_IMAGES, 1, 65_536),
        decode_threads=threads,
        precision=cast(ServingPrecision, precision),
        queue_mb=number("TRAPLINE_QUEUE_MB", 256, payload, 2**20),
        max_connections=number("TRAPLINE_MAX_CONNECTIONS", 1000, 2, 65_536),
        budget=dataclasses.replace(usual, max_pixels=min(max_pixels, in_flight), max_seconds=max_seconds),
        max_pixels_in_flight=in_flight,
        request_seconds=number(
            "TRAPLINE_MAX_REQUEST_SECONDS", math.inf if batch else LIVE_SECONDS, MIN_SECONDS, math.inf, float
        ),
    )


def is_batch(environment: Mapping[str, str]) -> bool:
    """Whether a batch transform job is served, as SAGEMAKER_BATCH says. Raises UsageError."""
    text = environment.get("SAGEMAKER_BATCH", "").lower()
    if text not in ("", "true", "false", "1", "0"):
        raise UsageError(f"SAGEMAKER_BATCH={text}: must be true or false")
    return text in ("true", "1")


def _number(
    environment: Mapping[str, str],
    name: str,
    default: float,
    low: float,
    high: float,
    kind: Callable[[str], Any] = int,
) -> Any:
    text = environment.get(name, "")
    if not text:
        return kind(str(default))
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:  # NaN is not within any bounds
        raise UsageError(f"{name}={text}: must be a number from {low} to {high}")
    return value


# --- who is let in ------------------------------------------------------------------------------------------


class Room:
    """Who takes some of it gives it back; who waits for it gets it in turn.

    size: all of it. kept: what those who wait leave for those who do not, but for one who wants more than the
    rest: he waits until no other of those who wait has any. For one event loop and its threads.
    """

    def __init__(self, size: int, kept: int = 0) -> None:
        self.size, self.kept = size, kept
        self.held = self._held_after_waiting = 0  # what is taken now
        self._lock = threading.Lock()
        self._line: deque[tuple[int, Future[None]]] = deque()

    def try_take(self, amount: int) -> bool:
        """Take so much at once, or nothing; it may pass those who wait only by what is kept from them."""
        with self._lock:
            passes = not self._line or (self.kept and self._line[0][0] <= self.size - self.kept)
            if not passes or self.held + amount > self.size:
                return False
            self.held += amount
            return True

    async def take(self, amount: int) -> int:
        """Wait in line for so much, at most all of it, and take it; what was taken."""
        amount = min(amount, self.size)
        ticket: Future[None] = Future()
        with self._lock:
            self._line.append((amount, ticket))
            self._hand_out()
        try:
            await asyncio.wrap_future(ticket)
        except asyncio.CancelledError:
            self.give(0 if ticket.cancel() else amount, waited=True)  # who is next may be served now
            raise
        return amount

    def give(self, amount: int, waited: bool = False) -> None:
        """Give back so much of what `try_take` took, or, where one has `waited`, `take`."""
        with self._lock:
            self.held -= amount
            self._held_after_waiting -= amount if waited else 0
            self._hand_out()

    def _hand_out(self) -> None:
        while self._line:
            amount, ticket = self._line[0]
            others = self._held_after_waiting  # who waits may have what is kept only where no other has any
            fits = self.held + amount <= self.size and (
                not others or others + amount <= self.size - self.kept
            )
            if not fits and not ticket.cancelled():
                return
            if ticket.set_running_or_notify_cancel():
                self.held += amount
                self._held_after_waiting += amount
                ticket.set_result(None)
            self._line.popleft()


@contextlib.asynccontextmanager
async def place_in(places: Room, *, waits: bool, busy: str) -> AsyncIterator[None]:
    """One of the places, within the block. Raises RequestError 503, saying `busy`, unless it `waits`."""
    if waits:
        await places.take(1)
    elif not places.try_take(1):
        raise RequestError(503, BUSY, busy)
    try:
        yield
    finally:
        places.give(1, waited=waits)


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
        announced = int(self.request.headers.get("content-length", self.limit))
        if announced > self.limit:
            raise self._too_large()
        if self.waits:  # before it is read: bodies that wait for each other in the midst would do so for ever
            self.held = await self.room.take(announced)
        size = 0
        try:
            async for piece in self._arriving():
                size += len(piece)
                if size > self.limit:
                    raise self._too_large()
                if not self.waits:
                    if not self.room.try_take(len(piece)):
                        raise RequestError(
                            503, BUSY, f"{self.room.held} bytes of requests are held; try again"
                        )
                    self.held += len(piece)
                self.pieces.append(piece)
        except TimeoutError:
            self.finished = True
            rate = f", or less than {self.pace.min_rate} bytes a second" if self.pace.min_rate else ""
            raise RequestError(
                408, "slow_request", f"no whole body within {self.pace.patience:.0f} s{rate}"
            ) from None
        if self.held > size:  # what came is less than what was waited for
            self.room.give(self.held - size, waited=self.waits)
            self.held = size
        return self.pieces

    def release(self) -> None:
        """Drop its bytes, which are not needed any more, and give its room back."""
        self.pieces.clear()
        self.room.give(self.held, waited=self.waits)
        self.held = 0

    async def discard(self) -> None:
        """Read what is left without keeping it, so that a client that is still sending gets to its answer.

        It would see a reset connection otherwise. One that asks first (Expect: 100-continue) is not sending.
        """
        if "expect" in self.request.headers:
            return
        left = self.limit + 16 * 2**20  # bytes that are read to be thrown away
        with contextlib.suppress(TimeoutError, ClientDisconnect):
            async for piece in self._arriving():
                left -= len(piece)
                if left < 0:
                    return

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
        return RequestError(
            413,
            PAYLOAD_TOO_LARGE,
            f"the body is larger than {self.limit} bytes, the limit of SAGEMAKER_MAX_PAYLOAD_IN_MB",
        )
