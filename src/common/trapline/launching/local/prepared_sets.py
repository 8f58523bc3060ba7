"""Prepared sets that are kept for the next launch with the same data, options, code and versions."""

import errno
import os
import shutil
from pathlib import Path

from trapline.errors import TraplineError

WHOLE = "dataset.json"  # prepare.py writes it last
THERE = (errno.ENOTEMPTY, errno.EEXIST)  # systems differ


def is_whole(folder: Path) -> bool:
    """Whether a prepared set lies there, to its last file."""
    return (folder / WHOLE).is_file()


def keep_prepared(made: Path, target: Path, instead: Path) -> None:
    """Move the new set `made` to `target`, where another launch may have put the same set meanwhile.

    Raises TraplineError where it cannot be kept there, with the reason; it then lies in `instead`.
    """
    try:
        target.parent.mkdir(exist_ok=True)
        _move(made, target)
    except OSError as error:
        if error.errno in THERE and is_whole(target):
            return  # another launch was quicker: the set is the same, for its name says what it was made of
        reason = _reason(error)
        if target.is_dir() and not is_whole(target):
            reason = f"a folder without {WHOLE} is there; remove it"
        raise TraplineError(
            f"{target}: the prepared set cannot be kept there ({reason}); {_rescued(made, instead)}"
        ) from None


def _move(made: Path, target: Path) -> None:
    try:
        made.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(made, target)  # `prepared` is a link to another disk


def _copy(made: Path, target: Path) -> None:
    """The same between two disks: nobody sees a part of the set under its name."""
    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        shutil.copytree(made, part)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _rescued(made: Path, instead: Path) -> str:
    """Put the set where it outlives this command; what is to be done then."""
    try:
        made.rename(instead)
    except OSError as error:
        return f"nor in {instead} ({error.strerror})"
    return f"it lies in {instead} now, where --prepared {instead} takes it"


def _reason(error: OSError) -> str:
    """What the system said; of a copy, what it said of the first file."""
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        return str(error.args[0][0][-1])
    return error.strerror or str(error)
