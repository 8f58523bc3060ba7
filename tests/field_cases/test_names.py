"""One camera, one class, one id, one file, however it is spelt."""

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.disk import competition, divided, prepared, put, read
from trapline.names import Kind, clean, key, keys, merged, told
from trapline.preparation.division import divide, split_policy
from trapline.preparation.listing import SiteRule
from trapline.preparation.sources import read_source

SPELLINGS = {
    "trailing blank": ("Cam A", "Cam A "),
    "case": ("Cam A", "CAM a"),
    "no-break space": ("Cam A", "Cam\u00a0A"),
    "narrow no-break space": ("Cam A", "Cam\u202fA"),
    "two blanks": ("Cam A", "Cam  A"),
    "tab": ("Cam A", "Cam\tA"),
    "composed": ("Ca\u0301m", "C\u00e1m"),
    "zero width": ("CamA", "Cam\u200bA"),
    "byte order mark": ("CamA", "\ufeffCamA"),
    "soft hyphen": ("CamA", "Cam\u00adA"),
    "right-to-left mark": ("CamA", "CamA\u200f"),
    "sharp s": ("STRASSE", "stra\u00dfe"),
    "final sigma": ("ΟΔΟΣ", "οδος"),
    "whole number": ("2", "2.0"),
}


@pytest.mark.parametrize(("one", "other"), SPELLINGS.values(), ids=SPELLINGS.keys())
@pytest.mark.parametrize("kind", [Kind.SITE, Kind.CLASS])
def test_spellings_of_one_name_have_one_key(kind, one, other):
    first, second = keys([one, other], kind)
    assert first == second


@pytest.mark.parametrize("kind", [Kind.ID, Kind.PATH, Kind.SEQUENCE])
def test_ids_paths_and_sequences_never_fold_case(kind):
    assert key("IMG_1", kind) != key("img_1", kind)
    assert key("IMG_1 ", kind) == key("IMG_1", kind)


def test_numbers_are_whole_only_where_a_whole_column_is():
    assert keys(["2", "2.0", "", "3.0"], Kind.SITE) == ["2", "2", None, "3"]
    assert len(set(keys(["2.1", "2.10", "2", "2.0"], Kind.SITE))) == 4
    assert len(set(keys(["007", "7"], Kind.SITE))) == 2
    assert len(set(keys(["a", "2", "2.0"], Kind.ID))) == 3


def test_the_commonest_spelling_is_written_whatever_the_order_of_rows():
    values = ["cam a", "Cam A", "Cam A ", "CAM A", None, ""]
    assert merged(values, Kind.SITE).names == ["Cam A"] * 4 + [None] * 2
    assert merged(values[::-1], Kind.SITE).names == [None] * 2 + ["Cam A"] * 4
    assert merged(values, Kind.SITE).spellings == {"Cam A": {"CAM A": 1, "Cam A": 1, "Cam A ": 1, "cam a": 1}}


def test_joiners_are_no_part_of_a_key_and_stay_where_a_script_needs_them():
    sinhala, persian = "\u0dc1\u0dca\u200d\u0dbb\u0dd3", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    assert merged([f"{sinhala} ", persian, "cam\u200dera"], Kind.SITE).names == [sinhala, persian, "camera"]
    assert key(sinhala, Kind.SITE) == key(sinhala.replace("\u200d", ""), Kind.SITE)


def test_what_was_merged_is_told_so_that_it_can_be_seen():
    spellings = merged(["a b", "a\u00a0b", "a\tb"], Kind.SITE).spellings
    assert told(Kind.SITE, spellings) == [
        r"sites spelt in several ways are one each: 'a\tb' = 'a b' = 'a\xa0b'"
    ]


@given(st.text(), st.sampled_from(Kind))
def test_a_key_is_its_own_key_and_cleaning_changes_none(text, kind):
    assert key(key(text, kind), kind) == key(text, kind)
    if kind is not Kind.PATH:
        assert key(clean(text), kind) == key(text, kind)


