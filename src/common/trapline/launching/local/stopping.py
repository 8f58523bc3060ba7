"""Ctrl-C and SIGTERM while the SDK runs, which swallows KeyboardInterrupt in places."""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

from trapline.errors import TraplineError


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
    """Turn the first Ctrl-C or SIGTERM into KeyboardInterrupt, whatever the SDK makes of it.

    A signal that is ignored stays so: it is by the wish of who started this process, as a shell's for `&`.
    """
    signals, numbers = Signals(), (signal.SIGINT, signal.SIGTERM)
    heeded = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    before = [signal.signal(number, signals.handle) for number in heeded]
    try:
        yield signals
    except TraplineError:
        signals.check()
        raise
    finally:
        for number, handler in zip(heeded, before, strict=True):
            signal.signal(number, handler)
