"""Where a local job works, and who cleans up after one that was killed.

Every job has an entry `<temporary folder>/trapline-<user id>/<id>/`, locked (flock) while its launcher lives.
An entry that is not locked belongs to a launcher that was killed: whoever starts the next job ends the
processes that are left of it (they carry its id in their environment) and deletes its folders.
A job that uses Docker says so in its entry (`Workspace.will_use_docker`): its containers and networks are
removed as well, and where the engine does not answer, the entry stays for the next time. Paths through
the entry are safe to put into URIs and volume lists, whatever the user's own paths look like.
"""

import contextlib
import os
import shutil
import signal
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trapline.errors import TraplineError, UsageError
from trapline.storage import held, hold, remove_empty

MARKER = "TRAPLINE_WORKSPACE"  # the environment variable that every process of a job carries
DOCKER = "docker"  # the file in an entry that names the client of Docker's engine
PATIENCE = 10.0  # seconds for killed processes to vanish
OUT_OF_SIGHT = (FileNotFoundError, ProcessLookupError, PermissionError)  # has ended, or is another user's


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

    def folder(self, name: str) -> Path:
        """A new folder where there is space, at the same place as `link` makes one of another."""
        path = self.root / name
        path.mkdir()
        return self.link(name, path)

    def give(self, name: str, source: Path) -> Path:
        """Such a path for a folder, or for a new one that holds a copy of a file, of the same time of change.

        A job sees folders, and where it is a container no link leads out of one.
        """
        if source.is_dir():
            return self.link(name, source)
        folder = self.folder(name)
        shutil.copy2(source, folder / source.name)
        return folder

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
    registry = Path(tempfile.gettempdir()).resolve() / f"trapline-{os.getuid()}"
    with _registry(registry):
        sweep(registry)
        entry = Path(tempfile.mkdtemp(prefix="job-", dir=registry))
        lock = hold(entry)
    try:
        if folder is None:
            (entry / "work").mkdir()
        else:
            folder.mkdir(parents=True)
            (entry / "work").symlink_to(folder.resolve(), target_is_directory=True)
        yield Workspace(entry)
    finally:
        with _registry(registry):
            _clear(entry)
            os.close(lock)


@contextlib.contextmanager
def _registry(path: Path) -> Iterator[None]:
    """Hold the folder of all entries, so that nobody adds, sweeps or removes meanwhile.

    It goes with the last entry. Raises TraplineError where it is somebody else's.
    """
    _refuse_foreign(path)
    with held(path, mode=0o700):
        _refuse_foreign(path)  # it may have come since
        yield


def _refuse_foreign(path: Path) -> None:
    try:
        state = path.lstat()
    except FileNotFoundError:
        return
    if state.st_uid != os.getuid() or not stat.S_ISDIR(state.st_mode):
        raise TraplineError(f"{path}: is no folder of your own; set TMPDIR to a folder of your own")


def sweep(registry: Path) -> None:
    """End and delete what killed launchers left behind."""
    for entry in filter(Path.is_dir, list(registry.iterdir())):
        try:
            lock = hold(entry, wait=False)
        except BlockingIOError:
            continue
        _clear(entry)
        os.close(lock)


def _clear(entry: Path) -> None:
    end_processes(entry.name)
    client = entry / DOCKER
    if client.is_file():
        from trapline.launching.local.docker_engine import remove_what_is_left

        if not remove_what_is_left(client.read_text(encoding="utf-8"), entry.name):
            return  # the entry stays, and with it the task for the next command
    for folder in ((entry / "work").resolve(), entry):  # the first may lie elsewhere
        shutil.rmtree(folder, ignore_errors=True)


def end_processes(identity: str) -> None:
    """Kill this user's processes that carry `identity` in their environment, and wait until they are gone."""
    deadline, quiet = time.monotonic() + PATIENCE, 0
    while quiet < 2 and time.monotonic() < deadline:  # twice: one just starting has no environment yet
        found = list(_processes(identity))
        quiet = 0 if found else quiet + 1
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _processes(identity: str) -> Iterator[int]:
    mark = f"{MARKER}={identity}".encode()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(*OUT_OF_SIGHT):  # a zombie's environment is empty
                if mark in Path(entry.path, "environ").read_bytes().split(b"\0"):
                    yield int(entry.name)


def new_folder(folder: Path, taken: str) -> None:
    """Make the folder of a run. Raises UsageError saying `taken` where there is one already."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise UsageError(taken) from None
    except OSError as error:
        raise TraplineError(f"{folder}: cannot be made ({error.strerror}); choose another --output") from None


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[Path | None]:
    """`folder`, made where needed and held against other jobs; None where one that lives holds it.

    An empty folder is removed at the end.
    """
    try:
        lock = hold(folder, wait=False)
    except BlockingIOError:
        yield None
        return
    try:
        yield folder
    finally:
        remove_empty(folder)
        os.close(lock)


def reserve_port() -> socket.socket:
    """A socket that keeps a free port of all addresses for a server that is yet to start, until it is closed.

    The socket is bound and does not listen. So the system gives its port to nobody who asks for any port, nor
    for this one, but for servers that allow an address to be used again (SO_REUSEADDR), as torchrun's does:
    between the choice and the server's start there is no moment at which another job could take it.
    """
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    kept = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            kept.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("", 0))
    except OSError:
        kept.close()
        raise
    return kept


def port_of(kept: socket.socket) -> int:
    """The port that a socket is bound to."""
    return int(kept.getsockname()[1])
