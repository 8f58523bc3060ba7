"""A random split of sequences: whole, near to the shares, and with each class where it can be."""

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trapline.preparation.random_splits import grouped_parts

SHARES, NO_TEST = (0.65, 0.20, 0.15), (0.75, 0.25, 0.0)


def bursts(groups, classes, seed=0, mixed=0.1):
    """Labels and units of `groups` bursts of one to ten images; some frames show nothing, class 0."""
    generator = np.random.default_rng(seed)
    unit_of = np.repeat(np.arange(groups), generator.choice([1, 2, 3, 5, 10], groups))
    labels = generator.integers(0, classes, groups)[unit_of]
    labels[generator.random(len(labels)) < mixed] = 0
    return labels, unit_of


def held(labels, part):
    """The fraction of each class in each part, (classes, 3)."""
    counts = np.stack([np.bincount(labels[part == index], minlength=labels.max() + 1) for index in range(3)])
    return (counts / counts.sum(axis=0)).T


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 20)), min_size=1, max_size=80), st.integers(0, 3))
def test_units_stay_whole_and_a_part_without_a_share_stays_empty(rows, seed):
    labels, groups = np.array(rows).T
    _, unit_of = np.unique(groups, return_inverse=True)
    for shares in (SHARES, NO_TEST):
        part = grouped_parts(labels, unit_of, shares, seed)
        assert (pd.Series(part).groupby(unit_of).nunique() == 1).all()
        assert set(part) <= set(np.flatnonzero(shares).tolist())


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=9), min_size=1, max_size=6))
def test_a_class_of_enough_units_of_its_own_is_in_each_part_and_one_of_few_in_train_first(sizes_of_classes):
    sizes = [size for own in sizes_of_classes for size in own]
    label_of = np.repeat(np.arange(len(sizes_of_classes)), [len(own) for own in sizes_of_classes])
    part = grouped_parts(np.repeat(label_of, sizes), np.repeat(np.arange(len(sizes)), sizes), SHARES, 0)
    for label, own in enumerate(sizes_of_classes):
        found = set(part[np.repeat(label_of, sizes) == label])
        assert found == set(range(min(3, len(own))))


@pytest.mark.parametrize("shares", [SHARES, NO_TEST])
@pytest.mark.parametrize(("groups", "classes", "near"), [(60, 3, 0.08), (300, 8, 0.05), (2000, 8, 0.008)])
def test_counts_are_as_near_to_the_shares_as_bursts_allow(groups, classes, near, shares):
    for seed in range(5):
        labels, unit_of = bursts(groups, classes, seed)
        part = grouped_parts(labels, unit_of, shares, seed)
        assert np.abs(np.bincount(part, minlength=3) / len(part) - shares).max() < near / 2
        assert np.abs(held(labels, part) - shares).mean() < near / 2


def test_single_images_make_the_shares_exact_around_long_sequences():
    unit_of = np.concatenate([np.repeat([0, 1], 30), np.arange(2, 142)])
    part = grouped_parts(np.zeros(200, int), unit_of, SHARES, 0)
    assert np.bincount(part).tolist() == [130, 40, 30]


def test_the_seed_alone_decides_and_it_does():
    labels, unit_of = bursts(300, 8)
    one, again, other = (grouped_parts(labels, unit_of, SHARES, seed) for seed in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_the_parts_of_known_bursts_do_not_change_between_platforms():
    unit_of = np.repeat(np.arange(10), [4, 3, 3, 2, 2, 2, 1, 1, 1, 1])
    labels = np.array([0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 0, 1, 0, 1, 0, 1])
    part = grouped_parts(labels, unit_of, SHARES, 0)
    assert part[np.unique(unit_of, return_index=True)[1]].tolist() == [0, 0, 1, 2, 0, 0, 1, 0, 1, 2]


def test_a_hundred_thousand_images_take_no_minute():
    labels, unit_of = bursts(24_000, 50)
    start = time.perf_counter()
    part = grouped_parts(labels, unit_of, SHARES, 0)
    assert time.perf_counter() - start < 60  # about 0.3 s
    assert np.abs(held(labels, part) - SHARES).max() < 0.005
