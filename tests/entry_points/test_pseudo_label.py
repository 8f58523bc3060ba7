"""pseudo_label.py: a row for every unlabelled image, sure guesses accepted, all others with their reason."""

import csv
import json
import shutil

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from trapline.data.parts import COLUMNS, conflicts
from trapline.data.prepared import open_prepared
from trapline.inference.predictor import load_predictor
from trapline.inference.pseudo_labels import part_logits
from trapline.scoring.predictions import calibrated, fit_temperature
from trapline.storage import file_digest

pytestmark = pytest.mark.slow


def table(folder):
    with (folder / "pseudo_labels.csv").open() as file:
        return list(csv.DictReader(file))


def summary(folder):
    def refuse(constant):
        raise AssertionError(f"{constant} in the JSON")

    return json.loads((folder / "pseudo_labels.json").read_text(), parse_constant=refuse)


@pytest.fixture(scope="module")
def threshold(trained, small_demo):
    """The median confidence: after three epochs nothing is sure, and how unsure depends on the machine."""
    prepared = open_prepared(small_demo)
    predictor = load_predictor(trained[0] / "model", views=["plain"])
    val, unlabeled = (prepared.part(name) for name in ("val", "unlabeled"))
    temperature = fit_temperature(part_logits(predictor, val, "val"), val.labels)
    probabilities = calibrated(part_logits(predictor, unlabeled, "unlabeled"), temperature)
    return round(float(np.median(probabilities.max(axis=1))), 4)


