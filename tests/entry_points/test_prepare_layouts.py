"""Image sets that come with their own split, from folders and archives."""

import itertools
import json
import shutil
import tarfile
import zipfile

import pandas as pd
import pytest

from tests.conftest import write_jpeg
from trapline.data.parts import conflicts
from trapline.data.prepared import open_prepared

PARTS = ("train", "val", "test", "unlabeled")
CODES = {"n01443537": "goldfish", "n02123045": "tabby"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Two classes in Tiny-ImageNet's layout: 4 + 2 + 3 drawn images, one of them damaged."""
    folder = tmp_path_factory.mktemp("tiny") / "tiny-imagenet-200"
    seeds = itertools.count()
    for code in CODES:
        for number in range(2):
            write_jpeg(folder / "train" / code / "images" / f"{code}_{number}.JPEG", next(seeds), side=20)
    for number in range(len(CODES)):
        write_jpeg(folder / "val" / "images" / f"val_{number}.JPEG", next(seeds), side=20)
    for number in range(3):
        write_jpeg(folder / "test" / "images" / f"test_{number}.JPEG", next(seeds), side=20)
    (folder / "test" / "images" / "test_2.JPEG").write_bytes(b"")
    lines = [f"val_{number}.JPEG\t{code}\t0\t0\t9\t9" for number, code in enumerate(CODES)]
    (folder / "val" / "val_annotations.txt").write_text("\n".join(lines))
    (folder / "wnids.txt").write_text("\n".join(CODES))
    (folder / "words.txt").write_text("n01443537\tgoldfish, Carassius auratus\nn02123045\ttabby, tabby cat\n")
    return folder


def prepare(call_script, source, output, *flags):
    flags = ["--processes", "1", "--max-quarantine", "0.5", "--source-name", "tiny", *flags]
    done = call_script("prepare.py", "--input", source, "--output", output, *flags)
    assert done.returncode == 0, done.stderr
    return done


def described(folder):
    return json.loads((folder / "dataset.json").read_text())


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def ids(folder):
    prepared = open_prepared(folder)
    return {part: sorted(prepared.part(part).table["id"].to_pylist()) for part in PARTS}


def test_tiny_imagenet_keeps_its_split_its_names_and_its_codes(tiny, tmp_path, call_script):
    done = prepare(call_script, tiny, tmp_path / "out")
    description, found = described(tmp_path / "out"), ids(tmp_path / "out")
    assert description["classes"] == ["goldfish", "tabby"]
    assert description["class_codes"] == list(CODES)
    assert description["split"] == {
        "kind": "given",
        "shares": {"train": 0.6667, "val": 0.3333, "test": 0.0},
        "seed": 0,
        "unseen_sites": False,
        "sequences": "global",
    }
    assert found["val"] == ["val/images/val_0.JPEG", "val/images/val_1.JPEG"]
    assert found["unlabeled"] == ["test/images/test_0.JPEG", "test/images/test_1.JPEG"]
    assert len(found["train"]) == 4
    assert open_prepared(tmp_path / "out").part("val").labels.tolist() == [0, 1]
    quarantined = pd.read_csv(tmp_path / "out" / "quarantine.csv")
    assert quarantined[["id", "reason"]].values.tolist() == [["test/images/test_2.JPEG", "empty"]]
    assert "the split is the data set's own" in done.stdout
    assert "nothing can be claimed about cameras" in done.stdout


@pytest.mark.parametrize("name", ["set.zip", pytest.param("set.tar.gz", marks=pytest.mark.slow)])
def test_an_archive_gives_the_same_bytes_as_the_folder_and_leaves_nothing(tiny, tmp_path, call_script, name):
    prepare(call_script, tiny, tmp_path / "folder")
    archive = tmp_path / "in" / name
    archive.parent.mkdir()
    pack(archive, tiny)
    prepare(call_script, archive, tmp_path / "file")
    prepare(call_script, archive.parent, tmp_path / "mounted")  # as a platform mounts a single file
    (tmp_path / ".file.unpacked" / "of a killed run").mkdir(parents=True)
    prepare(call_script, archive, tmp_path / "file")  # over the earlier set
    assert content(tmp_path / "file") == content(tmp_path / "mounted") == content(tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "in", "mounted"]


def pack(archive, folder):
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as file:
            for path in sorted(folder.rglob("*"), reverse=True):
                file.write(path, path.relative_to(folder.parent))
    else:
        with tarfile.open(archive, "w:gz" if archive.suffix == ".gz" else "w") as file:
            file.add(folder, folder.name)


def test_a_damaged_archive_is_named_and_leaves_nothing(tiny, tmp_path, call_script):
    archive = tmp_path / "set.zip"
    pack(archive, tiny)
    archive.write_bytes(archive.read_bytes()[:-200])
    done = call_script("prepare.py", "--input", archive, "--output", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.startswith("error: set.zip: is no zip archive, or damaged")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "set.zip"]
    assert list((tmp_path / "out").iterdir()) == []


def test_messages_about_an_unpacked_set_name_the_archive(tiny, tmp_path, call_script):
    shutil.copytree(tiny, tmp_path / "set")
    (tmp_path / "set" / "wnids.txt").write_text("n99\n")
    pack(tmp_path / "set.tar", tmp_path / "set")
    done = call_script("prepare.py", "--input", tmp_path / "set.tar", "--output", tmp_path / "out")
    assert done.stderr.startswith(f"error: {tmp_path}/set.tar/train/n99/images: holds no image")


def test_a_given_split_can_be_left_for_a_random_one(tiny, tmp_path, call_script):
    prepare(call_script, tiny, tmp_path / "out", "--split", "random", "--shares", "0.5,0.5,0")
    assert described(tmp_path / "out")["split"]["kind"] == "random"
    assert len(ids(tmp_path / "out")["train"]) == 3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--split", "site"], "--split site: the source names no sites"),
        (["--shares", "0.5,0.5,0"], "--shares: the source comes with a split"),
    ],
)
def test_what_does_not_go_with_a_given_split_is_refused(tiny, tmp_path, call_script, flags, message):
    done = call_script("prepare.py", "--input", tiny, "--output", tmp_path / "out", *flags)
    assert done.returncode != 0
    assert message in done.stderr


