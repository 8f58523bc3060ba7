import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_softmax, softmax

from trapline.scoring.pooling import pool_numbers, pool_sizes, pooled_logits, pooled_probabilities

SEQUENCES = np.array([7, -1, 7, 2, -1, 7])


def some_logits(images=6, classes=4, seed=0):
    return np.random.default_rng(seed).normal(size=(images, classes)).astype(np.float32) * 3


def test_images_of_one_sequence_share_a_number_and_images_without_one_have_their_own():
    numbers = pool_numbers(SEQUENCES)
    assert numbers[0] == numbers[2] == numbers[5]
    assert sorted(set(numbers.tolist())) == [0, 1, 2, 3]
    assert pool_sizes(SEQUENCES).tolist() == [3, 1, 3, 1, 1, 3]


def test_the_pooled_prediction_is_the_renormalised_geometric_mean():
    found = pooled_probabilities(np.array([[0.8, 0.2], [0.5, 0.5]]), np.array([3, 3]), "multiclass")
    assert found == pytest.approx(np.array([[2 / 3, 1 / 3]] * 2))


def test_it_is_that_of_the_mean_log_probabilities():
    logits = some_logits()
    mean = log_softmax(logits[[0, 2, 5]].astype(float), axis=1).mean(axis=0)
    expected = np.exp(mean) / np.exp(mean).sum()
    assert softmax(pooled_logits(logits, SEQUENCES), axis=1)[[0, 2, 5]] == pytest.approx(
        np.tile(expected, (3, 1))
    )


def test_logits_and_their_probabilities_are_pooled_to_the_same():
    logits = some_logits().astype(float)
    one = pooled_probabilities(softmax(logits, axis=1), SEQUENCES, "multiclass")
    assert one == pytest.approx(softmax(pooled_logits(logits, SEQUENCES), axis=1))
    several = pooled_probabilities(expit(logits), SEQUENCES, "multilabel")
    assert several == pytest.approx(expit(pooled_logits(logits, SEQUENCES)))


def test_for_several_labels_each_labels_logit_is_averaged_for_itself():
    found = pooled_probabilities(np.array([[0.9, 0.5], [0.1, 0.8]]), np.array([0, 0]), "multilabel")
    assert found == pytest.approx(np.array([[0.5, 2 / 3]] * 2))  # odds of 9 and 1/9; of 1 and 4


def test_opposite_images_tie_and_the_first_class_is_told():
    found = pooled_logits(np.array([[2.0, -2.0, -9.0], [-2.0, 2.0, -9.0]]), np.array([0, 0]))
    assert found[0, 0] == found[0, 1]
    assert found.argmax(axis=1).tolist() == [0, 0]


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_probabilities_of_0_and_1_still_give_numbers(task):
    found = pooled_probabilities(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 0]), task)
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 1


def test_of_no_images_there_is_nothing_to_pool():
    assert pooled_logits(np.zeros((0, 3)), np.zeros(0, dtype=int)).shape == (0, 3)


@given(st.integers(0, 2**32 - 1), st.lists(st.booleans(), min_size=1, max_size=12))
@settings(deadline=None, max_examples=50)
def test_images_without_a_sequence_and_sequences_of_one_image_keep_their_logits_exactly(seed, named):
    logits = some_logits(len(named), seed=seed)
    sequences = np.where(named, np.arange(len(named)), -1)
    assert np.array_equal(pooled_logits(logits, sequences), logits.astype(np.float64))


@given(st.integers(0, 2**32 - 1), st.integers(1, 7))
@settings(deadline=None, max_examples=50)
def test_the_same_frame_again_and_again_is_the_frame_itself_exactly(seed, times):
    logits = some_logits(1, seed=seed).repeat(times, axis=0)
    assert np.array_equal(pooled_logits(logits, np.zeros(times, dtype=int)), logits.astype(np.float64))


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(-1, 3), min_size=1, max_size=12))
@settings(deadline=None, max_examples=50)
def test_the_order_of_the_images_and_the_numbers_of_the_sequences_do_not_matter(seed, sequences):
    numbers, logits = np.array(sequences), some_logits(len(sequences), seed=seed)
    order = np.random.default_rng(seed).permutation(len(numbers))
    renamed = np.where(numbers < 0, -1, 1000 - numbers)
    again = pooled_logits(logits[order], renamed[order])
    assert again == pytest.approx(pooled_logits(logits, numbers)[order], abs=1e-9)
