import json
import zipfile
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.sources import column, labels, prepared_rows, quarantined
from tests.support.written_sets import drawn_set, write_coco
from trapline.errors import TraplineError, UsageError
from trapline.preparation.input_folder import InputFolder
from trapline.preparation.listing import TIME, Reading, SiteRule
from trapline.preparation.sources import read_source

CATEGORIES = [{"id": 10, "name": "deer"}, {"id": 2, "name": "empty"}, {"id": 1, "name": "boar"}]


@pytest.fixture
def read(tmp_path):
    """Write a JSON of images 1.jpg ... beside those, empty files, and read it: (images, annotations, ...)."""

    def reader(
        images, annotations=(), categories=CATEGORIES, *, files=range(1, 6), name="set.json", **others
    ):
        for number in files:
            (tmp_path / f"{number}.jpg").touch()
        content = {"images": images, "annotations": list(annotations), "categories": categories, **others}
        (tmp_path / name).write_text(json.dumps(content))
        return read_source(tmp_path, SiteRule())

    return reader


def image(own, **others):
    return {"id": own, "file_name": f"{own}.jpg", **others}


def label(image_id, category, **others):
    return {"image_id": image_id, "category_id": category, **others}


def test_a_set_that_was_written_so_is_read_back(tmp_path):
    records = drawn_set(tmp_path / "photos")
    write_coco(tmp_path / "photos" / "metadata.json", records)
    source = read_source(tmp_path / "photos", SiteRule())
    assert labels(source) == {f"image {number}": record.label for number, record in enumerate(records)}
    for name, own in (("site", "site"), ("sequence", "sequence"), (TIME, "time"), ("filepath", "path")):
        assert source.images[name].tolist() == [getattr(record, own) for record in records]
    assert (source.quarantined, source.barred, source.notes, source.undecided) == ([], {}, [], False)


def test_classes_are_in_the_order_of_their_ids_and_those_without_images_are_left_out(read):
    source = read([image(1), image(2)], [label(1, 10), label(2, 2)])
    assert source.classes == ["empty", "deer"]
    assert labels(source) == {"1": "deer", "2": "empty"}


def test_classes_of_which_no_image_is_there_are_left_out(read):
    source = read([image(1), image(8), image(9)], [label(1, 10), label(8, 1), label(9, 2), label(9, 1)])
    assert (source.classes, labels(source)) == (["deer"], {"1": "deer"})
    assert quarantined(source).keys() == {"8", "9"}


def test_a_class_whose_name_shows_nothing_is_no_label(read):
    source = read(
        [image(1), image(2)], [label(1, 1), label(2, 2)], [{"id": 1, "name": "\u200b"}, CATEGORIES[1]]
    )
    assert labels(source) == {"1": None, "2": "empty"}


def test_an_image_without_annotation_is_unlabelled_and_not_empty(read):
    assert labels(read([image(1), image(2)], [label(1, 2)])) == {"1": "empty", "2": None}


def test_several_categories_are_several_labels_and_one_twice_is_one(read):
    boxes = [label(1, 10, bbox=[0, 0, 1, 1]), label(1, 1, bbox=[1, 1, 2, 2]), label(1, 10), label(2, 1)]
    source = read([image(1), image(2), image(3)], boxes)
    assert labels(source) == {"1": ("boar", "deer"), "2": ("boar",), "3": None}
    assert source.undecided
    assert labels(read([image(1)], [label(1, 10), label(1, 10)])) == {"1": "deer"}


@pytest.mark.parametrize("own", [7, "7", 7.0])
def test_ids_and_locations_are_one_however_their_type_is_written(read, own):
    source = read([image(1) | {"id": own, "location": own, "seq_id": own}], [label("7", 1.0)])
    assert labels(source) == {"7": "boar"}
    assert (column(source, "site"), column(source, "sequence")) == ({"7": "7"}, {"7": "7"})


def test_what_says_nothing_is_nothing(read):
    none = [float("nan"), None, "", "  ", "NaN", "NA", float("inf")]
    images = [
        image(n) | {"location": value, "seq_id": value, "datetime": value} for n, value in enumerate(none)
    ]
    source = read(images, [label(0, 1)], files=range(len(none)))
    assert set(source.images["site"]) == set(source.images["sequence"]) == {None}
    assert TIME not in source.images.columns


def test_the_time_is_the_one_of_datetime_else_of_date_captured(read):
    images = [
        image(1, date_captured="2020:01:02 03:04:05"),
        image(2, datetime="2021-01-01", date_captured="x"),
    ]
    assert column(read(images), TIME) == {"1": "2020:01:02 03:04:05", "2": "2021-01-01"}


