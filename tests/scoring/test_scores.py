import numpy as np
import pytest
from sklearn import metrics as known

from tests.support.report_examples import outputs, predictions
from trapline.scoring.scores import (
    METRICS,
    class_rows,
    cluster_sums,
    confusion_matrix,
    counts_of,
    metrics_of,
    per_site,
    scored,
)

ABSENT = [(), (2,), (0, 5)]


@pytest.mark.parametrize("absent", ABSENT)
def test_every_metric_agrees_with_its_known_definition(absent):
    found = predictions(absent=absent)
    numbers = metrics_of(cluster_sums(found).sum(axis=0))
    truth, predicted = found.labels, found.predicted
    probabilities = np.exp(found.log_probabilities)
    present = np.unique(truth)
    f1 = {
        average: known.f1_score(truth, predicted, labels=present, average=average, zero_division=0)
        for average in ("macro", "weighted")
    }
    expected = {
        "log_loss": known.log_loss(truth, probabilities, labels=range(6)),
        "accuracy": known.accuracy_score(truth, predicted),
        "macro_f1": f1["macro"],
        "weighted_f1": f1["weighted"],
        "top3_accuracy": known.top_k_accuracy_score(truth, probabilities, k=3, labels=range(6)),
    }
    assert {name: numbers[name] for name in expected} == pytest.approx(expected)
    assert set(numbers) == set(METRICS)


def test_the_site_balanced_numbers_are_means_of_each_sites_mean():
    found = predictions()
    numbers = metrics_of(cluster_sums(found).sum(axis=0))
    sites = [found.clusters == site for site in range(20)]
    losses = [found.losses[site].mean() for site in sites]
    right = [(found.labels == found.predicted)[site].mean() for site in sites]
    assert numbers["site_balanced_log_loss"] == pytest.approx(np.mean(losses))
    assert numbers["site_balanced_accuracy"] == pytest.approx(np.mean(right))


def test_the_true_class_among_three_equals_counts_by_its_place():
    same = scored(np.zeros((4, 4)), np.arange(4), np.zeros(4, dtype=np.int64))
    assert metrics_of(cluster_sums(same).sum(axis=0))["top3_accuracy"] == 0.75


@pytest.mark.parametrize("absent", ABSENT)
def test_precision_recall_and_f1_agree_with_their_known_definitions(absent):
    found = predictions(absent=absent)
    rows = class_rows(counts_of(cluster_sums(found).sum(axis=0), others=1), list("abcdef"))
    expected = known.precision_recall_fscore_support(
        found.labels, found.predicted, labels=range(6), zero_division=np.nan
    )
    for place, row in enumerate(rows):
        if place in absent:
            assert (row["recall"], row["f1"], row["support"]) == (None, None, 0)
        else:
            assert [row[name] for name in ("precision", "recall", "f1", "support")] == pytest.approx(
                [column[place] for column in expected]
            )
    assert sum(row["predicted"] for row in rows) == len(found.labels)


def test_a_class_that_is_never_predicted_has_no_precision():
    found = scored(np.array([[5.0, 0.0], [5.0, 0.0]]), np.array([0, 1]), np.zeros(2, dtype=np.int64))
    rows = class_rows(counts_of(cluster_sums(found).sum(axis=0), others=1), ["cat", "dog"])
    assert (rows[1]["precision"], rows[1]["recall"], rows[1]["f1"]) == (None, 0.0, 0.0)


def test_each_site_has_its_images_its_accuracy_and_its_log_loss():
    logits, labels, clusters = outputs()
    found = scored(logits, labels, clusters.numbers)
    rows = per_site(cluster_sums(found), clusters.names)
    assert [row["site"] for row in rows] == clusters.names
    own = clusters.numbers == 3
    assert rows[3]["images"] == own.sum()
    assert rows[3]["accuracy"] == pytest.approx((found.labels == found.predicted)[own].mean())
    assert rows[3]["log_loss"] == pytest.approx(found.losses[own].mean())


def test_the_confusion_matrix_has_the_true_class_in_rows():
    found = predictions()
    assert confusion_matrix(found) == known.confusion_matrix(found.labels, found.predicted).tolist()


def test_a_temperature_changes_the_log_loss_and_no_decision():
    logits, labels, clusters = outputs()
    cold, hot = (scored(logits, labels, clusters.numbers, temperature) for temperature in (0.5, 3))
    assert (cold.predicted == hot.predicted).all()
    assert cold.losses.mean() != pytest.approx(hot.losses.mean())
