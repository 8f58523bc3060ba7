"""Images into folders by class: whole, apart from people, never outside, never over anything."""

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.predictions import CLASSES, STRANGE_CLASSES, drawn_predictions
from trapline.errors import TraplineError, UsageError
from trapline.formats import sorting
from trapline.formats.predictions import FAILED, OK
from trapline.formats.sorting import COLUMNS, sort_images
from trapline.formats.sorting_names import distinct_files, folder_names
from trapline.formats.taxonomy import Taxon
from trapline.tables import read_strings

DEER, PERSON = 1, 3


@pytest.fixture
def cards(tmp_path):
    """Images as they came from cameras, and predictions for them."""
    return drawn_predictions(30, folder=tmp_path / "cards")


@pytest.fixture
def target(tmp_path):
    return tmp_path / "sorted"


def all_of(label, folder, files=("a/1.jpg", "a/2.jpg", "b/1.jpg"), classes=CLASSES, confidence=0.9):
    """Predictions of one class for files below `folder`, which hold their own numbers."""
    predictions = drawn_predictions(len(files), classes, gaps=False)
    paths = [folder / f"{number}.jpg" for number in range(len(files))]
    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(paths):
        path.write_text(f"picture {number}")
    probabilities = np.full((len(files), len(classes)), (1 - confidence) / max(1, len(classes) - 1))
    probabilities[:, label] = confidence
    rows = predictions.rows.assign(
        file=pd.Series(list(files), dtype=object), path=list(map(str, paths)),
        label=label, confidence=confidence,
    )  # fmt: skip
    return replace(predictions, rows=rows, probabilities=probabilities)


def files_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def contents(folder):
    return {name: (folder / name).read_bytes() for name in files_below(folder)}


def table_of(target):
    return read_strings(target / "sorted.csv", COLUMNS)


# --- where images go ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["copy", "link"])
def test_every_image_is_where_the_table_says_and_the_originals_stay_as_they_are(cards, target, tmp_path, how):
    before = contents(tmp_path / "cards")
    done = sort_images(cards, target, how)

    table = table_of(target)
    assert contents(tmp_path / "cards") == before
    placed = table[table["folder"] != ""]
    assert sorted([*placed["sorted_file"], "sorted.csv"]) == files_below(target)
    for row in placed.itertuples():
        assert row.sorted_file == f"{row.folder}/{row.file}"
        assert (target / row.sorted_file).read_bytes() == before[row.file]
        assert (target / row.sorted_file).is_symlink() == (how == "link")
    assert done.written == len(placed)
    assert done.kept == 0


def test_classes_have_folders_people_are_apart_and_the_unsure_are_unclassified(cards, target):
    sort_images(cards, target)

    table = table_of(target)
    folder_of = {name: name for name in CLASSES} | {"person": "people/person", "vehicle": "people/vehicle"}
    sure = table[table["status"] == "sorted"]
    assert {"people/person", "fox"} <= set(sure["folder"])
    assert sure["folder"].tolist() == [folder_of[label] for label in sure["label"]]
    assert table["folder"][1] == "unclassified"
    assert table["label"][1] == table["confidence"][1] == ""


def test_failed_images_are_listed_and_nowhere_else(cards, target):
    done = sort_images(cards, target)

    table = table_of(target)
    failed = cards.rows["file"][cards.rows["status"] == FAILED]
    assert table["file"][table["status"] == "failed"].tolist() == failed.tolist()
    assert (table["folder"][table["status"] == "failed"] == "").all()
    assert done.images["failed"] == len(failed)
    assert any(note.startswith(f"{len(failed)} images failed") for note in done.notes)


def test_an_image_of_several_labels_is_in_the_folder_of_each(tmp_path, target):
    predictions = drawn_predictions(30, multilabel=True, folder=tmp_path / "cards")
    done = sort_images(predictions, target)

    labels = predictions.labels_of(slice(0, 30))
    files = [
        file for file, has in zip(predictions.rows["file"], labels, strict=True) for _ in range(has.sum())
    ]
    table = table_of(target)
    assert table["file"][table["status"] == "sorted"].tolist() == files
    assert any(f"make {done.written} files" in note for note in done.notes)


