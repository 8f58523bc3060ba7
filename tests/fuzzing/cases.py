"""Cases: what is made of a kind, a seed and a number, and what comes of giving it to the code under test.

A case runs in a process that may be lost, in a folder of its own. Whatever it is, the process must live,
within its limits; nothing but the documented exceptions may come out, nor anything outside the folder be
touched.
"""

import contextlib
import functools
import io
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.fuzzing import archives, images, requests, tables
from tests.fuzzing.inputs import BUDGET, Failure, Input, Kind
from tests.fuzzing.watching import Elsewhere, watched
from trapline.workers import Limits, Lost, limit_memory, mapped

KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (images.KIND, archives.KIND, tables.KIND, requests.KIND)
}
LIMITS = Limits(
    seconds=10.0, memory=3 << 30
)  # with what is imported late; then `limit_memory` is called again
MAX_SECONDS = 120  # by the clock: what waits for something takes no time of a processor
CANARY, SECRET = "canary.jpg", b"nobody may read this"


class Case(NamedTuple):
    """Names a case for good: the same three give the same bytes."""

    kind: str
    seed: int
    number: int


class Outcome(NamedTuple):
    """reason: what came out, in a word or two. failure: why that must not be, empty where it may.

    seconds: of processor time. peak: of the process until then, MiB.
    """

    reason: str
    failure: str
    seconds: float = 0.0
    peak: float = 0.0


def input_of(case: Case) -> Input:
    """What the case gives to the code under test."""
    return KINDS[case.kind].make(Random(f"{case.kind} {case.seed} {case.number}"))


def outcomes(cases: Sequence[Case], processes: int, top: Path) -> Iterator[tuple[Case, Outcome]]:
    """What comes of each case, in their order. `top` is an empty folder for the cases' own."""
    found = mapped(run_case, [(case, str(top)) for case in cases], processes, LIMITS)
    for case, outcome in zip(cases, found, strict=True):
        yield case, of_lost(case, outcome) if isinstance(outcome, Lost) else outcome


def of_lost(case: Case, lost: Lost) -> Outcome:
    """What is said of a case that its process did not survive."""
    if lost.by_the_limit:
        allowed = KINDS[case.kind].may_be_ended(input_of(case))
        failure = f"takes more than {LIMITS.seconds:g} seconds of a processor"
        return Outcome("ended by its limit", "" if allowed else failure, LIMITS.seconds)
    if lost.exit_code == -signal.SIGALRM:
        return Outcome("hangs", f"takes more than {MAX_SECONDS} seconds by the clock")
    return Outcome("crashes", f"its process ended with exit code {lost.exit_code}")


def run_case(case: Case, top: str) -> Outcome:
    """Run one case in this process, which stays prepared for more of the kind."""
    kind = KINDS[case.kind]
    folder = _prepared(case.kind, input_of(case).target, top)
    started = time.thread_time()  # the process's clock is coarse while a timer of its time runs
    given = input_of(case)
    reason, failure = examined(kind.check, given, folder)
    if kind.leaves_files:
        _empty(folder)
    seconds = time.thread_time() - started
    return Outcome(reason, failure, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def examined(check: Callable[[Input, Path], str], given: Input, folder: Path) -> tuple[str, str]:
    """The reason and the failure, if any, of one input; `folder` is its own, empty or as `check` left it."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(MAX_SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), watched(folder):
            reason, failure = check(given, folder), ""
    except Elsewhere as error:
        reason, failure = "touches what is not its own", f"{error}\n{traceback.format_exc()}"
    except Failure as error:
        reason, failure = "breaks a promise", str(error)
    except BaseException as error:  # anything, SystemExit too: that is the question
        reason, failure = f"raises {type(error).__name__}", traceback.format_exc()
    finally:
        signal.alarm(0)
    return reason, failure or _around(folder)


def _around(folder: Path) -> str:
    """What the case has left in the folder around its own, or done to what lay there; empty for nothing."""
    above = folder.parent
    found = sorted(os.listdir(above))  # noqa: PTH208 - it is called a thousand times a second
    if found != sorted([folder.name, CANARY]):
        return f"left in the folder above its own: {found}"
    return "" if (above / CANARY).read_bytes() == SECRET else "has written to a file above its own folder"


@functools.cache
def _prepared(kind: str, target: str, top: str) -> Path:
    """The folder of this process's cases; everything that they need is imported when it is there."""
    sys.dont_write_bytecode = True
    _without_stderr()
    limit_memory(LIMITS.memory)
    folder = Path(top) / f"{kind}-{target.replace('/', '-').replace(' ', '-')}-{os.getpid()}" / "own"
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder.parent / CANARY).write_bytes(SECRET)
    for given in KINDS[kind].examples(target):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
            KINDS[kind].check(given, folder)  # nothing is asserted of them here: they are cases, too
        if KINDS[kind].leaves_files:
            _empty(folder)
    limit_memory(BUDGET.max_memory)
    return folder


def _without_stderr() -> None:
    """Decoders in C print a line for each damage that they meet."""
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - no file of anybody
        os.dup2(nowhere.fileno(), 2)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def in_turn(names: Iterable[str], seed: int, count: int) -> list[Case]:
    """So many cases, of all kinds alike."""
    kinds = list(names)
    return [Case(kinds[number % len(kinds)], seed, number // len(kinds)) for number in range(count)]


@dataclass
class Total:
    """What came of the cases of one kind."""

    cases: int = 0
    seconds: float = 0.0
    peak: float = 0.0
    failed: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
        self.cases += 1
        self.seconds += outcome.seconds
        self.peak = max(self.peak, outcome.peak)
        self.failed += bool(outcome.failure)

    def __str__(self) -> str:
        rate = self.cases / max(self.seconds, 1e-9)
        return (
            f"{self.cases:,} cases, {self.failed} failed, {self.seconds:.1f} s of a processor"
            f" ({rate:,.0f} a second), peak {self.peak:.0f} MiB"
        )
