"""Compare runs: one line each, at the best epoch of each, the best run first."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trapline.console import ArgumentParser, table
from trapline.errors import TraplineError
from trapline.launching.fetching import add_runs_argument, find_run, local_runs, require_finished
from trapline.launching.results import Result, cell, read_result
from trapline.storage import write_table

EPILOG = """RUN is a folder, a model.tar.gz, an s3:// URI, a run in runs/, or the name of a SageMaker job.
Without any, all runs in --runs are compared. Runs that cannot be are listed below the table with the reason;
exit code 1 means that none could be. gap: training less validation accuracy, training images augmented."""


@dataclass(frozen=True)
class Column:
    """A column of the table: how it is called, shown and sorted."""

    title: str  # the name of a value of Result, also on the command line and in the CSV file
    shown: Callable[[Any], str]
    greatest_first: bool = False
    optional: bool = False  # not shown where no run has a value


COLUMNS = (
    Column("run", str),
    Column("model", str),
    Column("parameters", "{:,}".format),
    Column("train_acc", "{:.3f}".format, greatest_first=True),
    Column("val_acc", "{:.3f}".format, greatest_first=True),
    Column("gap", "{:+.3f}".format),
    Column("log_loss", "{:.4f}".format),
    Column("macro_f1", "{:.3f}".format, greatest_first=True),
    Column("best_epoch", str),
    Column("epochs", str),
    Column("s_per_epoch", "{:.1f}".format),
    Column("rss_mb", "{:,.0f}".format),
    Column("gpu_mb", "{:,.0f}".format, optional=True),
    Column("split", str, optional=True),
    Column("line", str, optional=True),
    Column("test_loss", "{:.4f}".format, optional=True),
    Column("test_acc", "{:.3f}".format, greatest_first=True, optional=True),
    Column("test_macro_f1", "{:.3f}".format, greatest_first=True, optional=True),
    Column("test_micro_f1", "{:.3f}".format, greatest_first=True, optional=True),
)
BY_TITLE = {column.title: column for column in COLUMNS}


def parser() -> ArgumentParser:
    """The command line."""
    arguments = ArgumentParser(description=__doc__, epilog=EPILOG)
    arguments.add_argument("names", metavar="RUN", nargs="*", help="what to compare (default: all in --runs)")
    arguments.add_argument(
        "--sort",
        metavar="COLUMN",
        choices=list(BY_TITLE),
        default="log_loss",
        help=f"the best first by one of {', '.join(BY_TITLE)} (default: %(default)s)",
    )
    arguments.add_argument("--csv", metavar="FILE", type=Path, help="also write the table into this file")
    add_runs_argument(arguments)
    return arguments


def main() -> None:
    """Read the runs, print the table, and below it what could not be read."""
    flags = parser().parse_args()
    found, problems = compare(flags.names, flags.runs)
    results = ranked(found, BY_TITLE[flags.sort])
    if results:
        print(as_text(results))
        if flags.csv:
            write_csv(results, flags.csv)
    notes = [f"{result.run}: {note}" for result in results for note in result.notes]
    if flags.sort.startswith("test_") and len(results) > 1:
        notes.append(
            f"sorted by {flags.sort}: whoever takes the first of these chooses with the test part, and its "
            "number promises too much; choose by log_loss, and look at test once"
        )
    lines = sorted({result.line for result in results if result.line})
    if len(lines) > 1:
        notes.append(
            f"not comparable across divisions ({', '.join(lines)}): a camera that tests one run may have "
            "trained another; compare the runs of one line alone"
        )
    for line in [*notes, *(f"not compared: {problem}" for problem in problems)]:
        print(line)
    if not results:
        sys.stdout.flush()
        raise TraplineError(f"none of the {len(problems)} runs can be compared")


def compare(names: Sequence[str], runs: Path) -> tuple[list[Result], list[str]]:
    """The results of the runs that `names` name, or of all in the folder `runs`, and why others have none.

    A run that has not ended well, or cannot be read, becomes a problem. Raises TraplineError when there is no
    run at all.
    """
    results: list[Result] = []
    problems: list[str] = []
    names = names or [str(path) for path in local_runs(runs)]
    if not names:
        raise TraplineError(f"{runs}: no run in it yet; the scripts in launch/ make them")
    for name in dict.fromkeys(names):
        try:
            result = read_result(require_finished(find_run(name, runs)))
        except TraplineError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{error.filename or name}: {error.strerror or error}")
        else:
            taken = any(result.run == other.run for other in results)
            results.append(dataclasses.replace(result, run=name) if taken else result)
    return results, problems


def ranked(results: Sequence[Result], by: Column) -> list[Result]:
    """The results with the best first, those without a value last; equals stay in order."""
    known = [result for result in results if getattr(result, by.title) is not None]
    unknown = [result for result in results if getattr(result, by.title) is None]
    return [*sorted(known, key=lambda one: getattr(one, by.title), reverse=by.greatest_first), *unknown]


def as_text(results: Sequence[Result]) -> str:
    """The table for a terminal."""
    columns = [
        column
        for column in COLUMNS
        if not column.optional or any(getattr(result, column.title) is not None for result in results)
    ]
    rows = [[_cell(result, column) for column in columns] for result in results]
    return table([column.title.replace("_", " ") for column in columns], rows)


def _cell(result: Result, column: Column) -> str:
    value = getattr(result, column.title)
    return "-" if value is None else column.shown(value)


def write_csv(results: Sequence[Result], path: Path) -> None:
    """Write all columns, with an empty cell for what is not known. Raises OSError."""
    write_table(
        path, list(BY_TITLE), ([cell(getattr(result, title)) for title in BY_TITLE] for result in results)
    )
