"""Pooling over sequences from the choice on validation to the predictions of new images."""

import csv
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from tests.support.evaluated import SIDE, write_model
from trapline.data.prepared import open_prepared
from trapline.evaluation import evaluating
from trapline.evaluation.choices import ViewLogits
from trapline.evaluation.evaluating import evaluate
from trapline.job_options import CollectOptions, EvaluateOptions
from trapline.models.artefact import opened_artefact, read_description
from trapline.reports import collection
from trapline.scoring.pooling import pooled_logits
from trapline.scoring.predictions import image_losses, log_probabilities

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bursts(tmp_path_factory, call_script):
    """A prepared demo set of 160 labelled images at 36 sites, and 24 unlabelled ones. Read it only."""
    folder = tmp_path_factory.mktemp("bursts") / "prepared"
    done = call_script(
        "prepare.py", "--input", "demo", "--output", folder, "--short-side", SIDE, "--demo-images", 160,
        "--demo-unlabeled", 24, "--demo-sites", 36, "--max-quarantine", 0.5, "--shares", "0.4,0.3,0.3",
        "--processes", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def model(bursts, tmp_path_factory):
    return write_model(bursts, tmp_path_factory.mktemp("model"), ["train"])


def noisy(predictor, part, doing):
    """Outputs that lean to the truth, under noise of each image's own."""
    random = np.random.default_rng(len(part))
    logits = random.normal(0, 2, size=(len(part), 1, len(predictor.classes)))
    logits[np.arange(len(part)), :, part.labels] += 2
    return ViewLogits(logits.astype(np.float32), predictor.views, "logits")


@pytest.fixture
def report(model, tmp_path, monkeypatch):
    """Evaluate a prepared set as if the model's outputs were `noisy`: (prepared) -> evaluation.json."""
    monkeypatch.setattr(evaluating, "view_logits", noisy)
    monkeypatch.setattr(evaluating, "_write_results", lambda *_: None)  # which takes most of the time

    def run(prepared):
        places = {"prepared": prepared, "phase1": model, "output": tmp_path / "evaluation"}
        words = {name: str(place) for name, place in places.items()}
        evaluate(EvaluateOptions(**words, views="none", precision="fp32", resamples=200))
        path = tmp_path / "evaluation" / "evaluation.json"
        return json.loads(path.read_text(), parse_constant=pytest.fail)

    return run


def test_numbers_and_tables_of_the_test_part_are_those_of_pooled_predictions(
    report, bursts, tmp_path, capsys
):
    found = report(bursts)
    assert found["pooling"]["chosen"]
    assert "Predictions are pooled over sequences: pooling changes the log loss" in capsys.readouterr().out
    part = open_prepared(bursts, parts=["test"]).part("test")
    sequences = pd.factorize(np.array(part.table["sequence"].to_pylist()))[0]
    logits = noisy(type("Known", (), {"classes": found["classes"], "views": ("plain",)}), part, "")
    pooled = pooled_logits(logits.logits[:, 0], sequences)
    temperature = found["champion"]["temperature"]
    losses = image_losses(pooled, part.labels, temperature)
    assert found["test"]["log_loss"] == pytest.approx(losses.mean())
    assert found["test"]["by_sequence"]["counted"] == len(set(sequences.tolist()))
    table = pd.read_csv(tmp_path / "evaluation" / "test_predictions.csv")
    expected = np.exp(log_probabilities(pooled, temperature))
    assert table[found["classes"]].to_numpy() == pytest.approx(expected, abs=1e-8)
    assert "pooled over their sequences" in found["claimed"][0]
    with opened_artefact(tmp_path / "evaluation" / "champion") as folder:
        assert read_description(folder).pool_sequences is True


def test_without_unseen_cameras_nothing_is_pooled_and_every_number_is_of_single_images(
    report, bursts, tmp_path
):
    seen = shutil.copytree(bursts, tmp_path / "seen")
    content = json.loads((seen / "dataset.json").read_text())
    content["split"]["unseen_sites"] = False
    (seen / "dataset.json").write_text(json.dumps(content))
    found = report(seen)
    assert (found["pooling"]["chosen"], found["champion"]["pool_sequences"]) == (False, False)
    assert "not known to be at unseen cameras" in found["pooling"]["reason"]
    part = open_prepared(bursts, parts=["test"]).part("test")
    logits = noisy(type("Known", (), {"classes": found["classes"], "views": ("plain",)}), part, "")
    losses = image_losses(logits.logits[:, 0], part.labels, found["champion"]["temperature"])
    assert found["test"]["log_loss"] == pytest.approx(losses.mean())
    assert found["test"]["by_sequence"]["available"]
    with opened_artefact(tmp_path / "evaluation" / "champion") as folder:
        assert "pool_sequences" not in json.loads((folder / "model.json").read_text())


def test_a_camera_of_both_train_and_validation_forbids_it_whatever_the_data_set_says(
    report, bursts, tmp_path
):
    mixed = shutil.copytree(bursts, tmp_path / "mixed")
    content = json.loads((mixed / "dataset.json").read_text())
    content["parts"]["train"] = content["parts"]["val"]
    (mixed / "dataset.json").write_text(json.dumps(content))
    found = report(mixed)
    assert "not known to be at unseen cameras" in found["pooling"]["reason"]


@pytest.fixture
def answers(bursts, tmp_path):
    """What batch transform wrote: an answer for each input but the second, of a random answerer."""
    classes = open_prepared(bursts, parts=[]).description.classes
    random, folder = np.random.default_rng(0), tmp_path / "answers"
    folder.mkdir()
    for number, row in enumerate(inputs(bursts)):
        values = random.dirichlet(np.ones(len(classes)))
        content = {"status": "ok", "label": classes[values.argmax()]}
        content["probabilities"] = dict(zip(classes, values, strict=True))
        failed = {"status": "failed", "reason": "corrupt"}
        (folder / f"{row['name']}.out").write_text(json.dumps(failed if number == 1 else content))
    return folder


def inputs(prepared):
    with (prepared / "transform" / "index.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["name"]]


def test_the_predictions_of_new_images_are_pooled_over_their_sequences(
    report, bursts, answers, tmp_path, monkeypatch, capsys
):
    for name in ("class", "confusion", "reliability", "site"):
        monkeypatch.setattr(collection, f"{name}_figure", lambda *_: b"png")
    found = report(bursts)
    places = {
        "prepared": bursts,
        "predictions": answers,
        "evaluation": tmp_path / "evaluation",
        "output": tmp_path / "out",
    }
    collection.collect(CollectOptions(**{name: str(place) for name, place in places.items()}))
    table = pd.read_csv(tmp_path / "out" / "predictions.csv", keep_default_na=False)
    table = table.assign(sequence=[row["sequence"] for row in inputs(bursts)])
    good = table[table["status"] == "ok"]
    of_sequence = good.groupby("sequence")
    assert (of_sequence[found["classes"]].nunique() == 1).all(axis=None)
    assert of_sequence.size().max() > 1
    shared = int(of_sequence["id"].transform("size").gt(1).sum())
    assert f"pooled over sequences: {shared} inputs of " in capsys.readouterr().out
    assert f"<p>Pooled over sequences: {shared} inputs of " in (tmp_path / "out" / "report.html").read_text()
