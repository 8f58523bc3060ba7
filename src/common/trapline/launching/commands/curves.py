"""The metrics of one or more trainings as a table, a summary, curves.csv and curves.png."""

from dataclasses import replace
from pathlib import Path

from trapline.console import ArgumentParser
from trapline.errors import TraplineError
from trapline.launching.fetching import add_runs_argument
from trapline.launching.results import read_curves
from trapline.reports.curves import draw_runs
from trapline.reports.run_logs import Curves, epoch_table, summary_table, write_long_csv

EPILOG = """RUN is the folder of a run or of a pipeline's run, a metrics.csv, an output.tar.gz, a saved log
(this project's, CloudWatch's, or one with batch lines as in `Loss=2.13, Accuracy=21.88`), an s3:// URI of one
of these, a run in runs/, or the name of a SageMaker training job, also while it runs (its log in CloudWatch).

examples:
  python launch/curves.py resnet18-baseline-2026-05-01-20-15-00-123
  python launch/curves.py runs/one runs/two train.log --to curves
  python launch/curves.py s3://bucket/night-run --to curves

Runs without curves are listed with the reason; exit code 1 means that none has any."""


def parser() -> ArgumentParser:
    """The command line."""
    arguments = ArgumentParser(description=__doc__, epilog=EPILOG)
    arguments.add_argument("names", metavar="RUN", nargs="+", help="whose curves")
    arguments.add_argument(
        "--to", metavar="DIR", type=Path, help="gets curves.csv and curves.png (default: curves in --runs)"
    )
    add_runs_argument(arguments)
    return arguments


def main() -> None:
    """Read the runs, print tables and summary, write the files."""
    flags = parser().parse_args()
    found, problems = collect(flags.names, flags.runs)
    for problem in problems:
        print(f"no curves: {problem}", flush=True)
    if not found:
        raise TraplineError(f"none of the {len(flags.names)} runs has curves")
    for curves in found:
        if curves.epochs:
            print(f"{curves.name}\n{epoch_table(curves)}\n")
    print(summary_table(found))
    folder = flags.to or flags.runs / "curves"
    write_long_csv(found, folder / "curves.csv")
    draw_runs(found, folder / "curves.png")
    print(f"written: {folder / 'curves.csv'}, {folder / 'curves.png'}")


def collect(names: list[str], runs: Path) -> tuple[list[Curves], list[str]]:
    """The curves of all runs that have any, and why the others have none. No two runs bear the same name."""
    found: list[Curves] = []
    problems = []
    for name in dict.fromkeys(names):
        try:
            read = read_curves(name, runs)
        except TraplineError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{error.filename or name}: {error.strerror or error}")
        else:
            taken = {curves.name for curves in found}
            for curves in read:
                other = name if len(read) == 1 else f"{name}/{curves.name}"
                found.append(replace(curves, name=other if curves.name in taken else curves.name))
    return found, problems
