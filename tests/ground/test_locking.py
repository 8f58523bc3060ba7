"""Folders that come and go between processes: what another one does at the worst moment is forced here."""

import errno
import fcntl
import os
import shutil

import pytest

from trapline import locking
from trapline.locking import held, hold, remove_empty


def once(patch, owner, name, meddle):
    """Call `meddle` before the first call of a function."""
    original, calls = getattr(owner, name), []

    def meddled(*arguments, **settings):
        if not calls:
            calls.append(arguments)
            meddle()
        return original(*arguments, **settings)

    patch.setattr(owner, name, meddled)


@pytest.mark.parametrize(("owner", "name"), [(os, "open"), (fcntl, "flock")])
@pytest.mark.parametrize("file", [None, "lock"])
def test_a_folder_that_goes_before_it_is_locked_is_made_again(tmp_path, monkeypatch, owner, name, file):
    folder = tmp_path / "above" / "folder"
    once(monkeypatch, owner, name, lambda: shutil.rmtree(tmp_path / "above"))
    descriptor = hold(folder, file)
    assert os.path.samestat(os.fstat(descriptor), (folder / (file or "")).stat())
    assert hold(folder, file, wait=False) is None
    os.close(descriptor)


def test_the_folder_above_may_go_while_the_folder_is_being_made(tmp_path, monkeypatch):
    folder = tmp_path / "above" / "folder"
    folder.parent.mkdir()
    original, left = os.mkdir, [1]

    def mkdir(path, *arguments, **settings):
        if left and str(path) == str(folder):
            if not folder.parent.exists():
                left.clear()
                original(folder.parent)
            remove_empty(folder.parent)
        return original(path, *arguments, **settings)

    monkeypatch.setattr(os, "mkdir", mkdir)
    os.close(hold(folder))
    assert folder.is_dir()


def test_another_folder_of_the_same_name_is_not_what_was_locked(tmp_path, monkeypatch):
    folder = tmp_path / "folder"

    def replace():
        folder.rename(tmp_path / "old")
        folder.mkdir()

    once(monkeypatch, fcntl, "flock", replace)
    descriptor = hold(folder)
    assert os.path.samestat(os.fstat(descriptor), folder.stat())
    os.close(descriptor)


def test_a_folder_that_can_never_be_made_is_an_error(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(locking.Path, "mkdir", refuse)
    with pytest.raises(FileNotFoundError):
        hold(tmp_path / "folder")


def test_a_held_folder_goes_when_it_is_empty_and_stays_with_content(tmp_path):
    with held(tmp_path / "folder", mode=0o700):
        assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o700
    assert not (tmp_path / "folder").exists()
    with held(tmp_path / "folder"):
        (tmp_path / "folder" / "file").touch()
    assert (tmp_path / "folder" / "file").exists()


def test_a_folder_that_is_gone_already_or_another_disks_place_is_no_matter(tmp_path, monkeypatch, capsys):
    remove_empty(tmp_path / "nowhere")
    monkeypatch.setattr(locking.Path, "rmdir", _failing(errno.EBUSY))
    remove_empty(tmp_path)
    monkeypatch.undo()
    (tmp_path / "link").symlink_to(tmp_path / "other")
    (tmp_path / "other").mkdir()
    remove_empty(tmp_path / "link")
    assert (tmp_path / "link").is_dir()
    assert capsys.readouterr().out == ""


def test_any_other_reason_for_which_it_stays_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(locking.Path, "rmdir", _failing(errno.EACCES))
    remove_empty(tmp_path / "folder")
    assert capsys.readouterr().out == (
        f"note: {tmp_path}/folder: empty, and cannot be removed (Permission denied)\n"
    )


def _failing(number):
    def fail(_):
        raise OSError(number, os.strerror(number))

    return fail
