"""A limit of seconds for what may never end by itself, such as a user's pattern on others' names."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[Callable[[], None]]:
    """Give a function that begins the count anew; when `seconds` are over, TimeoutError is raised.

    Python's regular expressions look for signals as they go. Only the main thread gets them: in another one,
    and on systems without timers, nothing is limited.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield lambda: None
        return

    def expire(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, expire)
    try:
        yield lambda: (signal.setitimer(signal.ITIMER_REAL, seconds), None)[1]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
