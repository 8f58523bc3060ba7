import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.report_examples import outputs
from trapline.evaluation.choices import Choice
from trapline.evaluation.measured import Clusters, Resampling, measure
from trapline.evaluation.sequences import (
    Extent,
    Pooling,
    by_sequence,
    choose_pooling,
    pooling_sentence,
    sequence_groups,
    without_sequences,
)
from trapline.scoring.pooling import pooled_logits
from trapline.scoring.predictions import image_losses

QUICK = Resampling(resamples=200, seed=0)
POOLED = Pooling(True, "", Extent(0, 0))
CLASSES = list("abcdef")
PRIOR = np.full(6, 1 / 6)


def logits_of(*probabilities):
    return np.log(np.array(probabilities))


def sites(*names):
    known, numbers = np.unique(names, return_inverse=True)
    return Clusters(numbers, known.tolist())


def counted(logits, labels, sequences, clusters, thresholds=None):
    given = (np.asarray(labels), np.asarray(sequences), clusters, 1.0, thresholds)
    return by_sequence(np.asarray(logits), *given, QUICK, "validation")


# --- each sequence counts as one ----------------------------------------------------------------------------


def test_a_sequence_counts_once_with_its_pooled_prediction_and_a_lone_image_once():
    logits = logits_of((0.8, 0.2), (0.5, 0.5), (0.8, 0.2), (0.4, 0.6))
    found = counted(logits, [0, 0, 0, 0], [5, 5, 5, -1], sites("S", "S", "S", "T"))
    pooled = np.cbrt([0.8 * 0.5 * 0.8, 0.2 * 0.5 * 0.2])
    losses = [-np.log(pooled[0] / pooled.sum()), -np.log(0.4)]
    assert (found["available"], found["counted"]) == (True, 2)
    assert (found["sequences"], found["images_in_sequences"]) == (1, 3)
    assert found["accuracy"] == 0.5
    assert found["log_loss"] == pytest.approx(np.mean(losses))
    assert found["macro_f1"] == pytest.approx(2 / 3)  # class 0: precision 1, recall 1/2


def test_where_a_sequence_shows_two_labels_each_counts_once_with_the_whole_sequences_prediction():
    logits = logits_of((0.8, 0.2), (0.8, 0.2), (0.5, 0.5))
    found = counted(logits, [0, 0, 1], [1, 1, 1], sites("S", "S", "S"))
    weights = np.cbrt([0.8 * 0.8 * 0.5, 0.2 * 0.2 * 0.5])
    pooled = weights / weights.sum()
    assert found["counted"] == 2
    assert found["accuracy"] == 0.5
    assert found["log_loss"] == pytest.approx(-np.log(pooled).mean())


def test_a_sequence_at_two_sites_counts_at_each_of_them():
    rows, groups = sequence_groups(np.zeros(4, dtype=int), np.array([1, 1, 1, -1]), sites(*"abab"))
    assert rows.tolist() == [0, 1, 3]
    assert groups.numbers.tolist() == [0, 1, 1]


def test_intervals_are_over_sites_and_over_sequences_where_sites_are_not_known():
    logits, labels, clusters = outputs(images=120, sites=8)
    sequences = np.arange(120) // 3
    by_site = counted(logits, labels, sequences, clusters)
    assert (by_site["interval_unit"], by_site["sites"]) == ("site", 8)
    assert by_site["intervals"]["accuracy"]["low"] < by_site["accuracy"]
    alone = counted(logits, labels, sequences, Clusters(np.arange(120), None))
    assert (alone["interval_unit"], alone["sites"]) == ("sequence", None)
    assert alone["site_balanced_accuracy"] is None
    assert alone["counted"] >= alone["sequences"] == 40


def test_few_sites_give_numbers_without_intervals_and_the_reason():
    found = counted(logits_of((0.8, 0.2), (0.5, 0.5)), [0, 0], [1, 1], sites("S", "T"))
    assert found["log_loss"] > 0
    assert set(found["intervals"].values()) == {None}
    assert "2 sites, fewer than 5" in found["interval_reason"]


