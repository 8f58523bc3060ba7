"""Hostile input in a process of its own: what it costs is measured there, and cannot cost the tests."""

import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

CPU_SECONDS = 120  # after which the kernel ends the process
STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # proc(5): sets the peak back to what is resident now


class Cost(NamedTuple):
    """result: what the function returned, or the exception. seconds: of processor time. mib: the highest
    resident memory above what the process had before, MiB."""

    result: Any
    seconds: float
    mib: float


@contextmanager
def measured_apart() -> Iterator[Callable[..., Cost]]:
    """Inside, `cost(function, *arguments)` calls a module's function in one process apart."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_limit) as pool:
        yield lambda function, *arguments: pool.submit(_measured, function, arguments).result()


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))


def _measured(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Cost:
    CLEAR_REFS.write_text(RESET_PEAK)
    before, started = _mib("VmRSS"), time.process_time()
    try:
        result = function(*arguments)
    except Exception as error:
        result = error
    return Cost(result, time.process_time() - started, _mib("VmHWM") - before)


def _mib(name: str) -> float:
    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) / 1024
