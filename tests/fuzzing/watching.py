"""What the code under test opens, makes, moves and starts, by the events that Python reports of itself.

The hook stays for the life of its process, and watches only within `watched`. Decoders in C that were handed
bytes open nothing; what they would write shows in the folder around the case, which `cases` looks at.
"""

import os
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# The arguments of an event that are paths; for all events of a prefix in FORBIDDEN there is no allowed use.
PATHS = {
    "open": (0,), "os.listdir": (0,), "os.scandir": (0,), "os.mkdir": (0,), "os.rmdir": (0,),
    "os.remove": (0,), "os.chmod": (0,), "os.chown": (0,), "os.utime": (0,), "os.truncate": (0,),
    "os.rename": (0, 1), "os.link": (0, 1), "os.symlink": (0, 1), "os.chflags": (0,), "os.setxattr": (0,),
    "os.removexattr": (0,), "os.chdir": (0,), "os.mkfifo": (0,), "os.mknod": (0,), "shutil.rmtree": (0,),
}  # fmt: skip
FORBIDDEN = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.kill",
             "socket.", "ctypes.dlopen", "urllib.", "ftplib.", "http.", "pty.", "webbrowser.",
             "pickle.find_class")  # fmt: skip
READING = ("open", "os.listdir", "os.scandir")
LIBRARIES = tuple(
    {
        f"{os.path.realpath(sysconfig.get_path(name))}/"
        for name in ("stdlib", "platstdlib", "purelib", "platlib")
    }
    | {f"{Path(__file__).resolve().parents[2] / part}/" for part in ("src", "tests")}
)
CODE = (".py", ".pyc", ".so")


class Elsewhere(BaseException):
    """Something outside the case's own folder was touched; nothing that catches an Exception hides it."""


class _Watch:
    """Of this process: the folder of the case that runs, None where none does."""

    folder: str | None = None
    is_hooked = False
    seen: str = ""


@contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Raise Elsewhere from what touches anything but `folder`; at the end again, where it was hidden."""
    if not _Watch.is_hooked:
        sys.addaudithook(_hook)
        _Watch.is_hooked = True
    _Watch.folder, _Watch.seen = os.path.realpath(folder), ""
    try:
        yield
    finally:
        _Watch.folder = None
    if _Watch.seen:
        raise Elsewhere(_Watch.seen)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    folder = _Watch.folder
    if folder is None:
        return
    if event.startswith(FORBIDDEN):
        _refuse(f"{event}: {arguments!r:.200}")
    for place in PATHS.get(event, ()):
        given = arguments[place]
        if not isinstance(given, int):  # of a descriptor that is open already
            _check(event, os.fsdecode("." if given is None else given), arguments, folder)


def _check(event: str, given: str, arguments: tuple[Any, ...], folder: str) -> None:
    real = os.path.realpath(given)
    if real == folder or real.startswith(f"{folder}/"):
        return
    is_reading = event in READING and not (event == "open" and _writes(arguments))
    if is_reading and (f"{real}/").startswith(LIBRARIES) and (event != "open" or real.endswith(CODE)):
        return
    _refuse(f"{event}: {given!r}")


def _writes(arguments: tuple[Any, ...]) -> bool:
    flags = arguments[2] if len(arguments) > 2 else 0
    return bool(isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))


def _refuse(what: str) -> None:
    _Watch.seen = _Watch.seen or what
    raise Elsewhere(what)
