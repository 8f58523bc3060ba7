"""What comes from outside, before it is shown: without characters that a terminal obeys.

Names, paths and messages of others may hold escape sequences, ends of lines, or text that looks like a line
of our own. `escaped_output` lets nothing else than text reach the standard streams, whoever prints it.
"""

import contextlib
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

READ_MARKERS = ("METRICS", "BATCH")  # of lines that are read again: their own writers alone may print them
MARKERS = (*READ_MARKERS, "SPEED", "PROFILE", "MEMORY", "SERVE")  # in square brackets, of our own lines
MARK = re.compile(rf"\[(?=/?(?:{'|'.join(MARKERS)})\])", re.IGNORECASE)
OWN_START = re.compile(rf"\[(?!{'|'.join(READ_MARKERS)})[A-Z]+\] ")
JOINERS = "\u200c\u200d"  # Persian, Sinhala and other scripts are written with them
COLOUR = re.compile(r"(\x1b\[(?:(?:0?[01]|22|39|3[0-7]|9[0-7])(?:;(?=\d)|(?=m))){0,8}m)")
LAYOUT = re.compile(r"([\n\r\t])")


def printable(text: str) -> str:
    """`text` as one line: an escape for each character that is obeyed or shows nothing, no mark of ours."""
    if text.isascii() and text.isprintable() and "[" not in text:
        return text
    return MARK.sub(r"\\u005b", _visible(text))


def printable_lines(text: str, indent: str = "") -> str:
    """`printable` of each line of `text`; `indent` stands before all but the first.

    With one, no line that a foreign name begins can look like one of ours.
    """
    return f"\n{indent}".join(map(printable, text.split("\n")))


def relayed(text: str) -> str:
    """A line of a job's log for a terminal: colours, tabs, carriage returns and marks stay, no more."""
    if text.isascii() and text.isprintable():
        return text
    pieces = COLOUR.split(text)  # every second one is a colour
    pieces[::2] = [_with_layout(piece) for piece in pieces[::2]]
    return "".join(pieces)


def _with_layout(text: str) -> str:
    pieces = LAYOUT.split(text)
    pieces[::2] = map(_visible, pieces[::2])
    return "".join(pieces)


def _visible(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(letter if _shows(letter) else _escape(letter) for letter in text)


def _shows(letter: str) -> bool:
    return letter.isprintable() or letter in JOINERS or unicodedata.category(letter) == "Zs"


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


class Escaping:
    """A stream of text that shows nothing but text; the ends of lines, tabs and carriage returns stay.

    A mark of our own lines stays where a piece of text begins with it, as `print` writes our own lines.
    """

    def __init__(self, stream: Any) -> None:
        self.unescaped = stream

    def write(self, text: str) -> int:
        """Write `text` as it may be shown."""
        if not text.isascii() or not text.isprintable() or "[" in text:
            kept = found.end() if (found := OWN_START.match(text)) else 0
            self.unescaped.write(text[:kept] + MARK.sub(r"\\u005b", _with_layout(text[kept:])))
        else:
            self.unescaped.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write all `lines`."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unescaped, name)


def unescaped(stream: Any) -> Any:
    """The stream below an `Escaping` one, for lines of our own; any other stream as it is."""
    return getattr(stream, "unescaped", stream)


def escape_output() -> None:
    """Let whatever this process prints from now on be `Escaping`."""
    sys.stdout, sys.stderr = Escaping(unescaped(sys.stdout)), Escaping(unescaped(sys.stderr))


@contextlib.contextmanager
def escaped_output() -> Iterator[None]:
    """Inside, whatever this process prints is `Escaping`."""
    with (
        contextlib.redirect_stdout(Escaping(unescaped(sys.stdout))),
        contextlib.redirect_stderr(Escaping(unescaped(sys.stderr))),
    ):
        yield