def test_of_several_labels_a_group_has_the_same_set_of_labels():
    logits = np.array([[3.0, -3.0], [1.0, -1.0], [-2.0, 2.0]])
    labels = np.array([[1, 0], [1, 0], [1, 1]], dtype=np.float32)
    found = counted(logits, labels, [1, 1, -1], sites("S", "S", "T"), [0.5, 0.5])
    assert found["counted"] == 2
    assert found["accuracy"] == 0.5
    pooled = np.array([[2.0, -2.0], [-2.0, 2.0]])
    assert found["log_loss"] == pytest.approx(image_losses(pooled, labels[[0, 2]]).mean())
    assert found["micro_f1"] == pytest.approx(0.8)  # 2 of 2 found labels right, of 3 true ones


@pytest.mark.parametrize(("task", "thresholds"), [("multiclass", None), ("multilabel", [0.5, 0.5])])
def test_without_sequences_of_two_images_the_section_has_the_same_keys_all_empty(task, thresholds):
    labels = np.zeros(2, dtype=int) if thresholds is None else np.eye(2)
    logits = logits_of((0.8, 0.2), (0.5, 0.5))
    there = counted(logits, labels, [1, 1], sites("S", "T"), thresholds)
    empty = counted(logits, labels, [1, -1], sites("S", "T"), thresholds)
    assert empty == without_sequences("no sequence of validation has two images or more", task)
    assert empty.keys() == there.keys()
    assert empty["intervals"].keys() == there["intervals"].keys()
    assert (empty["available"], empty["log_loss"], empty["counted"]) == (False, None, 0)
    assert json.loads(json.dumps(there, allow_nan=False)).keys() == there.keys()


@given(st.integers(0, 2**32 - 1), st.lists(st.booleans(), min_size=30, max_size=30))
@settings(deadline=None, max_examples=20)
def test_with_sequences_of_one_image_every_number_is_that_of_single_images(seed, named):
    logits, labels, clusters = outputs(images=30, sites=6, seed=seed)
    sequences = np.where(named, np.arange(30), -1)
    rows, groups = sequence_groups(labels, sequences, clusters)
    given = (1.3, CLASSES, PRIOR, QUICK)
    by_image = measure(logits, labels, clusters, *given)
    assert measure(POOLED.applied(logits, sequences), labels, clusters, *given) == by_image
    pooled = pooled_logits(logits, sequences)[rows]
    again = measure(pooled, labels[rows], groups, *given)
    assert again["log_loss"] == pytest.approx(by_image["log_loss"])
    assert {again[name] for name in ("images", "accuracy")} == {
        by_image[name] for name in ("images", "accuracy")
    }


@given(st.integers(0, 2**32 - 1), st.integers(2, 4))
@settings(deadline=None, max_examples=20)
def test_sequences_that_show_one_frame_again_count_as_that_frame(seed, times):
    logits, labels, clusters = outputs(images=30, sites=6, seed=seed)
    rows = np.repeat(np.arange(30), times)
    longer = Clusters(clusters.numbers[rows], clusters.names)
    found = counted(logits[rows], labels[rows], rows, longer)
    by_image = measure(logits, labels, clusters, 1.0, CLASSES, PRIOR, QUICK)
    for name in ("log_loss", "accuracy", "macro_f1", "site_balanced_log_loss"):
        assert found[name] == pytest.approx(by_image[name])
    assert found["counted"] == 30


# --- pooling ------------------------------------------------------------------------------------------------

SITES, BURSTS, FRAMES = 12, 10, 4


def bursts(noise_of_frames=1.5, noise_of_bursts=0.0, seed=0):
    """Logits that lean to the truth, under noise of each frame's own and noise that a burst shares."""
    random = np.random.default_rng(seed)
    sequences = np.repeat(np.arange(SITES * BURSTS), FRAMES)
    labels = random.integers(0, 6, SITES * BURSTS)[sequences]
    shared = random.normal(0, noise_of_bursts, (SITES * BURSTS, 6))[sequences]
    logits = 2 * np.eye(6)[labels] + shared + random.normal(0, noise_of_frames, (len(labels), 6))
    numbers = sequences // BURSTS
    return logits, labels, sequences, Clusters(numbers, [f"S{k:02d}" for k in range(SITES)])


def chosen(logits, labels, sequences, clusters, **facts):
    choice = Choice(["plain"], 1.0, logits, np.zeros(len(labels)), [], logits, np.zeros(len(labels)))
    known = {"unseen_sites": True, "seen_validation": False, **facts}
    return choose_pooling(choice, labels, sequences, clusters, QUICK, **known)


