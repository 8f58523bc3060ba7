"""Metrics and thresholds of images with several labels: against scikit-learn, and against trying them all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, log_loss, precision_score, recall_score

from trapline.scoring.predictions import (
    Predictions,
    label_outcome,
    macro_f1,
    multilabel_metrics,
    tuned_thresholds,
)

USUAL = 0.5


def drawn(images, classes, seed, share=0.4):
    generator = np.random.default_rng(seed)
    labels = (generator.random((images, classes)) < share).astype(np.float32)
    logits = (labels + generator.normal(0, 1.5, labels.shape) - 0.5).round(1).astype(np.float32)
    return Predictions(logits, labels)


cases = st.builds(
    drawn, st.integers(1, 30), st.integers(1, 5), st.integers(0, 10**6), st.sampled_from([0.1, 0.5, 0.9])
)


def f1_at(predictions, label, threshold):
    said, truth = predictions.probabilities[:, label] >= threshold, predictions.labels[:, label] > 0
    return 2 * (said & truth).sum() / max(1, said.sum() + truth.sum())


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5), st.integers(0, 10**6), st.sampled_from([0.2, 0.5, 0.7]))
def test_the_metrics_are_those_of_scikit_learn(classes, seed, threshold):
    made = drawn(40, classes, seed)
    made.labels[0] = 1  # every label occurs
    labels, said = made.labels.astype(int), (made.probabilities >= threshold).astype(int)
    found = multilabel_metrics(made, threshold)
    expected = {"acc": (labels == said).all(axis=1).mean()}
    for average in ("micro", "macro"):
        options = {"average": average, "zero_division": 0.0}
        expected[f"{average}_f1"] = f1_score(labels, said, **options)
        expected[f"{average}_precision"] = precision_score(labels, said, **options)
        expected[f"{average}_recall"] = recall_score(labels, said, **options)
    expected["map"] = average_precision_score(labels, made.logits, average="macro")
    expected["loss"] = log_loss(labels.ravel(), made.probabilities.ravel())
    assert found == pytest.approx(expected)
    assert macro_f1(made.labels, said) == pytest.approx(expected["macro_f1"])


def test_a_label_that_no_image_has_counts_in_no_mean_but_its_false_ones_count_in_all_labels_together():
    labels = np.array([[1, 0, 0], [1, 1, 0]], dtype=np.float32)
    logits = np.array([[3, -3, 3], [3, 3, -3]], dtype=np.float32)
    found = multilabel_metrics(Predictions(logits, labels), USUAL)
    assert (found["macro_f1"], found["macro_precision"], found["map"]) == (1, 1, 1)
    assert found["micro_precision"] == pytest.approx(3 / 4)
    assert found["acc"] == 0.5


def test_an_image_without_labels_is_right_where_none_is_predicted():
    made = Predictions(np.array([[-1.0], [-2.0]], dtype=np.float32), np.zeros((2, 1), dtype=np.float32))
    found = multilabel_metrics(made, USUAL)
    assert found["acc"] == 1
    assert np.isnan(found["macro_f1"])


def test_the_loss_is_exact_where_probabilities_round_to_1():
    made = Predictions(np.array([[60.0, -60.0]], dtype=np.float32), np.array([[0, 0]], dtype=np.float32))
    assert multilabel_metrics(made, USUAL)["loss"] == pytest.approx(30)


@settings(max_examples=60, deadline=None)
@given(cases)
def test_no_threshold_has_a_better_f1_than_the_tuned_one(made):
    for label, threshold in enumerate(tuned_thresholds(made, USUAL)):
        tuned = f1_at(made, label, threshold)
        tried = {0.0, USUAL, 1.0, *made.probabilities[:, label]}
        assert tuned >= max(f1_at(made, label, other) for other in tried)
        if tuned == f1_at(made, label, USUAL):  # nothing is gained by another
            assert threshold == USUAL


def test_the_usual_threshold_stays_without_positives_and_a_tuned_one_is_half_way_to_the_next():
    logits = np.log(
        np.array([[0.2, 0.4], [0.3, 0.1], [0.1, 0.3]]) / np.array([[0.8, 0.6], [0.7, 0.9], [0.9, 0.7]])
    )
    made = Predictions(logits, np.array([[1, 0], [1, 0], [0, 0]], dtype=np.float32))
    assert tuned_thresholds(made, USUAL).tolist() == [pytest.approx(0.15), USUAL]


def test_the_outcome_holds_both_counts_and_can_leave_the_thresholds_alone():
    made = Predictions(
        np.array([[-0.5], [-1.0]], dtype=np.float32), np.array([[1.0], [0.0]], dtype=np.float32)
    )
    tuned, left = (label_outcome(made, USUAL, tune=tune) for tune in (True, False))
    assert (tuned["counts"].tolist(), tuned["tuned_counts"].tolist()) == ([[1, 0, 0]], [[1, 1, 1]])
    assert left["thresholds"].tolist() == [USUAL]
    assert left["tuned_counts"].tolist() == left["counts"].tolist()
    assert left["average_precision"].tolist() == [1.0]