def test_names_of_files_may_have_backslashes_and_folders_that_are_gone(tmp_path, read):
    (tmp_path / "a").mkdir()
    for name in ("a/1.jpg", "a/2.jpg"):
        (tmp_path / name).touch()
    images = [{"id": n, "file_name": f"D:\\cards\\a\\{n}.jpg"} for n in (1, 2)]
    source = read(images, [label(1, 1)], files=())
    assert [path.removeprefix(f"{tmp_path}/") for path in source.images["path"]] == ["a/1.jpg", "a/2.jpg"]
    assert "set.json: its images were found without the first 2 of the folders" in source.notes[0]


def test_labels_of_whole_sequences_are_taken_and_said(read):
    source = read([image(1)], [label(1, 1, sequence_level_annotation=True)])
    assert labels(source) == {"1": "boar"}
    assert source.notes == [
        "set.json: 1 annotations are of whole sequences: an image may not show what it is called"
    ]


def test_annotations_of_images_that_are_not_listed_are_said(read):
    source = read([image(1)], [label(1, 1), label(99, 1), {"category_id": 1}])
    assert labels(source) == {"1": "boar"}
    assert source.notes == [
        "set.json: 2 of its annotations are of images that it does not list, as one of '99'"
    ]


def test_an_image_of_an_unknown_category_is_quarantined_and_not_unlabelled(read):
    source = read([image(1), image(2), image(3)], [label(1, 5), label(1, 1), label(2, 1), {"image_id": 3}])
    assert labels(source) == {"2": "boar"}
    assert quarantined(source) == {
        "1": ("unknown_label", "set.json: an annotation of it says the category '5', which it lacks"),
        "3": ("unknown_label", "set.json: an annotation of it has no category_id"),
    }


def test_images_without_id_or_file_and_files_that_are_not_there_are_quarantined(read):
    images = [
        image(1),
        {"file_name": "2.jpg"},
        {"id": 3},
        {"id": 4, "file_name": ["4.jpg"]},
        "five",
        image(9),
    ]
    source = read(images, [label(1, 1), label(9, 1)])
    assert labels(source) == {"1": "boar"}
    assert [(row.id, row.reason, row.detail) for row in source.quarantined] == [
        ("2.jpg", "bad_name", "set.json: image 2 of its list has no id"),
        ("3", "missing", "set.json: image 3 of its list has no file_name"),
        ("4", "missing", "set.json: image 4 of its list has no file_name"),
        ("", "bad_name", "set.json: image 5 of its list has no id"),
        ("9", "missing", "no such file"),
    ]


def test_an_id_of_two_files_and_a_file_of_two_ids_are_quarantined_all(read):
    images = [
        image(1),
        image(1) | {"file_name": "2.jpg"},
        image(3),
        image(4) | {"file_name": "3.jpg"},
        image(5),
    ]
    source = read(images, [label(own, 1) for own in (1, 3, 4, 5)])
    assert labels(source) == {"5": "boar"}
    assert [row.reason for row in source.quarantined] == ["duplicate_id", "duplicate_id", "contradictory"]
    assert "id '3' (set.json, id '3') and '4' (set.json, id '4')" in source.quarantined[-1].detail


def test_a_file_at_two_locations_is_quarantined_with_both(read):
    source = read([image(1, location="a"), image(1, location="b"), image(2)], [label(1, 1), label(2, 1)])
    assert quarantined(source).keys() == {"1"}
    assert "site 'a'" in quarantined(source)["1"][1]


def test_paths_that_lead_out_are_never_opened(tmp_path, read):
    names = [
        "../secret.jpg",
        "/etc/passwd",
        "a\0b.jpg",
        "half\ud800.jpg",
        "https://example.org/x.jpg",
        "file:///x",
    ]
    (tmp_path.parent / "secret.jpg").touch()
    images = [image(1), *({"id": f"p{n}", "file_name": name} for n, name in enumerate(names))]
    source = read(images, [label(1, 1), *(label(f"p{n}", 1) for n in range(len(names)))])
    assert labels(source) == {"1": "boar"}
    assert {own: reason for own, (reason, _) in quarantined(source).items()} == {
        "p0": "outside", "p1": "outside", "p2": "missing", "p3": "missing", "p4": "outside", "p5": "outside",
    }  # fmt: skip


