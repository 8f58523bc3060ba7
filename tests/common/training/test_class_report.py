"""The report of classes agrees with scikit-learn, and holds the counts that it is made of."""

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import classification_report

from common.training.class_report import class_scores, confusion, write_class_report
from common.training.evaluation import Predictions, classification_metrics

CLASSES = ["hog", "bird", "leopard", "blank"]


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
    scores = class_scores(confusion(predictions(labels, predicted)), CLASSES)
    names = [*CLASSES, "macro avg", "weighted avg"]
    for score, name in zip(scores, names, strict=True):
        found = {"precision": score.precision, "recall": score.recall, "f1-score": score.f1}
        assert {**found, "support": score.images} == pytest.approx(expected[name])
        if name in CLASSES:
            assert score.accuracy == score.recall
        else:
            assert score.accuracy == pytest.approx(expected["accuracy"])


def test_a_class_that_does_not_occur_counts_in_no_average_and_is_listed():
    made = predictions([0, 0, 1], [0, 3, 1])
    *classes, macro, weighted = class_scores(confusion(made), CLASSES)
    assert (classes[2].images, classes[2].recall, classes[3].predicted) == (0, 0.0, 1)
    metrics = classification_metrics(made)
    assert macro.f1 == pytest.approx(metrics["macro_f1"])
    assert weighted.f1 == pytest.approx(metrics["weighted_f1"])
    assert macro.accuracy == pytest.approx(metrics["acc"])


def test_the_files_hold_counts_shares_and_where_they_are_from(tmp_path):
    counts = confusion(predictions([0, 0, 1, 2, 3], [0, 1, 1, 2, 3]))
    text = write_class_report(counts, CLASSES, 7, tmp_path)
    assert text == (tmp_path / "classification_report.txt").read_text()
    assert text.splitlines()[0] == "validation, best epoch 7"
    with (tmp_path / "classification_report.csv").open() as file:
        rows = {row["class"]: row for row in csv.DictReader(file)}
    assert rows["hog"] == {
        "class": "hog", "images": "2", "correct": "1", "predicted": "1", "accuracy": "0.5", "precision": "1",
        "recall": "0.5", "f1": "0.666667",
    }  # fmt: skip
    assert list(rows) == [*CLASSES, "macro average", "weighted average"]
