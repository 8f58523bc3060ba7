"""A model of several labels an image, from its evaluation to the table of what it says of new images."""

import contextlib
import io
import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import f1_score

from tests.support.evaluated import one_history, write_model
from tests.support.mosaics import drawn_images, make_mosaics
from trapline.data.prepared import open_prepared
from trapline.evaluation.choices import view_logits
from trapline.evaluation.evaluating import evaluate
from trapline.images.budget import PREPARATION
from trapline.images.canonical import DecodingProcesses
from trapline.inference.answers import answer_request, render
from trapline.inference.content import read_request
from trapline.inference.predictor import load_predictor
from trapline.job_options import EvaluateOptions
from trapline.models.artefact import opened_artefact, read_description

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def mosaics(tmp_path_factory, call_script):
    """A prepared set of 90 labelled mosaics with 4 labels, and 9 without. Read it only."""
    folder = tmp_path_factory.mktemp("mosaics")
    raw = make_mosaics(drawn_images(4, 8, 32, seed=0), folder / "raw", 90, seed=0)
    done = call_script(
        "prepare.py", "--input", raw, "--output", folder / "prepared", "--short-side", 32,
        "--shares", "0.4,0.3,0.3", "--processes", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "prepared"


@pytest.fixture(scope="module")
def evaluated(mosaics, tmp_path_factory):
    """The folder of an evaluation of two phases, the second of which knows all parts, and what it said."""
    folder = tmp_path_factory.mktemp("evaluated")
    first = write_model(mosaics, folder / "first", ["train"])
    second = write_model(mosaics, folder / "second", ["train", "val", "test"], thresholds=[0.9] * 4)
    places = {"prepared": mosaics, "phase1": first, "phase2": second, "output": folder}
    options = EvaluateOptions(
        **{name: str(place) for name, place in places.items()},
        views="flip", precision="fp32", resamples=200, int8=True,
    )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()) as said:
        evaluate(options)
    return folder, said.getvalue()


def read_report(folder):
    return json.loads((folder / "evaluation.json").read_text(), parse_constant=pytest.fail)


def test_the_champions_test_numbers_follow_from_its_table_and_the_thresholds_inside(mosaics, evaluated):
    folder, _ = evaluated
    report = read_report(folder)
    assert (report["task"], report["champion"]["phase"]) == ("multilabel", "phase2")
    assert "better beyond chance" in report["champion"]["reason"]
    with opened_artefact(folder / "champion") as artefact:
        description = read_description(artefact)
    assert description.thresholds == report["champion"]["thresholds"] != [0.9] * 4
    assert description.temperature == report["champion"]["temperature"]
    part = open_prepared(mosaics).part("test")
    labels = part.label_matrix(4)
    table = pd.read_csv(folder / "test_predictions.csv")
    assert table["id"].tolist() == part.table["id"].to_pylist()
    decided = table[description.classes].to_numpy() >= np.array(description.thresholds)
    test = report["test"]
    assert test["micro_f1"] == pytest.approx(f1_score(labels, decided, average="micro"))
    assert test["macro_f1"] == pytest.approx(f1_score(labels, decided, average="macro"))
    assert test["accuracy"] == pytest.approx((labels == decided).all(axis=1).mean())
    assert test["log_loss"] < test["prior_log_loss"]
    assert test["intervals"]["micro_f1"]["low"] < test["micro_f1"] < test["intervals"]["micro_f1"]["high"]
    assert "micro F1" in report["claimed"][0]


def test_what_int8_costs_is_measured_and_said_in_a_sentence(mosaics, evaluated):
    folder, said = evaluated
    report, results = read_report(folder), json.loads((folder / "results.json").read_text())
    found = report["int8"]
    assert (found["precision"], found["layers"]) == ("fp32", 1)
    assert found["test"]["micro_f1"]["normal"] == pytest.approx(report["test"]["micro_f1"])
    assert found["validation"]["log_loss"]["normal"] == pytest.approx(report["validation"]["log_loss"])
    decided = [decisions(folder, precision, mosaics) for precision in ("fp32", "int8")]
    assert found["test"]["agreement"] == pytest.approx((decided[0] == decided[1]).mean())
    assert found["megabytes"]["int8"] < found["megabytes"]["normal"]
    assert {**found, "images_per_s": results["int8"]["images_per_s"]} == results["int8"]
    sentence = f"int8: micro F1 {found['test']['micro_f1']['int8']:.3f} instead of "
    assert sentence in said


