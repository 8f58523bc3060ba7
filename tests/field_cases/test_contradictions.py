"""Rows of one file that say different things: the order of rows never decides."""

import itertools

import pytest

from tests.support.disk import put, read
from trapline.preparation.listing import SiteRule

PICTURES = {f"img/{number}.jpg": "" for number in range(5)}
SOUND = ["0,img/0.jpg,a", "1,img/1.jpg,b"]


def competition(folder, rows, labels, columns="id,filepath,site"):
    put(folder, {**PICTURES, "train_features.csv": "\n".join([columns, *rows])})
    return put(folder, {"train_labels.csv": "\n".join(["id,fox,owl", "0,1,0", "1,0,1", *labels])})


CONTRADICTIONS = {
    "two sites": (["2,img/2.jpg,a", "2,img/2.jpg,b"], ["2,1,0"], {"2": "contradictory"}, ["'a'", "'b'"]),
    "two labels": (["2,img/2.jpg,a"], ["2,1,0", "2,0,1"], {"2": "ambiguous_label"}, ["'fox'", "'owl'"]),
    "two ids": (["2,img/2.jpg,a", "3,img/2.jpg,a"], ["2,1,0", "3,1,0"],
                {"2": "contradictory", "3": "contradictory"}, ["'2'", "'3'"]),
    "two ids, paths spelt in two ways": (["2,img/2.jpg,a", "3,./img//2.jpg,a"], ["2,1,0", "3,1,0"],
                                         {"2": "contradictory", "3": "contradictory"}, ["'2'", "'3'"]),
    "two ids by a backslash": (["2,img/2.jpg,a", "3,img\\2.jpg,a"], ["2,1,0", "3,0,1"],
                               {"2": "contradictory", "3": "contradictory"}, ["'2'", "'3'"]),
    "two files": (["2,img/2.jpg,a", "2,img/3.jpg,a"], ["2,1,0"], {"2": "duplicate_id"}, ["2.jpg", "3.jpg"]),
    "two spellings of an id, two files": (["2,img/2.jpg,a", "2 ,img/3.jpg,a"], ["2,1,0"],
                                          {"2": "duplicate_id", "2 ": "duplicate_id"}, ["2.jpg", "3.jpg"]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "labels", "reasons", "named"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys()
)
def test_contradicting_rows_go_to_quarantine_with_both_values_in_any_order(
    tmp_path, rows, labels, reasons, named
):
    orders = itertools.product(itertools.permutations(rows), itertools.permutations(labels))
    for number, (some, others) in enumerate(orders):
        found = read(competition(tmp_path / str(number), [*SOUND, *some], [*others]))
        assert found.quarantined == reasons
        assert set(found.images.index) == {"0", "1"}
        assert all(value in found.details for value in named)


@pytest.mark.parametrize(
    "rows",
    [
        ["2,img/2.jpg,a", "2,img/2.jpg,a"],
        ["2,img/2.jpg,a", "2,img/2.jpg,A "],
        ["2,img/2.jpg,", "2,img/2.jpg,a"],
    ],
)
def test_the_same_row_again_is_no_contradiction_and_what_one_leaves_open_the_other_says(tmp_path, rows):
    for order, number in zip(itertools.permutations(rows), "01", strict=True):
        found = read(competition(tmp_path / number, [*SOUND, *order], ["2,1,0"]))
        assert found.images["site"].to_dict()["2"].casefold() == "a"
        assert found.quarantined == {"2": "duplicate_id"}


def test_a_labelled_image_that_is_listed_as_unlabelled_too_stays_labelled(tmp_path):
    competition(tmp_path, [*SOUND, "2,img/2.jpg,a"], ["2,1,0"])
    put(tmp_path, {"a_features.csv": "id,filepath\n2,img/2.jpg\n"})
    assert read(tmp_path).labels["2"] == "fox"


def test_two_parts_for_one_image_are_a_contradiction(tmp_path):
    rows = ["0,img/0.jpg,a,train", "1,img/1.jpg,b,val", "2,img/2.jpg,c,train", "2,img/2.jpg,c,test"]
    found = read(competition(tmp_path, rows, ["2,1,0"], "id,filepath,site,split"))
    assert found.quarantined == {"2": "contradictory"}
    assert "part 'train'" in found.details


def test_two_sites_in_a_table_of_sites_are_a_contradiction(tmp_path):
    put(tmp_path / "raw", {"fox/a.jpg": "", "owl/b.jpg": "", "owl/c.jpg": ""})
    table = put(
        tmp_path,
        {"sites.csv": "path,site\nfox/a.jpg,n\nowl/b.jpg,n\nowl/b.jpg,s\nowl/c.jpg,s\nowl/c.jpg,S \n"},
    )
    found = read(tmp_path / "raw", SiteRule(csv=table / "sites.csv"))
    assert found.quarantined == {"owl/b.jpg": "contradictory"}
    assert "site 'n' (sites.csv, line 3) and 's' (sites.csv, line 4)" in found.details


def test_a_table_that_says_another_class_than_the_folder_is_a_contradiction(tmp_path):
    put(
        tmp_path,
        {
            "fox/a.jpg": "",
            "owl/b.jpg": "",
            "labels.csv": "path,label,site\nfox/a.jpg,Owl,n\nowl/b.jpg,owl,n\n",
        },
    )
    found = read(tmp_path)
    assert found.quarantined == {"fox/a.jpg": "ambiguous_label"}
    assert "its folder says 'fox', labels.csv, line 2 says 'Owl'" in found.details


@pytest.mark.parametrize("order", [1, -1])
def test_two_label_lists_for_one_image_are_a_contradiction(tmp_path, order):
    rows = ["0.jpg,1 2", "1.jpg,2", "1.jpg,1", "2.jpg,2 1", "2.jpg,1 2", "3.jpg,1", "3,1"][::order]
    put(
        tmp_path, {**{f"data/{n}.jpg": "" for n in range(4)}, "all.csv": "\n".join(["ImageID,Labels", *rows])}
    )
    found = read(tmp_path)
    assert found.quarantined == {"1.jpg": "ambiguous_label", "2.jpg": "duplicate_id",
                                 "3.jpg": "contradictory", "3": "contradictory"}  # fmt: skip
    assert set(found.images.index) == {"0.jpg", "2.jpg"}
