"""Ctrl-C at a moment when Python loses it."""

import io
import signal


class Answer(io.RawIOBase):
    """Goes as an answer of HTTP does: Ctrl-C comes while it is closed."""

    def close(self):
        if not self.closed:
            super().close()
            signal.raise_signal(signal.SIGINT)


def lose_ctrl_c():
    """Ctrl-C whose KeyboardInterrupt ends in a finalizer."""
    Answer()
