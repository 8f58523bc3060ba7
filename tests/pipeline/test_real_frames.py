"""The pipeline on photographs, with damaged files among the unlabelled ones; skipped without the data."""

import csv
import json

import pytest

from tests.support.pipeline_runs import REAL, PipelinePlace, run_words

pytest.importorskip("sagemaker_training")
pytestmark = pytest.mark.long

SMALL = [
    "--set", "image_size=64", "num_workers=0", "--param", "EpochsPhase1=2", "EpochsPhase2=1", "QualityGate=9",
    "ConfidenceThreshold=0.5", "--prepare", "follow-links=true", "max-quarantine=0.3", "short-side=96",
]  # fmt: skip


def link(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source)


def add_damaged(real_data, unlabeled):
    """Files that cannot be used among the unlabelled ones; returns their ids."""
    names = []
    for path in sorted((real_data / "malformed" / "error").iterdir())[:12]:
        link(path, unlabeled / path.name)
        names.append(path.name)
    (unlabeled / "no bytes.jpg").write_bytes(b"")
    (unlabeled / "tëxt, 100%.jpg").write_text("not an image")
    return {f"unlabeled/{name}" for name in [*names, "no bytes.jpg", "tëxt, 100%.jpg"]}


def predictions(folder):
    with (folder / "Collect" / "predictions.csv").open(newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def evaluation(folder):
    return json.loads((folder / "Evaluate" / "evaluation.json").read_text())


def assert_each_has_its_row(rows, usable, damaged):
    assert set(rows) == usable | damaged
    assert all(rows[name]["status"] == "ok" and rows[name]["label"] for name in usable)
    assert all(rows[name]["status"] == "failed" and rows[name]["reason"] for name in damaged)
    assert rows["unlabeled/no bytes.jpg"]["reason"] == "empty"
    assert rows["unlabeled/tëxt, 100%.jpg"]["reason"] == "not_an_image"


def test_cats_and_dogs_without_sites(real_data, tmp_path):
    place, raw, usable = PipelinePlace(tmp_path), tmp_path / "raw", set()
    with (real_data / "cats_dogs" / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            labelled = row["split"] == "train"
            name = row["path"] if labelled else f"unlabeled/{row['path'].replace('/', '_')}"
            link(real_data / "cats_dogs" / row["path"], raw / name)
            usable |= set() if labelled else {name}
    damaged = add_damaged(real_data, raw / "unlabeled")
    done = place.pipeline(*run_words(raw, "cats", *SMALL), script=REAL)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "cats"
    assert_each_has_its_row(predictions(folder), usable, damaged)
    said = " ".join(evaluation(folder)["not_claimed"])
    assert "Nothing can be claimed about unseen cameras" in said
    assert "drawn" not in said
    assert (folder / "Collect" / "report.html").stat().st_size > 10_000


def test_norwegian_frames_of_three_cameras(real_data, tmp_path):
    place, raw, usable = PipelinePlace(tmp_path), tmp_path / "raw", set()
    sites = tmp_path / "sites.csv"
    source = real_data / "camera_traps_norway"
    with (source / "labels.csv").open(newline="") as file, sites.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["filepath", "site"])
        for number, row in enumerate(csv.DictReader(file)):
            labelled = number % 3 > 0
            name = row["path"] if labelled else f"unlabeled/{row['path'].replace('/', '_')}"
            link(source / row["path"], raw / name)
            writer.writerow([name, row["site"]])
            usable |= set() if labelled else {name}
    damaged = add_damaged(real_data, raw / "unlabeled")
    words = run_words(raw, "norway", *SMALL, f"site-csv={sites}")
    done = place.pipeline(*words, script=REAL)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "norway"
    assert_each_has_its_row(predictions(folder), usable, damaged)
    result = evaluation(folder)
    assert result["data"]["unseen_sites"]
    assert result["champion"]["phase"] == "phase1"  # one site of validation allows no other choice
    assert "fewer than 5" in result["champion"]["reason"]
