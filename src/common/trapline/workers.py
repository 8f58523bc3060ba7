"""Worker processes that may be lost: each item of work has limits, and what exceeds them costs it alone.

What decodes files of strangers can crash, run for ever or fill the memory, in libraries that no exception
reaches. A process can be ended, and here the kernel does it: each item has a timer of processor time, and the
process a limit on the memory that it may write to.
"""

import contextlib
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from trapline.errors import TraplineError
from trapline.processes import prepare_worker

try:
    import resource
except ImportError:  # a system without such limits
    resource = None  # type: ignore[assignment]

Result = TypeVar("Result")

CHUNK = 16  # items that travel to a process together
CHUNKS_AHEAD = 3  # chunks for each process whose results are not taken yet: what bounds the memory
AT_A_TIME = 2  # chunks that a process has got: one that it works on, one that it need not wait for
READY = "ready"
STATM, DATA_PAGES = "/proc/self/statm", 5


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

    def send(self, function: Callable[..., Any], items: Sequence[tuple[Any, ...]]) -> None:
        """Have `function` called with each item's arguments; of a process that is gone `receive` tells."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send((function, items))

    def receive(self) -> Any:
        """The next result, `Lost` where the process has ended. Raises what the function raised."""
        try:
            good, content = self._message()
        except (EOFError, ConnectionResetError):
            self.process.join()
            return Lost(self.process.exitcode)
        if not good:
            raise content
        return content

    def _message(self) -> tuple[bool, Any]:
        message = self.connection.recv()
        if message == READY:
            self.ready = True
            message = self.connection.recv()
        return bool(message[0]), message[1]

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
) -> Iterator[Result | Lost]:
    """The result of `function(*item)` for each item, in their order, worked on by so many processes.

    An item that its process does not survive is tried once more, for what ended the process may have been
    another's hunger for memory; one that took too long is not. Raises what `function` raises, and
    TraplineError where no process can start.
    """
    crew = _Crew(function, items, limits)
    try:
        crew.workers = [_Busy(Worker(limits)) for _ in range(max(1, min(processes, len(crew.waiting))))]
        yield from crew.results()
    finally:
        for busy in crew.workers:
            busy.worker.end()


@dataclass
class _Busy:
    """A worker and the places of the items that it has got, in the order of their results."""

    worker: Worker
    places: deque[int] = field(default_factory=deque)


@dataclass
class _Crew(Generic[Result]):
    function: Callable[..., Result]
    items: Sequence[tuple[Any, ...]]
    limits: Limits
    workers: list[_Busy] = field(default_factory=list)
    waiting: deque[Sequence[int]] = field(init=False)  # places of items, in chunks
    tried: set[int] = field(default_factory=set)  # items that a process was lost on
    done: dict[int, Result | Lost] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.items)
        self.waiting = deque(range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK))

    def results(self) -> Iterator[Result | Lost]:
        for place in range(len(self.items)):
            while place not in self.done:
                self._hand_out(place)
                self._take_in()
            yield self.done.pop(place)

    def _hand_out(self, wanted: int) -> None:
        furthest = wanted + len(self.workers) * CHUNKS_AHEAD * CHUNK
        for busy in sorted(self.workers, key=lambda busy: len(busy.places)):
            if self.waiting and self.waiting[0][0] < furthest and len(busy.places) <= (AT_A_TIME - 1) * CHUNK:
                chunk = self.waiting.popleft()
                busy.places.extend(chunk)
                busy.worker.send(self.function, [self.items[place] for place in chunk])

    def _take_in(self) -> None:
        at_work = {busy.worker.connection: busy for busy in self.workers if busy.places}
        for connection in wait(list(at_work)):
            busy = at_work[connection]  # type: ignore[index]
            result = busy.worker.receive()
            if isinstance(result, Lost):
                self._replace(busy, result)
            else:
                self.done[busy.places.popleft()] = result

    def _replace(self, busy: _Busy, lost: Lost) -> None:
        """Another process for one that was lost, and what it had not done yet for the next that is free."""
        busy.worker.check_start()
        busy.worker.end()
        culprit = busy.places.popleft()
        left = list(busy.places)
        if left:
            self.waiting.extendleft(reversed([left[at : at + CHUNK] for at in range(0, len(left), CHUNK)]))
        if lost.by_the_limit or culprit in self.tried:
            self.done[culprit] = lost
        else:
            self.tried.add(culprit)
            self.waiting.appendleft([culprit])
        busy.worker, busy.places = Worker(self.limits), deque()


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
        with open(STATM, encoding="ascii") as file:  # noqa: PTH123 - not a file that could be anywhere else
            pages = int(file.read().split()[DATA_PAGES])
    except OSError:
        return
    allowed = pages * resource.getpagesize() + more
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (allowed if hard < 0 else min(allowed, hard), hard))
