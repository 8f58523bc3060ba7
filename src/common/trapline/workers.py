"""Worker processes: how many, what each does first, and those that may be lost.

Each item of work has limits, and what exceeds them costs it alone.

What decodes files of strangers can crash, run for ever or fill the memory, in libraries that no exception
reaches. A process can be ended, and here the kernel does it: each item has a timer of processor time, and the
process a limit on the memory that it may write to.
"""

import contextlib
import multiprocessing
import os
import resource
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, TypeVar

import cv2

from trapline.console import escape_output
from trapline.errors import TraplineError

Result = TypeVar("Result")

CHUNK = 16  # items that travel to a process together
CHUNKS_AHEAD = 3  # chunks for each process whose results are not taken yet: what bounds the memory
AT_A_TIME = 2  # chunks that a process has got: one that it works on, one that it need not wait for
READY = "ready"


def available_cores() -> int:
    """The cores that this process may use: its affinity or a container's quota can make them fewer.

    A container with a quota sees every core of the machine, and is stopped for the rest of each period when
    its threads have used up their share.
    """
    import joblib

    return int(joblib.cpu_count())


def prepare_worker() -> None:
    """Use one thread, escape what is printed, and end when the process that started this one is gone.

    A worker whose parent was killed would wait for work for ever: it holds the pipes' other ends itself. A
    fork server does not help, being kept alive by its own workers.
    """
    cv2.setNumThreads(1)
    escape_output()
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


# --- processes that may be lost -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Limits:
    """seconds: of processor time for an item. memory: bytes that a process may take beyond its beginning."""

    seconds: float
    memory: int


@dataclass(frozen=True)
class Lost:
    """An item on which its process ended. exit_code: negative for a signal; None: not known."""

    exit_code: int | None

    @property
    def by_the_limit(self) -> bool:
        """Whether the item took more time than it may."""
        return self.exit_code == -signal.SIGPROF


class Worker:
    """A process that works for this one, item after item, and ends with it."""

    def __init__(self, limits: Limits) -> None:
        context = multiprocessing.get_context("spawn")  # of threads that a fork would copy nothing is known
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, limits), daemon=True)
        self.process.start()
        theirs.close()
        self.ready = False
        # Of the items that `mapped` has sent, in the order of their results.
        self.places: deque[int] = deque()

    def send(self, function: Callable[..., Any], items: Sequence[tuple[Any, ...]]) -> None:
        """Have `function` called with each item's arguments; of a process that is gone `receive` tells."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send((function, items))

    def receive(self) -> Any:
        """The next result, `Lost` where the process has ended. Raises what the function raised."""
        try:
            message = self.connection.recv()
            if message == READY:
                self.ready = True
                message = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            return Lost(self.process.exitcode)
        good, content = message
        if not good:
            raise content
        return content

    def check_start(self) -> None:
        """Raise TraplineError where the process ended before it could do anything."""
        if not self.ready:
            raise TraplineError(
                "worker processes die at their start: too little memory, a broken set-up, or a program that "
                'starts them outside `if __name__ == "__main__":`'
            )

    def end(self) -> None:
        """End the process at once, whatever it does."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def mapped(
    function: Callable[..., Result], items: Sequence[tuple[Any, ...]], processes: int, limits: Limits
) -> Generator[Result | Lost, None, None]:
    """The result of `function(*item)` for each item, in their order, worked on by so many processes.

    An item that its process does not survive is tried once more, for what ended the process may have been
    another's hunger for memory; one that took too long is not. Raises what `function` raises, and
    TraplineError where no process can start.
    """
    chunks = (range(len(items))[start : start + CHUNK] for start in range(0, len(items), CHUNK))
    crew = _Crew(function, items, limits, waiting=deque(chunks))
    try:
        crew.workers = [Worker(limits) for _ in range(max(1, min(processes, len(crew.waiting))))]
        yield from crew.results()
    finally:
        for worker in crew.workers:
            worker.end()


@dataclass
class _Crew(Generic[Result]):
    function: Callable[..., Result]
    items: Sequence[tuple[Any, ...]]
    limits: Limits
    waiting: deque[Sequence[int]]  # places of items, in chunks
    workers: list[Worker] = field(default_factory=list)
    tried: set[int] = field(default_factory=set)  # items that a process was lost on
    done: dict[int, Result | Lost] = field(default_factory=dict)

    def results(self) -> Iterator[Result | Lost]:
        for place in range(len(self.items)):
            while place not in self.done:
                self._hand_out(place)
                self._take_in()
            yield self.done.pop(place)

    def _hand_out(self, wanted: int) -> None:
        furthest = wanted + len(self.workers) * CHUNKS_AHEAD * CHUNK
        for worker in sorted(self.workers, key=lambda worker: len(worker.places)):
            room = len(worker.places) <= (AT_A_TIME - 1) * CHUNK
            if self.waiting and self.waiting[0][0] < furthest and room:
                chunk = self.waiting.popleft()
                worker.places.extend(chunk)
                worker.send(self.function, [self.items[place] for place in chunk])

    def _take_in(self) -> None:
        at_work = {worker.connection: worker for worker in self.workers if worker.places}
        for connection in wait(list(at_work)):
            worker = at_work[connection]  # type: ignore[index]
            result = worker.receive()
            if isinstance(result, Lost):
                self._replace(worker, result)
            else:
                self.done[worker.places.popleft()] = result

    def _replace(self, worker: Worker, lost: Lost) -> None:
        """Another process for one that was lost, and what it had not done yet for the next that is free."""
        worker.check_start()
        worker.end()
        culprit, *left = worker.places
        self.waiting.extendleft(reversed([left[at : at + CHUNK] for at in range(0, len(left), CHUNK)]))
        if lost.by_the_limit or culprit in self.tried:
            self.done[culprit] = lost
        else:
            self.tried.add(culprit)
            self.waiting.appendleft([culprit])
        self.workers[self.workers.index(worker)] = Worker(self.limits)


def _work(connection: Connection, limits: Limits) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption means
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process, also in the middle of a library's call
    prepare_worker()
    limit_memory(limits.memory)
    connection.send(READY)
    while True:
        try:
            function, items = connection.recv()
        except EOFError:
            return
        for item in items:
            connection.send(_within(limits.seconds, function, item))


def _within(seconds: float, function: Callable[..., Any], item: tuple[Any, ...]) -> tuple[bool, Any]:
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return True, function(*item)
    except Exception as error:
        return False, error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def limit_memory(more: int) -> None:
    """Let this process write to `more` bytes beyond what it has now, where the system can limit that."""
    try:
        pages_of_data = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    except OSError:
        return
    allowed = pages_of_data * resource.getpagesize() + more
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (allowed if hard < 0 else min(allowed, hard), hard))