def test_an_image_with_a_person_in_it_is_among_people_alone(tmp_path, target):
    predictions = drawn_predictions(30, multilabel=True, folder=tmp_path / "cards")
    sort_images(predictions, target)

    table = table_of(target)
    with_people = set(table["file"][table["label"].isin(["person", "vehicle"])])
    placed = table[(table["folder"] != "") & table["file"].isin(with_people)]
    assert "red deer" in set(placed["label"])
    assert placed["folder"].str.startswith("people/").all()


def test_dropped_classes_are_in_no_folder_however_they_are_spelt(tmp_path, target):
    predictions = drawn_predictions(60, multilabel=True, folder=tmp_path / "cards")
    done = sort_images(predictions, target, drop_classes=["Person "])

    shown = predictions.labels_of(slice(0, 60))[:, PERSON]
    table = table_of(target).drop_duplicates("file")
    out = predictions.rows["file"][shown & (predictions.rows["status"] == OK)]
    assert table["file"][table["status"] == "left out"].tolist() == out.tolist()
    assert not set(out) & {
        Path(name).relative_to(Path(name).parts[0]).as_posix() for name in files_below(target)
    }
    assert done.images["left out"] == len(out)


def test_what_may_be_a_person_is_treated_as_one_below_the_threshold_too(tmp_path, target):
    unsure = replace(all_of(PERSON, tmp_path / "cards"), threshold=0.95)
    sort_images(unsure, target)
    sort_images(unsure, target.with_name("dropped"), drop_classes=["person"])

    assert set(table_of(target)["folder"]) == {"people/unclassified"}
    assert set(table_of(target.with_name("dropped"))["status"]) == {"left out"}


def test_the_taxonomy_says_who_is_human(tmp_path, target):
    predictions = all_of(DEER, tmp_path / "cards")
    sort_images(predictions, target, taxonomy={"red deer": Taxon("human")})

    assert set(table_of(target)["folder"]) == {"people/red deer"}


def test_a_class_to_drop_that_the_model_has_not_is_refused_before_anything_is_written(cards, target):
    with pytest.raises(UsageError, match=r"--drop-classes 'persn'.*'person'"):
        sort_images(cards, target, drop_classes=["persn"])

    assert not target.exists()


# --- going on, and nothing over anything --------------------------------------------------------------------


@pytest.mark.parametrize("how", ["copy", "link"])
def test_the_same_command_keeps_what_is_there(cards, target, how):
    first = sort_images(cards, target, how)
    before = contents(target)
    again = sort_images(cards, target, how)

    assert (again.written, again.kept) == (0, first.written)
    assert contents(target) == before


def test_a_run_that_was_ended_is_gone_on_with_and_leaves_nothing_half_written(cards, target, monkeypatch):
    copy, calls = sorting._copy, []

    def ends(source, to):
        calls.append(source)
        copy(source, to)
        if len(calls) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(sorting, "_copy", ends)
    with pytest.raises(KeyboardInterrupt):
        sort_images(cards, target)
    assert len(files_below(target)) == 5  # four and the table
    monkeypatch.undo()
    killed = next(pid for pid in range(2**22, 2**23) if not sorting.psutil.pid_exists(pid))
    (target / f".sorting-{sorting.platform.node()}-{killed}.tmp").write_text("half a pict")

    done = sort_images(cards, target)
    assert done.kept == 4
    assert not list(target.glob(".sorting*"))


def test_a_link_that_was_left_is_not_written_through(tmp_path, target):
    predictions = all_of(DEER, tmp_path / "cards")
    target.mkdir()
    original = tmp_path / "cards" / "2.jpg"
    (target / f".sorting-{sorting.platform.node()}-{os.getpid()}.tmp").symlink_to(original)

    sort_images(predictions, target)
    assert original.read_text() == "picture 2"


def test_a_file_that_differs_is_named_and_stays(tmp_path, target):
    predictions = all_of(DEER, tmp_path / "cards")
    other = target / "red deer" / "a" / "2.jpg"
    other.parent.mkdir(parents=True)
    other.write_text("picture X")  # as long as the picture

    with pytest.raises(TraplineError, match=r"red deer/a/2.jpg: is there already, and is no copy of .*1.jpg"):
        sort_images(predictions, target)
    assert other.read_text() == "picture X"


