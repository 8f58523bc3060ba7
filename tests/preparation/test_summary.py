"""What a summary says: what recognising the camera, or seeing an image twice, can add, and likely names."""

import json
import math
import os
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trapline.preparation.splits import SplitPolicy, duplicate_groups, split
from trapline.preparation.summary import duplicate_summary, leakage_gap, suggested_names

REAL_DATA = os.environ.get("TRAPLINE_REAL_DATA")


def simulated(concentration):
    """100 sites of 40 images in 4 classes; a small concentration gives each site a class of its own."""
    generator = np.random.default_rng(3)
    mixes = generator.dirichlet(np.full(4, concentration), 100)
    labels = np.concatenate([generator.choice(4, 40, p=mix) for mix in mixes])
    return labels, np.repeat([f"cam{index:03d}" for index in range(100)], 40)


def site_split(labels, sites, classes=4):
    return split(labels, sites, None, SplitPolicy(), [str(label) for label in range(classes)]).part


def test_sites_with_their_own_classes_show_a_wide_gap():
    labels, sites = simulated(concentration=0.1)
    gap = leakage_gap(labels, sites, 4, site_split(labels, sites))
    assert gap.random_accuracy > 0.7
    assert gap.site_accuracy < 0.45
    assert gap.accuracy_gap == pytest.approx(gap.random_accuracy - gap.site_accuracy)
    assert gap.random_log_loss < 0.8 < gap.site_log_loss
    assert gap.log_loss_gap == pytest.approx(gap.site_log_loss - gap.random_log_loss)


def test_sites_with_equal_mixes_show_no_gap():
    labels, sites = simulated(concentration=1e6)
    gap = leakage_gap(labels, sites, 4, site_split(labels, sites))
    assert abs(gap.accuracy_gap) < 0.05
    assert gap.random_log_loss == pytest.approx(math.log(4), abs=0.02)
    assert gap.site_log_loss == pytest.approx(math.log(4), abs=0.02)


def test_the_uniform_guess_costs_the_logarithm_of_the_number_of_classes():
    labels, sites = simulated(concentration=1)
    assert leakage_gap(labels, sites, 4, site_split(labels, sites)).uniform_log_loss == math.log(4)


def test_an_unseen_site_is_scored_with_the_class_prior_of_train():
    sites = np.repeat(["a", "b"], [6, 3])
    labels = np.array([0, 0, 0, 0, 0, 1, 0, 1, 1])
    part = np.repeat(["train", "val"], [6, 3])
    gap = leakage_gap(labels, sites, 2, part)
    assert gap.site_accuracy == pytest.approx(1 / 3)
    assert gap.site_log_loss == pytest.approx(-(math.log(6 / 8) + 2 * math.log(2 / 8)) / 3)
    assert gap.site_images == 3


def test_the_labels_of_the_test_part_change_nothing():
    labels, sites = simulated(concentration=0.5)
    part = site_split(labels, sites)
    altered = np.where(part == "test", 3 - labels, labels)
    assert leakage_gap(labels, sites, 4, part) == leakage_gap(altered, sites, 4, part)


def test_a_random_split_is_compared_with_a_split_by_site():
    labels, sites = simulated(concentration=0.1)
    part = split(labels, sites, None, SplitPolicy("random"), list("abcd")).part
    gap = leakage_gap(labels, sites, 4, part)
    assert gap.site_accuracy < 0.45
    assert gap.site_images == pytest.approx(0.25 * np.count_nonzero(part != "test"), rel=0.05)


def test_the_explanation_is_one_sentence_with_both_accuracies():
    labels, sites = simulated(concentration=0.1)
    gap = leakage_gap(labels, sites, 4, site_split(labels, sites))
    assert f"{gap.random_accuracy:.0%} of the images" in gap.explanation
    assert f"{gap.site_accuracy:.0%} at cameras it has not seen" in gap.explanation
    assert f"up to {round(100 * gap.accuracy_gap)} points" in gap.explanation
    assert gap.explanation.count(".") == 1