def test_names_that_obey_terminals_are_quarantined_and_a_class_of_them_is_refused(read):
    source = read([image(1, location="a\x1b[31m"), image(2, seq_id="x\ny")], [label(1, 1), label(2, 1)])
    assert {reason for reason, _ in quarantined(source).values()} == {"bad_name"}
    with pytest.raises(TraplineError, match=r"class 'a\\x1b' holds U\+001B"):
        read([image(1)], [label(1, 1)], [{"id": 1, "name": "a\x1b"}])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": []}, "is no COCO Camera Traps JSON: it lacks annotations and categories .*'images'"),
        ({"images": [], "categories": []}, "its list images is empty"),
        ({"images": [1, {}], "categories": []}, "none of its 2 images has an id and a file_name"),
        ({"a": 1, "b": 2}, "it lacks images and annotations and categories .it has 'a', 'b'"),
        ({}, "it lacks images and annotations and categories .it has none"),
        ({"images": [], "annotations": []}, "it lacks categories"),
        ({"images": [], "detection_categories": {}}, "is a file of MegaDetector, .* give the labels"),
        ({"images": {}, "categories": []}, "line 1: its 'images' is no list"),
        ([], "an object"),
        (
            {"images": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]},
            "the category '1' is called 'a' and 'b'; give each its own id",
        ),
        ({"images": [image(1)], "categories": []}, "none of its 1 images is in .*--media DIR"),
    ],
)  # fmt: skip
def test_a_json_that_is_given_itself_and_is_none_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "given.json"
    path.write_text(json.dumps(content))
    with pytest.raises(TraplineError, match=rf"given\.json: .*{message}"):
        read_source(tmp_path, SiteRule(), reading=Reading(table=path))


def test_two_such_files_in_a_folder_are_refused_and_one_is_read_when_given_itself(tmp_path, read):
    read([image(1)], [label(1, 1)], name="a.json")
    with pytest.raises(TraplineError, match=r"a\.json and b\.json are both COCO .* --input"):
        read([image(1)], [label(1, 10)], name="b.json")
    source = read_source(tmp_path, SiteRule(), reading=Reading(table=tmp_path / "b.json"))
    assert labels(source) == {"1": "deer"}


def test_other_files_beside_it_are_passed_over(tmp_path, read):
    for name, text in (
        ("empty.json", ""),
        ("broken.json", '{"images": [{"file_name": '),
        ("detector.json", '{"images": [{"file": "1.jpg"}], "detection_categories": {}, "categories": []}'),
        ("nested.json", '{"set": {"images": [{"file_name": "1.jpg"}], "categories": []}}'),
        ("labels.csv", "filepath,label\n1.jpg,other\n"),
    ):
        (tmp_path / name).write_text(text)
    assert labels(read([image(1)], [label(1, 1)])) == {"1": "boar"}


def test_class_folders_with_a_json_beside_them_stay_class_folders(tmp_path):
    records = drawn_set(tmp_path)
    for record in records:
        folder = tmp_path / "sorted" / (record.label or "none")
        folder.mkdir(parents=True, exist_ok=True)
        (tmp_path / record.path).rename(folder / record.path.rpartition("/")[2])
    (tmp_path / "sorted" / "notes.json").write_text('{"images": 24, "categories": ["boar"]}')
    source = read_source(tmp_path / "sorted", SiteRule())
    assert source.classes == ["empty", "none", "red deer", "wild boar"]


def test_images_lie_where_media_says(tmp_path):
    records = drawn_set(tmp_path / "photos")
    path = write_coco(tmp_path / "metadata.json", records)
    media = InputFolder(tmp_path / "photos")
    source = read_source(tmp_path, SiteRule(), reading=Reading(table=path, media=media))
    assert source.images["path"].tolist() == [f"{tmp_path}/photos/{record.path}" for record in records]
    assert source.notes == []


def test_sites_of_a_csv_go_before_those_of_the_json(tmp_path):
    records = drawn_set(tmp_path / "photos")
    path = write_coco(tmp_path / "metadata.json", records)
    lines = [f"{record.path},camera {number % 2}" for number, record in enumerate(records)]
    (tmp_path / "sites.csv").write_text("\n".join(["filepath,site", *lines]))
    media = Reading(table=path, media=InputFolder(tmp_path / "photos"))
    source = read_source(tmp_path, SiteRule(csv=tmp_path / "sites.csv"), reading=media)
    assert set(source.images["site"]) == {"camera 0", "camera 1"}


def test_the_layout_can_be_asked_for_and_is_refused_where_there_is_none(tmp_path, read):
    read([image(1)], [label(1, 1)])
    assert labels(read_source(tmp_path, SiteRule(), reading=Reading(layout="coco"))) == {"1": "boar"}
    (tmp_path / "set.json").unlink()
    with pytest.raises(UsageError, match=r"--layout coco: .* does not lie so: a JSON of COCO Camera Traps"):
        read_source(tmp_path, SiteRule(), reading=Reading(layout="coco"))


