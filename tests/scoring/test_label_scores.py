"""Numbers of images with several labels: as scikit-learn has them, with intervals over sites."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import expit
from sklearn import metrics

from trapline.evaluation.measured import (
    Clusters,
    Resampling,
    label_frequencies,
    measure_labels,
    unmeasured,
)
from trapline.evaluation.result_files import write_test_labels
from trapline.evaluation.results import compare_logits
from trapline.scoring.scores import WITH_INTERVAL, labels_scored
from trapline.tables import read_strings

CLASSES = ["a", "b", "c", "d"]
THRESHOLDS = [0.3, 0.5, 0.6, 0.5]
TEMPERATURE = 1.5
FREQUENCIES = np.array([0.4, 0.3, 0.2, 0.01])


def example(images=200, sites=20, absent=3):
    """Logits that lean to the labels; no image has the label `absent`."""
    random = np.random.default_rng(0)
    labels = (random.random((images, len(CLASSES))) < 0.35).astype(np.float32)
    labels[:, absent] = 0
    logits = (random.normal(size=labels.shape) * 1.5 + 2 * labels - 1).astype(np.float32)
    return logits, labels, Clusters(np.arange(images) % sites, [f"S{k:02d}" for k in range(sites)])


LOGITS, LABELS, SITES = example()
PROBABILITIES = expit(LOGITS.astype(float) / TEMPERATURE)
DECIDED = PROBABILITIES >= THRESHOLDS


def section(clusters=SITES):
    quick = Resampling(resamples=300)
    return measure_labels(LOGITS, LABELS, clusters, TEMPERATURE, THRESHOLDS, CLASSES, FREQUENCIES, quick)


def test_the_numbers_are_scikit_learns():
    found, present = section(), [0, 1, 2]
    for average in ("micro", "macro"):
        expected = metrics.precision_recall_fscore_support(
            LABELS[:, present] if average == "macro" else LABELS,
            DECIDED[:, present] if average == "macro" else DECIDED,
            average=average,
        )
        names = [f"{average}_{name}" for name in ("precision", "recall", "f1")]
        assert [found[name] for name in names] == pytest.approx(expected[:3])
    assert found["accuracy"] == metrics.accuracy_score(LABELS, DECIDED)
    losses = [metrics.log_loss(LABELS[:, k], PROBABILITIES[:, k], labels=[0, 1]) for k in range(4)]
    assert found["log_loss"] == pytest.approx(np.mean(losses))
    averages = [metrics.average_precision_score(LABELS[:, k], LOGITS[:, k]) for k in present]
    assert found["map"] == pytest.approx(np.mean(averages))
    assert [row["average_precision"] for row in found["per_class"]] == pytest.approx([*averages, None])
    assert found["labels_per_image"] == {
        "true": pytest.approx(LABELS.sum() / 200),
        "predicted": pytest.approx(DECIDED.sum() / 200),
    }


def test_each_label_and_each_site_has_its_row():
    found = section()
    absent = found["per_class"][3]
    assert (absent["support"], absent["recall"], absent["f1"]) == (0, None, None)
    assert absent["threshold"] == 0.5
    assert sum(row["images"] for row in found["per_site"]) == 200
    first = np.arange(200) % 20 == 0
    assert found["per_site"][0]["accuracy"] == metrics.accuracy_score(LABELS[first], DECIDED[first])
    assert found["confusion_matrix"] is None


def test_intervals_are_over_sites_or_else_images_and_hold_the_numbers():
    by_image = section(Clusters(np.arange(200), None))
    for found, unit in ((section(), "site"), (by_image, "image")):
        assert found["interval_unit"] == unit
        for name in WITH_INTERVAL:
            assert found["intervals"][name]["low"] < found[name] < found["intervals"][name]["high"]
    assert by_image["site_balanced_accuracy"] is None
    assert by_image["per_site"] is None


def test_the_prior_is_that_of_the_labels_frequencies_and_never_zero_or_one():
    found = section()
    expected = [metrics.log_loss(LABELS[:, k], np.full(200, FREQUENCIES[k]), labels=[0, 1]) for k in range(4)]
    assert found["prior_log_loss"] == pytest.approx(np.mean(expected))
    assert found["gain_over_prior"] == pytest.approx(np.mean(expected) - found["log_loss"])
    data = SimpleNamespace(
        classes=CLASSES,
        counts={"train": {"a": 10, "b": 3, "c": 5}},
        parts={"train": SimpleNamespace(images=10)},
    )
    assert label_frequencies(data) == pytest.approx([0.95, 0.3, 0.5, 0.05])


def test_a_section_without_images_has_the_same_keys():
    empty, measured = unmeasured("no test part", "multilabel"), section()
    assert empty.keys() == measured.keys()
    assert empty["intervals"].keys() == measured["intervals"].keys()


def test_the_table_of_the_test_part_says_how_sure_the_surest_wrong_decision_is(tmp_path):
    logits = np.array([[2.0, -2.0, 3.0, -1.0], [2.0, -2.0, -3.0, -1.0]], dtype=np.float32)
    labels = np.array([[1, 1, 0, 0], [1, 0, 0, 0]], dtype=np.float32)
    predictions = labels_scored(logits, labels, np.arange(2), 1.0, [0.5] * 4)
    facts = {"id": ["x", "y"], "site": [None, "S1"]}
    write_test_labels(tmp_path / "table.csv", facts, predictions, CLASSES)
    wrong, right = read_strings(tmp_path / "table.csv", ["id"]).to_dict("records")
    assert (wrong["label"], wrong["predicted"]) == ("a b", "a c")
    assert float(wrong["confidence"]) == pytest.approx(expit(3))
    assert (right["label"], right["predicted"], right["site"]) == ("a", "a", "S1")
    assert float(right["confidence"]) == pytest.approx(expit(1))


def test_int8_is_compared_by_decisions_of_labels_or_of_images():
    other = LOGITS.copy()
    other[0, 0] = -LOGITS[0, 0]
    changed = (DECIDED[0, 0] != (expit(other[0, 0] / TEMPERATURE) >= THRESHOLDS[0])).sum()
    several = compare_logits(LOGITS, other, LABELS, TEMPERATURE, THRESHOLDS)
    assert several["agreement"] == pytest.approx(1 - changed / LABELS.size)
    assert several["micro_f1"]["normal"] == pytest.approx(metrics.f1_score(LABELS, DECIDED, average="micro"))
    classes = LABELS.argmax(axis=1)
    one = compare_logits(LOGITS, np.roll(LOGITS, 1, axis=1), classes, 1.0, None)
    assert one["accuracy"]["normal"] == metrics.accuracy_score(classes, LOGITS.argmax(axis=1))
    assert (one["agreement"], "micro_f1" in one) == (0, False)
