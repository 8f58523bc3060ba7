"""CIFAR-10 as it is published, and sets that come with train and test alone."""

import json
import tarfile

import numpy as np
import pytest

from tests.conftest import write_jpeg
from tests.support.cifar import CLASSES, random_batches, write_binary, write_python
from trapline.data.prepared import open_prepared
from trapline.images.canonical import decode_packed

WRITERS = {"binary": write_binary, "python": write_python}


def prepare(call_script, source, output, *flags):
    done = call_script("prepare.py", "--input", source, "--output", output, "--processes", "1", *flags)
    assert done.returncode == 0, done.stderr
    return done


def described(folder):
    return json.loads((folder / "dataset.json").read_text())


@pytest.mark.parametrize("version", WRITERS)
def test_the_published_archives_become_parts_of_the_very_pixels(tmp_path, call_script, version):
    batches = random_batches(images=9)
    inner = WRITERS[version](tmp_path / "raw" / f"cifar-10-batches-{version}", batches)
    with tarfile.open(tmp_path / "cifar.tar.gz", "w:gz") as archive:
        archive.add(inner, inner.name)
    prepare(call_script, tmp_path / "cifar.tar.gz", tmp_path / "out", "--val-share", "0.2")
    prepared = open_prepared(tmp_path / "out")
    assert {part: files.images for part, files in prepared.description.parts.items()} == {
        "train": 36, "val": 9, "test": 9, "unlabeled": 0,
    }  # fmt: skip
    assert prepared.description.counts["val"] == dict.fromkeys(CLASSES, 3)
    assert prepared.description.jpeg_quality is None
    test = prepared.part("test")
    planes = batches["test_batch"][1].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    for row, name in enumerate(test.table["id"].to_pylist()):
        assert np.array_equal(decode_packed(test.jpeg(row)), planes[int(name[-9:-4])])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cifar.tar.gz", "out", "raw"]


def test_batches_can_be_packed_as_jpeg_too_and_a_damaged_one_is_named(tmp_path, call_script):
    folder = write_binary(tmp_path / "raw", random_batches())
    prepare(call_script, folder, tmp_path / "out", "--quality", "80")
    assert described(tmp_path / "out")["jpeg_quality"] == 80
    assert bytes(open_prepared(tmp_path / "out").part("train").jpeg(0)).startswith(b"\xff\xd8")
    (folder / "test_batch.bin").write_bytes(b"\x07" * 3073)
    done = call_script("prepare.py", "--input", folder, "--output", tmp_path / "out")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{folder}/test_batch.bin: image 0 has the label 7" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw"]


@pytest.fixture
def train_and_test(tmp_path):
    """20 images of each of two classes below train/, 3 below test/, all different but a pair of copies."""
    for label, start in (("cat", 0), ("dog", 100)):
        for number in range(20):
            write_jpeg(
                tmp_path / "raw" / "train" / label / f"s{number % 5}_{number}.jpg", start + number, side=16
            )
        for number in range(3):
            write_jpeg(tmp_path / "raw" / "test" / label / f"t{number}.jpg", start + 50 + number, side=16)
    return tmp_path / "raw"


def test_val_is_drawn_from_train_and_test_is_the_sets_own(train_and_test, tmp_path, call_script):
    done = prepare(call_script, train_and_test, tmp_path / "out")
    description = described(tmp_path / "out")
    assert description["split"]["kind"] == "given"
    assert description["counts"] == {
        "train": {"cat": 18, "dog": 18}, "val": {"cat": 2, "dog": 2}, "test": {"cat": 3, "dog": 3},
    }  # fmt: skip
    note = "val was drawn from train, stratified by class: 4 images of 40 (--val-share 0.1)"
    assert f"note: {note}" in done.stdout
    assert note in json.loads((tmp_path / "out" / "summary.json").read_text())["notes"]
    assert all(
        name.startswith("test/")
        for name in open_prepared(tmp_path / "out").part("test").table["id"].to_pylist()
    )


def test_val_is_drawn_by_site_where_the_images_of_train_have_sites(train_and_test, tmp_path, call_script):
    prepare(
        call_script,
        train_and_test,
        tmp_path / "out",
        "--site-regex",
        "(?P<site>[st][0-9])",
        "--val-share",
        "0.2",
    )
    prepared = open_prepared(tmp_path / "out")
    assert prepared.description.split.unseen_sites
    assert len(set(prepared.part("val").table["site"].to_pylist())) == 1


def test_a_share_for_val_is_refused_where_the_set_has_one(train_and_test, tmp_path, call_script):
    write_jpeg(train_and_test / "val" / "cat" / "v.jpg", 900, side=16)
    flags = ["--input", train_and_test, "--output", tmp_path / "out", "--val-share", "0.3"]
    done = call_script("prepare.py", *flags)
    assert done.returncode == 2
    assert "--val-share: only for a source that comes with train and test but no val" in done.stderr


@pytest.mark.slow
def test_the_real_images_come_out_as_they_are(real_data, tmp_path, call_script):
    with tarfile.open(real_data / "cifar10_test2000.tar") as archive:
        archive.extractall(tmp_path / "raw", filter="data")
    (tmp_path / "raw" / "test").rename(tmp_path / "raw" / "train")
    with tarfile.open(real_data / "cifar10_test2000.tar") as archive:
        archive.extractall(tmp_path / "raw", filter="data")
    done = call_script(
        "prepare.py", "--input", tmp_path / "raw", "--output", tmp_path / "out", "--quality", "lossless"
    )
    assert done.returncode == 0, done.stderr
    assert "2000 groups of byte-identical images" in done.stdout
    assert described(tmp_path / "out")["parts"]["val"]["images"] == 200