def test_copies_and_links_are_not_mixed(tmp_path, target):
    predictions = all_of(DEER, tmp_path / "cards")
    sort_images(predictions, target, "link")

    with pytest.raises(TraplineError, match="is no copy of"):
        sort_images(predictions, target, "copy")


def test_another_sort_in_the_folder_is_refused_before_anything_is_copied(tmp_path, target):
    sort_images(all_of(DEER, tmp_path / "cards"), target)
    before = contents(target)

    for other in (all_of(PERSON, tmp_path / "cards"), all_of(DEER, tmp_path / "cards", files=("a/1.jpg",))):
        with pytest.raises(TraplineError, match=r"sorted.csv: is there already, and of another sort"):
            sort_images(other, target)
    assert contents(target) == before


def test_a_table_of_other_people_is_not_overwritten(tmp_path, target):
    target.mkdir()
    (target / "sorted.csv").write_bytes(b"my,\xff\ntable,1\n")

    with pytest.raises(TraplineError, match="of another sort"):
        sort_images(all_of(DEER, tmp_path / "cards"), target)
    assert (target / "sorted.csv").read_bytes() == b"my,\xff\ntable,1\n"


def test_files_that_are_gone_are_listed_and_taken_once_they_are_back(tmp_path, target):
    predictions = all_of(DEER, tmp_path / "cards")
    (tmp_path / "cards" / "1.jpg").rename(tmp_path / "away.jpg")
    done = sort_images(predictions, target)

    assert table_of(target)["status"].tolist() == ["sorted", "missing", "sorted"]
    assert done.images["missing"] == 1
    (tmp_path / "away.jpg").rename(tmp_path / "cards" / "1.jpg")
    (tmp_path / "cards" / "0.jpg").unlink()
    again = sort_images(predictions, target)
    assert (again.written, again.kept) == (1, 1)
    assert table_of(target)["folder"].tolist() == ["red deer"] * 3  # the first is still there, as a copy


def test_a_disk_that_takes_no_more_is_named_with_the_way_out(tmp_path, target, monkeypatch):
    def full(source, to):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sorting, "_copy", full)
    with pytest.raises(TraplineError, match=r"red deer/a/1.jpg: .*No space left.*the same command goes on"):
        sort_images(all_of(DEER, tmp_path / "cards"), target)


# --- hostile names and files --------------------------------------------------------------------------------


def test_a_link_to_a_picture_is_followed_and_pipes_and_folders_are_not(tmp_path, target):
    predictions = all_of(DEER, tmp_path / "cards")
    cards = tmp_path / "cards"
    (cards / "0.jpg").rename(tmp_path / "real.jpg")
    (cards / "0.jpg").symlink_to(tmp_path / "real.jpg")
    for name in ("1.jpg", "2.jpg"):
        (cards / name).unlink()
    os.mkfifo(cards / "1.jpg")
    (cards / "2.jpg").mkdir()

    sort_images(predictions, target)
    assert table_of(target)["status"].tolist() == ["sorted", "missing", "missing"]
    assert (target / "red deer" / "a" / "1.jpg").read_text() == "picture 0"
    assert not (target / "red deer" / "a" / "1.jpg").is_symlink()


def test_a_folder_that_is_a_link_to_another_place_is_refused(tmp_path, target):
    outside = tmp_path / "outside"
    outside.mkdir()
    target.mkdir()
    (target / "red deer").symlink_to(outside, target_is_directory=True)

    with pytest.raises(TraplineError, match="red deer: is a link or a file"):
        sort_images(all_of(DEER, tmp_path / "cards"), target)
    assert not list(outside.iterdir())


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("red deer", "red deer"), ("élan", "élan"), ("鹿", "鹿"), ("a/b", "a_b"), ("a\\b", "a_b"),
        ("..", "class"),
        (".fox", "fox"), ("CON", "_CON"), ("nul.txt", "_nul.txt"), ("COM¹", "_COM¹"), ("fox. ", "fox"),
        ("a\x1b[2Jb", "a[2Jb"), ("people", "people (2)"), ("Unclassified", "Unclassified (2)"),
        ("SORTED.csv", "SORTED.csv (2)"), ("", "class"), ("\ud800x", "_x"), ("=1+1", "=1+1"),
    ],
)  # fmt: skip
def test_names_that_are_no_folders_become_some(name, folder):
    assert folder_names([name]) == [folder]


