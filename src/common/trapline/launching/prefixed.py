"""A stream for the lines of one of several jobs."""

from typing import TextIO

from trapline.printing import unescaped


def prefixed(name: str, line: str) -> str:
    """A line of one of several, with its name before it."""
    return f"{name} | {line}"


class Prefixed:
    """A stream that begins each line with a step's name."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self.name, self.stream = name, unescaped(stream)

    def write(self, text: str) -> int:
        """Write whole lines."""
        self.stream.write("".join(prefixed(self.name, line) for line in text.splitlines(keepends=True)))
        return len(text)

    def flush(self) -> None:
        """Write out."""
        self.stream.flush()

    def isatty(self) -> bool:
        """No status line: lines of several steps follow one another."""
        return False
