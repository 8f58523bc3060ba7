"""Workspaces: what a job leaves behind when it ends, and what the next one finds when it was killed."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from launch.local.workspace import MARKER, locked_folder, open_workspace


@pytest.fixture(autouse=True)
def own_registry(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp" / f"trapline-{os.getuid()}"


def marked_process(identity):
    return subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"],
        env={**os.environ, MARKER: identity},
        start_new_session=True,
    )


HOLDER = """
import sys, tempfile, time
from pathlib import Path
from launch.local.workspace import open_workspace
tempfile.tempdir = sys.argv[1]
with open_workspace(Path(sys.argv[2])) as workspace:
    (workspace.root / "bulk").write_text("x")
    print(workspace.identity, flush=True)
    time.sleep(600)
"""


def other_launcher(own_registry, folder):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(own_registry.parent), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
    )
    return process, process.stdout.readline().strip()


def test_nothing_is_left_of_a_workspace(tmp_path, own_registry):
    with open_workspace(tmp_path / "run" / ".work") as workspace:
        (workspace.root / "file").write_text("x")
        assert (tmp_path / "run" / ".work" / "file").exists()
    assert not (tmp_path / "run" / ".work").exists()
    assert not own_registry.exists()


def test_nothing_is_left_after_an_error(tmp_path, own_registry):
    with pytest.raises(ValueError, match="boom"), open_workspace(tmp_path / ".work"):
        raise ValueError("boom")
    assert not (tmp_path / ".work").exists()
    assert not own_registry.exists()


def test_paths_are_safe_for_uris_whatever_the_folders_are_called(tmp_path):
    strange = tmp_path / "my data: 50% #1?"
    strange.mkdir()
    (strange / "file").write_text("x")
    with open_workspace(tmp_path / "run#2: a" / ".work") as workspace:
        link = workspace.link("data", strange)
        assert not set(f"{workspace.root}{link}") & set(":#?% ")
        assert (link / "file").read_text() == "x"


def test_the_next_launch_ends_what_a_killed_one_left(tmp_path, own_registry):
    launcher, identity = other_launcher(own_registry, tmp_path / "killed" / ".work")
    orphan = marked_process(identity)
    launcher.kill()
    launcher.wait()
    assert (tmp_path / "killed" / ".work" / "bulk").exists()
    with open_workspace(tmp_path / "next" / ".work"):
        assert not (tmp_path / "killed" / ".work").exists()
        assert orphan.wait(20) == -9
    assert not own_registry.exists()


def test_a_running_job_is_left_alone(tmp_path, own_registry):
    launcher, identity = other_launcher(own_registry, tmp_path / "running" / ".work")
    process = marked_process(identity)
    try:
        with open_workspace(tmp_path / "next" / ".work"):
            pass
        assert (tmp_path / "running" / ".work" / "bulk").exists()
        assert process.poll() is None
        assert psutil.pid_exists(launcher.pid)
    finally:
        for victim in (launcher, process):
            victim.kill()
            victim.wait()


def test_a_locked_folder_is_refused_to_others_and_goes_when_empty(tmp_path):
    folder = tmp_path / "checkpoints" / "key"
    with locked_folder(folder) as own:
        assert own == folder
        with locked_folder(folder) as other:
            assert other is None
        assert folder.is_dir()
    assert not folder.exists()


def test_a_locked_folder_with_content_stays(tmp_path):
    folder = tmp_path / "key"
    with locked_folder(folder):
        (folder / "state").write_text("x")
    with locked_folder(folder) as again:
        assert again == folder
        assert (folder / "state").exists()


def test_a_foreign_registry_is_refused(tmp_path, own_registry, monkeypatch):
    from common.errors import TraplineError

    own_registry.symlink_to(tmp_path)
    with pytest.raises(TraplineError, match="set TMPDIR"), open_workspace(Path(tmp_path / "w")):
        raise AssertionError("not reached")
