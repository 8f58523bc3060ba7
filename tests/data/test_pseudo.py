"""Pseudo-labels are taken only from the set that they were made for, and never about a labelled image."""

import csv
import shutil

import pytest

from tests.conftest import write_jpeg
from tests.data.test_folds import made
from trapline.data.parts import COLUMNS, LABELS, SUMMARY, conflicts, read_pseudo_labels
from trapline.data.prepared import open_prepared
from trapline.errors import TraplineError
from trapline.storage import file_digest, write_json


def write(folder, prepared, rows, **summary):
    """Pseudo-labels as pseudo_label.py writes them: rows with the values of COLUMNS."""
    folder.mkdir(exist_ok=True)
    with (folder / LABELS).open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    content = {
        "data_fingerprint": prepared.description.fingerprint,
        "labels_sha256": file_digest(folder / LABELS),
    }
    write_json(folder / SUMMARY, content | summary)
    return folder


@pytest.fixture
def demo(small_demo):
    return open_prepared(small_demo)


def ids(prepared, part="unlabeled"):
    return prepared.part(part).table["id"].to_pylist()


def row(name, label="bird", number=1, accepted="true"):
    return [name, label, number, 0.9, accepted, "" if accepted == "true" else "below_threshold"]


def test_accepted_rows_are_read_with_their_places_and_numbers(demo, tmp_path):
    names = ids(demo)
    rows = [row(names[5]), row(names[2], accepted="false"), row(names[0], "hog", 4)]
    found = read_pseudo_labels(write(tmp_path / "p", demo, rows), demo)
    assert (found.rows.tolist(), found.labels.tolist()) == ([5, 0], [1, 4])
    assert found.identity == file_digest(tmp_path / "p" / LABELS)


def test_none_accepted_is_no_error(demo, tmp_path):
    found = read_pseudo_labels(write(tmp_path / "p", demo, [["x", "", "", "", "false", "empty"]]), demo)
    assert len(found.rows) == len(found.labels) == 0


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_a_labelled_image_among_the_accepted_is_an_error(demo, tmp_path, part):
    folder = write(tmp_path / "p", demo, [row(ids(demo, part)[0])])
    with pytest.raises(TraplineError, match="accepted, but no unlabelled image of the prepared set"):
        read_pseudo_labels(folder, demo)


def test_what_does_not_fit_is_named(demo, tmp_path):
    name = ids(demo)[0]
    for rows, message in (
        ([row(name, "bird", 2)], "label 'bird' is not number 2"),
        ([row(name, "bird", 99)], "label 'bird' is not number 99"),
        ([row(name), row(name)], "an id comes twice"),
        ([[name, "bird", "one", 0.9, "true", ""]], "not a table of pseudo-labels"),
    ):
        with pytest.raises(TraplineError, match=message):
            read_pseudo_labels(write(tmp_path / "p", demo, rows), demo)


def test_labels_of_another_set_are_refused(demo, tmp_path):
    folder = write(tmp_path / "p", demo, [], data_fingerprint="0" * 64)
    with pytest.raises(TraplineError, match=r"made from another prepared set .* again with --prepared"):
        read_pseudo_labels(folder, demo)


def test_a_table_that_was_changed_or_is_not_there_is_refused(demo, tmp_path):
    folder = write(tmp_path / "p", demo, [row(ids(demo)[0])])
    (folder / LABELS).write_text((folder / LABELS).read_text() + "x,,,,false,empty\n")
    with pytest.raises(TraplineError, match=r"does not belong to the pseudo_labels\.csv beside it"):
        read_pseudo_labels(folder, demo)
    (folder / LABELS).write_text("id,label\n")
    with pytest.raises(TraplineError, match="lacks the column encoded_label, confidence"):
        read_pseudo_labels(folder, demo)
    (folder / LABELS).unlink()
    with pytest.raises(TraplineError, match="no such file"):
        read_pseudo_labels(folder, demo)


@pytest.fixture(scope="module")
def overlapping(tmp_path_factory, call_script):
    """A prepared set whose unlabelled part has copies of all labelled images, and two images at each site."""
    folder = tmp_path_factory.mktemp("overlapping")
    for label in ("cat", "dog"):
        for number in range(12):
            path = folder / "raw" / label / f"s{number % 6}_{number}.jpg"
            write_jpeg(path, number + 100 * (label == "dog"))
            (folder / "raw" / "unlabeled").mkdir(exist_ok=True)
            shutil.copyfile(path, folder / "raw" / "unlabeled" / f"copy-{label}-{number}.jpg")
    for number in range(14):
        write_jpeg(folder / "raw" / "unlabeled" / f"s{number % 7}_{number}.jpg", 500 + number)
    options = ["--site-regex", "(?P<site>s[0-9])_", "--shares", "0.5,0.25,0.25"]
    done = call_script("prepare.py", "--input", folder / "raw", "--output", folder / "set", *options)
    assert done.returncode == 0, done.stderr
    return open_prepared(folder / "set")


