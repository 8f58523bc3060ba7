import re

import pandas as pd
import pytest

from trapline.errors import TraplineError, UsageError
from trapline.preparation.sources import UNLABELED, SiteRule, read_source

NO_RULE = SiteRule()


def write(folder, **tables):
    for name, rows in tables.items():
        pd.DataFrame(rows[1:], columns=rows[0]).to_csv(folder / f"{name}.csv", index=False)


FEATURES = [
    ["id", "filepath", "site"],
    ["a", "img/a.jpg", "s1"],
    ["b", "img/b.jpg", "s2"],
    ["c", "img/c.jpg", "s1"],
]
LABELS = [["id", "hog", "bird"], ["a", 1.0, 0.0], ["b", 0.0, 1.0], ["c", 1.0, 0.0]]


def quarantined(source):
    return {(row.id, row.reason) for row in source.quarantined}


def test_the_competitions_layout_is_read(tmp_path):
    write(
        tmp_path,
        train_features=FEATURES,
        train_labels=LABELS,
        test_features=[["id", "filepath", "site"], ["t", "img/t.jpg", "s9"]],
        submission_format=[["id", "hog", "bird"], ["t", 0, 0]],
    )
    source = read_source(tmp_path, NO_RULE)
    rows = source.images.set_index("id")
    assert source.classes == ["hog", "bird"]
    assert rows["label"].to_dict() == {"t": UNLABELED, "a": 0, "b": 1, "c": 0}
    assert rows["site"].to_dict() == {"t": "s9", "a": "s1", "b": "s2", "c": "s1"}
    assert rows.loc["a", "path"] == str(tmp_path / "img" / "a.jpg")
    assert source.has_sites
    assert source.quarantined == []
    assert source.submission_format == tmp_path / "submission_format.csv"


def test_rows_without_a_clear_label_are_quarantined_and_no_input_is_lost(tmp_path):
    features = [
        *FEATURES,
        *([name, f"img/{name}.jpg", "s1"] for name in "defgh"),
        ["a", "img/again.jpg", "s1"],
    ]
    labels = [
        *LABELS,
        ["d", 0.0, 0.0],
        ["e", 1.0, 1.0],
        ["f", 0.5, 0.5],
        ["g", 1.0, 0.0],
        ["g", 0.0, 1.0],
        ["x", 1.0, 0.0],
        ["b", 0.0, 1.0],  # the same again is no contradiction
    ]
    write(tmp_path, train_features=features, train_labels=labels)
    source = read_source(tmp_path, NO_RULE)
    assert quarantined(source) == {
        ("a", "duplicate_id"),  # both of its rows: which file the label belongs to nobody can tell
        ("d", "unknown_label"),
        ("e", "ambiguous_label"),
        ("f", "unknown_label"),
        ("g", "ambiguous_label"),
        ("h", "unknown_label"),
        ("x", "missing"),
    }
    assert sorted(source.images["id"]) == ["b", "c"]
    assert len(source.images) + len(source.quarantined) == len(features) - 1 + 1  # x is an input as well


def test_an_id_in_both_features_files_is_a_duplicate(tmp_path):
    other = [["id", "filepath"], ["a", "img/t.jpg"]]
    write(tmp_path, train_features=FEATURES, train_labels=LABELS, test_features=other)
    assert ("a", "duplicate_id") in quarantined(read_source(tmp_path, NO_RULE))


def test_numbers_with_leading_zeros_and_na_stay_text(tmp_path):
    features = [["id", "filepath", "site"], ["007", "7.jpg", "NA"], ["NA", "na.jpg", ""]]
    write(tmp_path, train_features=features, train_labels=[["id", "x", "y"], ["007", 1, 0], ["NA", 0, 1]])
    rows = read_source(tmp_path, NO_RULE).images
    assert rows["id"].tolist() == ["007", "NA"]
    assert rows["site"].tolist() == ["NA", None]


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"train_features": FEATURES}, "nothing to learn from"),
        ({"train_features": [["id", "where"], ["a", "b"]], "train_labels": LABELS}, "no column filepath"),
        ({"train_features": FEATURES, "train_labels": [["name", "hog"], ["a", 1]]}, "no column id"),
        (
            {"train_features": FEATURES, "train_labels": [["id", "hog", "bird"], ["z", 1, 0]]},
            "none of its ids",
        ),
        (
            {
                "a_features": FEATURES,
                "a_labels": LABELS,
                "b_features": FEATURES,
                "b_labels": [["id", "bird", "hog"], ["a", 1, 0]],
            },
            "classes differ",
        ),
    ],
)
def test_tables_that_do_not_fit_are_named(tmp_path, tables, message):
    write(tmp_path, **tables)
    with pytest.raises(TraplineError, match=rf"\.csv.*{message}|{message}"):
        read_source(tmp_path, NO_RULE)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00a", b'id,filepath\n"a,b\n', b"\x00\x01\x02"])
