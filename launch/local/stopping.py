"""Ctrl-C and SIGTERM while the SDK runs, which swallows KeyboardInterrupt in places."""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

from common.errors import TraplineError


class Signals:
    """Remembers a signal."""

    def __init__(self) -> None:
        self.caught = False

    def handle(self, *_: Any) -> None:
        """The first signal interrupts; later ones leave the cleaning up alone."""
        if not self.caught:
            self.caught = True
            raise KeyboardInterrupt

    def check(self) -> None:
        """Raise KeyboardInterrupt if there was a signal."""
        if self.caught:
            raise KeyboardInterrupt


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Signals]:
    """Turn the first Ctrl-C or SIGTERM into KeyboardInterrupt, whatever the SDK makes of it."""
    signals, numbers = Signals(), (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signals.handle) for number in numbers]
    try:
        yield signals
    except TraplineError:
        signals.check()
        raise
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
