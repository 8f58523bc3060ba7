"""Turn raw images into the prepared data set that training, evaluation and inference read.

Raw images lie in the competition's layout (*_features.csv with id, filepath, site; *_labels.csv one-hot), in
a folder for each class, in such folders below train/, val/ and test/, as Tiny-ImageNet or CIFAR-10 do, or
are listed with several labels each in a CSV (ImageID, Labels, Caption); `demo` draws an artificial set. What
cannot be used goes to quarantine.csv.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from common.channels import ensure_local, message_file
from common.console import ArgumentParser, run
from common.errors import UsageError
from common.hyperparameters import hyphenated


def number(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], int | float]:
    """An argparse type: a number between `low` and `high`, both included."""

    def convert(text: str) -> int | float:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of type {kind.__name__}") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low:g} and {high:g}")
        return value

    return convert


def shares(text: str) -> tuple[float, float, float]:
    """An argparse type: the shares of train, val and test, as in 0.65,0.20,0.15."""
    try:
        train, val, test = (float(share) for share in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not three numbers, as in 0.65,0.20,0.15") from None
    return train, val, test


def quality(text: str) -> int | Literal["auto"] | None:
    """An argparse type: a JPEG quality, `auto`, or None for `lossless`."""
    if text == "auto":
        return "auto"
    return None if text == "lossless" else int(number(int, 1, 100)(text))


def pattern(text: str) -> re.Pattern[str]:
    """An argparse type: a regular expression."""
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a regular expression ({error})") from None


def truth(text: str) -> bool:
    """An argparse type: true or false, in any case."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def parser() -> ArgumentParser:
    """The command line."""
    arguments = ArgumentParser(description=__doc__.splitlines()[0])
    add = arguments.add_argument
    add("--input", required=True, metavar="DIR|FILE|s3://...|demo",
        help="raw images, a folder, .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz; demo: draw some")  # fmt: skip
    add("--output", required=True, metavar="DIR", help="gets the prepared data set")
    add("--follow-links", nargs="?", const=True, default=False, type=truth, metavar="true|false",
        help="read links that lead out of the input folder, too (default: false)")  # fmt: skip
    add("--site-csv", metavar="FILE|s3://...", help="CSV with filepath or id, site, perhaps sequence")
    add("--site-regex", type=pattern, metavar="REGEX",
        help="finds (?P<site>...) in the path, perhaps (?P<sequence>...)")  # fmt: skip
    add("--split", choices=["site", "random", "given"],
        help="default: the set's own (folders, or a column), else by site, else random")  # fmt: skip
    add("--shares", type=shares, metavar="T,V,T", help="train, val, test; default 0.65,0.20,0.15; "
        "for --split random 0.75,0.25,0; for several labels an image at random 0.70,0.15,0.15")  # fmt: skip
    add("--val-share", type=number(float, 0.001, 0.9), metavar="SHARE",
        help="of train, for a set that comes with train and test but no val (default: 0.1)")  # fmt: skip
    add("--label-names", metavar="FILE|s3://...",
        help="CSV with Label and Name: what to call the classes; a file, here or in the input")  # fmt: skip
    add("--seed", type=number(int, 0, 2**32 - 1), default=0, help="of split and demo (default: 0)")
    add("--short-side", type=number(int, 16, 4096), default=256, help="packed short side, px (default: 256)")
    add("--quality", type=quality, default="auto", metavar="1-100|lossless|auto",
        help="of the packed JPEG; lossless: PNG; auto (default): 90, CIFAR's batches lossless")  # fmt: skip
    add("--crop-bottom", type=number(float, 0, 0.5), default=0.0,
        help="share of the height to cut off, as 0.07 for a caption strip (default: 0)")  # fmt: skip
    add("--max-quarantine", type=number(float, 0, 1), default=0.05,
        help="largest share of unusable inputs (default: 0.05)")  # fmt: skip
    add("--limit-per-class", type=number(int, 1, 10**9), metavar="N",
        help="for trial runs: at most N images of each class, and of those without a class")  # fmt: skip
    add("--processes", type=number(int, 1, 256), help="default: all cores")
    add("--source-name", metavar="NAME", help="what the set names as its source (default: --input)")
    demo = arguments.add_argument_group("demo data")
    demo.add_argument("--demo-images", type=number(int, 1, 500_000), default=2400, help="labelled images")
    demo.add_argument("--demo-unlabeled", type=number(int, 0, 500_000), default=240, help="unlabelled images")
    demo.add_argument("--demo-sites", type=number(int, 3, 5000), default=60, help="labelled sites")
    return arguments


def main() -> None:
    """Parse, check, prepare."""
    flags = parser().parse_args(hyphenated(sys.argv[1:]))
    if flags.site_csv and flags.site_regex:
        raise UsageError("--site-csv and --site-regex: give one of them")
    ensure_local("--output", flags.output)
    from common.data.canonical import PixelSettings  # late: --help and a typing error need none of this
    from common.data.demo import DemoSettings
    from common.data.listing import SiteRule
    from common.data.preparation import Preparation, prepare

    prepare(
        Preparation(
            input=flags.input,
            output=Path(flags.output),
            demo=DemoSettings(
                images=flags.demo_images,
                unlabeled=flags.demo_unlabeled,
                sites=flags.demo_sites,
                seed=flags.seed,
            ),
            rule=SiteRule(flags.site_csv, flags.site_regex),
            pixels=PixelSettings(short_side=flags.short_side, crop_bottom=flags.crop_bottom),
            quality=flags.quality,
            split=flags.split,
            shares=flags.shares,
            val_share=flags.val_share,
            label_names=flags.label_names,
            seed=flags.seed,
            max_quarantine=flags.max_quarantine,
            processes=flags.processes,
            limit_per_class=flags.limit_per_class,
            source_name=flags.source_name or flags.input,
            follow_links=flags.follow_links,
        )
    )


if __name__ == "__main__":
    run(main, failure=lambda: message_file(os.environ))
