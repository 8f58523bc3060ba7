"""A stream for the lines of one of several jobs."""

from typing import TextIO


class Prefixed:
    """A stream that begins each line with a step's name."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self.prefix, self.stream = f"{name} | ", stream

    def write(self, text: str) -> int:
        """Write whole lines."""
        self.stream.write("".join(f"{self.prefix}{line}" for line in text.splitlines(keepends=True)))
        return len(text)

    def flush(self) -> None:
        """Write out."""
        self.stream.flush()

    def isatty(self) -> bool:
        """No status line: lines of several steps follow one another."""
        return False
