import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import ENTRY_POINTS
from tests.support.evaluated import write_model
from trapline.augmentation import VIEWS
from trapline.data.prepared import open_prepared
from trapline.evaluation import evaluating as evaluation
from trapline.evaluation.choices import ViewLogits
from trapline.evaluation.sequences import sequences_of
from trapline.images.canonical import decode_packed
from trapline.inference import predictor as prediction
from trapline.inference.predictor import load_predictor
from trapline.models.artefact import opened_artefact
from trapline.scoring.pooling import pooled_logits
from trapline.training.speed import Speed

pytestmark = pytest.mark.slow

FAST = ["--precision", "fp32", "--resamples", "200"]


@pytest.fixture(scope="module")
def models(many_sites, tmp_path_factory):
    """`plain` knows train, `better` knows validation and test too, `worse` learnt wrong labels."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "plain": write_model(many_sites, folder / "plain", ["train"], training_job="job-1"),
        "better": write_model(many_sites, folder / "better", ["train", "val", "test"], training_job="job-2"),
        "worse": write_model(many_sites, folder / "worse", ["train", "val"], shuffled=True),
    }


@pytest.fixture
def evaluate(many_sites, call_script, tmp_path):
    """Run evaluate.py in this process: (phase1, phase2, *flags) -> evaluation.json."""

    def call(phase1, phase2=None, *flags, prepared=many_sites):
        output = tmp_path / "evaluation"
        second = ["--phase2", phase2] if phase2 else []
        done = call_script(
            "evaluate.py", "--prepared", prepared, "--phase1", phase1, *second, "--output", output, *FAST,
            *flags,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads((output / "evaluation.json").read_text(), parse_constant=pytest.fail)

    return call


def test_a_better_phase_2_is_the_champion_and_its_artefact_is_written(evaluate, models, tmp_path):
    report = evaluate(models["plain"], models["better"])
    champion = report["champion"]
    assert (champion["phase"], champion["training_job"]) == ("phase2", "job-2")
    assert "better beyond chance" in champion["reason"]
    assert report["comparison"]["interval"]["high"] < 0
    with opened_artefact(tmp_path / "evaluation" / "champion") as folder:
        description = json.loads((folder / "model.json").read_text())
        weights = (folder / "model.safetensors").read_bytes()
    assert weights == (models["better"] / "model.safetensors").read_bytes()
    assert {name: description[name] for name in ("temperature", "views", "training_job")} == {
        name: champion[name] for name in ("temperature", "views", "training_job")
    }


def test_precision_and_format_are_chosen_once_and_both_phases_and_the_test_part_run_so(
    evaluate, models, monkeypatch
):
    choices, used, view_logits = iter([True, False, False]), [], evaluation.view_logits

    def choose(ways, *_, **__):
        return Speed("this machine", "fp32", next(choices), "measured")

    def outputs(predictor, part, doing):
        used.append((doing, predictor.execution.channels_last))
        return view_logits(predictor, part, doing)

    monkeypatch.setattr(prediction, "choose_speed", choose)
    monkeypatch.setattr(evaluation, "view_logits", outputs)
    evaluate(models["plain"], models["better"], "--views", "none")
    assert used == [
        ("phase1 on validation", True), ("phase2 on validation", True), ("champion on test", True),
    ]  # fmt: skip
    assert list(choices) == [False, False]


def test_what_views_phases_speed_and_memory_gain_is_measured_and_said(
    many_sites, models, call_script, tmp_path
):
    done = call_script(
        "evaluate.py", "--prepared", many_sites, "--phase1", models["plain"], "--phase2", models["better"],
        "--output", tmp_path, *FAST, "--views", "enhanced",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    report = json.loads((tmp_path / "evaluation.json").read_text())
    difference = results["phases"]["after"]["log_loss"] - results["phases"]["before"]["log_loss"]
    assert difference == pytest.approx(report["comparison"]["log_loss_difference"])
    phase = {"phase1": "before", "phase2": "after"}[report["champion"]["phase"]]
    assert results["views"]["after"] == results["phases"][phase]
    assert results["speed"]["views"] == 4
    for name in ("views' gain: log loss", "phase gain: log loss", "speed-up: ", "memory saved: "):
        assert f"\n{name}" in done.stdout


def test_all_views_that_there_are_are_tried_shifts_too_and_what_was_tried_is_written_down(evaluate, models):
    phase = evaluate(models["plain"])["phases"]["phase1"]
    assert {view for step in phase["view_selection"] for view in step["views"]} == set(VIEWS)
    assert phase["view_selection"][0]["views"] == ["plain"]


def seen_with_noise(noisy, noise):
    """Outputs that lean to the truth, under noise of its own in each of the views `noisy`."""

    def outputs(predictor, part, doing):
        random = np.random.default_rng(0)
        classes = len(predictor.classes)
        logits = random.normal(size=(len(part), 1, classes)).repeat(len(predictor.views), axis=1)
        logits[np.arange(len(part)), :, part.labels] += 2
        for place, view in enumerate(predictor.views):
            if view in noisy:
                logits[:, place] += random.normal(0, noise, (len(part), classes))
        return ViewLogits(logits.astype(np.float32), predictor.views, "logits")

    return outputs


SHIFTED = ("shift_up_left", "shift_down_right")


def test_a_model_that_gains_from_shifts_gets_them_and_carries_them(evaluate, models, tmp_path, monkeypatch):
    steady = {view for view in VIEWS if view not in ("plain", *SHIFTED)}
    sees_shifts = seen_with_noise(("plain", *SHIFTED), 1.5)

    def outputs(predictor, part, doing):
        found = sees_shifts(predictor, part, doing)
        bad = [place for place, view in enumerate(predictor.views) if view in steady]
        found.logits[:, bad] = 9 * np.random.default_rng(1).normal(size=found.logits[:, bad].shape)
        return found

    monkeypatch.setattr(evaluation, "view_logits", outputs)
    report = evaluate(models["plain"])
    assert report["champion"]["views"][0] == "plain"
    assert set(report["champion"]["views"]) == {"plain", *SHIFTED}
    with opened_artefact(tmp_path / "evaluation" / "champion") as folder:
        assert set(json.loads((folder / "model.json").read_text())["views"]) == {"plain", *SHIFTED}


def test_a_model_that_sees_the_same_in_shifted_images_does_without_them(evaluate, models, monkeypatch):
    monkeypatch.setattr(evaluation, "view_logits", seen_with_noise((), 0))
    assert evaluate(models["plain"])["champion"]["views"] == ["plain"]


def test_a_phase_2_made_worse_on_purpose_is_not_chosen(evaluate, models):
    report = evaluate(models["plain"], models["worse"], "--views", "none")
    assert report["champion"]["phase"] == "phase1"
    assert report["comparison"]["log_loss_difference"] > 0
    assert report["phases"]["phase2"]["views"] == ["plain"]


def test_the_test_predictions_are_those_of_the_champions_artefact(
    evaluate,
    models,
    many_sites,
    tmp_path,
):
    report = evaluate(models["better"], None, "--views", "flip")
    prepared = open_prepared(many_sites, parts=["test"])
    part = prepared.part("test")
    predictor = load_predictor(tmp_path / "evaluation" / "champion" / "model.tar.gz", precision="fp32")
    assert predictor.views == ("plain", "horizontal_flip")
    logits = predictor.logits(decode_packed(part.jpeg(row)) for row in range(len(part)))
    if predictor.description.pool_sequences:
        logits = pooled_logits(logits, sequences_of(part, prepared.description))
    expected = predictor.probabilities(logits)
    with (tmp_path / "evaluation" / "test_predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = np.array([[float(row[name]) for name in report["classes"]] for row in rows])
    assert found == pytest.approx(expected, abs=1e-6)
    assert [row["id"] for row in rows] == part.table["id"].to_pylist()
    assert [row["site"] for row in rows] == part.table["site"].to_pylist()
    assert [row["label"] for row in rows] == [report["classes"][label] for label in part.labels]
    losses = -np.log(expected[np.arange(len(part)), part.labels])
    assert report["test"]["log_loss"] == pytest.approx(losses.mean(), abs=1e-6)
    assert report["test"]["sites"] == len({row["site"] for row in rows})


def test_no_choice_looks_at_the_test_part(evaluate, models, many_sites, tmp_path):
    before = evaluate(models["plain"], models["better"])
    copy = shutil.copytree(many_sites, tmp_path / "prepared")
    content = json.loads((copy / "dataset.json").read_text())
    content["parts"]["test"] = content["parts"]["val"]  # another test part altogether
    (copy / "dataset.json").write_text(json.dumps(content))
    after = evaluate(models["plain"], models["better"], prepared=copy)
    assert before["test"]["log_loss"] != after["test"]["log_loss"]
    for chosen in ("champion", "comparison", "phases", "validation"):
        assert before[chosen] == after[chosen]


def test_the_report_is_the_same_for_the_same_input(evaluate, models, tmp_path):
    first = evaluate(models["plain"], None, "--seed", "3", "--views", "none")
    archive = (tmp_path / "evaluation" / "champion" / "model.tar.gz").read_bytes()
    assert evaluate(models["plain"], None, "--seed", "3", "--views", "none") == first
    assert (tmp_path / "evaluation" / "champion" / "model.tar.gz").read_bytes() == archive
    other = evaluate(models["plain"], None, "--seed", "4", "--views", "none")
    assert other["test"]["log_loss"] == first["test"]["log_loss"]
    assert other["test"]["intervals"] != first["test"]["intervals"]


def test_numbers_have_intervals_over_sites_and_baselines(evaluate, models):
    test = evaluate(models["better"])["test"]
    assert test["interval_unit"] == "site"
    assert test["intervals"]["log_loss"]["low"] < test["log_loss"] < test["intervals"]["log_loss"]["high"]
    assert test["uniform_log_loss"] == pytest.approx(np.log(8))
    assert test["gain_over_prior"] > 0.3
    assert sum(row["support"] for row in test["per_class"]) == test["images"]
    assert sum(row["images"] for row in test["per_site"]) == test["images"]
    assert np.sum(test["confusion_matrix"]) == test["images"]


@pytest.fixture
def without_test_part(many_sites, tmp_path):
    """A set as `--split random` leaves it: no test part, and cameras on both sides."""
    copy = shutil.copytree(many_sites, tmp_path / "prepared")
    content = json.loads((copy / "dataset.json").read_text())
    content["split"] |= {"kind": "random", "unseen_sites": False}
    content["parts"]["test"] = {"images": 0, "files": []}
    (copy / "dataset.json").write_text(json.dumps(content))
    return copy


def test_without_a_test_part_validation_stands_under_its_own_name(evaluate, without_test_part, tmp_path):
    model = write_model(without_test_part, tmp_path / "model", ["train"])
    report = evaluate(model, prepared=without_test_part)
    assert report["test"]["available"] is False
    assert "no test part (random split)" in report["test"]["reason"]
    assert [report["test"][name] for name in ("log_loss", "accuracy", "macro_f1")] == [None] * 3
    assert report["validation"]["log_loss"] > 0
    assert report["claimed"] == []
    assert any("Nothing can be claimed about unseen cameras" in text for text in report["not_claimed"])
    assert not (tmp_path / "evaluation" / "test_predictions.csv").exists()


def test_a_model_of_other_data_is_refused_and_nothing_old_is_left(
    models,
    many_sites,
    call_script,
    tmp_path,
):
    (tmp_path / "evaluation.json").write_text("{}")
    other = write_model(many_sites, tmp_path / "other", ["train"], data_fingerprint="0" * 64)
    done = call_script(
        "evaluate.py", "--prepared", many_sites, "--phase1", models["plain"], "--phase2", other,
        "--output", tmp_path, *FAST,
    )  # fmt: skip
    assert done.returncode == 1
    assert "other: was trained on another data set" in done.stderr
    assert not (tmp_path / "evaluation.json").exists()


WRONG = {
    "no model": (["--phase1", "absent"], 1, "absent: holds neither model.json nor model.tar.gz"),
    "an unknown view": (["--views", "upside_down"], 2, "'upside_down' is neither a set"),
    "too few resamples": (
        ["--resamples", "3"],
        2,
        "--resamples: input should be greater than",
    ),
    "an unknown flag": (["--phase3", "x"], 2, "--help lists the flags"),
    "no data": (["--prepared", "absent"], 1, "entry_points/prepare.py makes a prepared data set"),
}


@pytest.mark.parametrize(("flags", "code", "message"), WRONG.values(), ids=WRONG)
def test_wrong_usage_is_told_in_two_lines(
    flags,
    code,
    message,
    models,
    many_sites,
    call_script,
    tmp_path,
):
    done = call_script(
        "evaluate.py", "--prepared", many_sites, "--phase1", models["plain"], "--output", tmp_path, *flags
    )
    assert (done.returncode, len(done.stderr.splitlines()) <= 2) == (code, True), done.stderr
    assert message in done.stderr


def test_help_needs_no_torch():
    script = f"import sys; sys.argv = ['evaluate.py', '--help']; sys.path.insert(0, {str(ENTRY_POINTS)!r})\n"
    script += "import evaluate\ntry:\n    evaluate.main()\nexcept SystemExit:\n    pass\n"
    script += "print({'torch', 'pandas', 'scipy', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
