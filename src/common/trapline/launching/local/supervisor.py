"""What takes the place of `docker compose up` in the process backend: it runs a job's nodes as processes.

Run: python supervisor.py NODES.json

NODES.json lists the nodes: command, environment, working folder, and the links that make up its /opt/ml. Of
what may be a secret it has the names alone, `inherits`: their values are in this process's own environment.
When one node fails, the others are stopped. Nothing that the nodes started outlives this process: as a
subreaper (prctl(2)) it inherits whatever loses its parent, and kills it at the end. Nor does it outlive the
launcher. It uses the standard library alone, so that it starts in a few hundredths of a second.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
GRACE = 5.0  # seconds between SIGTERM and SIGKILL; checkpoints do not count on it
POLL = 0.02  # seconds
OUT_OF_SIGHT = (FileNotFoundError, ProcessLookupError, PermissionError)  # has ended, or is another user's


class Stopped(Exception):
    """SIGTERM: the launcher was interrupted, or is gone."""


def main() -> int:
    """Run the nodes to their end. Returns 0, or the exit code of the first that failed."""
    launcher = os.getppid()
    _stay_in_charge()
    if os.getppid() != launcher:  # it went before its death could be noticed
        return 1
    nodes = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    running: list[subprocess.Popen[bytes]] = []
    readers: list[threading.Thread] = []
    try:
        for node in nodes:
            running.append(_start(node, piped=len(nodes) > 1))
            if len(nodes) > 1:
                readers.append(_forward(running[-1], node["name"]))
        code = _wait(running)
    except Stopped:
        code = 128 + signal.SIGTERM
    finally:
        _end_all()
    for reader in readers:
        reader.join()
    return code


def _stay_in_charge() -> None:
    os.setpgid(0, 0)  # Ctrl-C in a terminal reaches the launcher alone, which then stops this process
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, _raise_stopped)
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((PR_SET_CHILD_SUBREAPER, 1), (PR_SET_PDEATHSIG, signal.SIGTERM)):
        if libc.prctl(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")


def _raise_stopped(*_: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopped


def _start(node: dict[str, Any], *, piped: bool) -> subprocess.Popen[bytes]:
    for target, source in node["links"].items():
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(source).mkdir(parents=True, exist_ok=True)
        Path(target).symlink_to(source)
    inherited = {name: os.environ[name] for name in node["inherits"] if name in os.environ}
    return subprocess.Popen(
        node["command"],
        env={**inherited, **node["environment"]},
        cwd=node["folder"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if piped else None,
        stderr=subprocess.STDOUT,
    )


def _forward(process: subprocess.Popen[bytes], name: str) -> threading.Thread:
    def copy() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip():
                os.write(1, f"[{name}] ".encode() + line)

    thread = threading.Thread(target=copy, daemon=True)
    thread.start()
    return thread


def _wait(running: list[subprocess.Popen[bytes]]) -> int:
    while True:
        codes = [process.poll() for process in running]
        for code in filter(None, codes):
            return code if code > 0 else 128 - code
        if None not in codes:
            return 0
        time.sleep(POLL)


def _end_all() -> None:
    """End all descendants: SIGTERM, and SIGKILL to what is still there after the grace period."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    deadline = time.monotonic() + GRACE
    number = signal.SIGTERM
    while children := _descendants():
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        while _reap() and time.monotonic() < deadline:
            time.sleep(POLL)
        number = signal.SIGKILL


def _reap() -> bool:
    """Collect ended children. Returns whether any is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
    except ChildProcessError:
        return False
    return True


def _descendants() -> list[int]:
    """Process ids below this one; an orphan among them is a child of this one, which is a subreaper."""
    parents = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(*OUT_OF_SIGHT):
                state = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
                if state[0] != "Z":
                    parents[int(entry.name)] = int(state[1])
    found: list[int] = []
    generation = {os.getpid()}
    while generation:
        generation = {pid for pid, parent in parents.items() if parent in generation}
        found += generation
    return found


if __name__ == "__main__":
    sys.exit(main())