def test_there_is_no_gap_to_measure_without_sites_or_with_one_site():
    labels, part = np.array([0, 1, 0, 1]), np.array(["train", "train", "val", "test"])
    assert leakage_gap(labels, None, 2, part) is None
    assert leakage_gap(labels, np.array(["a", "a", "a", "b"]), 2, part) is None


def test_there_is_no_gap_to_measure_with_one_image_a_class():
    part = np.array(["train", "val"])
    assert leakage_gap(np.array([0, 1]), np.array(["a", "b"]), 2, part) is None


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from("abcd"), st.sampled_from(["train", "val", "test"])),
        min_size=1,
        max_size=40,
    )
)
def test_every_figure_is_finite_and_fit_for_json(rows):
    labels, sites, part = (np.array(column) for column in zip(*rows, strict=True))
    gap = leakage_gap(labels, sites, 5, part)
    if gap is None:
        assert len(set(sites[part != "test"])) < 2 or np.bincount(labels[part != "test"]).max() < 2
    else:
        json.dumps(asdict(gap), allow_nan=False)
        figures = [getattr(gap, field.name) for field in fields(gap) if field.name != "explanation"]
        assert np.isfinite(figures).all()


def test_duplicates_are_counted_by_group_site_part_and_label():
    summary = duplicate_summary(
        sha256s=["x", "y", "x", "z", "y", "w", "z"],
        labels=np.array([0, 1, 0, 2, 2, 0, 2]),
        sites=np.array(["a", "a", "b", "c", "a", "c", "c"]),
        parts=np.array(["train", "train", "val", "test", "train", "test", "test"]),
    )
    assert summary == {
        "groups": 3,
        "images": 6,
        "groups_across_sites": 1,
        "groups_across_parts": 1,
        "groups_with_different_labels": 1,
        "different_labels": [[1, 4]],
    }
    assert json.loads(json.dumps(summary)) == summary


def test_images_that_all_differ_make_an_empty_summary():
    summary = duplicate_summary(["x", "y"], np.array([0, 1]), None, np.array(["train", "val"]))
    assert summary["groups"] == summary["images"] == summary["groups_across_sites"] == 0
    assert summary["different_labels"] == []


def test_at_most_twenty_groups_with_different_labels_are_listed():
    digests = [f"{number // 2}" for number in range(60)]
    summary = duplicate_summary(digests, np.arange(60) % 2, None, np.full(60, "train"))
    assert summary["groups_with_different_labels"] == 30
    assert summary["different_labels"] == [[2 * group, 2 * group + 1] for group in range(20)]


def test_equal_digests_get_equal_group_numbers():
    assert duplicate_groups(["b", "a", "b"]).tolist() == [0, 1, 0]


@pytest.mark.skipif(REAL_DATA is None, reason="TRAPLINE_REAL_DATA is not set")
def test_three_real_sites_make_three_parts_and_a_finite_gap():
    table = pd.read_csv(Path(REAL_DATA) / "camera_traps_norway" / "labels.csv")
    labels, classes = pd.factorize(table["label"], sort=True)
    sites = table["site"].to_numpy(dtype=object)
    result = split(labels, sites, None, SplitPolicy(), list(classes))
    assert pd.Series(result.part).groupby(sites).nunique().eq(1).all()
    assert sum(note.startswith("class") for note in result.notes) == 2
    assert math.isfinite(leakage_gap(labels, sites, len(classes), result.part).log_loss_gap)


def test_the_words_that_come_with_a_label_and_seldom_without_it_are_suggested():
    captions = [
        "A dog on the street",
        "Two dogs and a dog",
        "the dog in a street",
        "A cat",
        "Cat on a street",
    ]
    matrix = np.array([[1, 0, 1], [1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 1, 1]], dtype=bool)
    found = suggested_names(captions, matrix, ["1", "3", "4"])
    assert found["1"][0] == "dog"
    assert found["3"][0] == "cat"
    assert found["4"][0] == "street"
    assert "the" not in found["1"]


def test_labels_without_captions_get_no_suggestion():
    assert suggested_names(["", ""], np.eye(2, dtype=bool), ["1", "2"]) == {"1": [], "2": []}
