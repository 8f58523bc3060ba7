"""Compare runs: one line each, at the best epoch of each, the best run first."""

import argparse
import csv
import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.console import ArgumentParser, run, table
from common.errors import TraplineError
from common.metrics import format_value
from common.reports.history import parse_history, read_history
from common.storage import atomic_file
from launch.fetching import (
    DESCRIPTION,
    METRICS,
    Run,
    add_runs_argument,
    find_run,
    local_run,
    local_runs,
    opened,
    require_finished,
)
from launch.unpacking import LARGEST_TEXT, read_texts

Value = str | float | None
HISTORY_MEMBERS = (METRICS, f"data/{METRICS}")
SPLIT = re.compile(r"^.*\[PROFILE\] .*\bsplit=(\w+)")
EPILOG = """RUN is a folder, a model.tar.gz, an s3:// URI, or the name of a run in runs/ or of a SageMaker job.
Without any, all runs in --runs are compared. Exit code 1 means that none could be read.
gap is training accuracy less validation accuracy; training images are augmented."""


@dataclass(frozen=True)
class Column:
    """A column of the table: how it is called, shown and sorted."""

    title: str  # also its name on the command line and in the CSV file
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
)
BY_TITLE = {column.title: column for column in COLUMNS}


def parser() -> ArgumentParser:
    """The command line."""
    arguments = ArgumentParser(
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    arguments.add_argument("names", metavar="RUN", nargs="*", help="what to compare (default: all in --runs)")
    arguments.add_argument(
        "--sort", metavar="COLUMN", choices=BY_TITLE, default="log_loss",
        help=f"best first by this column (default: log_loss): {', '.join(BY_TITLE)}",
    )  # fmt: skip
    arguments.add_argument("--csv", metavar="FILE", type=Path, help="also write the table here")
    add_runs_argument(arguments)
    return arguments


def main() -> None:
    """Read the runs, print the table, and below it what could not be read."""
    flags = parser().parse_args(sys.argv[1:])
    rows, problems, notes = read_runs(flags.names, flags.runs)
    rows = ranked(rows, flags.sort)
    if rows:
        print(as_text(rows))
    if flags.csv:
        write_table(rows, flags.csv)
    for line in [*notes, *(f"not compared: {problem}" for problem in problems)]:
        print(line)
    if not rows:
        raise TraplineError(f"none of the {len(problems)} runs can be compared; the reasons are above")


def read_runs(
    names: Sequence[str], runs: Path
) -> tuple[list[dict[str, Value]], list[str], list[str]]:
    """A row for each run that can be read, why others cannot, and what to know about single rows.

    Without `names` the runs are those in the folder `runs`; raises TraplineError where there is none.
    """
    wanted: list[tuple[str, Callable[[], Run]]]
    if names:
        wanted = [(name, lambda name=name: find_run(name, runs)) for name in names]
    else:
        wanted = [(str(path), lambda path=path: local_run(path)) for path in local_runs(runs)]
    if not wanted:
        raise TraplineError(f"{runs}: no run in it yet; the scripts in launch/ make them")
    rows, problems, notes = [], [], []
    for name, find in wanted:
        try:
            row, note = read_row(require_finished(find()))
        except TraplineError as error:
            problems.append(str(error))
            continue
        except OSError as error:
            problems.append(f"{error.filename or name}: {error.strerror or error}")
            continue
        if any(row["run"] == other["run"] for other in rows):
            row["run"] = name  # two folders of one name
        rows.append(row)
        notes += [f"{row['run']}: {note}"] if note else []
    return rows, problems, notes


def read_row(source: Run) -> tuple[dict[str, Value], str]:
    """The values of one run by column, and what to know about them. Raises TraplineError, OSError."""
    from common.models.artefact import ModelDescription

    description: ModelDescription = _description(source)
    history, note = _history(source)
    best, metrics_note = _best(source, description.best_epoch, description.metrics, history)
    peak = history[-1] if history else best
    row: dict[str, Value] = {
        "run": source.name,
        "model": description.architecture,
        "parameters": description.parameters,
        "train_acc": best.get("train_acc"),
        "val_acc": best.get("val_acc"),
        "gap": _difference(best.get("train_acc"), best.get("val_acc")),
        "log_loss": best.get("val_loss"),
        "macro_f1": best.get("val_macro_f1"),
        "best_epoch": description.best_epoch,
        "epochs": description.epochs,
        "s_per_epoch": _median([row["epoch_s"] for row in history if "epoch_s" in row]) or best.get("epoch_s"),
        "rss_mb": peak.get("rss_mb"),
        "gpu_mb": peak.get("gpu_mb") or None,
        "split": _split_kind(source.log),
    }
    return row, "; ".join(text for text in (note, metrics_note) if text)


def _description(source: Run) -> Any:
    from common.models.artefact import parse_description
    return None
