import numpy as np
import pytest

from trapline.data.groups import Sequences
from trapline.errors import TraplineError
from trapline.preparation.random_splits import iterative_parts
from trapline.preparation.splits import LABEL_SHARES, SplitPolicy, split

NAMES = ["common", "usual", "seldom", "rare"]


def labels(images, seed=0):
    """(images, 4) of 0/1, from a frequent label to a rare one; some rows are empty."""
    return np.random.default_rng(seed).random((images, 4)) < (0.6, 0.3, 0.1, 0.03)


def test_every_part_gets_its_share_of_every_label_and_of_all_images():
    matrix = labels(1000)
    part = iterative_parts(matrix, np.arange(1000), LABEL_SHARES, seed=0)
    for index, share in enumerate(LABEL_SHARES):
        assert np.abs(matrix[part == index].sum(axis=0) - share * matrix.sum(axis=0)).max() <= 2
        assert abs((part == index).sum() - share * 1000) <= 2


def test_the_seed_alone_decides_and_it_does():
    matrix = labels(200)
    parts = [iterative_parts(matrix, np.arange(200), LABEL_SHARES, seed) for seed in (0, 0, 1)]
    assert np.array_equal(parts[0], parts[1])
    assert not np.array_equal(parts[0], parts[2])


def test_a_label_of_three_images_is_in_all_three_parts():
    matrix = labels(200)
    matrix[:, 3] = False
    matrix[[5, 50, 150], 3] = True
    part = iterative_parts(matrix, np.arange(200), LABEL_SHARES, seed=0)
    assert sorted(part[matrix[:, 3]]) == [0, 1, 2]


def test_byte_identical_images_stay_together_and_empty_rows_are_divided_too():
    matrix, groups = labels(300), np.arange(300) // 3
    part = iterative_parts(matrix, groups, LABEL_SHARES, seed=0)
    assert (part.reshape(100, 3) == part[::3, None]).all()
    alone = iterative_parts(np.zeros((100, 2), dtype=bool), np.arange(100), LABEL_SHARES, seed=0)
    assert np.bincount(alone).tolist() == [70, 15, 15]


def test_a_part_without_a_share_stays_empty():
    part = iterative_parts(labels(100), np.arange(100), (0.75, 0.25, 0.0), seed=0)
    assert sorted(set(part)) == [0, 1]


def test_by_site_no_site_is_in_two_parts_and_labels_are_spread():
    matrix = labels(600)
    sites = np.array([f"s{number % 20}" for number in range(600)], dtype=object)
    result = split(matrix, sites, np.arange(600), SplitPolicy("site", LABEL_SHARES), NAMES)
    assert all(len(set(result.part[sites == site])) == 1 for site in set(sites))
    for name, share in zip(("train", "val", "test"), LABEL_SHARES, strict=True):
        own = result.part == name
        assert own.mean() == pytest.approx(share, abs=0.051)
        assert matrix[own, 3].any()


def test_a_label_that_cannot_be_everywhere_is_named():
    matrix = labels(60)
    matrix[:, 3] = np.arange(60) < 2
    policy = SplitPolicy("random", LABEL_SHARES)
    notes = split(matrix, None, np.arange(60), policy, NAMES).notes
    assert notes == [
        "class rare (2 images) cannot be in all of train, val and test: it has none in test",
    ]


def test_no_images_or_empty_parts_are_errors():
    policy = SplitPolicy("random", LABEL_SHARES)
    with pytest.raises(TraplineError, match="no labelled images"):
        split(np.zeros((0, 4), dtype=bool), None, np.arange(0), policy, NAMES)
    with pytest.raises(TraplineError, match="test would be empty"):
        split(labels(2), None, np.arange(2), policy, NAMES)


def test_sequences_stay_whole_and_labels_are_spread_by_site_and_at_random():
    matrix, sequences = labels(900), Sequences(np.arange(900) // 3, np.arange(900).astype(object))
    sites = np.array([f"s{number // 12:02d}" for number in range(900)], dtype=object)
    sites[11] = "s01"  # its sequence began at s00
    for kind in ("random", "site"):
        policy = SplitPolicy(kind, LABEL_SHARES)
        result = split(matrix, sites, np.arange(900), policy, NAMES, sequences)
        assert (result.part.reshape(300, 3) == result.part[::3, None]).all()
        for name, share in zip(("train", "val", "test"), LABEL_SHARES, strict=True):
            assert matrix[result.part == name].sum(axis=0) / matrix.sum(axis=0) == pytest.approx(
                share, abs=0.09
            )
    assert result.part[0] == result.part[12]
    assert result.notes[0].startswith(
        "2 sites were joined because sequences span them (for instance sequence"
    )
