"""Keeping a prepared set: the same of a quicker launch will do, all else is an error; nothing is lost."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from trapline.errors import TraplineError
from trapline.launching.local.sources import keep_prepared


@pytest.fixture
def made(tmp_path):
    """A new set, as a run has it: run/.work/prepared."""
    folder = tmp_path / "run" / ".work" / "prepared"
    fill(folder)
    return folder


def fill(folder, whole=True):
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "part.arrow").write_bytes(b"rows")
    if whole:
        (folder / "dataset.json").write_text("{}")


def content(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


WHOLE = {"train/part.arrow", "dataset.json"}


@pytest.fixture
def target(tmp_path):
    return tmp_path / "prepared" / "raw-0123456789abcdef"


def keep(made, target):
    keep_prepared(made, target, made.parents[1] / "prepared")


def refused(made, target):
    with pytest.raises(TraplineError) as error:
        keep(made, target)
    return str(error.value)


@pytest.fixture
def failing(monkeypatch):
    """Let renames of a path fail, the first or all: (path, error number, times)."""
    original = Path.rename

    def arrange(path, number, times=1):
        failed = []

        def rename(self, other):
            if self == path and len(failed) < times:
                failed.append(other)
                raise OSError(number, os.strerror(number))
            return original(self, other)

        monkeypatch.setattr(Path, "rename", rename)

    return arrange


def test_a_set_is_moved_to_its_name(made, target):
    keep(made, target)
    assert content(target) == WHOLE
    assert not made.exists()


def test_a_whole_set_of_a_quicker_launch_will_do(made, target):
    fill(target)
    keep(made, target)
    assert content(target) == WHOLE


def test_a_folder_that_is_no_whole_set_is_named_and_the_new_set_is_not_lost(made, target, tmp_path):
    fill(target, whole=False)
    said = refused(made, target)
    assert said.startswith(f"{target}: the prepared set cannot be kept there (a folder without dataset.json")
    assert f"--prepared {tmp_path}/run/prepared" in said
    assert content(tmp_path / "run" / "prepared") == WHOLE


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO, errno.EDQUOT])
def test_any_other_error_is_said_with_folder_and_reason(made, target, tmp_path, failing, number):
    failing(made, number)
    said = refused(made, target)
    assert said.startswith(
        f"{target}: the prepared set cannot be kept there ({os.strerror(number)}); it lies"
    )
    assert content(tmp_path / "run" / "prepared") == WHOLE


def test_a_file_in_the_place_of_the_folder_of_sets_is_named(made, target):
    target.parent.write_text("x")
    assert str(target) in refused(made, target)


def test_a_set_that_can_go_nowhere_is_said_to_be_lost(made, target, failing):
    failing(made, errno.ENOSPC, times=2)
    said = refused(made, target)
    assert said.endswith(f"nor in {made.parents[1]}/prepared (No space left on device)")


def test_between_two_disks_a_set_is_copied_and_never_seen_in_part(made, target, failing):
    failing(made, errno.EXDEV)
    keep(made, target)
    assert content(target) == WHOLE
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_copy_that_does_not_fit_leaves_no_part_and_loses_nothing(
    made, target, tmp_path, monkeypatch, failing
):
    full = [("a", "b", "[Errno 28] No space left on device: 'b'")]

    def copy(source, part):
        part.mkdir(parents=True)
        raise shutil.Error(full)

    failing(made, errno.EXDEV)
    monkeypatch.setattr(shutil, "copytree", copy)
    assert "No space left on device" in refused(made, target)
    assert list(target.parent.iterdir()) == []
    assert content(tmp_path / "run" / "prepared") == WHOLE
