import numpy as np

from trapline.preparation.label_summary import suggested_names


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
