"""The report of labels holds what it is counted from, and says at which threshold."""

import csv

import numpy as np
import pytest
from sklearn.metrics import f1_score

from common.training.evaluation import Predictions
from common.training.label_report import COLUMNS, write_label_report
from common.training.multilabel import label_outcome, multilabel_metrics

CLASSES = ["cat", "dog", "tree"]


def test_each_label_has_a_row_and_the_averages_are_the_metrics_of_the_epoch(tmp_path):
    generator = np.random.default_rng(0)
    labels = (generator.random((30, 3)) < 0.4).astype(np.float32)
    labels[:, 2] = 0
    made = Predictions((labels + generator.normal(-1, 1, labels.shape)).astype(np.float32), labels)
    outcome = label_outcome(made, 0.5, tune=True)
    text = write_label_report(outcome, CLASSES, 7, 0.5, tmp_path)
    assert text == (tmp_path / "classification_report.txt").read_text()
    assert text.splitlines()[0] == "validation, best epoch 7"
    assert "f1 are at 0.5; tuned_f1 is at each label's threshold" in text
    with (tmp_path / "classification_report.csv").open() as file:
        rows = {row["class"]: row for row in csv.DictReader(file)}
    assert list(rows) == [*CLASSES, "macro average", "micro average"]
    assert tuple(rows["cat"]) == COLUMNS
    found = multilabel_metrics(made, 0.5)
    assert float(rows["macro average"]["f1"]) == pytest.approx(found["macro_f1"], rel=1e-5)
    assert float(rows["macro average"]["average_precision"]) == pytest.approx(found["map"], rel=1e-5)
    assert float(rows["micro average"]["precision"]) == pytest.approx(found["micro_precision"], rel=1e-5)
    assert (rows["tree"]["images"], rows["tree"]["average_precision"]) == ("0", "")
    threshold = outcome["thresholds"][0]
    tuned = f1_score(labels[:, 0], made.probabilities[:, 0] >= float(threshold))
    assert float(rows["cat"]["tuned_f1"]) == pytest.approx(tuned, rel=1e-5)
    assert float(rows["cat"]["threshold"]) == pytest.approx(float(threshold), rel=1e-5)