def decisions(folder, precision, prepared):
    """What the champion decides about the labels of the test part."""
    predictor = load_predictor(folder / "champion" / "model.tar.gz", precision=precision)
    outputs = view_logits(predictor, open_prepared(prepared).part("test"), precision)
    logits = outputs.averaged(predictor.views)
    return expit(logits / predictor.description.temperature) >= predictor.thresholds


@pytest.fixture(scope="module")
def answers(mosaics, evaluated, tmp_path_factory):
    """What batch transform would write: the champion's answers, the first a failed one."""
    folder = tmp_path_factory.mktemp("answers")
    predictor = load_predictor(evaluated[0] / "champion" / "model.tar.gz", precision="fp32")
    for number, path in enumerate(sorted((mosaics / "transform" / "images").iterdir())):
        body = path.read_bytes() if number else b"damaged"
        found = answer_request(read_request(body, "image/jpeg"), predictor, DecodingProcesses(1, PREPARATION))
        (folder / f"{path.name}.out").write_bytes(render(found, "application/json"))
    return folder


def test_answers_become_tables_of_labels_and_a_report(mosaics, evaluated, answers, call_script, tmp_path):
    one_history(tmp_path / "metrics.csv")
    done = call_script(
        "collect.py", "--prepared", mosaics, "--predictions", answers, "--evaluation", evaluated[0],
        "--history", tmp_path / "metrics.csv", "--output", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    thresholds = read_report(evaluated[0])["champion"]["thresholds"]
    classes = open_prepared(mosaics, parts=[]).description.classes
    table = pd.read_csv(tmp_path / "out" / "predictions.csv", dtype={"labels": str}, keep_default_na=False)
    start = ["id", "status", "reason", "labels", "label", "confidence", "needs_review"]
    assert table.columns.tolist() == [*start, *classes, "path", "site", "time", "sequence"]
    (failed,) = table.index[table["status"] == "failed"]
    good = table.drop(index=failed)
    above = good[classes].astype(float).to_numpy() >= np.array(thresholds)
    expected = [" ".join(np.array(classes)[row]) for row in above]
    assert good["labels"].tolist() == expected
    alone = pd.read_csv(tmp_path / "out" / "label_predictions.csv", dtype=str, keep_default_na=False)
    assert alone.columns.tolist() == ["ImageID", "Labels"]
    assert alone["Labels"].tolist() == table["labels"].tolist()
    assert alone["Labels"][failed] == ""
    assert f"no labels for the inputs that failed: {table['id'][failed]}" in done.stdout
    page = (tmp_path / "out" / "report.html").read_text()
    assert 'alt="average precision by label, test"' in page
    assert "confusion matrix" not in page
    assert "label_predictions.csv holds their labels" in page


def test_a_submission_of_probabilities_cannot_be_asked_for(
    mosaics, evaluated, answers, call_script, tmp_path
):
    done = call_script(
        "collect.py", "--prepared", mosaics, "--predictions", answers, "--evaluation", evaluated[0],
        "--output", tmp_path, "--submission-format", tmp_path / "format.csv",
    )  # fmt: skip
    assert (done.returncode, "take label_predictions.csv" in done.stderr) == (2, True)


def test_pseudo_labels_are_refused_at_once_with_what_to_do(mosaics, evaluated, call_script, tmp_path):
    done = call_script(
        "pseudo_label.py", "--prepared", mosaics, "--model", evaluated[0] / "second", "--output", tmp_path
    )
    assert (done.returncode, "have several labels" in done.stderr) == (2, True)
    assert "without --pseudo" in done.stderr


def test_int8_beside_int8_is_nothing_to_measure(mosaics, evaluated, call_script, tmp_path):
    done = call_script(
        "evaluate.py", "--prepared", mosaics, "--phase1", evaluated[0] / "first", "--output", tmp_path,
        "--precision", "int8", "--int8",
    )  # fmt: skip
    assert (done.returncode, "leave out --precision int8" in done.stderr) == (2, True)