def test_folders_of_different_classes_differ_on_every_disk_and_own_names_go_first():
    classes = ["a/b", "a_b", "Fox", "fox", "cafe\u0301", "Café", "x" * 400, "x" * 401]

    folders = folder_names(classes)
    assert folders[:4] == ["a_b (2)", "a_b", "Fox", "fox (2)"]
    assert len({folder.casefold() for folder in folders}) == len(folders)
    assert max(len(folder.encode()) for folder in folders) < 255


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("../../etc/passwd", "_/_/etc/passwd"), ("/etc/passwd", "etc/passwd"), ("a//./b.jpg", "a/b.jpg"),
        ("..", "_"), ("", "class"), ("a\0b.jpg", "a_b.jpg"), ("\udcff.jpg", "\\udcff.jpg"),
    ],
)  # fmt: skip
def test_files_lead_nowhere_outside(file, found):
    assert distinct_files([file]) == [found]


def test_files_that_one_disk_may_take_for_another_get_numbers():
    files = ["a/1.JPG", "A/1.jpg", "a/1.jpg", "../x", "_/x", "b", "b/1.jpg", "b/2.jpg", "c/1", "c"]

    assert distinct_files(files) == [
        "a/1.JPG", "A/1 (2).jpg", "a/1 (3).jpg", "_/x", "_/x (2)", "b", "b (2)/1.jpg", "b (2)/2.jpg", "c/1",
        "c (2)",
    ]  # fmt: skip


def test_strange_names_are_sorted_and_the_table_is_read_back(tmp_path, target):
    predictions = drawn_predictions(30, STRANGE_CLASSES, strange=True, gaps=False, folder=tmp_path / "cards")
    done = sort_images(predictions, target)

    table = table_of(target)
    assert table["file"].tolist() == predictions.rows["file"].tolist()
    assert sorted([*table["sorted_file"], "sorted.csv"]) == files_below(target)
    assert any("owl _barn_, large" in note for note in done.notes)


NAMES = st.one_of(
    st.text(max_size=12), st.sampled_from(["..", "../..", "/etc", "a/../../b", "CON", "people", "."])
)
LONG = "é" * 200


@settings(max_examples=60, deadline=None)
@given(
    classes=st.lists(NAMES, min_size=1, max_size=4, unique=True),
    files=st.lists(NAMES, min_size=1, max_size=6),
)
@example(
    classes=["..", "../x"], files=["../../escaped", "a", "a/b", "A/B", f"{LONG}.jpg", f"{LONG}/{LONG}.jpg"]
)
def test_nothing_is_written_outside_whatever_classes_and_files_are_called(classes, files):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        predictions = all_of(0, root / "cards", files, classes)
        target = root / "deep" / "below" / "sorted"
        before = contents(root / "cards")

        sort_images(predictions, target)
        inside = [f"deep/below/sorted/{name}" for name in files_below(target)]
        assert len(inside) == len(files) + 1
        assert files_below(root) == sorted([*inside, *(f"cards/{name}" for name in before)])
        assert contents(root / "cards") == before
        written = sorted(path.read_bytes() for path in target.rglob("*")
                         if path.is_file() and path.name != "sorted.csv")  # fmt: skip
        assert written == sorted(before.values())
        assert sort_images(predictions, target).kept == len(files)


@settings(max_examples=200, deadline=None)
@given(files=st.lists(NAMES, max_size=12))
def test_no_two_files_have_one_place_and_none_is_a_folder_of_another(files):
    found = [path.casefold() for path in distinct_files(files)]

    assert len(set(found)) == len(files)
    above = {parent.as_posix() for path in found for parent in Path(path).parents}
    assert not above & set(found)
    assert not any(".." in Path(path).parts or Path(path).is_absolute() for path in found)


def test_photographs_are_copied_with_their_bytes_and_times(real_data, target):
    images = sorted((real_data / "camera_traps_exif" / "images").glob("*.jpg"))[:10]
    predictions = all_of(DEER, target.with_name("other"), [path.name for path in images])
    predictions = replace(predictions, rows=predictions.rows.assign(path=list(map(str, images))))

    sort_images(predictions, target)
    for path in images:
        copy = target / "red deer" / path.name
        assert copy.read_bytes() == path.read_bytes()
        assert copy.stat().st_mtime_ns == path.stat().st_mtime_ns
