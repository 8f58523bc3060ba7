"""Folders that several processes hold one after another, and that go when nobody needs them.

A lock is good only while what is locked is still what lies at its path: between making a folder and locking
it, whoever held it before may have removed it. So whoever locks looks again and makes it anew, and whoever
removes holds the lock.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

ATTEMPTS = 100  # each fails only where another process removes the folder at that very moment
NOT_EMPTY = (errno.ENOTEMPTY, errno.EEXIST)  # systems differ
STAYS = (errno.ENOENT, errno.EBUSY, errno.ENOTDIR)  # gone already; another disk's place; a link to one


def hold(folder: Path, name: str | None = None, *, wait: bool = True, mode: int = 0o777) -> int | None:
    """A descriptor that holds the lock on `folder`, which is made where needed; closing it lets go.

    `name`: a file in the folder that is locked in its place. `mode`: of a folder that is made. None where
    another process holds it and `wait` is false. Raises OSError where the folder cannot be made or opened.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            folder.mkdir(mode=mode, parents=True, exist_ok=True)
            descriptor = _open(folder, name)
        except FileNotFoundError:  # removed since it was made, or the folder above it was
            if attempt == ATTEMPTS:
                raise
            continue
        if not _lock(descriptor, wait=wait):
            os.close(descriptor)
            return None
        if _is_at(descriptor, folder / (name or "")):
            return descriptor
        os.close(descriptor)  # removed by the process that held it before
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))


@contextlib.contextmanager
def held(folder: Path, *, mode: int = 0o777) -> Iterator[None]:
    """Hold `folder` while the block runs, once nobody else does. It goes at the end where it is empty."""
    descriptor = hold(folder, mode=mode)
    assert descriptor is not None  # it was waited for
    try:
        yield
    finally:
        remove_empty(folder)
        os.close(descriptor)


def remove_empty(folder: Path) -> None:
    """Remove a folder that nobody needs; one that has content stays. Hold it, or make it as `hold` does."""
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in (*NOT_EMPTY, *STAYS):
            print(f"note: {folder}: empty, and cannot be removed ({error.strerror})", flush=True)


def _open(folder: Path, name: str | None) -> int:
    if name is None:
        return os.open(folder, os.O_RDONLY)
    return os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o666)


def _lock(descriptor: int, *, wait: bool) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
