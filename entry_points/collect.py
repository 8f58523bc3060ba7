"""Collect the answers of batch transform: predictions.csv, submission.csv and report.html.

Where images have several labels, label_predictions.csv (ImageID,Labels) in the place of submission.csv.
"""

import argparse
import os
import sys
from pathlib import Path

from common.channels import ensure_local, message_file
from common.console import ArgumentParser, run
from common.hyperparameters import hyphenated


def share(text: str) -> float:
    """An argparse type: a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def parser() -> ArgumentParser:
    """The command line."""
    arguments = ArgumentParser(description=__doc__.splitlines()[0])
    add = arguments.add_argument
    add("--prepared", required=True, metavar="DIR", help="prepared data set; transform/index.csv is in it")
    add("--predictions", required=True, metavar="DIR", help="what batch transform wrote: NAME.out an input")
    add(
        "--evaluation", required=True, metavar="FILE|DIR", help="evaluation.json, test_predictions.csv beside"
    )
    add("--history", action="append", default=[], metavar="FILE|DIR",
        help="metrics.csv or output.tar.gz of Phase 1; again for Phase 2")  # fmt: skip
    add("--output", required=True, metavar="DIR", help="gets the files")
    add("--review-below", type=share, default=0.6, metavar="P",
        help="confidence below which a person should look (default: 0.6)")  # fmt: skip
    add("--submission-format", metavar="FILE", help="default: submission_format.csv of the prepared data set")
    return arguments


def main() -> None:
    """Parse, check, collect."""
    flags = parser().parse_args(hyphenated(sys.argv[1:]))
    ensure_local("--output", flags.output)
    from common.reports.collection import Collection, collect  # late: --help needs none of this

    collect(
        Collection(
            prepared=Path(flags.prepared),
            predictions=Path(flags.predictions),
            evaluation=Path(flags.evaluation),
            histories=[Path(history) for history in flags.history],
            output=Path(flags.output),
            review_below=flags.review_below,
            submission_format=Path(flags.submission_format) if flags.submission_format else None,
        )
    )


if __name__ == "__main__":
    run(main, failure=lambda: message_file(os.environ))
