"""While a local job runs, nothing of its environment lies in a file or stands on a command line."""

import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("sagemaker")

from trapline.launching.local.workspace import open_workspace
from trapline.launching.sdk.internals import JobSession, LocalJob, NodeProcesses, local_jobs

INHERITED = {
    "AWS_ACCESS_KEY_ID": "canary-of-a-key",
    "AWS_SECRET_ACCESS_KEY": "canary/of+a/secret",
    "AWS_SESSION_TOKEN": "canary-of-a-token",
    "HTTPS_PROXY": "http://user:canary-of-a-proxy@127.0.0.1:9",
}
REQUESTED = {"LABELLING_TOKEN": "canary-of-a-request", "AWS_SESSION_TOKEN": "canary-instead-of-a-token"}
OF_THE_TERMINAL = {"MY_OWN_PASSWORD": "canary-of-the-terminal"}
CANARY = b"canary"
# It says what it sees only where that is all it should see, and runs until it is told to end.
SCRIPT = """
import os, pathlib, sys, time
here = pathlib.Path(sys.argv[1])
canaries = [text for text in os.environ.values() if "cana" "ry" in text]
(here / "seen").write_text(f"{len(canaries)} {sum(map(len, canaries))}")
while not (here / "end").exists():
    time.sleep(0.01)
"""


@pytest.fixture
def canaries(monkeypatch):
    """The environment holds values that must lie nowhere."""
    for name, value in (INHERITED | OF_THE_TERMINAL).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def running(canaries, tmp_path, monkeypatch):
    """A processing job that runs, whose request asks for variables; ended with the test: (folder, thread)."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "job.py").write_text(SCRIPT)
    with open_workspace(tmp_path / ".work") as place:
        session = JobSession(LocalJob(place, None, tmp_path, lambda process, _: process.wait()))
        words = [sys.executable, str(tmp_path / "job.py"), str(tmp_path)]

        def work():
            with local_jobs(NodeProcesses):
                NodeProcesses("local", 1, "image", session, words).process([], None, REQUESTED, "job")

        thread = threading.Thread(target=work)
        thread.start()
        _wait_for(tmp_path / "seen", thread)
        yield tmp_path, thread
        (tmp_path / "end").touch()
        thread.join()


def _wait_for(path, thread):
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_text()):
        assert thread.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _files_with(folder, text):
    found = []
    for path in folder.rglob("*"):
        try:
            found += [path] if path.is_file() and text in path.read_bytes() else []
        except OSError:
            continue  # it has been deleted meanwhile
    return found


def _command_lines_with(text):
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [path] if text in path.read_bytes() else []
        except OSError:
            continue  # it has ended
    return found


def test_a_job_has_its_credentials_and_no_file_or_command_line_does(running):
    folder, thread = running
    expected = (INHERITED | REQUESTED).values()
    assert (folder / "seen").read_text() == f"{len(expected)} {sum(map(len, expected))}"
    assert list(folder.rglob("nodes.json"))
    assert _files_with(folder, CANARY) == []
    assert _command_lines_with(CANARY) == []
    (folder / "end").touch()
    thread.join()
    assert _files_with(folder, CANARY) == []


def test_names_are_written_so_that_a_file_says_what_a_job_gets(running):
    (nodes,) = running[0].rglob("nodes.json")
    assert all(f'"{name}"' in nodes.read_text() for name in INHERITED | REQUESTED)
    assert "MY_OWN_PASSWORD" not in nodes.read_text()
