"""Choose views, temperature and champion on validation, and measure the champion on the locked test part.

Writes evaluation.json, champion/model.tar.gz and, where there is a test part, test_predictions.csv.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from common.channels import ensure_local, message_file
from common.console import ArgumentParser, run
from common.hyperparameters import hyphenated

MOST_SEED = 2**32 - 1


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """An argparse type: a whole number from `low` to `high`."""

    def convert(text: str) -> int:
        if not (text.isdecimal() and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return convert


def parser() -> ArgumentParser:
    """The command line."""
    arguments = ArgumentParser(description=__doc__.splitlines()[0])
    add = arguments.add_argument
    add("--prepared", required=True, metavar="DIR", help="prepared data set with val/ and, if any, test/")
    add("--phase1", required=True, metavar="DIR|model.tar.gz", help="model of Phase 1")
    add("--phase2", metavar="DIR|model.tar.gz", help="model of Phase 2, which must be better to be chosen")
    add("--output", required=True, metavar="DIR", help="gets evaluation.json and champion/")
    add("--views", default="auto", metavar="auto|none|flip|enhanced|VIEW,...",
        help="test-time views; auto: chosen on validation (default: auto)")  # fmt: skip
    add("--precision", default="auto", choices=["auto", "fp32", "bf16", "fp16", "int8"],
        help="int8: linear layers, on a CPU (default: auto)")  # fmt: skip
    add("--int8", action="store_true", help="also measure what int8 costs and brings")
    add("--resamples", type=whole_number(100, 1_000_000), default=2000, metavar="N",
        help="of sites, for the intervals (default: 2000)")  # fmt: skip
    add(
        "--seed",
        type=whole_number(0, MOST_SEED),
        default=0,
        metavar="N",
        help="of the resampling (default: 0)",
    )
    return arguments


def main() -> None:
    """Parse, check, evaluate."""
    flags = parser().parse_args(hyphenated(sys.argv[1:]))
    ensure_local("--output", flags.output)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in train.py
    from common.reports.bootstrap import Resampling  # late: --help and a typing error need none of this
    from common.reports.evaluation import Evaluation, evaluate

    evaluate(
        Evaluation(
            prepared=Path(flags.prepared),
            phase1=Path(flags.phase1),
            phase2=Path(flags.phase2) if flags.phase2 else None,
            output=Path(flags.output),
            views=flags.views,
            precision=flags.precision,
            int8=flags.int8,
            resampling=Resampling(resamples=flags.resamples, seed=flags.seed),
        )
    )


if __name__ == "__main__":
    run(main, failure=lambda: message_file(os.environ))