@pytest.mark.parametrize(
    ("reading", "columns", "message"),
    [
        (Reading(label_tag="Species"), {}, "--label-tag Species: "),
        (Reading(), {"label": "x", "group": "y"}, "--columns label=x: "),
    ],
)
def test_options_that_say_what_the_json_says_are_refused(tmp_path, read, reading, columns, message):
    read([image(1)], [label(1, 1)])
    with pytest.raises(UsageError, match=message):
        read_source(tmp_path, SiteRule(), columns=columns, reading=reading)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["1.jpg", "2.jpg", "1", "..", "/", "\ud800", "\0", "=1+1", "NaN"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip
KEYS = ("id", "file_name", "location", "seq_id", "datetime", "image_id", "category_id", "name")
RECORDS = st.lists(ANYTHING | st.dictionaries(st.sampled_from(KEYS), ANYTHING, max_size=5), max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    images=RECORDS, annotations=RECORDS, categories=RECORDS,
    sound=st.fixed_dictionaries({"id": ANYTHING, "file_name": st.just("1.jpg")}),
)  # fmt: skip
def test_whatever_a_file_says_it_is_read_or_refused_by_name_and_no_image_is_lost(
    read, images, annotations, categories, sound
):
    try:
        source = read([*images, sound], annotations, categories)
    except TraplineError as error:
        assert "set.json" in str(error) or "class" in str(error)  # noqa: PT017
        return
    named = [
        record for record in images if isinstance(record, dict) and isinstance(record.get("file_name"), str)
    ]
    files = {record["file_name"] for record in (*named, sound) if record["file_name"].strip()}
    assert len(source.images) + len(source.quarantined) >= len(files)


def test_a_set_of_photographs_is_read(real_data):
    source = read_source(real_data / "formats/zamba_tests/assets/images/ena24_small", SiteRule())
    assert source.classes == [
        "Virginia Opossum", "Eastern Fox Squirrel", "American Black Bear", "American Crow", "Striped Skunk",
        "Chicken", "Grey Fox",
    ]  # fmt: skip
    assert source.images["label"].tolist() == [number // 3 for number in range(21)]


def test_megadetectors_own_file_is_refused_with_a_way_out(real_data):
    path = real_data / "formats/zamba_tests/assets/images/ena24_small/md_annotations.json"
    with pytest.raises(TraplineError, match="is a file of MegaDetector"):
        read_source(path.parent, SiteRule(), reading=Reading(table=path))


@pytest.fixture
def prepare(call_script, tmp_path):
    return partial(
        call_script, "prepare.py", "--output", tmp_path / "prepared", "--short-side", 16, "--processes", 1
    )


@pytest.mark.parametrize("packed", [False, True])
def test_prepare_takes_the_json_itself_also_zipped_and_media_elsewhere(tmp_path, prepare, packed):
    records = drawn_set(tmp_path / "photos")
    path = write_coco(tmp_path / "metadata.json", records)
    if packed:
        with zipfile.ZipFile(tmp_path / "metadata.json.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(path, "metadata.json")
        path = tmp_path / "metadata.json.zip"
    done = prepare("--input", path, "--media", tmp_path / "photos")
    assert done.returncode == 0, done.stderr
    rows = prepared_rows(tmp_path / "prepared")
    assert {own: row["site"] for own, row in rows.items()} == {
        f"image {number}": record.site for number, record in enumerate(records)
    }


def test_prepare_takes_a_zip_of_json_and_images(tmp_path, prepare):
    records = drawn_set(tmp_path / "photos")
    path = write_coco(tmp_path / "metadata.json", records)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.write(path, "set/metadata.json")
        for record in records:
            archive.write(tmp_path / "photos" / record.path, f"set/{record.path}")
    done = prepare("--input", tmp_path / "set.zip")
    assert done.returncode == 0, done.stderr
    assert len(prepared_rows(tmp_path / "prepared")) == len(records)


def test_prepare_takes_photographs_of_which_some_say_when_they_were_taken(tmp_path, prepare, real_data):
    done = prepare("--input", real_data / "formats/zamba_tests/assets/images/ena24_small")
    assert done.returncode == 0, done.stderr
    assert len(prepared_rows(tmp_path / "prepared")) == 21


def test_prepare_says_where_it_looked_for_the_images(tmp_path, prepare):
    path = write_coco(tmp_path / "metadata.json", drawn_set(tmp_path / "photos"))
    (tmp_path / "elsewhere").mkdir()
    done = prepare("--input", path, "--media", tmp_path / "elsewhere")
    assert done.returncode == 1
    assert "metadata.json: none of its 24 images is in" in done.stderr
    assert "--media DIR" in done.stderr
