"""Decoding in processes of its own, for images whose header does not tell what they will cost."""

import os
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from trapline.images.budget import DecodeBudget
from trapline.images.canonical import CanonicalImage, PixelSettings, canonicalise
from trapline.images.problems import ImageProblem, Reason
from trapline.workers import Limits, Lost, Worker

NICENESS = 5  # a third of the share of others, where there are not enough processors
CRASHED = "the decoder's process died on it"


def limits_of(budget: DecodeBudget) -> Limits:
    """The limits of a process that decodes one image at a time."""
    return Limits(budget.max_seconds, budget.max_memory)


def problem_of(lost: Lost, budget: DecodeBudget) -> ImageProblem:
    """What is said of an image on which the decoder's process was lost."""
    if lost.by_the_limit:
        detail = f"decoding takes more than {budget.max_seconds:g} seconds of a processor"
        return ImageProblem(Reason.TOO_COSTLY, detail)
    return ImageProblem(Reason.DECODER_CRASHED, CRASHED)


class DecodingProcesses:
    """At most `count` processes that decode for threads of this one; each starts when it is first needed.

    They have the limits of `budget`: an image that exceeds them, or on which the decoder crashes, costs
    itself and the time in which another process starts.
    """

    def __init__(self, count: int, budget: DecodeBudget) -> None:
        self.budget = budget
        self._free: queue.LifoQueue[Worker | None] = queue.LifoQueue()
        self._all: set[Worker] = set()
        self._closed = threading.Event()
        for _ in range(count):
            self._free.put(None)

    def canonicalise(self, data: bytes, settings: PixelSettings) -> CanonicalImage:
        """As trapline.images.canonical.canonicalise, for a thread: it waits for a process and for the image.

        Raises ImageProblem, and TraplineError where no process can start.
        """
        with self._worker() as worker:
            worker.send(_decoded, [(data, settings, self.budget)])
            result = worker.receive()
        if isinstance(result, Lost):
            worker.check_start()
            raise problem_of(result, self.budget)
        if isinstance(result, ImageProblem):
            raise result
        assert isinstance(result, CanonicalImage)
        return result

    def close(self) -> None:
        """End the processes."""
        self._closed.set()
        for worker in list(self._all):
            worker.end()

    @contextmanager
    def _worker(self) -> Iterator[Worker]:
        worker = self._free.get()
        try:
            if worker is None:
                worker = Worker(limits_of(self.budget))
                self._all.add(worker)
                _step_back(worker)
            yield worker
        finally:
            if worker is not None and not worker.process.is_alive():
                self._all.discard(worker)
                worker = None
            self._free.put(worker)


def _step_back(worker: Worker) -> None:
    """Let everything else go first: what is quickly decoded is not to be slower for what is not."""
    if worker.process.pid is not None and hasattr(os, "setpriority"):
        with suppress(OSError):  # it has ended, or priorities are not to be changed here: then it is slower
            os.setpriority(os.PRIO_PROCESS, worker.process.pid, NICENESS)


def _decoded(data: bytes, settings: PixelSettings, budget: DecodeBudget) -> CanonicalImage | ImageProblem:
    try:
        return canonicalise(data, settings, budget)
    except ImageProblem as problem:
        return problem
