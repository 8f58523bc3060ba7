"""Workspaces: what a job leaves behind when it ends, and what the next one finds when it was killed."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from trapline.errors import TraplineError
from trapline.launching.local.workspace import MARKER, locked_folder, open_workspace


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
from trapline.launching.local.workspace import open_workspace
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
    own_registry.symlink_to(tmp_path)
    with pytest.raises(TraplineError, match="set TMPDIR"), open_workspace(Path(tmp_path / "w")):
        raise AssertionError("not reached")


def meddled(monkeypatch, owner, name, place, meddle):
    """Call `meddle` before the first call of `owner.name` after `place` has come to be."""
    original, calls = getattr(owner, name), []

    def function(*arguments, **settings):
        if not calls and place.is_dir():
            calls.append(1)
            meddle()
        return original(*arguments, **settings)

    monkeypatch.setattr(owner, name, function)
    return calls


@pytest.mark.parametrize(("owner", "name"), [(os, "open"), (fcntl, "flock")])
def test_a_launch_may_begin_while_the_last_other_one_removes_the_registry(
    tmp_path, own_registry, monkeypatch, owner, name
):
    calls = meddled(monkeypatch, owner, name, own_registry, own_registry.rmdir)
    with open_workspace(tmp_path / "run" / ".work") as workspace:
        assert calls
        assert workspace.entry.parent == own_registry
        assert workspace.root.is_dir()
    assert not own_registry.exists()


def test_a_launch_that_ends_does_not_remove_the_registry_from_under_one_that_begins(
    tmp_path, own_registry, monkeypatch
):
    """The one that begins has made or found the registry, and comes to lock it when the other has ended."""
    first = open_workspace(tmp_path / "first")
    first.__enter__()
    meddled(monkeypatch, fcntl, "flock", own_registry, lambda: first.__exit__(None, None, None))
    with open_workspace(tmp_path / "second") as workspace:
        assert workspace.entry.is_dir()
        (workspace.root / "file").touch()
    assert not own_registry.exists()


@pytest.mark.parametrize(("owner", "name"), [(os, "open"), (fcntl, "flock")])
def test_a_locked_folder_may_be_removed_with_the_one_above_by_the_job_before(
    tmp_path, monkeypatch, owner, name
):
    folder = tmp_path / "checkpoints" / "key"
    calls = meddled(monkeypatch, owner, name, folder, lambda: shutil.rmtree(folder.parent))
    with locked_folder(folder) as own:
        assert calls
        assert own == folder
        with locked_folder(folder) as other:
            assert other is None
    assert not folder.exists()


def test_a_run_folder_that_is_there_is_refused_and_nothing_of_it_is_removed(tmp_path, own_registry):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").touch()
    with pytest.raises(FileExistsError), open_workspace(tmp_path / "run"):
        raise AssertionError("not reached")
    assert (tmp_path / "run" / "thesis.txt").exists()
    assert not own_registry.exists()


@pytest.mark.parametrize("kind", ["a file", "a link to nowhere"])
def test_what_is_no_folder_in_the_registrys_place_is_named(tmp_path, own_registry, kind):
    own_registry.touch() if kind == "a file" else own_registry.symlink_to(tmp_path / "nowhere")
    with pytest.raises(TraplineError, match="is no folder of your own; set TMPDIR"), open_workspace(None):
        raise AssertionError("not reached")
