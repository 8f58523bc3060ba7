"""The work that a server's requests share: images made ready, each within its budget, and micro-batches.

Images whose header promises little work are decoded in threads, a slice of time for each request in turn; all
others in processes that a limit ends (`images.canonical`), one of each request at a time, so that neither
a costly image nor a request of many keeps the small ones of others waiting. What the model needs of them goes
through it together: the batches follow one another in one thread; meanwhile the next one gathers. Each
request gets the results of its own items, in their order, whatever happens to the others.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from trapline.images.budget import CHEAP, Work
from trapline.images.canonical import DecodingProcesses
from trapline.images.files import ImageProblem, Reason
from trapline.inference.answers import ReadyImage, announced, make_ready
from trapline.inference.content import ImageRequest, SentImage, read_request
from trapline.inference.limits import Room, ServingSettings, place_in
from trapline.inference.predictor import Predictor

SLICE = 0.05  # seconds of a decoding thread before the next request has its turn


@dataclass(frozen=True)
class _Later:
    """An image that is not decoded in its turn, and what its header announces."""

    image: SentImage
    work: Work


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
        loop = asyncio.get_running_loop()
        made: list[ReadyImage | _Later] = []
        request, deadline = await loop.run_in_executor(self._threads, self._begin, pieces, content_type, made)
        while len(made) < len(request.images):
            await loop.run_in_executor(self._threads, self._go_on, request, made, deadline)
        done = [one for one in made if isinstance(one, ReadyImage)]
        if len(done) < len(made):
            busy = f"{self.costly.held} requests hold images that take long to decode; try again"
            async with place_in(self.costly, waits=self.settings.batch, busy=busy):
                done = [await self._later(one, deadline) if isinstance(one, _Later) else one for one in made]
        return done, request.many

    def _begin(
        self, pieces: list[bytes], content_type: str, made: list[ReadyImage | _Later]
    ) -> tuple[ImageRequest, float]:
        """The request, and by when (of time.monotonic) its images are to be ready; the first are `made`."""
        deadline = time.monotonic() + self.settings.request_seconds
        body = b"".join(pieces)
        pieces.clear()
        request = read_request(body, content_type, self.settings.max_images)
        self._go_on(request, made, deadline)
        return request, deadline

    def _go_on(self, request: ImageRequest, made: list[ReadyImage | _Later], deadline: float) -> None:
        """One slice of work on the images in their order; what has become of each goes to `made`."""
        ends = time.monotonic() + SLICE
        for image in request.images[len(made) :]:
            made.append(self._now_or_later(image, deadline))
            if time.monotonic() > ends:
                return

    def _now_or_later(self, image: SentImage, deadline: float) -> ReadyImage | _Later:
        if time.monotonic() > deadline:
            return self._too_late(image)
        budget = self.settings.budget
        work = announced(image.content, budget)
        if work is None:
            return make_ready(image, self.predictor, budget)
        if not work.is_cheap or not self.pixels.try_take(work.pixels):
            return _Later(image, work)
        try:
            return make_ready(image, self.predictor, budget)
        finally:
            self.pixels.give(work.pixels)

    async def _later(self, later: _Later, deadline: float) -> ReadyImage:
        """The image once there is room for its pixels; `too_costly` at the deadline."""
        try:
            async with asyncio.timeout(deadline - time.monotonic() if deadline < float("inf") else None):
                taken = await self.pixels.take(later.work.pixels)
                threads, processes = (
                    (self._threads, None) if later.work.is_cheap else (self._waiting, self._processes)
                )
                made = threads.submit(
                    make_ready, later.image, self.predictor, self.settings.budget, processes
                )
                made.add_done_callback(lambda _: self.pixels.give(taken, waited=True))
                return await asyncio.wrap_future(made)
        except TimeoutError:
            return self._too_late(later.image)

    def _too_late(self, image: SentImage) -> ReadyImage:
        detail = f"not decoded within {self.settings.request_seconds:g} s, with all images of its request"
        return ReadyImage(ImageProblem(Reason.TOO_COSTLY, detail), image.id)


@dataclass(frozen=True)
class _Job:
    """The items of one request, and where its results go."""

    items: Sequence[np.ndarray]
    results: asyncio.Future[list[np.ndarray]]


@dataclass
class Batcher:
    """Gathers jobs and runs them together.

    function: from items to as many results, in the same order. max_batch: items that go together, but for one
    request that has more by itself. max_delay: seconds that the first job of a batch waits for others.
    coming: how many requests may still send a job; where all of them are in the batch, nothing is waited for.
    """

    function: Callable[[list[np.ndarray]], Sequence[np.ndarray]]
    max_batch: int
    max_delay: float
    coming: Callable[[], float] = lambda: float("inf")
    _jobs: asyncio.Queue[_Job] = field(default_factory=asyncio.Queue)
    _held: _Job | None = None  # the job that did not fit into the last batch
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "model"))
    _task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to work; needs a running event loop."""
        self._task = asyncio.create_task(self._work())

    @property
    def alive(self) -> bool:
        """Whether jobs are being worked on."""
        return self._task is not None and not self._task.done()

    async def close(self) -> None:
        """Stop. Jobs without results get none: close only what nobody waits for any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown()

    async def submit(self, items: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The results for `items`. Raises what `function` raises when it gets them alone."""
        if not items:
            return []
        results: asyncio.Future[list[np.ndarray]] = asyncio.get_running_loop().create_future()
        self._jobs.put_nowait(_Job(items, results))
        return await results

    async def _work(self) -> None:
        while True:
            batch = await self._gather()
            if not await self._run(batch) and len(batch) > 1:
                for job in batch:  # one of them spoils the batch: the others must not pay for it
                    await self._run([job])

    async def _gather(self) -> list[_Job]:
        first, self._held = self._held or await self._jobs.get(), None
        batch, count = [first], len(first.items)
        deadline = asyncio.get_running_loop().time() + self.max_delay
        while count < self.max_batch:
            job = await self._next(deadline, len(batch))
            if job is None:
                break
            if count + len(job.items) > self.max_batch:
                self._held = job
                break
            batch.append(job)
            count += len(job.items)
        return batch

    async def _next(self, deadline: float, gathered: int) -> _Job | None:
        if self._jobs.empty() and self.coming() <= gathered:
            return None
        try:
            async with asyncio.timeout_at(deadline):
                return await self._jobs.get()
        except TimeoutError:
            return None if self._jobs.empty() else self._jobs.get_nowait()

    async def _run(self, batch: list[_Job]) -> bool:
        """Give each job its results; False, and no results, where the function failed on several jobs."""
        items = [item for job in batch for item in job.items]
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._thread, self.function, items)
            if len(results) != len(items):
                raise RuntimeError(f"{len(results)} results for {len(items)} items")
        except Exception as error:
            if len(batch) == 1 and not batch[0].results.done():
                batch[0].results.set_exception(error)
            return False
        left = iter(results)
        for job in batch:
            own = [next(left) for _ in job.items]
            if not job.results.done():  # the client may have gone
                job.results.set_result(own)
        return True
