"""What a person sees: text without characters that a terminal obeys, errors without a traceback, progress.

Names, paths and messages of others may hold escape sequences, ends of lines, or text that looks like a line
of our own. `escaped_output` lets nothing else than text reach the standard streams, whoever prints it.
"""

import argparse
import contextlib
import importlib.util
import re
import resource
import sys
import time
import traceback
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from trapline import interruption
from trapline.errors import TraplineError
from trapline.machine import in_kernel, shows_bars

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 10.0
ITEMS_BETWEEN_LOOKS = 10
CONTINUED = "  "  # before the further lines of a message
FAILURE_LENGTH = 1024  # the platform shows no more of /opt/ml/output/failure
READ_MARKERS = ("METRICS", "BATCH")  # of lines that are read again: their own writers alone may print them
MARKERS = (*READ_MARKERS, "SPEED", "PROFILE", "MEMORY", "SERVE")  # in square brackets, of our own lines
MARK = re.compile(rf"\[(?=/?(?:{'|'.join(MARKERS)})\])", re.IGNORECASE)
OWN_START = re.compile(rf"\[(?!{'|'.join(READ_MARKERS)})[A-Z]+\] ")
JOINERS = "\u200c\u200d"  # Persian, Sinhala and other scripts are written with them
COLOUR = re.compile(r"(\x1b\[(?:(?:0?[01]|22|39|3[0-7]|9[0-7])(?:;(?=\d)|(?=m))){0,8}m)")
LAYOUT = re.compile(r"([\n\r\t])")


# --- text that is no more than text -------------------------------------------------------------------------


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
    return changed_between(COLOUR, text, _with_layout)


def changed_between(kept: re.Pattern[str], text: str, change: Callable[[str], str]) -> str:
    """`text` with `change` made to all but what `kept`, a pattern of one group, finds in it."""
    pieces = kept.split(text)  # every second one is a find
    pieces[::2] = map(change, pieces[::2])
    return "".join(pieces)


def _with_layout(text: str) -> str:
    return changed_between(LAYOUT, text, _visible)


def _visible(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter.isprintable() or letter in JOINERS or unicodedata.category(letter) == "Zs"
        else letter.encode("unicode_escape").decode()
        for letter in text
    )


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


# --- a command's end ----------------------------------------------------------------------------------------


class ArgumentParser(argparse.ArgumentParser):
    """An argparse parser whose error is one or two lines, with the way to the help instead of the usage.

    Description and epilog are shown as they are written, and flags must be written out.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n{self.prog} --help lists the flags\n")


def words_of(error: BaseException) -> str:
    """What an error says, or its kind where it says nothing."""
    return str(error) if str(error).strip() else f"{type(error).__name__} without a message"


def run(main: Callable[[], None], failure: Callable[[], Path | None] = lambda: None) -> NoReturn:
    """Call an entry point's `main` and end the process with its exit code.

    0: done; 1: the run failed; 2: wrong usage; 130: interrupted. An error that a person can act on prints its
    message alone; anything else is a defect and prints its traceback. `failure` says where the message is
    also written (SageMaker's `output/failure`), or None. What is printed meanwhile is escaped: see
    `escaped_output`.
    """
    with escaped_output(), interruption.remembered():
        sys.exit(_code_of(main, failure))


def _code_of(main: Callable[[], None], failure: Callable[[], Path | None]) -> int:
    try:
        main()
    except TraplineError as error:
        code, message = error.exit_code, words_of(error)
    except OSError as error:
        code, message = 1, f"{error.filename or 'input/output'}: {error.strerror or words_of(error)}"
    except KeyboardInterrupt:
        code, message = 130, "interrupted; the same command goes on where it can"
    except Exception as error:
        traceback.print_exc()
        text = " ".join(str(error).splitlines()[:1])
        code, message = 1, f"{type(error).__name__}: {text} (a defect in Trapline: please report it)"
    else:
        return 0
    message = printable_lines(message, CONTINUED)
    print(f"error: {message}", file=sys.stderr, flush=True)
    _write_failure(failure(), message)
    return code


def _write_failure(path: Path | None, message: str) -> None:
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(message.encode()[:FAILURE_LENGTH].decode(errors="ignore").encode())
    except OSError as error:
        print(f"error: {path}: cannot be written ({error.strerror})", file=sys.stderr)


# --- progress, tables and memory ----------------------------------------------------------------------------


def progress(
    items: Iterable[Item],
    description: str,
    total: int,
    unit: str = "images",
    status: Callable[[], str] = str,
) -> Iterator[Item]:
    """Yield `items`, showing a bar on a terminal or in a notebook, and a plain line now and then elsewhere.

    `status` says what else is to be shown. It may be slow, and so is asked every few items and at each line.
    """
    description = printable(description)
    if shows_bars():
        with _bar_class()(total=total, desc=description, unit=f" {unit}", leave=False) as bar:
            for done, item in enumerate(items, 1):
                yield item
                interruption.check()
                if done % ITEMS_BETWEEN_LOOKS == 0:
                    bar.set_postfix_str(printable(status()), refresh=False)
                bar.update()
        return
    started = last = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        interruption.check()
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            shown = f"{description}: {done} of {total} {unit}, {_rate(done / (now - started))}/s"
            print(printable(", ".join(filter(None, (shown, status())))), flush=True)


def _rate(value: float) -> str:
    """A rate with as many digits as tell it from another: 250, 3.4, 0.05."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _bar_class() -> Any:
    """A notebook's own bar where what draws it is installed; else that of plain text, which it shows too."""
    import tqdm

    if in_kernel() and importlib.util.find_spec("ipywidgets"):
        import tqdm.notebook

        return tqdm.notebook.tqdm
    return tqdm.tqdm


def note(text: str) -> None:
    """Print a line that a person should know; names of others in it are escaped."""
    print(f"note: {printable(text)}", flush=True)


def table(header: list[str], rows: list[list[str]]) -> str:
    """Plain text columns: the first aligned left, the others right; what is in the cells is escaped."""
    header, rows = list(map(printable, header)), [list(map(printable, row)) for row in rows]
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(cells: list[str]) -> str:
        padded = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
        return "  ".join([cells[0].ljust(widths[0]), *padded]).rstrip()

    return "\n".join(line(row) for row in [header, ["-" * width for width in widths], *rows])


def peak_resident_mb() -> float:
    """The most resident memory that this process has had, MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def resident_mb() -> float:
    """Resident memory of this process, MiB."""
    import psutil

    return float(psutil.Process().memory_info().rss) / 2**20
