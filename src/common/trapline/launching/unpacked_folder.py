"""A folder that is there whole or not at all."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from trapline.errors import TraplineError

SUFFIX = ".unpacking"


@contextlib.contextmanager
def staging_folder(target: Path) -> Iterator[Path]:
    """A hidden folder beside `target` that takes its place when the block ends without an error.

    `target` must not exist, or be an empty folder. After an error or a kill there is nothing under it.
    Raises TraplineError when something is in the way or the folder around it cannot be written.
    """
    target = target.resolve()
    ensure_free(target)
    staging = target.with_name(f".{target.name}.{os.getpid()}{SUFFIX}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target)
        staging.mkdir()
    except OSError as error:
        raise TraplineError(f"{target}: cannot be made ({error.strerror}); choose another --to") from None
    try:
        yield staging
        staging.chmod(0o755)
        _take_place(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def ensure_free(target: Path) -> None:
    """Raise TraplineError where `target` is a file or holds something."""
    if target.is_dir():
        if any(target.iterdir()):
            raise TraplineError(f"{target}: is not empty, and left as it is; choose another folder with --to")
    elif target.exists() or target.is_symlink():
        raise TraplineError(f"{target}: is a file, and left as it is; choose another folder with --to")


def _take_place(staging: Path, target: Path) -> None:
    try:
        staging.rename(target)  # also onto an empty folder, never onto one that has been filled meanwhile
    except OSError as error:
        raise TraplineError(
            f"{target}: cannot be put in its place ({error.strerror}); choose another --to"
        ) from None


def _remove_leftovers(target: Path) -> None:
    """Remove what killed processes left; the name says which process made it."""
    for path in target.parent.iterdir():
        number = path.name.removeprefix(f".{target.name}.").removesuffix(SUFFIX)
        if path.name != f".{target.name}.{number}{SUFFIX}" or not number.isdecimal():
            continue
        if int(number) == os.getpid() or not psutil.pid_exists(int(number)):
            shutil.rmtree(path, ignore_errors=True)