def test_copies_of_labelled_images_and_images_of_held_out_cameras_are_told(overlapping):
    table = overlapping.part("unlabeled").table
    reasons = dict(zip(table["id"].to_pylist(), conflicts(overlapping), strict=True))
    sites = dict(zip(table["id"].to_pylist(), table["site"].to_pylist(), strict=True))
    names = {"training": "train", "validation": "val", "test": "test"}
    for name, part in names.items():
        digests = set(overlapping.part(part).table["sha256"].to_pylist())
        own = [
            image
            for image, digest in zip(table["id"].to_pylist(), table["sha256"].to_pylist(), strict=True)
            if digest in digests
        ]
        assert own
        assert {reasons[image] for image in own} == {f"identical_to_{name}"}
    for name in ("validation", "test"):
        held_out = set(overlapping.part(names[name]).table["site"].to_pylist())
        own = [image for image, site in sites.items() if site in held_out]
        assert len(own) == 2 * len(held_out)
        assert {reasons[image] for image in own} == {f"site_of_{name}"}
    free = [image for image, reason in reasons.items() if not reason]
    trained = set(overlapping.part("train").table["site"].to_pylist())
    assert {sites[image] for image in free} == {*trained, "s6"}


def test_an_accepted_image_that_may_not_be_trained_on_is_an_error(overlapping, tmp_path):
    names = overlapping.part("unlabeled").table["id"].to_pylist()
    for reason in ("identical_to_validation", "site_of_test"):
        place = conflicts(overlapping).index(reason)
        folder = write(tmp_path / reason, overlapping, [row(names[place], "cat", 0)])
        with pytest.raises(TraplineError, match=f"accepted, but {reason}"):
            read_pseudo_labels(folder, overlapping)


def rows(*unlabelled):
    """Labelled images of sequences 1 to 4 at cameras A to C, and unlabelled (site, sequence) ones."""
    known = [("train", "A", "1"), ("val", "B", "2"), ("test", "C", "3"), ("test", "C", "4")]
    own = [(part, [0], site, f"{part}{sequence}", sequence) for part, site, sequence in known]
    return [
        *own,
        *(("unlabeled", [], *row[:1], f"u{number}", row[1]) for number, row in enumerate(unlabelled)),
    ]


@pytest.mark.parametrize("by_site", [True, False])
def test_frames_of_a_held_out_sequence_are_told_whatever_the_split(tmp_path, by_site):
    frames = [("D", "1"), ("D", "2"), ("D", "3"), (None, "4"), ("D", None), ("D", "5")]
    prepared = made(tmp_path, rows(*frames), by_site=by_site, sequences="global")
    held_out = ["sequence_of_validation", "sequence_of_test", "sequence_of_test"]
    assert conflicts(prepared) == ["", *held_out, "", ""]


def test_where_sequences_count_per_site_only_those_of_the_same_camera_are_told(tmp_path):
    frames = [("A", "2"), ("B", "2"), (" b", "2"), ("A", "3"), (None, "3")]
    prepared = made(tmp_path, rows(*frames), by_site=False, sequences="by_site")
    assert conflicts(prepared) == ["", "sequence_of_validation", "sequence_of_validation", "", ""]


def test_cameras_and_sequences_of_an_older_set_are_compared_however_they_are_spelt(tmp_path):
    frames = [("b ", None), ("\u00a0C", None), ("a", None), ("D", " 2")]
    prepared = made(tmp_path, rows(*frames), by_site=True)
    assert conflicts(prepared) == ["site_of_validation", "site_of_test", "", "sequence_of_validation"]


def test_an_older_set_whose_cameras_number_sequences_anew_loses_no_more_frames_than_it_must(tmp_path):
    parts = ["train", "train", "val", "test"]
    labelled = [
        (part, [0], f"cam{site}", f"{site} {number}", str(number))
        for site, part in enumerate(parts)
        for number in range(3)
    ]
    frames = [("unlabeled", [], "cam0", "u0", "1"), ("unlabeled", [], "cam2", "u1", "1")]
    assert conflicts(made(tmp_path, [*labelled, *frames], by_site=False)) == ["", "sequence_of_validation"]


def test_an_id_that_a_labelled_image_has_in_another_spelling_is_an_error(tmp_path):
    prepared = made(tmp_path, rows(("D", None)), by_site=True, ids={"unlabeled": ["val  0"]})
    with pytest.raises(TraplineError, match="val  0 is the id of an unlabelled image and of one of val"):
        conflicts(prepared)
