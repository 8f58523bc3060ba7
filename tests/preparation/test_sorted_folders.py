"""What predict.py --sort has laid into folders by class, and a person has looked through."""

import shutil

import pytest

from tests.conftest import write_jpeg
from tests.support.disk import prepared, read
from tests.support.predictions import STRANGE_CLASSES, drawn_predictions
from trapline.formats.sorting import sort_images
from trapline.preparation.input_folder import InputFolder
from trapline.preparation.listing import Reading

TAKEN = Reading(machine_labels=True)


@pytest.fixture
def sort(tmp_path):
    """Sort drawn predictions, the arguments, and return them and the folder."""

    def sorter(count=30, how="copy", **drawn):
        predictions = drawn_predictions(count, folder=tmp_path / "photos", **drawn)
        sort_images(predictions, tmp_path / "sorted", how)
        return predictions, tmp_path / "sorted"

    return sorter


def expected(predictions):
    """The label, or labels, of each image that was sorted: None where it has none."""
    own, found = predictions.labels_of(slice(0, len(predictions))), {}
    for place, row in enumerate(predictions.rows.itertuples()):
        if row.status == "ok":
            named = {predictions.classes[at] for at in own[place].nonzero()[0]}
            found[row.file] = (named or None) if predictions.labels is not None else next(iter(named), None)
    return found


def move(folder, predictions, label, to, inner=True):
    """Move the first image of `label` to another folder; returns what it was called before the sort."""
    path = next(path for path in sorted((folder / label).rglob("*.jpg")))
    below = path.relative_to(folder / label)
    target = folder / to / (below if inner else below.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(path, target)
    return below.as_posix()


def test_where_nobody_has_moved_anything_the_labels_are_the_models(sort):
    _, folder = sort()
    found = read(folder)
    assert ({*found.labels.values()}, found.classes) == ({None}, [])


def test_its_table_given_itself_holds_a_models_labels_too(sort, tmp_path):
    _, folder = sort()
    given = {"table": folder / "sorted.csv", "media": InputFolder(tmp_path / "photos")}
    assert {*read(folder, reading=Reading(**given)).labels.values()} == {None}
    assert "red deer" in read(folder, reading=Reading(**given, machine_labels=True)).classes


@pytest.mark.parametrize("strange", [False, True])
def test_with_machine_labels_all_come_back_under_the_names_before_the_sort(sort, strange):
    classes = {"classes": STRANGE_CLASSES} if strange else {}
    predictions, folder = sort(strange=strange, **classes)
    found = read(folder, reading=TAKEN)
    assert found.labels == expected(predictions)
    assert found.quarantined == {}


def test_of_several_labels_an_image_is_one_image_with_all_of_them(sort):
    predictions, folder = sort(multilabel=True)
    found = read(folder, reading=TAKEN)
    labels = {name: {*own} or None for name, own in found.labels.items()}
    assert labels == expected(predictions)


def test_links_are_read_like_copies(sort):
    predictions, folder = sort(how="link")
    found = read(folder, reading=TAKEN, follow_links=True)
    assert found.labels == expected(predictions)


@pytest.mark.parametrize("inner", [True, False], ids=["with its folders", "alone"])
@pytest.mark.parametrize(("label", "to"), [("fox", "red deer"), ("fox", "lynx"), ("people/person", "fox")])
def test_a_moved_image_has_the_label_of_its_folder_and_keeps_its_name_and_camera(sort, inner, label, to):
    predictions, folder = sort()
    name = move(folder, predictions, label, to, inner)
    found = read(folder)
    assert found.labels[name] == to
    assert found.images.loc[name, "site"] == name.split("/")[0]
    assert {own for own, given in found.labels.items() if given} == {name}
    everything = read(folder, reading=TAKEN).labels
    assert everything == {**expected(predictions), name: to}


def test_one_that_had_no_label_gets_that_of_its_new_folder_and_one_put_there_loses_its_own(sort):
    predictions, folder = sort()
    given = move(folder, predictions, "unclassified", "fox")
    taken = move(folder, predictions, "red deer", "unclassified")
    found = read(folder, reading=TAKEN)
    assert (found.labels[given], found.labels[taken]) == ("fox", None)


def test_images_that_were_removed_are_no_more_and_new_ones_are_a_persons(sort):
    _, folder = sort()
    (gone,) = sorted((folder / "fox").rglob("*.jpg"))[:1]
    name = gone.relative_to(folder / "fox").as_posix()
    shutil.copy(gone, folder / "fox" / "new.jpg")
    gone.unlink()
    found = read(folder)
    assert name not in found.labels
    assert found.labels["new.jpg"] == "fox"


def put(folder, name, seed):
    write_jpeg(folder / name, seed, side=20)
    return name


def test_no_image_that_is_put_beside_is_lost_whatever_it_is_called(sort):
    predictions, folder = sort()
    one = sorted((folder / "fox").rglob("*.jpg"))[0]
    below = one.relative_to(folder / "fox").as_posix()
    added = [put(folder, name, seed) for seed, name in enumerate((
        f"owl/{below}", f"owl/{one.name}", f"lynx/{one.name}", "owl/new.jpg", "lynx/new.jpg",
        "lynx/a/new.jpg",
    ))]  # fmt: skip
    found = read(folder, reading=TAKEN)
    labels = expected(predictions)
    assert len(found.labels) == len(labels) + len(added)
    assert {name: found.labels[name] for name in labels} == labels
    given = [label for name, label in found.labels.items() if name not in labels]
    assert sorted(given) == ["lynx", "lynx", "lynx", "owl", "owl", "owl"]
    assert {*found.images["site"].dropna()} == {"north_gate", "south_pond", "ridge", "a"}
    assert found.quarantined == {}


def test_an_image_that_was_copied_to_a_second_folder_has_both_labels(sort):
    _, folder = sort()
    one = sorted((folder / "fox").rglob("*.jpg"))[0]
    copy = folder / "lynx" / one.relative_to(folder / "fox")
    copy.parent.mkdir(parents=True)
    shutil.copy(one, copy)
    found = read(folder, reading=TAKEN)
    assert found.labels[one.relative_to(folder / "fox").as_posix()] == {"fox", "lynx"}


def test_how_many_are_left_out_and_where_sites_come_from_is_said(sort):
    predictions, folder = sort()
    move(folder, predictions, "fox", "lynx")
    notes = read(folder).notes
    assert (
        "labels, of images where predict.py put them, are a machine's and no truth; --machine-labels" in notes
    )
    assert "sites are the folders of cameras before the sort, as 'north_gate' for 'north_gate/" in notes


def test_another_table_of_that_name_changes_nothing(sort):
    _, folder = sort(classes=("fox", "owl"))
    (folder / "sorted.csv").write_text("file,label\na.jpg,fox\n")
    for name in ("people", "unclassified"):
        shutil.rmtree(folder / name, ignore_errors=True)
    found = read(folder)
    assert {*found.labels.values()} == {"fox", "owl"}
    assert all(name.startswith(("fox/", "owl/")) for name in found.labels)


def test_a_folder_that_was_looked_through_is_prepared(sort, call_script, tmp_path):
    predictions, folder = sort(60, gaps=False)
    done = call_script(
        "prepare.py", "--input", folder, "--output", tmp_path / "set", "--machine-labels", "true",
        "--short-side", "16", "--processes", "1", "--max-quarantine", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    parts, _ = prepared(tmp_path / "set")
    assert set().union(*parts.values()) == {*predictions.rows["file"]}
