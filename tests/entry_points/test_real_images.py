"""The whole road on photographs; skipped without TRAPLINE_REAL_DATA."""

import csv
from pathlib import Path

import numpy as np
import pytest

from trapline.data.prepared import open_prepared
from trapline.images.canonical import PixelSettings, canonicalise, decode_packed
from trapline.models.artefact import load_model

OUTCOMES = Path(__file__).parents[1] / "images" / "malformed_outcomes.csv"
PARTS = ("train", "val", "test", "unlabeled")


def ids(folder):
    prepared = open_prepared(folder)
    return [name for part in PARTS for name in prepared.part(part).table["id"].to_pylist()]


def reasons(folder):
    with (folder / "quarantine.csv").open(newline="") as file:
        return {row["id"]: row["reason"] for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def norway(real_data, tmp_path_factory, call_script):
    folder, source = tmp_path_factory.mktemp("norway") / "prepared", real_data / "camera_traps_norway"
    flags = ["--site-csv", source / "labels.csv", "--short-side", 128]
    done = call_script("prepare.py", "--input", source, "--output", folder, *flags)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_norwegian_frame_is_in_the_set_or_in_quarantine(norway, real_data):
    frames = {
        path.relative_to(real_data / "camera_traps_norway").as_posix()
        for path in (real_data / "camera_traps_norway").rglob("*.JPG")
    }
    assert len(frames) == 300
    assert sorted([*ids(norway), *reasons(norway)]) == sorted(frames)


@pytest.mark.parametrize(
    "arch",
    [pytest.param("resnet18", marks=pytest.mark.slow), pytest.param("swin_t", marks=pytest.mark.long)],
)
def test_norwegian_frames_become_a_model(norway, tmp_path, call_script, arch):
    flags = ["--arch", arch, "--weights", "none", "--image-size", 96, "--epochs", 1, "--batch-size", 25]
    done = call_script("train.py", "--prepared", norway, "--output", tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    _, description = load_model(tmp_path / "model")
    assert description.architecture == arch
    assert description.classes == ["cricetidae", "empty", "lem_lem", "mus_erm"]
    assert description.metrics["best"]["val_loss"] > 0


def test_among_photographs_every_malformed_file_has_its_outcome(real_data, tmp_path, call_script):
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in ("empty", "cricetidae"):
        (raw / name).symlink_to(real_data / "camera_traps_norway" / name)
    (raw / "malformed").symlink_to(real_data / "malformed")
    flags = ["--split", "random", "--max-quarantine", 0.2, "--short-side", 64]
    refused = call_script("prepare.py", "--input", raw, "--output", tmp_path / "out", *flags)
    assert "cricetidae is a link that leads out of the input folder; --follow-links" in refused.stderr
    flags.append("--follow-links")
    done = call_script("prepare.py", "--input", raw, "--output", tmp_path / "out", *flags)
    assert done.returncode == 0, done.stderr
    with OUTCOMES.open(newline="") as file:
        expected = {f"malformed/{row['file']}": row["reason"] for row in csv.DictReader(file)}
    usable = {name for name in ids(tmp_path / "out") if name.startswith("malformed/")}
    found = {**dict.fromkeys(usable, "ok"), **reasons(tmp_path / "out")}
    assert found.pop("malformed/outcomes.csv") == "not_an_image"
    assert found == expected
    assert len(ids(tmp_path / "out")) + len(reasons(tmp_path / "out")) == 237 + 57 + len(expected) + 1


def test_packed_pixels_are_the_pixels_of_serving_but_for_compression(norway, real_data):
    part = open_prepared(norway).part("train")
    for row in range(0, len(part), 10):
        path = real_data / "camera_traps_norway" / part.table["id"][row].as_py()
        served = canonicalise(path.read_bytes(), PixelSettings(short_side=128)).pixels.astype(int)
        packed = decode_packed(part.jpeg(row)).astype(int)
        assert packed.shape == served.shape
        assert np.abs(packed - served).mean() < 2.5