def test_a_given_split_must_be_given(tmp_path, call_script):
    for name in ("a", "b"):
        write_jpeg(tmp_path / "raw" / name / "1.jpg", seed=0)
    done = call_script(
        "prepare.py", "--input", tmp_path / "raw", "--output", tmp_path / "out", "--split", "given"
    )
    assert "--split given: the source comes with no split" in done.stderr


def test_a_limit_leaves_images_out_and_says_so(tiny, tmp_path, call_script):
    done = prepare(call_script, tiny, tmp_path / "out", "--limit-per-class", "1")
    assert {part: len(names) for part, names in ids(tmp_path / "out").items()} == {
        "train": 2, "val": 2, "test": 0, "unlabeled": 1,
    }  # fmt: skip
    assert "--limit-per-class 1: 4 of 9 images were left out" in done.stdout
    prepare(call_script, tiny, tmp_path / "again", "--limit-per-class", "1")
    assert described(tmp_path / "again") == described(tmp_path / "out")


def test_a_given_split_by_camera_speaks_of_unseen_cameras_and_guards_them(tmp_path, call_script):
    places = ("train/a/c1", "train/b/c1", "train/b/c2", "val/a/c3", "val/b/c3", "unlabeled/c3")
    for seed, place in enumerate(places):
        write_jpeg(tmp_path / "raw" / f"{place}-1.jpg", seed)
    flags = ["--site-regex", r"(?P<site>c\d)-"]
    prepare(call_script, tmp_path / "raw", tmp_path / "out", *flags)
    assert described(tmp_path / "out")["split"]["unseen_sites"] is True
    assert conflicts(open_prepared(tmp_path / "out")) == ["site_of_validation"]
    write_jpeg(tmp_path / "raw" / "val" / "a" / "c1-2.jpg", seed=9)
    prepare(call_script, tmp_path / "raw", tmp_path / "shared", *flags)
    assert described(tmp_path / "shared")["split"]["unseen_sites"] is False


@pytest.mark.slow
def test_the_subset_of_tiny_imagenet_is_prepared_whole(real_data, tmp_path, call_script):
    archive = real_data / "tiny_imagenet32_100.tar"
    done = call_script("prepare.py", "--input", archive, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    description = described(tmp_path / "out")
    assert {part: files["images"] for part, files in description["parts"].items()} == {
        "train": 15_000, "val": 3_000, "test": 0, "unlabeled": 0,
    }  # fmt: skip
    assert (len(description["classes"]), description["classes"][0]) == (100, "goldfish")
    assert set(description["counts"]["val"].values()) == {30}
