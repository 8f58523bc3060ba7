import json
import pickle
import shutil

import pandas as pd
import pyarrow as pa
import pytest

from common.data.prepared import open_prepared
from common.errors import TraplineError


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
            "id", "image", "labels", "site", "sequence", "width", "height", "sha256", "weight",
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
