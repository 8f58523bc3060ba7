"""Thresholds, caps and reasons: which guesses are accepted, and why the others are not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trapline.inference.pseudo_labels import (
    Guesses,
    choose,
    make_guesses,
    measured_precision,
    precision_record,
    precision_thresholds,
    within_cap,
)

CLASSES = 3
IMAGE = st.tuples(st.integers(0, CLASSES - 1), st.integers(0, 20), st.integers(0, CLASSES - 1))
IMAGES = st.lists(IMAGE, max_size=80)


def guesses_of(images):
    labels = np.array([label for label, _, _ in images], dtype=np.int64)
    return Guesses(labels, np.array([score / 20 for _, score, _ in images])), np.array(
        [truth for _, _, truth in images], dtype=np.int64
    )


def precision_from(images, label, threshold):
    own = [truth for guess, score, truth in images if guess == label and score / 20 >= threshold]
    return len(own), sum(truth == label for truth in own)


@settings(deadline=None)
@given(IMAGES, st.sampled_from([0.5, 0.8, 0.95, 1.0]), st.integers(1, 8))
def test_a_threshold_is_the_lowest_from_which_the_precision_is_reached(images, target, min_guesses):
    guesses, truth = guesses_of(images)
    found = precision_thresholds(guesses, truth, CLASSES, target, min_guesses)
    for label in range(CLASSES):
        possible = []
        for threshold in sorted({score / 20 for guess, score, _ in images if guess == label}):
            count, right = precision_from(images, label, threshold)
            if count >= min_guesses and right >= target * count:
                possible.append(threshold)
        assert found[label] == (min(possible) if possible else np.inf)


def test_one_of_one_is_no_precision():
    guesses, truth = Guesses(np.array([0, 1, 1]), np.array([0.99, 0.9, 0.8])), np.array([0, 1, 1])
    assert precision_thresholds(guesses, truth, 2, 0.9, 2).tolist() == [np.inf, 0.8]


@settings(deadline=None)
@given(IMAGES, st.lists(st.sampled_from([0.0, 0.5, 0.9, np.inf]), min_size=CLASSES, max_size=CLASSES))
def test_the_precision_at_the_thresholds_is_counted_by_class(images, thresholds):
    guesses, truth = guesses_of(images)
    measured = measured_precision(guesses, truth, np.array(thresholds))
    for label, threshold in enumerate(thresholds):
        assert measured[label] == precision_from(images, label, threshold)


def test_a_precision_of_nothing_is_no_number():
    nothing = measured_precision(*guesses_of([]), np.full(CLASSES, 0.5))
    assert [precision_record(*count)["precision"] for count in nothing] == [None] * CLASSES


@settings(deadline=None)
@given(IMAGES, st.one_of(st.none(), st.integers(1, 10), st.floats(0.05, 1)))
def test_under_the_cap_the_surest_of_each_class_stay(images, cap):
    guesses, _ = guesses_of(images)
    reasons = choose(guesses, np.full(CLASSES, 0.4), cap, [""] * len(images))
    for label in range(CLASSES):
        own = [row for row, (guess, _, _) in enumerate(images) if guess == label]
        accepted = [images[row][1] for row in own if not reasons[row]]
        over = [images[row][1] for row in own if reasons[row] == "over_cap"]
        assert len(accepted) <= within_cap(len(own), cap)
        assert not over or len(accepted) == within_cap(len(own), cap)
        assert all(score >= 8 for score in accepted + over)
        if accepted and over:
            assert min(accepted) >= max(over)


def test_each_guess_that_is_not_accepted_says_why():
    guesses = Guesses(np.array([0, 0, 0, 0, 1, 0]), np.array([0.95, 0.9, 0.9, 0.5, 0.99, 0.99]))
    forbidden = ["", "", "", "", "", "identical_to_test"]
    reasons = choose(guesses, np.array([0.85, np.inf]), 2, forbidden)
    assert reasons == ["", "", "over_cap", "below_threshold", "precision_not_reached", "identical_to_test"]


def test_a_forbidden_image_takes_no_place_under_the_cap():
    guesses = Guesses(np.zeros(3, dtype=np.int64), np.array([0.99, 0.9, 0.88]))
    assert choose(guesses, np.array([0.85]), 1, ["site_of_test", "", ""])[1] == ""


@pytest.mark.parametrize(("share", "most"), [(0.3, 3), (0.05, 0), (1.0, 10), (0.7, 7)])
def test_a_share_is_of_the_guesses_of_the_class(share, most):
    assert within_cap(10, share) == most


def test_a_confidence_is_compared_as_it_is_written():
    guesses = make_guesses(np.array([[0.8499999999, 0.1500000001], [0.15, 0.85]]))
    assert guesses.labels.tolist() == [0, 1]
    assert choose(guesses, np.array([0.85, 0.85]), None, ["", ""]) == ["", ""]