@pytest.fixture(scope="module")
def made(trained, small_demo, threshold, tmp_path_factory, call_script):
    """Pseudo-labels of the small demo set, and what was printed."""
    folder = tmp_path_factory.mktemp("pseudo")
    flags = ["--prepared", small_demo, "--model", trained[0] / "model", "--threshold", threshold]
    done = call_script("pseudo_label.py", *flags, "--output", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_every_unlabelled_image_has_its_row_in_the_order_of_the_index(made, small_demo):
    with (small_demo / "transform" / "index.csv").open() as file:
        index = list(csv.DictReader(file))
    rows = table(made[0])
    assert list(rows[0]) == COLUMNS
    assert [row["id"] for row in rows] == [row["id"] for row in index]
    damaged = {row["id"]: row["reason"] for row in index if row["reason"]}
    assert damaged
    for row in rows:
        if row["id"] in damaged:
            assert (row["reason"], row["accepted"], row["label"]) == (damaged[row["id"]], "false", "")
        else:
            assert row["label"]
            assert row["confidence"]


def test_a_row_is_accepted_exactly_from_the_threshold_on(made, threshold):
    judged = [row for row in table(made[0]) if row["label"]]
    for row in judged:
        sure = float(row["confidence"]) >= threshold
        assert (row["accepted"], row["reason"]) == (("true", "") if sure else ("false", "below_threshold"))
    assert {row["accepted"] for row in judged} == {"true", "false"}


def test_the_guesses_are_the_models_on_the_plain_image_at_the_fitted_temperature(made, trained, small_demo):
    prepared = open_prepared(small_demo)
    predictor = load_predictor(trained[0] / "model", views=["plain"])
    content = summary(made[0])
    part = prepared.part("unlabeled")
    probabilities = calibrated(part_logits(predictor, part, "again"), content["temperature"])
    names = part.table["id"].to_pylist()
    rows = {row["id"]: row for row in table(made[0])}
    for name, expected in zip(names, probabilities, strict=True):
        assert rows[name]["encoded_label"] == str(expected.argmax())
        assert rows[name]["label"] == predictor.classes[expected.argmax()]
        assert float(rows[name]["confidence"]) == pytest.approx(expected.max(), abs=2e-6)


def test_the_temperature_makes_validation_no_worse(made):
    validation = summary(made[0])["validation"]
    assert validation["log_loss"] <= validation["log_loss_before_temperature"] + 1e-6


def test_accepted_ids_are_unlabelled_images_alone(made, small_demo):
    prepared = open_prepared(small_demo)
    accepted = {row["id"] for row in table(made[0]) if row["accepted"] == "true"}
    assert accepted <= set(prepared.part("unlabeled").table["id"].to_pylist())
    for part in ("train", "val", "test"):
        assert not accepted & set(prepared.part(part).table["id"].to_pylist())


def test_the_summary_counts_what_the_table_holds(made, trained, small_demo):
    rows, content = table(made[0]), summary(made[0])
    accepted = [row for row in rows if row["accepted"] == "true"]
    assert content["counts"]["images"] == len(rows)
    assert content["counts"]["accepted"] == len(accepted)
    assert sum(content["counts"]["reasons"].values()) == len(rows) - len(accepted)
    for name, facts in content["classes"].items():
        assert facts["accepted"] == sum(row["label"] == name for row in accepted)
        assert facts["guessed"] == sum(row["label"] == name for row in rows)
    assert content["data_fingerprint"] == open_prepared(small_demo).description.fingerprint
    assert content["model"]["sha256"] == file_digest(trained[0] / "model" / "model.safetensors")
    assert content["model"]["views"] == ["plain"]
    assert content["labels_sha256"] == file_digest(made[0] / "pseudo_labels.csv")
    assert "transductive" in content["note"]


def test_the_validation_precision_is_that_of_the_accepted_guesses(made, threshold, trained, small_demo):
    val = open_prepared(small_demo).part("val")
    predictor = load_predictor(trained[0] / "model", views=["plain"])
    probabilities = calibrated(part_logits(predictor, val, "val"), summary(made[0])["temperature"])
    sure = probabilities.max(axis=1).round(6) >= threshold
    right = (probabilities.argmax(axis=1) == val.labels)[sure]
    found = summary(made[0])["validation"]
    assert (found["accepted"], found["right"]) == (int(sure.sum()), int(right.sum()))
    assert found["precision"] == (right.mean() if sure.any() else None)


def test_the_same_input_makes_the_same_bytes(made, threshold, trained, small_demo, tmp_path, call_script):
    shutil.make_archive(tmp_path / "model", "gztar", trained[0] / "model")
    for source in (trained[0] / "model", tmp_path / "model.tar.gz", tmp_path):
        flags = ["--prepared", small_demo, "--model", source, "--threshold", threshold]
        done = call_script("pseudo_label.py", *flags, "--output", tmp_path / "out")
        assert done.returncode == 0, done.stderr
        for name in ("pseudo_labels.csv", "pseudo_labels.json"):
            assert (tmp_path / "out" / name).read_bytes() == (made[0] / name).read_bytes()


def test_a_cap_holds_for_every_class(made, threshold, trained, small_demo, tmp_path, call_script):
    flags = ["--prepared", small_demo, "--model", trained[0] / "model", "--output", tmp_path]
    done = call_script("pseudo_label.py", *flags, "--threshold", threshold, "--cap-per-class", 2)
    assert done.returncode == 0, done.stderr
    before = summary(made[0])["classes"]
    for name, facts in summary(tmp_path)["classes"].items():
        assert facts["accepted"] == min(2, before[name]["accepted"])
    assert "over_cap" in summary(tmp_path)["counts"]["reasons"]


def test_where_a_precision_cannot_be_reached_nothing_is_accepted(trained, small_demo, tmp_path, call_script):
    flags = ["--prepared", small_demo, "--model", trained[0] / "model", "--output", tmp_path]
    done = call_script("pseudo_label.py", *flags, "--target-precision", 1, "--min-guesses", 1000)
    assert done.returncode == 0, done.stderr
    content = summary(tmp_path)
    assert content["counts"]["accepted"] == 0
    assert content["threshold"] is None
    assert all(facts["threshold"] is None for facts in content["classes"].values())
    reasons = {row["reason"] for row in table(tmp_path) if row["label"]}
    assert reasons == {"precision_not_reached"}


def test_an_image_whose_outputs_are_no_numbers_has_a_row_without_a_guess(
    small_demo, trained, tmp_path, monkeypatch, call_script
):
    import trapline.inference.pseudo_labels as module

    def with_a_gap(predictor, part, name):
        logits = part_logits(predictor, part, name)
        if name == "unlabelled":
            logits[3] = np.nan
        return logits

    monkeypatch.setattr(module, "part_logits", with_a_gap)
    flags = ["--prepared", small_demo, "--model", trained[0] / "model", "--output", tmp_path]
    assert call_script("pseudo_label.py", *flags).returncode == 0
    (row,) = [row for row in table(tmp_path) if row["reason"] == "no_finite_output"]
    assert row["id"] == open_prepared(small_demo).part("unlabeled").table["id"][3].as_py()
    assert (row["label"], row["confidence"], row["accepted"]) == ("", "", "false")


def changed_model(trained, folder, **changes):
    shutil.copytree(trained[0] / "model", folder, ignore=shutil.ignore_patterns("code"))
    content = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(content | changes))
    return folder