def test_an_unreadable_csv_is_named_in_one_line(tmp_path, content):
    (tmp_path / "train_features.csv").write_bytes(content)
    with pytest.raises(TraplineError, match=r"train_features\.csv: ") as refusal:
        read_source(tmp_path, NO_RULE)
    assert len(str(refusal.value).splitlines()) == 1


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_class_folders_are_read_with_everything_in_them(tmp_path):
    touch(tmp_path, "hog/a.jpg", "hog/deep/b.txt", "bird/a.jpg", "unlabeled/u.png", "labels.csv")
    touch(tmp_path, "hog/.hidden", "bird/Thumbs.db", ".git/x.jpg", "loose.jpg")
    source = read_source(tmp_path, NO_RULE)
    assert source.classes == ["bird", "hog"]
    assert dict(zip(source.images["id"], source.images["label"], strict=True)) == {
        "bird/a.jpg": 0,
        "hog/a.jpg": 1,
        "hog/deep/b.txt": 1,
        "unlabeled/u.png": UNLABELED,
    }
    assert quarantined(source) == {("loose.jpg", "unknown_label")}
    assert not source.has_sites


def test_linked_folders_are_followed_but_not_in_a_circle(tmp_path):
    touch(tmp_path, "raw/hog/a.jpg", "elsewhere/b.jpg", "raw/bird/c.jpg")
    (tmp_path / "raw" / "hog" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "elsewhere")
    source = read_source(tmp_path / "raw", NO_RULE, follow_links=True)
    assert sorted(source.images["id"]) == ["bird/c.jpg", "hog/a.jpg", "hog/link/b.jpg"]


def test_sites_come_from_a_pattern(tmp_path):
    touch(tmp_path, "hog/cam1_s7_3.jpg", "bird/cam2_s7_4.jpg", "bird/other.jpg")
    rule = SiteRule(pattern=re.compile(r"(?P<site>cam\d)_(?P<sequence>s\d)"))
    rows = read_source(tmp_path, rule).images.set_index("id")
    assert rows.loc["hog/cam1_s7_3.jpg", ["site", "sequence"]].tolist() == ["cam1", "s7"]
    assert rows.loc["bird/other.jpg", "site"] is None


def test_sites_come_from_a_csv(tmp_path):
    touch(tmp_path, "hog/a.jpg", "bird/b.jpg")
    table = tmp_path / "sites.csv"
    table.write_text("path,site,sequence\nhog/a.jpg,north,1\nabsent.jpg,south,2\n")
    rows = read_source(tmp_path, SiteRule(csv=table)).images.set_index("id")
    assert rows.loc["hog/a.jpg", ["site", "sequence"]].tolist() == ["north", "1"]
    assert rows.loc["bird/b.jpg", "site"] is None


@pytest.mark.parametrize(
    ("rule", "error", "message"),
    [
        (SiteRule(pattern=re.compile("cam")), UsageError, "no group"),
        (SiteRule(pattern=re.compile("(cam)")), TraplineError, "matches no path"),
    ],
)
def test_a_pattern_that_finds_nothing_is_refused(tmp_path, rule, error, message):
    touch(tmp_path, "hog/a.jpg", "bird/b.jpg")
    with pytest.raises(error, match=message):
        read_source(tmp_path, rule)


@pytest.mark.parametrize(
    ("content", "message"), [("site\nx\n", "no column filepath"), ("filepath,site\nx,y\n", "names none")]
)
def test_a_site_table_that_does_not_fit_is_refused(tmp_path, content, message):
    touch(tmp_path, "hog/a.jpg", "bird/b.jpg")
    (tmp_path / "sites.csv").write_text(content)
    with pytest.raises(TraplineError, match=message):
        read_source(tmp_path, SiteRule(csv=tmp_path / "sites.csv"))


def test_a_folder_without_classes_and_an_empty_class_are_refused(tmp_path):
    with pytest.raises(TraplineError, match="neither"):
        read_source(tmp_path, NO_RULE)
    touch(tmp_path, "hog/a.jpg")
    (tmp_path / "bird").mkdir()
    with pytest.raises(TraplineError, match="bird: an empty class folder"):
        read_source(tmp_path, NO_RULE)
    with pytest.raises(TraplineError, match="no such folder"):
        read_source(tmp_path / "absent", NO_RULE)
