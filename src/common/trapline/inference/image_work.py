"""The first step of all requests: bodies into images that are ready for the model, each within its budget.

Images whose header promises little work are decoded in threads, a slice of time for each request in turn; all
others in processes that a limit ends (`images.decoding`), one of each request at a time, so that neither
a costly image nor a request of many keeps the small ones of others waiting.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from trapline.images.budget import CHEAP, is_cheap_work
from trapline.images.decoding import DecodingProcesses
from trapline.images.problems import ImageProblem, Reason
from trapline.inference.content import SentImage, read_request
from trapline.inference.handler import ReadyImage, announced, make_ready, make_ready_apart
from trapline.inference.predictor import Predictor
from trapline.inference.queue_places import place_in
from trapline.inference.room import Room
from trapline.inference.settings import ServingSettings

Result = TypeVar("Result")

SLICE = 0.05  # seconds of a decoding thread before the next request has its turn


@dataclass(frozen=True)
class _Later:
    """An image that is not decoded in its turn; pixels: that it holds meanwhile."""

    image: SentImage
    pixels: int
    is_cheap: bool


@dataclass
class _Progress:
    """A request's images, and what has become of the first of them. deadline: of time.monotonic."""

    images: Sequence[SentImage]
    many: bool
    deadline: float
    made: list[ReadyImage | _Later]

    @property
    def is_through(self) -> bool:
        return len(self.made) == len(self.images)


class ImageWork:
    """Makes images ready for all requests of a server.

    costly: places of requests whose images may take long, half of all, so that others are always answered.
    """

    def __init__(self, predictor: Predictor, settings: ServingSettings) -> None:
        self.predictor, self.settings = predictor, settings
        threads = settings.decode_threads
        in_flight = settings.max_pixels_in_flight
        self.pixels = Room(in_flight, kept=min(threads * CHEAP, in_flight // 2))
        self.costly = Room(max(1, settings.queue // 2))
        self._threads = ThreadPoolExecutor(threads, "decode")
        self._waiting = ThreadPoolExecutor(threads, "decode-apart")
        self._processes = DecodingProcesses(threads, settings.budget)

    def close(self) -> None:
        """End all threads and processes; what they are at is lost."""
        self._processes.close()
        self._waiting.shutdown(cancel_futures=True)
        self._threads.shutdown(cancel_futures=True)

    async def ready(self, pieces: list[bytes], content_type: str) -> tuple[list[ReadyImage], bool]:
        """The images of a body, and whether its answer is a list. `pieces` is emptied.

        Raises RequestError for what is no request, and 503 where too many have images that may take long.
        """
        progress = await self._in(self._threads, lambda: self._begin(pieces, content_type))
        while not progress.is_through:
            await self._in(self._threads, lambda: self._go_on(progress))
        if not any(isinstance(one, _Later) for one in progress.made):
            return [one for one in progress.made if isinstance(one, ReadyImage)], progress.many
        busy = f"{self.costly.held} requests hold images that take long to decode; try again"
        async with place_in(self.costly, waits=self.settings.batch, busy=busy):
            done = [
                await self._later(one, progress.deadline) if isinstance(one, _Later) else one
                for one in progress.made
            ]
        return done, progress.many

    def _begin(self, pieces: list[bytes], content_type: str) -> _Progress:
        deadline = time.monotonic() + self.settings.request_seconds
        body = b"".join(pieces)
        pieces.clear()
        request = read_request(body, content_type, self.settings.max_images)
        progress = _Progress(request.images, request.many, deadline, [])
        self._go_on(progress)
        return progress

    def _go_on(self, progress: _Progress) -> None:
        """One slice of work on the images in their order."""
        ends = time.monotonic() + SLICE
        for image in progress.images[len(progress.made) :]:
            progress.made.append(self._now_or_later(image, progress.deadline))
            if time.monotonic() > ends:
                return

    def _now_or_later(self, image: SentImage, deadline: float) -> ReadyImage | _Later:
        if time.monotonic() > deadline:
            return self._too_late(image)
        work = announced(image.content, self.settings.budget)
        if work is None:
            return make_ready(image, self.predictor, self.settings.budget)
        if not is_cheap_work(work) or not self.pixels.try_take(work.pixels):
            return _Later(image, work.pixels, is_cheap_work(work))
        try:
            return make_ready(image, self.predictor, self.settings.budget)
        finally:
            self.pixels.give(work.pixels)

    async def _later(self, later: _Later, deadline: float) -> ReadyImage:
        """The image once there is room for its pixels; `too_costly` at the deadline."""
        try:
            async with asyncio.timeout(deadline - time.monotonic() if deadline < float("inf") else None):
                taken = await self.pixels.take(later.pixels)
                threads = self._threads if later.is_cheap else self._waiting
                work = threads.submit(
                    self._decoded_now if later.is_cheap else self._decoded_apart, later.image
                )
                work.add_done_callback(lambda _: self.pixels.give_after_waiting(taken))
                return await asyncio.wrap_future(work)
        except TimeoutError:
            return self._too_late(later.image)

    def _decoded_now(self, image: SentImage) -> ReadyImage:
        return make_ready(image, self.predictor, self.settings.budget)

    def _decoded_apart(self, image: SentImage) -> ReadyImage:
        return make_ready_apart(image, self.predictor, self._processes)

    def _too_late(self, image: SentImage) -> ReadyImage:
        detail = f"not decoded within {self.settings.request_seconds:g} s, with all images of its request"
        return ReadyImage(ImageProblem(Reason.TOO_COSTLY, detail), image.id)

    @staticmethod
    async def _in(threads: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(threads, work)
