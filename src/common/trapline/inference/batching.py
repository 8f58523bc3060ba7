"""Micro-batches: items of several requests go through one slow function together.

The function runs in one thread, so the batches follow one another; meanwhile the next one gathers. Each
request gets the results of its own items, in their order, whatever happens to the others.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Job(Generic[Item, Result]):
    """The items of one request, and where its results go."""

    items: Sequence[Item]
    results: "asyncio.Future[list[Result]]"


@dataclass
class Batcher(Generic[Item, Result]):
    """Gathers jobs and runs them together.

    function: from items to as many results, in the same order. max_batch: items that go together, but for one
    request that has more by itself. max_delay: seconds that the first job of a batch waits for others.
    coming: how many requests may still send a job; where all of them are in the batch, nothing is waited for.
    """

    function: Callable[[list[Item]], Sequence[Result]]
    max_batch: int
    max_delay: float
    coming: Callable[[], float] = lambda: float("inf")
    _jobs: "asyncio.Queue[_Job[Item, Result]]" = field(default_factory=asyncio.Queue)
    _held: "_Job[Item, Result] | None" = None  # the job that did not fit into the last batch
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "model"))
    _task: "asyncio.Task[None] | None" = None

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

    async def submit(self, items: Sequence[Item]) -> list[Result]:
        """The results for `items`. Raises what `function` raises when it gets them alone."""
        if not items:
            return []
        results: asyncio.Future[list[Result]] = asyncio.get_running_loop().create_future()
        self._jobs.put_nowait(_Job(items, results))
        return await results

    async def _work(self) -> None:
        while True:
            batch = await self._gather()
            if not await self._run(batch) and len(batch) > 1:
                for job in batch:  # one of them spoils the batch: the others must not pay for it
                    await self._run([job])

    async def _gather(self) -> list[_Job[Item, Result]]:
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

    async def _next(self, deadline: float, gathered: int) -> "_Job[Item, Result] | None":
        if self._jobs.empty() and self.coming() <= gathered:
            return None
        try:
            async with asyncio.timeout_at(deadline):
                return await self._jobs.get()
        except TimeoutError:
            return None if self._jobs.empty() else self._jobs.get_nowait()

    async def _run(self, batch: "list[_Job[Item, Result]]") -> bool:
        """Give each job its results; False, and no results, where the function failed on several jobs."""
        items = [item for job in batch for item in job.items]
        try:
            loop = asyncio.get_running_loop()
            results = iter(await loop.run_in_executor(self._thread, self._checked, items))
        except Exception as error:
            if len(batch) == 1 and not batch[0].results.done():
                batch[0].results.set_exception(error)
            return False
        for job in batch:
            own = [next(results) for _ in job.items]
            if not job.results.done():  # the client may have gone
                job.results.set_result(own)
        return True

    def _checked(self, items: list[Item]) -> list[Result]:
        results = list(self.function(items))
        if len(results) != len(items):
            raise RuntimeError(f"{len(results)} results for {len(items)} items")
        return results