@pytest.mark.parametrize(("one", "other"), SPELLINGS.values(), ids=SPELLINGS.keys())
def test_a_camera_of_two_spellings_is_in_one_part_and_the_summary_says_so(tmp_path, call_script, one, other):
    sites = [one, other, *(["7", "8", "9"] if one == "2" else ["north", "south", "east"])]
    rows = [f'i{n},img/i{n}.jpg,"{sites[n % 5]}"' for n in range(10)]
    source = put(tmp_path / "raw", competition(rows))
    found = divided(source)
    assert len({found[name] for name in ("i0", "i1", "i5", "i6")}) == 1
    read_again = read(source)
    assert read_again.images["site"].nunique() == 4
    assert "sites spelt in several ways are one each" in read_again.notes


def test_the_summary_names_what_was_merged(tmp_path, call_script):
    sites = ["North", "north ", "south", "east", "west"]
    rows = [f"i{n},img/i{n}.jpg,{sites[n % 5]}" for n in range(10)]
    put(tmp_path / "raw", competition([*rows]))
    done = call_script(
        "prepare.py", "--input", tmp_path / "raw", "--output", tmp_path / "out", "--processes", "1"
    )
    assert done.returncode == 0, done.stderr
    _, summary = prepared(tmp_path / "out")
    assert summary["merged"] == {"site": {"North": {"North": 2, "north ": 2}}}
    assert "'North' = 'north '" in done.stdout


@pytest.mark.parametrize(
    "column", ["Site", "site ", "SITE", "location", "Location", "site_id", "Station", "\ufeffsite"]
)
def test_a_column_of_sites_is_seen_under_its_usual_names(tmp_path, column):
    rows = [f"i{n},img/i{n}.jpg,s{n}" for n in range(6)]
    put(tmp_path, competition(rows, f"id,filepath,{column}"))
    assert read(tmp_path).images["site"].to_dict()["i3"] == "s3"


def test_class_folders_of_one_name_are_one_class(tmp_path):
    put(
        tmp_path,
        {"Cat/1.jpg": "", "cat/2.jpg": "", "cat/3.jpg": "", "Do\u0301g/1.jpg": "", "D\u00f3g /1.jpg": ""},
    )
    found = read(tmp_path)
    assert found.classes == ["cat", "D\u00f3g"]
    assert found.labels == {
        "Cat/1.jpg": "cat", "cat/2.jpg": "cat", "cat/3.jpg": "cat",
        "Do\u0301g/1.jpg": "D\u00f3g", "D\u00f3g /1.jpg": "D\u00f3g",
    }  # fmt: skip
    assert "classes spelt in several ways are one each" in found.notes


def test_ids_join_features_and_labels_by_their_keys_and_stay_exact(tmp_path):
    ids = ["A1 ", "b\u0301", "C\u00a01", "d"]
    rows = [f"{name},img/{n}.jpg,s{n}" for n, name in enumerate(ids)]
    labels = ["A1,1,0", "b\u0301,0,1".replace("b\u0301", "b\u0301"), "C 1,1,0", "d\u200b,0,1"]
    put(tmp_path, {"train_features.csv": "\n".join(["id,filepath,site", *rows]),
                   "train_labels.csv": "\n".join(["id,hog,bird", *labels]),
                   **{f"img/{n}.jpg": "" for n in range(4)}})  # fmt: skip
    found = read(tmp_path)
    assert found.labels == {"A1 ": "hog", "b\u0301": "bird", "C\u00a01": "hog", "d": "bird"}


def test_ids_that_one_table_writes_with_a_point_are_whole_numbers(tmp_path):
    put(tmp_path, {"train_features.csv": "id,filepath,site\n1,img/1.jpg,a\n2,img/2.jpg,b\n"})
    put(tmp_path, {"train_labels.csv": "id,hog,bird\n1.0,1,0\n2.0,0,1\n"})
    put(tmp_path, {"img/1.jpg": "", "img/2.jpg": ""})
    assert read(tmp_path).labels == {"1": "hog", "2": "bird"}


