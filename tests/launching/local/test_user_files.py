"""What lies in a user's folder: nothing is passed over in silence, and no link leads out unseen."""

import errno
import os
import shutil
import subprocess

import pytest

from tests.support.launching import Place
from trapline.errors import TraplineError
from trapline.launching.commands.artifacts import fetch_model
from trapline.launching.fetching import FoundRun
from trapline.launching.local import user_files
from trapline.launching.local.sources import tree_state
from trapline.launching.local.trial_s3 import trial_folder
from trapline.launching.local.user_files import walk


@pytest.fixture
def folder(tmp_path):
    """raw/a/1.jpg, raw/b/2.jpg, and a folder beside it."""
    for name in ("raw/a/1.jpg", "raw/b/2.jpg", "other/secret.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path / "raw"


def kinds(folder, **how):
    """What is found, by name."""
    return {found.name: found.kind for found in walk(folder, **how)}


def files(folder, **how):
    return [name for name, kind in kinds(folder, **how).items() if kind == "file"]


@pytest.fixture
def shut(monkeypatch):
    """Let a folder be one that this user may not open; permission bits do not bind root."""

    def shut(folder):
        scandir = os.scandir

        def refusing(place):
            if place == str(folder):
                raise PermissionError(errno.EACCES, "Permission denied", str(place))
            return scandir(place)

        monkeypatch.setattr(os, "scandir", refusing)

    return shut


def test_files_come_folder_by_folder_always_in_the_same_order(folder):
    (folder / "z.csv").touch()
    (folder / "a" / "b").mkdir()
    (folder / "a" / "b" / "0.jpg").touch()
    assert files(folder) == ["z.csv", "a/1.jpg", "a/b/0.jpg", "b/2.jpg"]
    assert next(walk(folder)).path == folder / "z.csv"


def test_a_file_is_found_by_itself_and_nothing_where_nothing_is(folder):
    assert files(folder / "a" / "1.jpg") == ["1.jpg"]
    assert files(folder / "nowhere") == []


@pytest.mark.parametrize(
    "use",
    [
        lambda folder: list(walk(folder)),
        lambda folder: tree_state(f"file://{folder}"),
        lambda folder: trial_folder(str(folder), "process"),
        lambda folder: fetch_model(FoundRun("model", model=folder), folder.with_name("fetched")),
    ],
    ids=["a walk", "a step's digest", "the trial S3", "a model's copy"],
)
def test_a_folder_that_cannot_be_opened_is_an_error_that_names_it_and_the_way_out(folder, shut, use):
    shut(folder / "b")
    with pytest.raises(TraplineError) as refused:
        use(folder)
    assert str(refused.value) == (
        f"{folder}/b: cannot be opened (Permission denied), and what is in it would be lost; make it "
        "readable, or move it elsewhere"
    )


@pytest.mark.parametrize("mode", [0o000, 0o111, 0o644])
def test_a_folder_that_permissions_shut_ends_a_launch_with_one_line(tmp_path, class_folders, mode):
    """0o644: its names can be read, and nothing about its files. Root goes through unless it is held back."""
    held_back = []
    if os.getuid() == 0:
        less = "-dac_override,-dac_read_search"
        held_back = ["setpriv", f"--inh-caps={less}", f"--bounding-set={less}"]
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv is not there to hold root back")
    os.chmod(class_folders / "cat", mode)  # noqa: PTH101
    place = Place(tmp_path / "place")
    done = subprocess.run(
        [*held_back, *place.command("resnet18_baseline", "--backend", "process", "--data", class_folders)],
        cwd=place.folder, env=place.environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith(f"error: {class_folders}/cat")
    assert "cannot be opened (Permission denied)" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_system_folder_is_passed_over_whether_it_can_be_opened_or_not(folder, shut):
    for name in ("lost+found", "@eaDir", ".thumbnails", "$RECYCLE.BIN"):
        (folder / name).mkdir()
        (folder / name / "x.jpg").touch()
    shut(folder / "lost+found")
    assert files(folder) == ["a/1.jpg", "b/2.jpg"]


def test_links_within_the_folder_are_followed_and_none_that_leads_out_of_it(folder):
    (folder / "a" / "to b").symlink_to("../b")
    (folder / "a" / "same.jpg").symlink_to("1.jpg")
    (folder / "b" / "secret.jpg").symlink_to(folder.parent / "other" / "secret.jpg")
    (folder / "b" / "whole").symlink_to(folder.parent / "other")
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "loop").symlink_to("loop")
    assert kinds(folder) == {
        "gone.jpg": "nowhere", "loop": "nowhere", "a/1.jpg": "file", "a/same.jpg": "file",
        "a/to b": "folder", "a/to b/2.jpg": "file", "a/to b/secret.jpg": "outside", "a/to b/whole": "outside",
        "b/2.jpg": "file", "b/secret.jpg": "outside", "b/whole": "outside",
    }  # fmt: skip
    assert {"b/secret.jpg", "b/whole/secret.jpg"} <= set(files(folder, follow_links=True))


def test_a_folder_given_by_a_link_is_no_link_that_leads_out(folder):
    link = folder.with_name("link")
    link.symlink_to(folder)
    assert files(link) == ["a/1.jpg", "b/2.jpg"]


def test_a_folder_beside_it_whose_name_begins_alike_is_outside(folder):
    (folder.with_name("raw-2")).mkdir()
    (folder.with_name("raw-2") / "x.jpg").touch()
    (folder / "x.jpg").symlink_to(folder.with_name("raw-2") / "x.jpg")
    assert kinds(folder)["x.jpg"] == "outside"


def test_folders_that_link_each_other_end(folder):
    for name in range(12):
        (folder / str(name)).mkdir()
        (folder / str(name) / "x.jpg").touch()
    for name in range(12):
        for other in range(12):
            (folder / str(name) / f"to {other}").symlink_to(folder / str(other))
        (folder / str(name) / "up").symlink_to("..")
    assert len(files(folder)) < 200
    assert len(set(files(folder, follow_links=True))) < 200


def test_pipes_sockets_and_devices_are_no_files_and_nobody_waits_for_them(folder):
    os.mkfifo(folder / "a" / "pipe.jpg")
    (folder / "b" / "zero.jpg").symlink_to("/dev/zero")
    assert kinds(folder)["a/pipe.jpg"] == "special"
    assert kinds(folder)["b/zero.jpg"] == "outside"
    assert kinds(folder, follow_links=True)["b/zero.jpg"] == "special"


def test_a_name_in_any_encoding_makes_a_line_of_a_digest(folder):
    (folder / os.fsdecode(b"caf\xe9.jpg")).touch()
    assert any(found.line.startswith(b"caf\xe9.jpg\0file") for found in walk(folder))


def test_a_file_that_goes_while_the_folder_is_read_is_nowhere(folder, monkeypatch):
    entries = user_files._entries

    def slow(place):
        found = entries(place)
        (folder / "a" / "1.jpg").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(user_files, "_entries", slow)
    assert kinds(folder / "a") == {"1.jpg": "nowhere"}
