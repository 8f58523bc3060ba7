"""What SIGTERM means to the server."""

import signal
import sys
from types import FrameType


def end_on_sigterm() -> None:
    """Let SIGTERM end the process with exit code 0.

    Process 1 of a container ignores the signal unless it has a handler. While the server runs, uvicorn puts
    its own in this one's place, answers what it has begun, and then raises the signal again.
    """

    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
