"""Run the benchmarks, all or those that are named, and write their figures into the table of docs/figures.md.

Run: python benchmarks/run.py [NAME | "NAME OPTIONS"] ... [--page FILE]
Each runs in a process of its own, one after the other; a row is replaced by what its command measures anew.
Give the machine nothing else to do meanwhile. All of them together take long: name those that you need.
"""

import argparse
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from figures import Figure, read_figures, with_rows

from trapline.machine import processor
from trapline.workers import available_cores

FOLDER = Path(__file__).parent
PAGE = FOLDER.parent / "docs" / "figures.md"
BENCHMARKS = (
    "loading", "resources", "compiling", "training_step", "cifar", "tta", "serving", "hostile_load",
    "imagenet_scale", "planning", "preparing", "predicting", "launching", "steps",
)  # fmt: skip


def main() -> int:
    """Run one after the other; 1 where one of them has failed, whose rows stay as they are."""
    flags = parser().parse_args()
    measured = {command: run(command) for command in flags.commands or BENCHMARKS}
    done = {command: figures for command, figures in measured.items() if figures}
    flags.page.write_text(with_rows(flags.page.read_text(), done, machine()))
    failed = sorted(measured.keys() - done.keys())
    print(
        f"{flags.page}: {len(done)} benchmarks written" + (f"; failed: {', '.join(failed)}" if failed else "")
    )
    return 1 if failed else 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ", ".join(BENCHMARKS)
    arguments.add_argument(
        "commands", nargs="*", type=command, metavar="NAME", help=f"of {names}; with options in quotes"
    )
    arguments.add_argument(
        "--page", type=Path, default=PAGE, help="where the table lies (default: docs/figures.md)"
    )
    return arguments


def command(text: str) -> str:
    """An argparse type: a benchmark's name, perhaps with options."""
    if text.split()[:1] and text.split()[0] in BENCHMARKS:
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is no benchmark; there are {', '.join(BENCHMARKS)}")


def run(command: str) -> list[Figure]:
    """The figures of a benchmark, whose output is shown as well; none where it has failed."""
    name, *options = shlex.split(command)
    print(f"--- {command}", flush=True)
    words = [sys.executable, str(FOLDER / f"{name}.py"), *options]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, flush=True)
    return read_figures(done.stdout) if done.returncode == 0 else []


def machine() -> str:
    """What the figures depend on."""
    return f"{available_cores()} cores, {processor()}, torch {metadata.version('torch')}"


if __name__ == "__main__":
    sys.exit(main())
