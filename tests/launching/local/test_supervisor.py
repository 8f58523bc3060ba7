"""The supervisor ends with its nodes, and nothing outlives it."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from trapline.launching.local import supervisor

SCRIPT = Path(supervisor.__file__)
# A process that leaves its session and its parent, as daemons do, and writes its id into a file.
DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1], "w").write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
os.wait()
while not (os.path.exists(sys.argv[1]) and open(sys.argv[1]).read()):
    time.sleep(0.01)
"""


def node(tmp_path, code, *arguments, name="node 1", links=None):
    return {
        "name": name,
        "command": [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        "inherits": ["PATH"],
        "environment": {"PYTHONUNBUFFERED": "1"},
        "folder": str(tmp_path),
        "links": links or {},
    }


def command(tmp_path, *nodes):
    file = tmp_path / "nodes.json"
    file.write_text(json.dumps(nodes))
    return [sys.executable, "-IS", str(SCRIPT), str(file)]


def supervise(tmp_path, *nodes):
    return subprocess.run(command(tmp_path, *nodes), capture_output=True, text=True, timeout=60)


def read_when_there(path):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.02)
    raise AssertionError(f"{path} did not appear")


def gone(pid):
    try:
        psutil.wait_procs([psutil.Process(pid)], timeout=20)
    except psutil.NoSuchProcess:
        return True
    return not psutil.pid_exists(pid)


def test_the_output_and_the_exit_code_are_those_of_the_node(tmp_path):
    done = supervise(tmp_path, node(tmp_path, "print('hello'); raise SystemExit(3)"))
    assert (done.stdout, done.returncode) == ("hello\n", 3)


def test_the_last_lines_of_a_node_that_ends_at_once_are_not_lost(tmp_path):
    done = supervise(
        tmp_path,
        node(tmp_path, "print('x\\n' * 5000)"),
        node(tmp_path, "print('y\\n' * 5000)", name="node 2"),
    )
    assert done.returncode == 0
    assert done.stdout.count("[node 1] x\n") == done.stdout.count("[node 2] y\n") == 5000


def test_links_stand_for_mounts(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_text("content")
    links = {str(tmp_path / "base" / "input" / "set"): str(tmp_path / "data")}
    done = supervise(tmp_path, node(tmp_path, "print(open('base/input/set/file').read())", links=links))
    assert done.stdout == "content\n"


def test_a_failing_node_stops_the_others(tmp_path):
    done = supervise(
        tmp_path,
        node(tmp_path, "import time; time.sleep(600)"),
        node(tmp_path, "raise SystemExit(4)", name="node 2"),
    )
    assert done.returncode == 4


def test_a_node_that_ends_well_leaves_the_others_running(tmp_path):
    done = supervise(
        tmp_path,
        node(tmp_path, "pass"),
        node(tmp_path, "import time; time.sleep(0.5); print('last')", name="node 2"),
    )
    assert (done.stdout, done.returncode) == ("[node 2] last\n", 0)


def test_a_killed_node_is_a_failure(tmp_path):
    done = supervise(tmp_path, node(tmp_path, "import os; os.kill(os.getpid(), 9)"))
    assert done.returncode == 128 + signal.SIGKILL


def test_what_a_node_leaves_running_is_ended(tmp_path):
    done = supervise(tmp_path, node(tmp_path, DAEMON, tmp_path / "pid"))
    assert done.returncode == 0
    assert gone(read_when_there(tmp_path / "pid"))


STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(600)
"""


@pytest.mark.slow
def test_sigterm_ends_even_a_node_that_ignores_it(tmp_path, monkeypatch):
    process = subprocess.Popen(command(tmp_path, node(tmp_path, STUBBORN, tmp_path / "pid")))
    pid = read_when_there(tmp_path / "pid")
    process.terminate()
    assert process.wait(30) == 128 + signal.SIGTERM
    assert gone(pid)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["launcher", "supervisor and then nothing"])
def test_a_killed_launcher_takes_all_with_it(tmp_path, victim):
    supervised = command(tmp_path, node(tmp_path, STUBBORN, tmp_path / "pid"))
    launcher = subprocess.Popen(
        [sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])", *supervised]
    )
    pid = read_when_there(tmp_path / "pid")
    children = psutil.Process(launcher.pid).children(recursive=True)
    if victim == "launcher":
        launcher.kill()
        launcher.wait()
        assert all(gone(child.pid) for child in children)
        assert gone(pid)
    else:  # nobody is left to end the node: that is what the next launch's sweep is for
        psutil.Process(launcher.pid).children()[0].kill()
        launcher.wait(20)
        assert psutil.pid_exists(pid)
        os.kill(pid, signal.SIGKILL)
