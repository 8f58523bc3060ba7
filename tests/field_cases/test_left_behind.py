"""What systems leave beside people's files is nobody's input."""

import os

import pytest

from tests.support.disk import competition, put, read

SOUND = [f"i{number},img/i{number}.jpg,s{number}" for number in range(4)]
FOLDERS = ["@eaDir", "$RECYCLE.BIN", "$Recycle.Bin", ".thumbnails", "#recycle", "__MACOSX",
           "System Volume Information", "lost+found", ".Trash-1000", "@Recycle", ".@__thumb", "RECYCLER",
           "#snapshot"]  # fmt: skip
FILES = ["._a.jpg", "Thumbs.db", "desktop.ini", ".DS_Store", "a.jpg@SynoEAStream", "~$labels.xlsx",
         "ehthumbs.db", ".~lock.labels.csv#"]  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_of_systems_are_neither_classes_nor_images(tmp_path, name):
    put(
        tmp_path,
        {
            "fox/a.jpg": "",
            "owl/b.jpg": "",
            f"{name}/x.jpg": "",
            f"fox/{name}/a.jpg/SYNOPHOTO_THUMB_M.jpg": "",
        },
    )
    found = read(tmp_path)
    assert found.classes == ["fox", "owl"]
    assert set(found.images.index) == {"fox/a.jpg", "owl/b.jpg"}
    assert found.quarantined == {}
    assert (name in found.notes) == (not name.startswith("."))


@pytest.mark.parametrize("name", FILES)
def test_files_of_systems_are_no_images(tmp_path, name):
    put(tmp_path, {"fox/a.jpg": "", "owl/b.jpg": "", f"fox/{name}": "", name: ""})
    found = read(tmp_path)
    assert set(found.images.index) == {"fox/a.jpg", "owl/b.jpg"}
    assert found.quarantined == {}


@pytest.mark.parametrize("prefix", ["._", ".", "~$"])
def test_twins_of_tables_are_no_tables(tmp_path, prefix):
    put(tmp_path, competition(SOUND))
    twins = {f"{prefix}train_features.csv": b"\0\5\x16\x07", f"{prefix}train_labels.csv": b"\0\5\x16\x07"}
    put(tmp_path, {**twins, f"{prefix}submission_format.csv": b"\0"})
    assert len(read(tmp_path).images) == 4


def test_twins_of_label_tables_and_of_their_images_are_none(tmp_path):
    put(tmp_path, {"data/1.jpg": "", "data/._1.jpg": "", "all.csv": "ImageID,Labels\n1.jpg,a b\n",
                   "._all.csv": b"\0\5\x16\x07Mac OS X", "__MACOSX/data/._1.jpg": ""})  # fmt: skip
    assert read(tmp_path).classes == ["a", "b"]


def test_names_that_are_no_utf8_are_told_with_escapes(tmp_path, call_script):
    put(tmp_path / "raw", {f"{label}/{n}.jpg": n for label in ("fox", "owl") for n in range(8)})
    put(tmp_path / "raw", {os.fsdecode(b"caf\xe9.xlsx"): "", f"fox/{os.fsdecode(b'@eaDir')}/x.jpg": ""})
    flags = ["--processes", "1"]
    done = call_script("prepare.py", "--input", tmp_path / "raw", "--output", tmp_path / "out", *flags)
    assert done.returncode == 0, done.stderr
    assert "caf\\udce9.xlsx: a spreadsheet" in done.stdout


def test_classes_that_only_look_like_systems_stay(tmp_path):
    put(tmp_path, {"@home/a.jpg": "", "recycle/b.jpg": "", "found/c.jpg": ""})
    assert read(tmp_path).classes == ["@home", "found", "recycle"]
