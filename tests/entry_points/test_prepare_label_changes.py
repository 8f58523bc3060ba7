"""Corrections, the map of classes, several labels and rare classes, by the command line."""

import json

import pandas as pd
import pytest

from tests.conftest import write_jpeg
from tests.support.written_sets import drawn_set
from trapline.data.prepared import open_prepared

IMAGES = 24  # of the fixture class_folders: 12 a class


@pytest.fixture
def run(tmp_path, call_script):
    """Prepare a folder: (source, *flags) -> the finished process; the set is in tmp_path / "out"."""

    def prepare(source, *flags):
        output = ["--output", tmp_path / "out", "--processes", "1", "--short-side", "16"]
        return call_script("prepare.py", "--input", source, *output, *flags)

    return prepare


@pytest.fixture
def prepare(run, tmp_path):
    """Prepare a folder that can be: (source, *flags) -> the open set and its summary."""

    def prepared(source, *flags):
        done = run(source, *flags)
        assert done.returncode == 0, done.stderr
        return open_prepared(tmp_path / "out"), json.loads((tmp_path / "out" / "summary.json").read_text())

    return prepared


@pytest.fixture
def write(tmp_path):
    """Write a table and give its path: (name, *lines)."""

    def table(name, *lines):
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n")
        return path

    return table


@pytest.fixture
def pairs(tmp_path):
    """A set of several labels an image: 12 of 1, 12 of 2 and two of both."""
    rows = [f"{number}.jpg,{'1 2' if number < 2 else 1 + number % 2}" for number in range(26)]
    for number in range(26):
        write_jpeg(tmp_path / "pairs" / f"{number}.jpg", number, side=16)
    (tmp_path / "pairs" / "train.csv").write_text("\n".join(["ImageID,Labels", *rows]))
    return tmp_path / "pairs"


def labels_by_id(prepared):
    classes = prepared.description.classes
    return {
        name: [classes[label] for label in labels]
        for part in ("train", "val", "test")
        for name, labels in zip(
            *(prepared.part(part).table[column].to_pylist() for column in ("id", "labels")), strict=True
        )
    }


def quarantine(tmp_path):
    return pd.read_csv(tmp_path / "out" / "quarantine.csv", dtype=str)


def test_corrections_change_labels_and_the_fingerprint_and_the_summary_says_so(class_folders, prepare, write):
    before, summary = prepare(class_folders)
    assert summary["labels"]["classes"] == {"cat": 12, "dog": 12}
    table = write("right.csv", "id,label", "cat/s0_0.jpg,dog", "dog/s1_1.jpg,Fox", "dog/s0_0.jpg,fox")
    after, summary = prepare(class_folders, "--corrections", table)
    found = labels_by_id(after)
    assert (found["cat/s0_0.jpg"], found["dog/s1_1.jpg"]) == (["dog"], ["Fox"])
    assert len(found) == IMAGES
    assert summary["labels"]["classes"] == {"cat": 11, "dog": 11, "Fox": 2}
    assert (summary["labels"]["corrections"]["rows"], summary["labels"]["corrections"]["changed"]) == (3, 3)
    assert after.description.fingerprint != before.description.fingerprint
    assert any(note.startswith("right.csv: says the labels of 3 images") for note in summary["notes"])


def test_a_removed_class_counts_for_no_bound_of_what_cannot_be_used(class_folders, prepare, write, tmp_path):
    for number in range(12):
        write_jpeg(class_folders / "blank" / f"s{number % 4}_{number}.jpg", 300 + number)
    table = write("classes.csv", "label,class", "blank,", "cat,felid")
    prepared, summary = prepare(class_folders, "--classes", table, "--max-quarantine", "0")
    assert prepared.description.classes == ["felid", "dog"]
    assert summary["quarantined"] == {"class_removed": 12}
    assert summary["labels"]["found"]["blank"] == {"images": 12, "class": None, "by": "classes"}
    assert set(quarantine(tmp_path)["detail"]) == {"classes.csv leaves out 'blank'"}


def test_several_labels_an_image_can_be_classes_of_their_own_or_of_no_use(pairs, prepare, tmp_path):
    kept, _ = prepare(pairs)
    assert kept.description.task == "multilabel"
    joined, summary = prepare(pairs, "--several", "class", "--split", "random")
    assert (joined.description.task, joined.description.classes) == ("multiclass", ["1", "2", "1+2"])
    assert summary["labels"]["together"] == {"1+2": {"images": 2, "class": "1+2"}}
    single, _ = prepare(pairs, "--several", "quarantine", "--max-quarantine", "0.1")
    assert (single.description.task, single.description.classes) == ("multiclass", ["1", "2"])
    assert sorted(quarantine(tmp_path)["id"]) == ["0.jpg", "1.jpg"]
    assert set(quarantine(tmp_path)["reason"]) == {"ambiguous_label"}


