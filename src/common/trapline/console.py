"""What a person sees: progress, memory, and errors without a traceback."""

import argparse
import importlib.util
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import psutil
from tqdm import tqdm

from trapline.environment import in_kernel, shows_bars
from trapline.errors import TraplineError
from trapline.printing import escaped_output, printable, printable_lines

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 10.0
ITEMS_BETWEEN_LOOKS = 10
CONTINUED = "  "  # before the further lines of a message
FAILURE_LENGTH = 1024  # the platform shows no more of /opt/ml/output/failure


class ArgumentParser(argparse.ArgumentParser):
    """An argparse parser whose error is one or two lines, with the way to the help instead of the usage.

    Description and epilog are shown as they are written, and flags must be written out.
    """

    def __init__(self, **settings: Any) -> None:
        shown_as_written = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
        super().__init__(**{**shown_as_written, **settings})

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
    `trapline.printing`.
    """
    with escaped_output():
        sys.exit(_code_of(main, failure))


def _code_of(main: Callable[[], None], failure: Callable[[], Path | None]) -> int:
    code, message = 0, None
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
    if message:
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
        bar = _bar_class()(total=total, desc=description, unit=f" {unit}", leave=False)
        yield from _with_bar(items, bar, status)
        return
    started = last = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            shown = f"{description}: {done} of {total} {unit}, {done / (now - started):.0f}/s"
            print(printable(", ".join(filter(None, (shown, status())))), flush=True)


def note(text: str) -> None:
    """Print a line that a person should know; names of others in it are escaped."""
    print(f"note: {printable(text)}", flush=True)


def _with_bar(items: Iterable[Item], bar: Any, status: Callable[[], str]) -> Iterator[Item]:
    with bar:
        for done, item in enumerate(items, 1):
            yield item
            if done % ITEMS_BETWEEN_LOOKS == 0:
                bar.set_postfix_str(printable(status()), refresh=False)
            bar.update()


def _bar_class() -> Any:
    """A notebook's own bar where what draws it is installed; else that of plain text, which it shows too."""
    if in_kernel() and importlib.util.find_spec("ipywidgets"):
        from tqdm.notebook import tqdm as drawn

        return drawn
    return tqdm


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
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def resident_mb() -> float:
    """Resident memory of this process, MiB."""
    return float(psutil.Process().memory_info().rss) / 2**20
