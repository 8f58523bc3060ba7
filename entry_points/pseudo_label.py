"""Label the unlabelled images of a prepared set with a trained model's sure guesses, for Phase 2.

Writes pseudo_labels.csv, a row for every unlabelled image, with the reason where its guess is not accepted,
and pseudo_labels.json. `train.py --pseudo` reads the folder.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.channels import ensure_local, message_file
from common.config import DEFAULT_THRESHOLD
from common.console import ArgumentParser, run
from common.hyperparameters import hyphenated


def share(text: str) -> float:
    """An argparse type: a number above 0 and up to 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and up to 1")
    return value


def count(text: str) -> int:
    """An argparse type: a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def count_or_share(text: str) -> dict[str, Any]:
    """An argparse type: images, as in 500, or a share, as in 0.3."""
    kinds: dict[str, Callable[[str], Any]] = {"share": share} if "." in text else {"images": count}
    return {name: read(text) for name, read in kinds.items()}


def parser() -> ArgumentParser:
    """The command line."""
    arguments = ArgumentParser(description=__doc__.splitlines()[0])
    add = arguments.add_argument
    add("--prepared", required=True, metavar="DIR", help="prepared data set")
    add("--model", required=True, metavar="DIR|model.tar.gz", help="Phase 1's model")
    add("--output", required=True, metavar="DIR", help="gets the two files")
    accepted = arguments.add_mutually_exclusive_group()
    accepted.add_argument(
        "--threshold",
        type=share,
        default=DEFAULT_THRESHOLD,
        help="lowest confidence, of all classes (default: %(default)s)",
    )
    accepted.add_argument(
        "--target-precision",
        type=share,
        metavar="P",
        help="instead: for each class the lowest confidence from which validation shows this precision",
    )
    add(
        "--at-least",
        type=count,
        default=20,
        metavar="N",
        help="validation images that --target-precision must rest on, for each class (default: 20)",
    )
    add(
        "--cap-per-class",
        type=count_or_share,
        default={},
        metavar="N|SHARE",
        help="most accepted images of a class, or share of its guesses, as in 0.3 (default: all)",
    )
    return arguments


def main() -> None:
    """Parse, label, write."""
    flags = parser().parse_args(hyphenated(sys.argv[1:]))
    ensure_local("--output", flags.output)
    from common.inference.pseudo_choice import Cap  # late: --help and a typing error need none of this
    from common.inference.pseudo_labels import Policy, make_pseudo_labels

    policy = Policy(flags.threshold, flags.target_precision, flags.at_least, Cap(**flags.cap_per_class))
    make_pseudo_labels(Path(flags.prepared), Path(flags.model), Path(flags.output), policy)


if __name__ == "__main__":
    run(main, failure=lambda: message_file(os.environ))
