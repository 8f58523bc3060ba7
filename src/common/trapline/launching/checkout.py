"""The checkout that a command belongs to: its root, and what lies there and is not installed."""

import sys
from collections.abc import Iterator
from pathlib import Path

from trapline.errors import UsageError
from trapline.shipped import LIBRARY

MARK = "entry_points/train.py"  # what only a checkout has


def root() -> Path:
    """The root of the checkout of the script that runs, else of the one that the package lies in.

    Raises UsageError where there is none.
    """
    for folder in _candidates():
        if (folder / MARK).is_file():
            return folder
    raise UsageError(
        f"no checkout of Trapline: {MARK} and what lies beside it are not installed with the package; run a "
        "script of a checkout's launch/ or pipelines/"
    )


def entry_points() -> Path:
    """The folder of the scripts that jobs run. Raises as `root` does."""
    return root() / "entry_points"


def _candidates() -> Iterator[Path]:
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if script:
        yield Path(script).resolve().parent.parent
    yield LIBRARY.parents[2]
