"""Ctrl-C is not lost: it is remembered, and asked for wherever a command waits or begins the next piece.

Python raises KeyboardInterrupt wherever the main thread is at that moment. In a finalizer, which runs when
the last reference to an object goes (an answer of HTTP, a pool of connections), the exception ends with the
finalizer, often without a word, and the command would go on as if nobody had asked it to stop.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator

_interrupted = threading.Event()


@contextlib.contextmanager
def remembered() -> Iterator[None]:
    """Remember Ctrl-C in the block, which it interrupts as ever. Where SIGINT is ignored, it stays so."""
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if not ours:
        yield
        return
    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        forget()


def remember(*_: object) -> None:
    """Raise KeyboardInterrupt, now and at each `check`: a handler of signals."""
    _interrupted.set()
    raise KeyboardInterrupt


def forget() -> None:
    """Let `check` pass again: what was interrupted has ended."""
    _interrupted.clear()


def check() -> None:
    """Raise KeyboardInterrupt if there was a Ctrl-C, or the like, that has not ended what it should end."""
    if _interrupted.is_set() and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


def pause(seconds: float) -> None:
    """Sleep, but not past a Ctrl-C that was lost before."""
    check()
    time.sleep(seconds)
