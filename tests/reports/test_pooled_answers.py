import pandas as pd
import pytest

from trapline.data.prepared import DatasetDescription
from trapline.reports.answer_tables import Answer
from trapline.reports.pooled_answers import pool_answers

CLASSES = ["cat", "dog"]


def data(task="multiclass", scope="global"):
    return DatasetDescription(
        format_version=1, task=task, classes=CLASSES, source="x", drawn=False, pixels={}, jpeg_quality=90,
        split={"kind": "site", "shares": {}, "seed": 0, "unseen_sites": True, "sequences": scope},
        parts={}, counts={}, fingerprint="f", versions={},
    )  # fmt: skip


def predicted(name, *probabilities, labels=None):
    label = CLASSES[probabilities.index(max(probabilities))]
    return Answer(name, "ok", "", label, probabilities, labels=labels)


def index(**columns):
    return pd.DataFrame({"id": list(range(len(next(iter(columns.values()))))), **columns})


def pool(answers, sequences, sites=None, thresholds=None, **facts):
    sites = sites or ["S1"] * len(answers)
    return pool_answers(answers, index(site=sites, sequence=sequences), data(**facts), thresholds)


def test_images_of_a_sequence_get_one_answer_and_single_ones_stay_untouched():
    answers = [predicted("a", 0.8, 0.2), predicted("b", 0.4, 0.6), predicted("c", 0.4, 0.6)]
    found, said = pool(answers, ["q", "q", ""])
    for each in found[:2]:
        assert each.probabilities == pytest.approx((0.62020, 0.37980), abs=1e-5)  # sqrt of .32 and .12
        assert (each.label, each.confidence) == ("cat", each.probabilities[0])
    assert [each.id for each in found] == ["a", "b", "c"]
    assert found[2] is answers[2]
    assert said == "pooled over sequences: 2 inputs of 1 sequence; 1 alone or failed"


def test_what_failed_is_left_out_of_its_sequence_and_stays_failed():
    answers = [predicted("a", 0.8, 0.2), Answer("b", "failed", "truncated"), predicted("c", 0.5, 0.5)]
    found, _ = pool(answers, ["q", "q", "q"])
    assert found[1] is answers[1]
    assert found[0].probabilities == pytest.approx((2 / 3, 1 / 3))
    alone, said = pool(answers[:2], ["q", "q"])
    assert alone == answers[:2]
    assert "0 inputs of 0 sequences; 2 alone or failed" in said


def test_equal_names_at_two_cameras_are_two_sequences_where_each_counts_its_own():
    answers = [predicted("a", 0.8, 0.2), predicted("b", 0.5, 0.5)]
    assert pool(answers, ["1", "1"], ["S1", "S2"], scope="by_site")[0] == answers
    assert pool(answers, ["1", "1"], ["S1", "S2"], scope="global")[0] != answers


def test_labels_follow_the_pooled_probabilities_and_the_thresholds():
    answers = [predicted("a", 0.9, 0.5, labels=("cat", "dog")), predicted("b", 0.1, 0.8, labels=("dog",))]
    found, _ = pool(answers, ["q", "q"], thresholds=[0.6, 0.6], task="multilabel")
    assert [each.labels for each in found] == [("dog",), ("dog",)]
    assert found[0].probabilities == pytest.approx((0.5, 2 / 3))
    assert found[0].label == "dog"


def test_opposite_images_tie_and_the_first_class_is_told():
    found, _ = pool([predicted("a", 0.75, 0.25), predicted("b", 0.25, 0.75)], ["q", "q"])
    assert [each.label for each in found] == ["cat", "cat"]
    assert found[0].probabilities == pytest.approx((0.5, 0.5))


def test_an_index_without_sequences_or_without_rows_pools_nothing():
    answers = [predicted("a", 0.8, 0.2), predicted("b", 0.5, 0.5)]
    assert pool_answers(answers, index(name=["1", "2"]), data(), None)[0] == answers
    assert pool([], [])[0] == []