def test_unlabelled_images_of_a_validation_camera_are_no_pseudo_labels_however_it_is_spelt(
    tmp_path, call_script
):
    from trapline.data.parts import conflicts
    from trapline.data.prepared import open_prepared

    sites = ["north", "south", "east", "west"]
    rows = [f"i{n},img/i{n}.jpg,{sites[n % 4]}" for n in range(16)]
    put(tmp_path / "raw", competition(rows))
    spelt = [name.upper() + "\u00a0" for name in sites]
    put(tmp_path / "raw", {f"img/u{n}.jpg": 90 + n for n in range(4)})
    put(tmp_path / "raw", {"test_features.csv": "\n".join(
        ["id,filepath,Location", *(f"u{n},img/u{n}.jpg,{spelt[n]}" for n in range(4))])})  # fmt: skip
    done = call_script(
        "prepare.py", "--input", tmp_path / "raw", "--output", tmp_path / "out", "--processes", "1"
    )
    assert done.returncode == 0, done.stderr
    opened = open_prepared(tmp_path / "out")
    held = {
        site: part
        for part in ("train", "val", "test")
        for site in opened.part(part).table["site"].to_pylist()
    }
    expected = {"train": "", "val": "site_of_validation", "test": "site_of_test"}
    table = opened.part("unlabeled").table
    assert set(table["site"].to_pylist()) == set(sites)
    assert conflicts(opened) == [expected[held[site]] for site in table["site"].to_pylist()]


def test_site_flags_count_for_the_competitions_tables_too(tmp_path):
    rows = [f"i{n},img/i{n}.jpg,x" for n in range(6)]
    put(tmp_path, competition(rows))
    found = read(tmp_path, SiteRule(pattern=re.compile(r"(?P<site>i\d)\.jpg")))
    assert found.images["site"].to_dict()["i3"] == "i3"
    assert "--site-regex goes before the sites that the data name for 6 images" in found.notes
    put(tmp_path, {"elsewhere.txt": "id,Location\n" + "\n".join(f"i{n},cam{n // 2}" for n in range(6))})
    found = read(tmp_path, SiteRule(csv=tmp_path / "elsewhere.txt"))
    assert found.images["site"].to_dict()["i5"] == "cam2"


# --- any table ----------------------------------------------------------------------------------------------

CAMERAS = st.integers(0, 5)
DISGUISES = st.sampled_from([
    str, str.upper, "{} ".format, " {}".format, "{}\u200b".format, "\ufeff{}".format,
    lambda name: name.replace(" ", "\u00a0"), lambda name: name.replace(" ", "  "),
    lambda name: name.replace("\u00e9", "e\u0301"),
])  # fmt: skip
NUMBERED = st.sampled_from(["{}".format, "{}.0".format])


@st.composite
def tables(draw):
    """Rows of (camera, how the table spells it, class), by names or by numbers."""
    numbers = draw(st.booleans())
    rows = draw(
        st.lists(
            st.tuples(CAMERAS, NUMBERED if numbers else DISGUISES, st.integers(0, 1)), min_size=8, max_size=40
        )
    )
    return [
        (camera, disguise(camera if numbers else f"caf\u00e9 {'abcdef'[camera]}"), label)
        for camera, disguise, label in rows
    ]


@settings(max_examples=30, deadline=None)
@given(rows=tables())
def test_no_camera_is_in_two_parts_and_every_row_is_somewhere_once(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("table")
    lines = [f'i{n},img/i{n}.jpg,"{site}"' for n, (_, site, _) in enumerate(rows)]
    put(folder, {f"img/i{n}.jpg": "" for n in range(len(rows))})
    labels = [f"i{n},{label},{1 - label}" for n, (_, _, label) in enumerate(rows)]
    put(folder, {"train_features.csv": "\n".join(["id,filepath,site", *lines])})
    put(folder, {"train_labels.csv": "\n".join(["id,x,y", *labels])})
    source = read_source(folder, SiteRule())
    assert source.images["site"].nunique() == len({camera for camera, _, _ in rows})
    images = source.images.assign(sha256=source.images["id"])
    assume(len({camera for camera, _, _ in rows}) >= 3 and len({label for _, _, label in rows}) == 2)
    parts, _ = divide(images, source.classes, split_policy(source, None, None, None, 0))
    camera_of = {f"i{n}": camera for n, (camera, _, _) in enumerate(rows)}
    held = {(camera_of[name], part) for name, part in zip(parts["id"], parts["part"], strict=True)}
    assert len(held) == len({camera for camera, _ in held})
    every = [*parts["id"], *(row.id for row in source.quarantined)]
    assert sorted(every) == sorted(camera_of)