def test_a_model_of_other_classes_or_other_pixels_is_refused(trained, small_demo, tmp_path, call_script):
    content = json.loads((trained[0] / "model" / "model.json").read_text())
    for name, changes, message in (
        ("order", {"classes": content["classes"][::-1]}, "names and order must be the same"),
        ("pixels", {"pixels": {**content["pixels"], "crop_bottom": 0.07}}, "made with another crop_bottom"),
    ):
        model = changed_model(trained, tmp_path / name, **changes)
        done = call_script(
            "pseudo_label.py", "--prepared", small_demo, "--model", model, "--output", tmp_path / "out"
        )
        assert done.returncode == 1
        assert message in done.stderr


def test_a_model_of_another_set_is_used_and_the_doubt_is_said(trained, small_demo, tmp_path, call_script):
    model = changed_model(trained, tmp_path / "model", data_fingerprint="0" * 64)
    done = call_script(
        "pseudo_label.py", "--prepared", small_demo, "--model", model, "--output", tmp_path / "out"
    )
    assert done.returncode == 0
    assert "note: the model was trained on another prepared set" in done.stdout


def test_no_guess_about_a_known_image_or_camera_is_accepted(
    trained,
    tmp_path,
    call_script,
):
    """A set in which every unlabelled image is a copy of a labelled one or from a known camera."""
    from tests.conftest import write_jpeg

    classes = json.loads((trained[0] / "model" / "model.json").read_text())["classes"]
    for number in range(64):
        path = tmp_path / "raw" / classes[number % 8] / f"s{number // 8}_{number}.jpg"
        write_jpeg(path, number)
        copy = tmp_path / "raw" / "unlabeled" / f"s{number // 8}_{number}.jpg"
        write_jpeg(copy, number if number % 2 else number + 1000)
    options = ["--site-regex", "(?P<site>s[0-9])_", "--short-side", 64]
    done = call_script("prepare.py", "--input", tmp_path / "raw", "--output", tmp_path / "set", *options)
    assert done.returncode == 0, done.stderr
    flags = ["--prepared", tmp_path / "set", "--model", trained[0] / "model", "--output", tmp_path / "out"]
    done = call_script("pseudo_label.py", *flags, "--threshold", 0.001)
    assert done.returncode == 0, done.stderr
    prepared = open_prepared(tmp_path / "set")
    expected = dict(zip(prepared.part("unlabeled").table["id"].to_pylist(), conflicts(prepared), strict=True))
    rows = table(tmp_path / "out")
    assert {row["id"]: row["reason"] for row in rows} == expected
    assert all((row["accepted"] == "true") is (row["reason"] == "") for row in rows)
    assert {"identical_to_validation", "identical_to_test", "site_of_validation", "site_of_test", ""} <= set(
        expected.values()
    )


def test_a_set_or_model_that_is_not_there_is_named(small_demo, trained, tmp_path, call_script):
    model = trained[0] / "model"
    for prepared, source, named in ((tmp_path, model, "dataset.json"), (small_demo, tmp_path, "model.json")):
        done = call_script(
            "pseudo_label.py", "--prepared", prepared, "--model", source, "--output", tmp_path / "out"
        )
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert named in done.stderr


def test_a_model_that_has_run_away_is_refused(trained, small_demo, tmp_path, call_script):
    model = changed_model(trained, tmp_path / "model")
    tensors = load_file(model / "model.safetensors")
    tensors["fc.bias"].fill_(float("nan"))
    save_file(tensors, model / "model.safetensors")
    done = call_script(
        "pseudo_label.py", "--prepared", small_demo, "--model", model, "--output", tmp_path / "out"
    )
    assert done.returncode == 1
    assert "no finite numbers" in done.stderr
