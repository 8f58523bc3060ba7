"""Where a local job works, and who cleans up after one that was killed.

Every job has an entry `<temporary folder>/trapline-<user id>/<id>/`, locked (flock) while its launcher lives.
An entry that is not locked belongs to a launcher that was killed: whoever starts the next job ends the
processes that are left of it (they carry its id in their environment) and deletes its folders.
A job that uses Docker says so in its entry (`Workspace.will_use_docker`): its containers and networks are
removed as well, and where the engine does not answer, the entry stays for the next time. Paths through
the entry are safe to put into URIs and volume lists, whatever the user's own paths look like.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common.errors import TraplineError

MARKER = "TRAPLINE_WORKSPACE"  # the environment variable that every process of a job carries
DOCKER = "docker"  # the file in an entry that names the client of Docker's engine
PATIENCE = 10.0  # seconds for killed processes to vanish


@dataclass(frozen=True)
class Workspace:
    """The temporary folders of one job."""

    entry: Path

    @property
    def identity(self) -> str:
        """What marks the job's processes."""
        return self.entry.name

    @property
    def root(self) -> Path:
        """The container_root of local mode; physically in the run folder, where there is space."""
        return self.entry / "work"

    def link(self, name: str, target: Path) -> Path:
        """A path without special characters for `target`, which must be a folder."""
        path = self.entry / name
        path.symlink_to(target.resolve(), target_is_directory=True)
        return path

    def temporary(self) -> Path:
        """The job's own folder for temporary files: what a killed process leaves in it goes with the job."""
        path = self.entry / "tmp"
        path.mkdir(exist_ok=True)
        return path

    def will_use_docker(self, client: str) -> None:
        """Remember that containers may have to be removed; `client`: the path of the command `docker`."""
        (self.entry / DOCKER).write_text(client, encoding="utf-8")

    def has_used_docker(self) -> None:
        """Forget it: all containers are gone."""
        (self.entry / DOCKER).unlink(missing_ok=True)


@contextlib.contextmanager
def open_workspace(folder: Path | None) -> Iterator[Workspace]:
    """A workspace for as long as the block runs; sweeps up after killed jobs first.

    Its bulk lies in `folder`, which must be new, or among the temporary files where that is None.

    Raises TraplineError when the temporary folder belongs to somebody else.
    """
    registry = _registry()
    with _locked(registry):
        sweep(registry)
        entry = Path(tempfile.mkdtemp(prefix="job-", dir=registry))
        lock = _try_lock(entry)
        if folder is None:
            (entry / "work").mkdir()
        else:
            folder.mkdir(parents=True)
            (entry / "work").symlink_to(folder.resolve(), target_is_directory=True)
    try:
        yield Workspace(entry)
    finally:
        with _locked(registry):
            _clear(entry)
            if lock is not None:
                os.close(lock)
        with contextlib.suppress(OSError):  # not empty: another job is running
            registry.rmdir()


def _registry() -> Path:
    path = Path(tempfile.gettempdir()).resolve() / f"trapline-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    if path.stat().st_uid != os.getuid() or path.is_symlink():
        raise TraplineError(f"{path}: belongs to another user; set TMPDIR to a folder of your own")
    return path


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _try_lock(folder: Path) -> int | None:
    """A descriptor that holds the lock on `folder`, or None where a living process has it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def sweep(registry: Path) -> None:
    """End and delete what killed launchers left behind."""
    for entry in registry.iterdir():
        lock = _try_lock(entry)
        if lock is not None:
            _clear(entry)
            os.close(lock)


def _clear(entry: Path) -> None:
    end_processes(entry.name)
    if not _end_containers(entry):
        return  # the entry stays, and with it the task for the next command
    work = entry / "work"
    if work.is_symlink():
        shutil.rmtree(work.resolve(), ignore_errors=True)
    shutil.rmtree(entry, ignore_errors=True)


def _end_containers(entry: Path) -> bool:
    """Remove the containers of a job that has used Docker. Returns whether none is left."""
    client = entry / DOCKER
    if not client.is_file():
        return True
    from launch.local.docker_engine import remove_what_is_left

    return remove_what_is_left(client.read_text(encoding="utf-8"), entry.name)


def end_processes(identity: str) -> None:
    """Kill this user's processes that carry `identity` in their environment, and wait until they are gone."""
    deadline, quiet = time.monotonic() + PATIENCE, 0
    while (
        quiet < 2 and time.monotonic() < deadline
    ):  # twice: one that is just starting has no environment yet
        found = _processes(identity)
        quiet = 0 if found else quiet + 1
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _processes(identity: str) -> list[int]:
    mark = f"{MARKER}={identity}".encode()
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):  # another user's, or gone; a zombie's environment is empty
                if mark in Path(entry.path, "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[Path | None]:
    """`folder`, made where needed and held against other jobs; None where one that lives holds it.

    An empty folder is removed at the end.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _try_lock(folder)
        if lock is None:
            yield None
            return
        if folder.exists() and os.fstat(lock).st_ino == folder.stat().st_ino:
            break
        os.close(lock)  # removed by the job that held it before
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):  # not empty: a checkpoint to go on from
            folder.rmdir()
        os.close(lock)