def test_pooling_is_chosen_where_the_noise_of_the_frames_is_independent():
    found = chosen(*bursts())
    assert found.chosen
    assert found.interval.high < 0
    assert found.interval.low < found.difference < found.interval.high
    assert found.extent == Extent(SITES * BURSTS, SITES * BURSTS * FRAMES)
    assert f"by {found.difference:+.4f} (95% interval over 12 sites" in found.reason
    assert found.reason.endswith("better beyond chance")


def test_where_the_frames_of_a_burst_say_the_same_nothing_is_gained_and_nothing_is_pooled():
    found = chosen(*bursts(noise_of_frames=0, noise_of_bursts=1.5))
    assert (found.chosen, found.difference) == (False, 0)
    assert found.reason.endswith("no difference beyond chance")


def test_where_the_images_of_a_sequence_show_different_things_pooling_is_refused():
    logits, labels, sequences, clusters = bursts(noise_of_frames=0.5)
    mixed = np.arange(len(labels)) % 6
    found = chosen(logits - 2 * np.eye(6)[labels] + 2 * np.eye(6)[mixed], mixed, sequences, clusters)
    assert (found.chosen, found.reason.rpartition(": ")[2]) == (False, "worse beyond chance")


def test_a_gain_at_a_single_site_is_not_enough():
    logits, labels, sequences, clusters = bursts()
    alone = np.where(clusters.numbers == 3, sequences, -1)
    found = chosen(logits, labels, alone, clusters)
    assert found.difference < 0
    assert not found.chosen


REFUSED = {
    "no sequences": ({"sequences": np.full(SITES * BURSTS * FRAMES, -1)}, "no sequence of validation"),
    "seen cameras": ({"unseen_sites": False}, "validation is not known to be at unseen cameras"),
    "images without a site": (
        {"clusters": Clusters(np.arange(SITES * BURSTS * FRAMES), None)},
        "not known to be at unseen cameras",
    ),
    "folds": ({"seen_validation": True}, "has seen validation images"),
}


@pytest.mark.parametrize(("changes", "reason"), REFUSED.values(), ids=REFUSED)
def test_nothing_is_compared_where_it_would_say_nothing_of_unseen_cameras(changes, reason):
    names = ("logits", "labels", "sequences", "clusters")
    found = chosen(**{**dict(zip(names, bursts(), strict=True)), **changes})
    assert reason in found.reason
    assert (found.chosen, found.difference, found.interval) == (False, None, None)


def test_with_four_sites_nothing_is_pooled_however_large_the_gain():
    logits, labels, sequences, clusters = bursts()
    few = Clusters(clusters.numbers // 3, list("abcd"))
    found = chosen(logits, labels, sequences, few)
    assert (found.chosen, found.interval, found.difference < 0) == (False, None, True)
    assert "4 sites, fewer than 5" in found.reason


def test_labels_are_pooled_by_their_binary_log_loss():
    logits, labels, sequences, clusters = bursts(noise_of_frames=2)
    found = chosen(logits, np.eye(6, dtype=np.float32)[labels], sequences, clusters)
    assert found.chosen


def test_where_it_is_not_chosen_the_logits_are_the_very_same():
    logits, _, sequences, _ = bursts()
    assert Pooling(False, "", Extent(0, 0)).applied(logits, sequences) is logits
    assert np.array_equal(POOLED.applied(logits, sequences), pooled_logits(logits, sequences))


def test_the_record_has_all_that_decided_and_its_sentence_says_it():
    logits, labels, sequences, clusters = bursts()
    found = chosen(logits, labels, sequences, clusters)
    record = json.loads(json.dumps(found.record(clusters)))
    assert record["interval"] == {"low": found.interval.low, "high": found.interval.high}
    assert (record["unit"], record["clusters"]) == ("site", 12)
    assert (record["sequences"], record["images_in_sequences"]) == (120, 480)
    assert pooling_sentence(record["chosen"], record["reason"]) == (
        f"Predictions are pooled over sequences: {found.reason}."
    )
    assert pooling_sentence(False, "why").startswith("Predictions are not pooled over sequences: why")
