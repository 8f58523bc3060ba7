import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.support.cifar import random_batches, write_binary, write_python
from trapline.errors import TraplineError
from trapline.images.canonical import canonicalise
from trapline.preparation.cifar_batches import batches_in, write_class_folders

WRITERS = {"binary": write_binary, "python": write_python}


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.ppm"))}


@pytest.mark.parametrize("version", WRITERS)
def test_every_image_becomes_a_file_of_its_class_and_part_with_its_very_pixels(tmp_path, version):
    batches = random_batches()
    folder = WRITERS[version](tmp_path / "raw", batches)
    found = files(write_class_folders(batches_in(folder), tmp_path / "out"))
    assert len(found) == 24
    pixels = canonicalise(found["test/bird/test_batch-00002.ppm"]).pixels
    planes = batches["test_batch"][1][2].reshape(3, 32, 32)
    assert np.array_equal(pixels, planes.transpose(1, 2, 0))
    assert "train/airplane/data_batch_4-00003.ppm" in found


def test_both_versions_give_the_same_files(tmp_path):
    made = [
        files(write_class_folders(write(tmp_path / f"{name}-raw", random_batches()), tmp_path / name))
        for name, write in WRITERS.items()
    ]
    assert made[0] == made[1]


def test_a_batch_that_python_3_wrote_is_read_as_well(tmp_path):
    batches = random_batches()
    folder = write_python(tmp_path / "raw", batches)
    labels, planes = batches["data_batch_2"]
    content = {b"labels": labels, b"data": planes}
    (folder / "data_batch_2").write_bytes(pickle.dumps(content, 4))
    again = write_binary(tmp_path / "binary", batches)
    assert files(write_class_folders(folder, tmp_path / "a")) == files(
        write_class_folders(again, tmp_path / "b")
    )


def test_the_inner_folder_of_the_archives_is_found_and_other_folders_are_not(tmp_path):
    inner = write_binary(tmp_path / "cifar-10-batches-bin", random_batches())
    assert batches_in(tmp_path) == inner
    (tmp_path / "other").mkdir()
    assert batches_in(tmp_path / "other") is None
    assert batches_in(tmp_path / "absent") is None


class Evil:
    def __reduce__(self):
        return os.system, ("touch escaped",)


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def with_label(path):
    data = bytearray(path.read_bytes())
    data[3073] = 200
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("version", "name", "harm", "message"),
    [
        ("binary", "data_batch_3.bin", cut, r"data_batch_3\.bin: 12287 bytes are not a whole number of im"),
        ("binary", "data_batch_3.bin", with_label, r"data_batch_3\.bin: image 1 has the label 200"),
        ("binary", "data_batch_3.bin", Path.unlink, r"data_batch_3\.bin: no such file, though other batches"),
        ("binary", "batches.meta.txt", Path.unlink, r"batches\.meta\.txt: cannot be read"),
        ("python", "test_batch", cut, r"test_batch: is no pickle"),
        ("python", "test_batch", lambda path: path.write_bytes(pickle.dumps([1])), "holds no dictionary"),
        (
            "python", "test_batch",
            lambda path: path.write_bytes(b"\x80\x02}r\xff\xff\xff\x7f."),
            "is no pickle of plain data .it numbers something 2147483647",
        ),
        (
            "python", "test_batch",
            lambda path: path.write_bytes(pickle.dumps({"labels": [1], "data": np.zeros((2, 3072), "u1")})),
            "test_batch: has 1 labels but 2 images",
        ),
        (
            "python", "test_batch",
            lambda path: path.write_bytes(pickle.dumps({"labels": [1], "data": np.zeros((1, 3072))})),
            "test_batch: has 1 labels but none images",
        ),
    ],
)  # fmt: skip
def test_a_damaged_batch_is_named_with_what_is_wrong(tmp_path, version, name, harm, message):
    folder = WRITERS[version](tmp_path / "raw", random_batches())
    harm(folder / name)
    with pytest.raises(TraplineError, match=message):
        write_class_folders(folder, tmp_path / "out")


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_no_code_of_a_pickle_runs(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    folder = write_python(tmp_path / "raw", random_batches())
    (folder / "data_batch_1").write_bytes(pickle.dumps({"labels": Evil(), "data": Evil()}, protocol))
    with pytest.raises(
        TraplineError, match=r"data_batch_1: is no pickle of plain data \(it asks for .*system"
    ):
        write_class_folders(folder, tmp_path / "out")
    assert not (tmp_path / "escaped").exists()


def test_a_pickle_cannot_change_what_stands_for_its_arrays(tmp_path):
    folder = write_python(tmp_path / "raw", random_batches())
    (folder / "data_batch_1").write_bytes(b"\x80\x02cnumpy\ndtype\n}U\x08__init__Nsb.")
    with pytest.raises(TraplineError, match="data_batch_1: is no pickle, or damaged"):
        write_class_folders(folder, tmp_path / "out")