@pytest.fixture
def drawn(tmp_path):
    """The drawn set with a table of its labels, in which the first image has two rows, and two labels."""
    records = drawn_set(tmp_path / "drawn")
    rows = [f"{record.path},{record.label or ''},{record.site}" for record in records]
    lines = ["path,label,site", *rows, f"{records[0].path},empty,{records[0].site}"]
    (tmp_path / "drawn" / "labels.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "drawn", records


def test_rows_of_two_labels_for_an_image_are_decided_on_by_an_option_or_a_correction(
    drawn, prepare, write, tmp_path
):
    folder, records = drawn
    first, by_random = records[0].path, ("--split", "random", "--max-quarantine", "0.1")
    labelled = {record.path: [record.label] for record in records if record.label}
    alone, _ = prepare(folder, *by_random)
    assert labels_by_id(alone) == {path: own for path, own in labelled.items() if path != first}
    (row,) = quarantine(tmp_path).to_dict("records")
    assert (row["id"], row["reason"]) == (first, "ambiguous_label")
    assert row["detail"].startswith("several labels: 'empty', 'wild boar'; --several multilabel or class")
    several, _ = prepare(folder, *by_random, "--several", "multilabel")
    assert sorted(labels_by_id(several)[first]) == ["empty", "wild boar"]
    table = write("right.csv", "path,label", f"{first},red deer", f"{records[7].path},red deer")
    corrected, summary = prepare(folder, *by_random, "--corrections", table)
    assert labels_by_id(corrected) == {**labelled, first: ["red deer"], records[7].path: ["red deer"]}
    assert summary["labels"]["corrections"]["labelled"] == 1


def test_rare_classes_become_other_or_go(class_folders, prepare):
    for label, count in (("fox", 4), ("owl", 3)):
        for number in range(count):
            write_jpeg(class_folders / label / f"s{number % 4}_{number}.jpg", 500 + number + 10 * count)
    prepared, summary = prepare(class_folders, "--min-images", "5")
    assert prepared.description.classes == ["cat", "dog", "other"]
    assert summary["labels"]["classes"] == {"cat": 12, "dog": 12, "other": 7}
    removed, summary = prepare(class_folders, "--min-images", "4", "--rare", "remove")
    assert removed.description.classes == ["cat", "dog", "fox"]
    assert summary["labels"]["found"]["owl"] == {"images": 3, "class": None, "by": "min_images"}


@pytest.mark.parametrize(
    ("flag", "lines", "message"),
    [
        ("--corrections", ["id,label", "cat/s0_0.jpg,"], "line 2: its label is empty; write the label, or"),
        ("--corrections", ["id,label", "no.jpg,cat"], "none of its rows names an image of the set ('no.jpg'"),
        ("--classes", ["label,class", "cat,a", "cat,b"], "lines 2 and 3 contradict each other: 'cat' is 'a'"),
        (
            "--classes",
            ["label,class", "owl,a"],
            "names none of the set's labels ('owl' against 'cat', 'dog')",
        ),
        ("--classes", ["label,class", "cat,dog"], "leaves only the class 'dog', and a classifier needs at"),
    ],
)
def test_a_table_that_is_wrong_ends_the_run_and_is_named(class_folders, run, write, flag, lines, message):
    table = write("table.csv", *lines)
    done = run(class_folders, flag, table)
    assert done.returncode == 1
    assert f"{table}: {message}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--classes", "none.csv"], 2, "--classes none.csv: no such file"),
        (["--several", "both"], 2, "--several: input should be 'multilabel', 'class' or 'quarantine'"),
        (["--min-images", "13"], 1, "--min-images 13: leaves only the class 'other', and a classifier needs"),
        (["--min-images", "0"], 2, "--min-images: input should be greater than or equal to 1"),
        (["--rare", "remove"], 2, "--rare remove: needs --min-images, which says what is rare"),
    ],
)
def test_an_option_that_is_wrong_ends_the_run_with_what_to_do(class_folders, run, flags, code, message):
    done = run(class_folders, *flags)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
