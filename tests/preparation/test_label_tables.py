import pytest

from trapline.errors import TraplineError, UsageError
from trapline.preparation.listing import UNLABELED, SiteRule, label_indices, label_matrix, limited, renamed
from trapline.preparation.sources import read_source

NO_RULE = SiteRule()


@pytest.fixture
def table(tmp_path):
    """Write a table and, below `place`, an empty file for each of its images: (lines, name, place)."""

    def write(*lines, name="train.csv", place="data", images=range(1, 9), columns="ImageID,Labels,Caption"):
        (tmp_path / place).mkdir(exist_ok=True)
        for number in images:
            (tmp_path / place / f"{number}.jpg").touch()
        (tmp_path / name).write_text("\n".join([columns, *lines]))
        return tmp_path

    return write


def labels(source):
    """For each id the names of its labels, None for unlabelled images."""
    return {
        row.id: None if row.label == UNLABELED else [source.classes[index] for index in row.labels]
        for row in source.images.itertuples()
    }


def quarantined(source):
    return {(row.id, row.reason) for row in source.quarantined}


def test_the_classes_are_all_labels_by_value_and_their_gaps_vanish(table):
    source = read_source(table("1.jpg,10 2,a", "2.jpg,2,b", "3.jpg,1 10 2,c"), NO_RULE)
    assert (source.task, source.classes, source.class_codes) == ("multilabel", ["1", "2", "10"], None)
    assert labels(source) == {"1.jpg": ["2", "10"], "2.jpg": ["2"], "3.jpg": ["1", "2", "10"]}
    assert source.images["filepath"].tolist() == ["data/1.jpg", "data/2.jpg", "data/3.jpg"]
    assert source.images["caption"].tolist() == ["a", "b", "c"]


def test_labels_can_be_words_and_an_empty_cell_is_none_of_them(table):
    source = read_source(table("1.jpg,dog cat", "2.jpg,", columns="ImageID,Labels"), NO_RULE)
    assert labels(source) == {"1.jpg": ["cat", "dog"], "2.jpg": []}


def test_a_table_without_labels_lists_unlabelled_images(table):
    table("1.jpg,1,a", "2.jpg,2,b")
    table("3.jpg,c", name="test.csv", columns="ImageID,Caption")
    table("4.jpg,,d", name="more.csv")
    folder = table("1.jpg,9,e", name="sample_submission.csv")
    source = read_source(folder, NO_RULE)
    assert labels(source) == {"1.jpg": ["1"], "2.jpg": ["2"], "3.jpg": None, "4.jpg": None}
    assert source.classes == ["1", "2"]


@pytest.mark.parametrize("place", [".", "data", "images", "train", "photos"])
def test_images_are_found_in_the_usual_folders_with_or_without_their_suffix(table, place):
    folder = table("1.jpg,1", "2,2", columns="ImageID,Labels", name="photos.csv", place=place)
    assert len(read_source(folder, NO_RULE).images) == 2


def test_captions_may_hold_anything(table):
    source = read_source(
        table(
            '1.jpg,1,"A man, ""tall"", in a hat"',
            "2.jpg,1 2,A dog, a cat, and so on",
            '3.jpg,1,"He said "hello" to her, twice"',
            '4.jpg,2,"Two lines,',
            'of a text"',
            '5.jpg,2,"An open quote',
            "6.jpg,1,after it",
            "7.jpg,1",
        ),
        NO_RULE,
    )
    captions = dict(zip(source.images["id"], source.images["caption"], strict=True))
    assert captions["1.jpg"] == 'A man, "tall", in a hat'
    assert captions["2.jpg"] == "A dog, a cat, and so on"
    assert captions["4.jpg"] == "Two lines, of a text"
    assert captions["6.jpg"] == "after it"
    assert captions["7.jpg"] == ""
    assert sorted(captions) == [f"{number}.jpg" for number in range(1, 8)]
    assert source.quarantined == []


def test_rows_that_cannot_be_read_are_quarantined_and_the_others_go_on(table):
    rows = [f"{number}.jpg,{number % 3},x" for number in range(1, 30)]
    source = read_source(
        table(*rows, "absent.jpg,1,a", "1.jpg,2,again", '"30.jpg,1,x', "31.jpg,dog,x", images=range(1, 40)),
        NO_RULE,
    )
    assert quarantined(source) == {
        ("absent.jpg", "missing"), ("1.jpg", "ambiguous_label"), ('"30.jpg,1,x', "unknown_label"),
        ("31.jpg", "unknown_label"),
    }  # fmt: skip
    assert len(source.images) == 28
    assert "train.csv, line 33: 1 cells in the place of 3" in {row.detail for row in source.quarantined}


def test_a_table_of_which_no_image_is_found_is_an_error_that_says_where_they_may_lie(table):
    folder = table("1.jpg,1,a", place="elsewhere")
    with pytest.raises(TraplineError, match=r"train\.csv: none of its images is in .*data, images.*'1\.jpg'"):
        read_source(folder, NO_RULE)


def test_tables_of_which_every_row_is_contradicted_are_an_error(table):
    with pytest.raises(TraplineError, match="the column Labels of its tables holds no label"):
        read_source(table("1.jpg,1,a", "1.jpg,2,a"), NO_RULE)


def test_tables_without_a_single_label_are_an_error(table):
    with pytest.raises(TraplineError, match="the column Labels of its tables holds no label"):
        read_source(table("1.jpg,,a"), NO_RULE)


def test_a_limit_keeps_images_while_one_of_their_labels_is_wanted(table):
    rows = [f"{number}.jpg,{'1 2' if number % 2 else '1'},x" for number in range(1, 9)]
    table(*rows)
    folder = table("9.jpg,x", "10.jpg,x", images=(9, 10), name="test.csv", columns="ImageID,Caption")
    kept = limited(read_source(folder, NO_RULE), 1, seed=0)
    counts = label_matrix(kept.images, 2).sum(axis=0)
    assert counts.tolist() in ([1, 1], [2, 1])
    assert (kept.images["label"] == UNLABELED).sum() == 1
    assert len(label_indices(kept.images)) == counts.sum()


def test_classes_get_the_names_of_a_file_and_keep_their_codes(table):
    folder = table("1.jpg,1 3,a", "2.jpg,7,b")
    (folder / "names.txt").write_text("Label,Name\n1,person\n7,cat\n9,unused\n3,\n")
    source = renamed(read_source(folder, NO_RULE), folder / "names.txt", "names.txt")
    assert (source.classes, source.class_codes) == (["person", "3", "cat"], ["1", "3", "7"])


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, UsageError, "--label-names names.txt: no such file, here or in the input"),
        ("Label,Name\n5,x\n", TraplineError, r"names.txt: names none of the set's labels \(1, 3"),
        ("Label,Name\n1,x\n1,y\n", TraplineError, "names.txt: label 1 has two rows"),
        ("Label,Name\n1,x\n3,x\n", TraplineError, "names.txt: two labels are called 'x'"),
        ("Label,Title\n1,x\n", TraplineError, "no column Name"),
    ],
)
def test_a_file_of_names_that_does_not_fit_is_refused(table, content, error, message):
    folder = table("1.jpg,1 3,a")
    if content:
        (folder / "names.txt").write_text(content)
    with pytest.raises(error, match=message):
        renamed(read_source(folder, NO_RULE), folder / "names.txt", "names.txt")
