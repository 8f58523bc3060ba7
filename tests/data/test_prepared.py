import errno
import json
import multiprocessing
import pickle
import shutil
import stat
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from trapline.data.prepared import SCHEMA, PackedPart, open_prepared, sites_and_sequences
from trapline.errors import TraplineError


@pytest.fixture
def copy(small_demo, tmp_path):
    return shutil.copytree(small_demo, tmp_path / "prepared")


def test_the_parts_open_with_common_tools(small_demo):
    description = json.loads((small_demo / "dataset.json").read_text())
    for part in ("train", "val", "test", "unlabeled"):
        tables = [
            pa.ipc.open_file(small_demo / name).read_pandas() for name in description["parts"][part]["files"]
        ]
        rows = pd.concat(tables)
        assert len(rows) == description["parts"][part]["images"]
        assert list(rows.columns) == [
            "id", "image", "labels", "site", "sequence", "width", "height", "sha256", "weight", "time",
        ]  # fmt: skip
        assert all(image.startswith(b"\xff\xd8\xff") for image in rows["image"])


def test_a_part_travels_to_another_process_without_its_images(small_demo):
    part = open_prepared(small_demo).part("train")
    assert len(part) > 0
    assert len(pickle.dumps(part)) < 1000
    assert bytes(pickle.loads(pickle.dumps(part)).jpeg(3)) == bytes(part.jpeg(3))


def test_a_folder_without_a_description_is_refused(tmp_path):
    with pytest.raises(TraplineError, match=r"dataset\.json: no such file; entry_points/prepare\.py"):
        open_prepared(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"), [("format_version", 2), ("task", "regression"), ("classes", "cat"), ("surplus", 1)]
)
def test_another_version_is_refused_with_the_key(copy, key, value):
    path = copy / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(TraplineError, match=rf"dataset\.json: {key}: .*prepare the data again"):
        open_prepared(copy)


def test_a_set_from_before_the_scope_of_sequences_was_kept_opens_and_decides_by_its_images(copy):
    path = copy / "dataset.json"
    content = json.loads(path.read_text())
    content["split"].pop("sequences", None)
    path.write_text(json.dumps(content))
    split = open_prepared(copy).description.split
    assert split.sequences == "global"
    anew = pa.table({"site": [*"aabbccdd"], "sequence": [*"12121212"]})
    assert len(set(sites_and_sequences(anew, split)[1].number)) == 8  # each site counts its own
    kept = split.model_validate({**content["split"], "sequences": "global"})
    assert len(set(sites_and_sequences(anew, kept)[1].number)) == 2
    assert list(kept.model_dump())[:5] == ["kind", "shares", "seed", "unseen_sites", "sequences"]


def test_a_scope_of_sequences_that_is_none_is_refused(copy):
    path = copy / "dataset.json"
    content = json.loads(path.read_text())
    content["split"]["sequences"] = "by_camera"
    path.write_text(json.dumps(content))
    with pytest.raises(TraplineError, match=r"dataset\.json: split\.sequences: .*prepare the data again"):
        open_prepared(copy)


def test_a_cut_file_is_named(copy):
    path = next((copy / "train").iterdir())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TraplineError, match="train: damaged"):
        open_prepared(copy)


def test_a_missing_file_is_named(copy):
    next((copy / "val").iterdir()).unlink()
    with pytest.raises(TraplineError, match="val"):
        open_prepared(copy)


def test_missing_rows_are_noticed(copy):
    path = copy / "dataset.json"
    content = json.loads(path.read_text())
    content["parts"]["train"]["images"] += 1
    path.write_text(json.dumps(content))
    with pytest.raises(TraplineError, match="train: holds"):
        open_prepared(copy)


@pytest.fixture
def refusing_mount(copy, tmp_path, monkeypatch):
    """The set in a folder whose files can be read but not memory-mapped, as on some FUSE mounts."""
    original = pa.memory_map

    def memory_map(path, *arguments):
        if Path(path).is_relative_to(copy):
            raise OSError(errno.ENODEV, "Memory mapping file failed")
        return original(path, *arguments)

    monkeypatch.setattr(pa, "memory_map", memory_map)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return copy


def listing(folder):
    """Everything below `folder` with what a write would change."""
    states = {path: path.stat() for path in sorted([folder, *folder.rglob("*")])}
    return [(path, state.st_mtime_ns, state.st_size, state.st_ino) for path, state in states.items()]


def first_image(part):
    return bytes(part.jpeg(0))


def test_where_mapping_is_refused_the_parts_are_copied_once_and_mapped_from_there(
    refusing_mount, small_demo, tmp_path, capsys
):
    before = listing(refusing_mount)
    prepared = open_prepared(refusing_mount, parts=("train", "val"))
    for name in ("train", "val"):
        assert prepared.part(name).table.equals(open_prepared(small_demo).part(name).table)
        assert prepared.part(name).files == prepared.part(name).files
        assert all(file.is_relative_to(tmp_path / "temporary") for file in prepared.part(name).files)
    assert len(list((tmp_path / "temporary").glob("*/*"))) == 2
    assert "cannot be memory-mapped there; copying 2" in capsys.readouterr().out
    assert listing(refusing_mount) == before


def test_another_process_reads_the_copies_after_the_set_is_gone(refusing_mount, small_demo):
    part = open_prepared(refusing_mount, parts=("train",)).part("train")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        read = pool.apply(first_image, (part,))
    assert read == first_image(open_prepared(small_demo).part("train"))


def test_where_mapping_is_refused_damage_and_absence_are_still_told(refusing_mount):
    path = next((refusing_mount / "train").iterdir())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TraplineError, match="train: damaged"):
        open_prepared(refusing_mount)
    path.unlink()
    with pytest.raises(TraplineError, match="train: damaged"):
        open_prepared(refusing_mount)


def test_a_temporary_disk_that_is_full_is_named(refusing_mount, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(TraplineError, match=r"train-00000\.arrow: cannot be copied .*No space.*TMPDIR"):
        open_prepared(refusing_mount)


def test_a_read_only_folder_is_opened_and_left_as_it_is(copy):
    writable = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
    for path in (copy, *copy.rglob("*")):
        path.chmod(path.stat().st_mode & ~writable)
    before = listing(copy)
    assert len(open_prepared(copy).part("train")) > 0
    assert listing(copy) == before
    for path in (copy, *copy.rglob("*")):
        path.chmod(path.stat().st_mode | stat.S_IWUSR)


def test_the_label_matrix_has_a_row_for_each_image_also_for_one_without_labels(tmp_path):
    labels = [[0, 2], [], [1], [0, 1, 2]]
    for number, rows in enumerate((labels[:3], labels[3:])):
        table = pa.Table.from_pylist([{"labels": row} for row in rows], SCHEMA)
        with pa.OSFile(f"{tmp_path}/{number}.arrow", "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as arrow:
            arrow.write_table(table)
    part = PackedPart((tmp_path / "0.arrow", tmp_path / "1.arrow"))
    matrix = part.label_matrix(4)
    assert matrix.dtype == np.float32
    assert matrix.tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0], [1, 1, 1, 0]]
    assert part.label_matrix(4) is matrix
    assert pickle.loads(pickle.dumps(part)).label_matrix(4).tolist() == matrix.tolist()
    assert PackedPart(()).label_matrix(3).shape == (0, 3)
