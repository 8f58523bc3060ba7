"""A model's labels are no truth in any format, unless a person takes them for it."""

import json

import pytest

from tests.support.disk import put, read
from tests.support.predictions import drawn_predictions
from trapline.formats.coco import COCO
from trapline.formats.settings import FormatSettings
from trapline.formats.table import CSV
from trapline.formats.timelapse import TIMELAPSE
from trapline.preparation.listing import Reading

PICTURES = {f"st{site}/{number}.jpg": "" for site in (1, 2) for number in (1, 2)}
TAKEN = Reading(machine_labels=True)
ADDAXAI = "absolute_path,relative_path,data_type,label,confidence,human_verified"
INSIGHTS = "location,identified_by,common_name"
ROOTS = "RootFolder,File,RelativePath,DateTime,DeleteFlag,Species,Confidence,NeedsReview,Remark"


def table(folder, header, *rows, name="labels.csv"):
    put(folder, {**PICTURES, name: "\n".join([header, *rows]) + "\n"})
    return folder


def addaxai(folder, *verified):
    """Detections of AddaxAI: two of a fox, then two of a deer."""
    labels = ("fox", "fox", "deer", "deer")
    rows = (f"/photos/{path},{path},img,{label},0.9,{said}"
            for path, label, said in zip(PICTURES, labels, verified, strict=True))  # fmt: skip
    return table(folder, ADDAXAI, *rows, name="results_detections.csv")


def timelapse(folder, root):
    rows = (f"{root},{path[4:]},{path[:3]},2024-05-31 14:02:11,false,{label},0.9,false,"
            for path, label in zip(PICTURES, ("fox", "fox", "deer", "deer"), strict=True))  # fmt: skip
    return table(folder, ROOTS, *rows, name="TimelapseData.csv")


@pytest.mark.parametrize("written", [CSV, TIMELAPSE, COCO], ids=lambda own: own.name)
@pytest.mark.parametrize("multilabel", [False, True])
def test_our_own_answers_are_images_without_labels_and_true_if_asked(tmp_path, written, multilabel):
    predictions = drawn_predictions(12, folder=tmp_path, multilabel=multilabel)
    file = written.write(predictions, tmp_path, FormatSettings())[0]
    found = read(tmp_path, reading=Reading(table=file))
    assert {*found.labels.values()} == {None}
    (note,) = (note for note in found.notes.splitlines() if "machine" in note)
    assert note.endswith("are a machine's and no truth; --machine-labels true takes them for it")
    assert read(tmp_path, reading=Reading(table=file, machine_labels=True)).classes != []


def prepared(call_script, folder, *words):
    return call_script(
        "prepare.py", "--input", folder / "predictions.csv", "--media", folder, "--output", folder / "set",
        "--split", "random", "--max-quarantine", "1", "--processes", "1", "--short-side", "16", *words,
    )  # fmt: skip


def test_nothing_is_packed_where_all_labels_are_a_machines_and_the_way_out_is_said(tmp_path, call_script):
    CSV.write(drawn_predictions(12, folder=tmp_path), tmp_path, FormatSettings())
    done = prepared(call_script, tmp_path)
    assert (done.returncode, done.stderr) == (
        1,
        "error: no image of the input has a label: a classifier needs at least two classes; predictions.csv: "
        "11 rows with a label are a machine's and no truth; --machine-labels true takes them for it\n",
    )
    assert "packing" not in done.stdout


def test_corrections_by_a_person_make_a_set_of_a_models_answers(tmp_path, call_script):
    predictions = drawn_predictions(24, folder=tmp_path, gaps=False)
    CSV.write(predictions, tmp_path, FormatSettings())
    seen = [
        f"{row.id},{('fox', 'owl')[number % 2]}" for number, row in enumerate(predictions.rows.itertuples())
    ]
    (tmp_path / "seen.csv").write_text("\n".join(["id,label", *seen[:20]]))
    done = prepared(call_script, tmp_path, "--corrections", tmp_path / "seen.csv")
    assert done.returncode == 0, done.stderr
    assert "24 inputs: 20 labelled, 4 unlabelled" in done.stdout


def test_rows_that_nobody_verified_have_no_label(tmp_path):
    folder = addaxai(tmp_path, "True", "False", "FALSE", "true")
    assert list(read(folder).labels.values()) == ["fox", None, None, "deer"]
    assert list(read(folder, reading=TAKEN).labels.values()) == ["fox", "fox", "deer", "deer"]
    (note,) = (note for note in read(folder).notes.splitlines() if "machine" in note)
    assert note.startswith("results_detections.csv: 2 rows with a label are a machine's")


def test_verified_rows_are_all_labels_and_nothing_is_said_of_machines(tmp_path):
    found = read(addaxai(tmp_path, *["True"] * 4))
    assert list(found.labels.values()) == ["fox", "fox", "deer", "deer"]
    assert "machine" not in found.notes


@pytest.mark.parametrize("machine", ["Computer Vision", "computer vision", " Computer vision "])
def test_identified_by_computer_vision_is_no_truth(tmp_path, machine):
    authors = (machine, "Ada L.", machine, "Computer Visionary")
    rows = (f"{path},{author},fox" for path, author in zip(PICTURES, authors, strict=True))
    found = read(table(tmp_path, INSIGHTS, *rows), columns={"filepath": "location"})
    assert list(found.labels.values()) == [None, "fox", None, "fox"]


def test_a_flat_table_of_observations_says_whose_they_are(tmp_path):
    methods = ("machine", "human", "Machine", "")
    rows = (f"{path},{method},fox" for path, method in zip(PICTURES, methods, strict=True))
    found = read(table(tmp_path, "filePath,classificationMethod,scientificName", *rows))
    assert list(found.labels.values()) == [None, "fox", None, "fox"]


def test_what_timelapse_has_exported_a_person_has_seen(tmp_path):
    assert {*read(timelapse(tmp_path, "Photos")).labels.values()} == {"fox", "deer"}


def test_what_timelapse_has_not_seen_is_a_models(tmp_path):
    assert {*read(timelapse(tmp_path, "")).labels.values()} == {None}
    assert {*read(tmp_path, reading=TAKEN).labels.values()} == {"fox", "deer"}


def test_a_confidence_alone_may_be_a_persons(tmp_path):
    rows = (f"{path},fox,0.9" for path in PICTURES)
    assert {*read(table(tmp_path, "path,label,confidence", *rows)).labels.values()} == {"fox"}


@pytest.mark.parametrize(
    ("score", "is_models"), [(0.9, True), (1, True), (0, True), (None, False), (True, False)]
)
def test_an_annotation_with_a_score_is_a_models(tmp_path, score, is_models):
    images = [{"id": str(number), "file_name": path} for number, path in enumerate(PICTURES)]
    annotations = [
        {"image_id": "0", "category_id": 1},
        {"image_id": "1", "category_id": 1, "score": score},
        {"image_id": "2", "category_id": 7 if is_models else 1, "score": score},  # 7: of no name
    ]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "fox"}]}
    found = read(put(tmp_path, {**PICTURES, "set.json": json.dumps(content)}))
    expected = None if is_models else "fox"
    assert found.labels == {"0": "fox", "1": expected, "2": expected, "3": None}
    assert ("set.json: 2 annotations are a machine's and no truth" in found.notes) == is_models
    assert found.quarantined == {}


def test_without_labels_asked_for_nothing_is_said_of_machines(tmp_path):
    found = read(addaxai(tmp_path, *["False"] * 4), reading=Reading(needs_labels=False))
    assert (len(found.images), "machine" in found.notes) == (4, False)
