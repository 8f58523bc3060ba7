"""The report of classes agrees with scikit-learn, and holds the counts that it is made of."""

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import classification_report, f1_score

from trapline.scoring.predictions import (
    Predictions,
    class_counts,
    classification_metrics,
    label_outcome,
    multilabel_metrics,
)
from trapline.training.validation import class_report, label_report

CLASSES = ["hog", "bird", "leopard", "blank"]
LABELS = ["cat", "dog", "tree"]


def predictions(labels, predicted, classes=4):
    """Logits that favour what is predicted."""
    logits = np.full((len(labels), classes), -1.0, dtype=np.float32)
    logits[np.arange(len(labels)), predicted] = 2.0
    return Predictions(logits, np.array(labels, dtype=np.int64))


pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=40)


@settings(max_examples=50, deadline=None)
@given(pairs)
def test_every_class_and_average_is_that_of_scikit_learn(drawn):
    labels, predicted = zip(*[(n, n) for n in range(4)], *drawn, strict=True)  # every class occurs
    expected = classification_report(
        labels, predicted, labels=range(4), target_names=CLASSES, output_dict=True, zero_division=0.0
    )
    report = class_report(class_counts(np.array(labels), np.array(predicted), 4), CLASSES)
    names = [*CLASSES, "macro avg", "weighted avg"]
    for (cells, (accuracy, *shares)), name in zip(report.rows, names, strict=True):
        found = dict(zip(("precision", "recall", "f1-score"), shares, strict=True))
        assert {**found, "support": int(cells[1])} == pytest.approx(expected[name])
        assert accuracy == pytest.approx(found["recall"] if name in CLASSES else expected["accuracy"])


def test_a_class_that_does_not_occur_counts_in_no_average_and_is_listed():
    labels, predicted = np.array([0, 0, 1]), np.array([0, 3, 1])
    report = class_report(class_counts(labels, predicted, 4), CLASSES)
    *classes, (_, macro), (_, weighted) = report.rows
    assert classes[2] == (["leopard", "0", "0", "0"], [0, 0, 0, 0])
    assert classes[3][0] == ["blank", "0", "0", "1"]
    metrics = classification_metrics(predictions(labels, predicted))
    assert (macro[0], macro[-1], weighted[-1]) == pytest.approx(
        (metrics["acc"], metrics["macro_f1"], metrics["weighted_f1"])
    )


def test_the_files_hold_counts_shares_and_where_they_are_from(tmp_path):
    counts = class_counts(np.array([0, 0, 1, 2, 3]), np.array([0, 1, 1, 2, 3]), 4)
    text = class_report(counts, CLASSES).write(7, tmp_path)
    assert text == (tmp_path / "classification_report.txt").read_text()
    assert text.splitlines()[0] == "validation, best epoch 7"
    with (tmp_path / "classification_report.csv").open() as file:
        rows = {row["class"]: row for row in csv.DictReader(file)}
    assert rows["hog"] == {
        "class": "hog", "images": "2", "correct": "1", "predicted": "1", "accuracy": "0.5", "precision": "1",
        "recall": "0.5", "f1": "0.666667",
    }  # fmt: skip
    assert list(rows) == [*CLASSES, "macro average", "weighted average"]


def test_each_label_has_a_row_and_the_averages_are_the_metrics_of_the_epoch(tmp_path):
    generator = np.random.default_rng(0)
    labels = (generator.random((30, 3)) < 0.4).astype(np.float32)
    labels[:, 2] = 0
    made = Predictions((labels + generator.normal(-1, 1, labels.shape)).astype(np.float32), labels)
    outcome = label_outcome(made, 0.5, tune=True)
    text = label_report(outcome, LABELS, 0.5).write(7, tmp_path)
    assert text == (tmp_path / "classification_report.txt").read_text()
    assert text.splitlines()[0] == "validation, best epoch 7"
    assert "f1 are at 0.5; tuned_f1 is at each label's threshold" in text
    with (tmp_path / "classification_report.csv").open() as file:
        rows = {row["class"]: row for row in csv.DictReader(file)}
    assert list(rows) == [*LABELS, "macro average", "micro average"]
    assert list(rows["cat"])[-2:] == ["threshold", "tuned_f1"]
    found = multilabel_metrics(made, 0.5)
    assert float(rows["macro average"]["f1"]) == pytest.approx(found["macro_f1"], rel=1e-5)
    assert float(rows["macro average"]["average_precision"]) == pytest.approx(found["map"], rel=1e-5)
    assert float(rows["micro average"]["precision"]) == pytest.approx(found["micro_precision"], rel=1e-5)
    assert (rows["tree"]["images"], rows["tree"]["average_precision"]) == ("0", "")
    threshold = outcome["thresholds"][0]
    tuned = f1_score(labels[:, 0], made.probabilities[:, 0] >= float(threshold))
    assert float(rows["cat"]["tuned_f1"]) == pytest.approx(tuned, rel=1e-5)
    assert float(rows["cat"]["threshold"]) == pytest.approx(float(threshold), rel=1e-5)
