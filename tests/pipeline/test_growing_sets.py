"""Executions on a set that grows: no camera that tests a champion was ever trained on."""

import json
import tarfile

import pytest

from tests.conftest import write_jpeg
from tests.support.pipeline_runs import REAL, PipelinePlace, run_words
from trapline.data.prepared import open_prepared
from trapline.preparation.completion import leave_division

pytest.importorskip("sagemaker_training")

TINY = [
    "--prepare", "short-side=32", "--set", "arch=shufflenet_v2_x0_5", "image_size=32", "num_workers=0",
    "weights=none", "precision=fp32", "batch_size=8", "--param", "EpochsPhase1=1", "EpochsPhase2=1",
    "ConfidenceThreshold=0.2", "QualityGate=9",
]  # fmt: skip
GROWTH = (("one", 8), ("two", 13), ("three", 18))  # executions, and how many cameras each finds


def grow(folder, cameras, images=4):
    """Images of two classes at so many cameras, the tables written anew; those that are there stay."""
    features, labels = ["id,filepath,site"], ["id,fox,owl"]
    for camera in range(cameras):
        for number in range(images):
            name = f"{camera}-{number}"
            path = folder / f"{name}.jpg"
            if not path.exists():
                write_jpeg(path, 100 * camera + number)
            features.append(f"{name},{name}.jpg,Camera {camera}")
            labels.append(f"{name},{1 - number % 2},{number % 2}")
    (folder / "train_features.csv").write_text("\n".join(features))
    (folder / "train_labels.csv").write_text("\n".join(labels))
    unlabeled = ["id,filepath,site"]
    for number in range(2):
        if not (folder / f"new-{number}.jpg").exists():
            write_jpeg(folder / f"new-{number}.jpg", 9000 + number)
        unlabeled.append(f"new-{number},new-{number}.jpg,Elsewhere")
    (folder / "test_features.csv").write_text("\n".join(unlabeled))


def sites_of(run, *parts):
    """The cameras in some parts of the set that a run prepared."""
    prepared = open_prepared(run / "Prepare")
    return {site for part in parts for site in prepared.part(part).table["site"].to_pylist()}


def check(runs):
    """No camera that tests is one that any run was trained on, and there are more and more of them."""
    trained_on = set().union(*(sites_of(run, "train", "val") for run in runs))
    assert sites_of(runs[-1], "test").isdisjoint(trained_on)
    assert len(sites_of(runs[-1], "test")) > len(sites_of(runs[0], "test"))


def test_no_camera_changes_sides_while_each_execution_takes_up_where_the_last_one_ended(
    tmp_path, call_script
):
    raw, completed = tmp_path / "raw", tmp_path / "completed"
    raw.mkdir()
    completed.mkdir()
    runs = []
    for name, cameras in GROWTH:
        grow(raw, cameras)
        done = call_script(
            "prepare.py", "--input", raw, "--output", tmp_path / name / "Prepare", "--source-name", "raw",
            "--completed", completed, "--short-side", "16", "--processes", "1",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        leave_division(tmp_path / name / "Prepare", completed, "raw")  # as Collect does
        runs.append(tmp_path / name)
    check(runs)
    lines = {open_prepared(run / "Prepare").description.split.line for run in runs}
    assert len(lines) == 1


@pytest.mark.long
def test_the_champion_of_the_third_execution_is_tested_on_cameras_that_none_was_trained_on(tmp_path):
    place, raw = PipelinePlace(tmp_path), tmp_path / "raw"
    raw.mkdir()
    runs = []
    for name, cameras in GROWTH:
        grow(raw, cameras)
        done = place.pipeline(*run_words("raw", name, *TINY), script=REAL)
        assert done.returncode == 0, done.stdout + done.stderr
        assert ("cameras stay in their parts of runs" in done.stdout) == bool(runs)
        runs.append(tmp_path / "runs" / name)
    check(runs)
    lines = {json.loads((run / "Evaluate" / "evaluation.json").read_text())["data"]["line"] for run in runs}
    assert len(lines) == 1
    with tarfile.open(runs[-1] / "Evaluate" / "champion" / "model.tar.gz") as archive:
        described = json.load(archive.extractfile("model.json"))
    assert described["line"] in lines
