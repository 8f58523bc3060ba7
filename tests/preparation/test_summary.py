"""What a summary says: which images come twice, and likely names of labels."""

import json

import numpy as np

from trapline.preparation.splits import duplicate_groups
from trapline.preparation.summary import duplicate_summary, suggested_names


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
