"""megadetector.json, by the words of MegaDetector's output format 1.6 and what its readers make of it."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.predictions import CLASSES, STRANGE_CLASSES, drawn_predictions
from trapline.formats.megadetector import MEGADETECTOR
from trapline.formats.settings import FormatSettings
from trapline.formats.taxonomy import Taxon

TAXONOMY = {
    "red deer": Taxon("animal", "Cervus elaphus", "species", {"class": "Mammalia", "family": "Cervidae"}),
    "person": Taxon("human", "Homo sapiens", "species"),
}
LEAST_OF_TIMELAPSE = 0.03  # conf of a detection that it keeps
USUAL = 0.2  # conf below which readers take an image for empty


def written(predictions, folder, taxonomy=None):
    (path,) = MEGADETECTOR.write(predictions, folder, FormatSettings(taxonomy=taxonomy or {}))
    found = json.loads(path.read_text(encoding="utf-8"))
    assert problems(found) == []
    return found


def problems(found):
    """What breaks the format."""
    if found["info"]["format_version"] != "1.6":
        return ["format_version"]
    classes, faults = found["classification_categories"], []
    categories = (*found["detection_categories"].items(), *classes.items())
    faults += [own for own, name in categories if not own.isdecimal() or not name.strip()]
    if descriptions := found.get("classification_category_descriptions"):
        faults += [] if descriptions.keys() == classes.keys() else ["descriptions"]
        faults += [said for said in descriptions.values() if said.count(";") != 6]
    for image in found["images"]:
        if "failure" in image:
            faults += [] if image["detections"] is None and isinstance(image["failure"], str) else [image]
            continue
        for detection in image["detections"]:
            values = [value for _, value in detection.get("classifications", [])]
            is_sound = (
                detection["category"] in found["detection_categories"]
                and isinstance(detection["conf"], float)
                and 0 <= detection["conf"] <= 1
                and detection["bbox"] == [0, 0, 1, 1]
                and values == sorted(values, reverse=True)
                and {own for own, _ in detection.get("classifications", [])} <= classes.keys()
            )
            faults += [] if is_sound else [image]
    return faults


def seen(found, image):
    """What a reader with the usual threshold shows: the category and first class of each detection."""
    return [
        (
            found["detection_categories"][detection["category"]],
            found["classification_categories"][detection["classifications"][0][0]]
            if "classifications" in detection
            else None,
        )
        for detection in image["detections"]
        if detection["conf"] >= USUAL
    ]


# --- one label ----------------------------------------------------------------------------------------------


def test_an_image_has_one_detection_of_the_frame_with_its_classes_by_confidence(tmp_path):
    predictions = drawn_predictions(strange=True)
    found = written(predictions, tmp_path)
    for image, row in zip(found["images"], predictions.rows.itertuples(), strict=True):
        assert image["file"] == row.file
        if row.status == "failed":
            assert image["failure"] == "not_an_image: cannot identify the image"
            continue
        (detection,) = image["detections"]
        label = predictions.classes[row.label]
        assert detection["category"] == {"person": "2", "vehicle": "3"}.get(label, "1")
        if label != "person":
            first, confidence = detection["classifications"][0]
            assert found["classification_categories"][first] == label
            assert confidence == pytest.approx(row.confidence, abs=1e-5)
            assert len(detection["classifications"]) <= 5


def test_blank_images_are_empty_to_every_reader_and_still_say_how_sure_that_is(tmp_path):
    predictions = drawn_predictions(200, gaps=False)
    found = written(predictions, tmp_path)
    blank = predictions.labels_of(slice(0, 200))[:, 0]
    assert blank.sum() > 10
    for image, is_blank in zip(found["images"], blank, strict=True):
        (detection,) = image["detections"]
        assert (detection["conf"] < LEAST_OF_TIMELAPSE) == is_blank
        assert bool(seen(found, image)) != is_blank
        if is_blank:
            assert found["classification_categories"][detection["classifications"][0][0]] == "blank"


def test_the_conf_of_a_detection_is_how_probable_its_category_is(tmp_path):
    predictions = drawn_predictions(gaps=False)
    found = written(predictions, tmp_path)
    values = predictions.probabilities
    assert found["images"][0]["detections"][0]["conf"] == pytest.approx(values[0, [1, 2, 5]].sum(), abs=1e-5)
    people = predictions.rows.index[predictions.rows["label"] == 3]
    for place in people:
        assert found["images"][place]["detections"][0]["conf"] == pytest.approx(values[place, 3], abs=1e-5)


def test_an_image_that_is_blank_below_the_threshold_is_not_hidden(tmp_path):
    predictions = drawn_predictions(3, gaps=False)
    predictions.probabilities[1] = [0.3, 0.25, 0.25, 0.1, 0.05, 0.05]
    predictions.rows.loc[1, ["label", "confidence"]] = [0, 0.3]
    found = written(predictions, tmp_path)
    assert seen(found, found["images"][1]) == [("animal", "blank")]
    assert found["info"]["classifier_metadata"]["typical_classification_threshold"] == 0.35


def test_people_have_no_class_that_a_reader_would_take_for_an_animal(tmp_path):
    predictions = drawn_predictions(60, gaps=False)
    place = int(np.flatnonzero(predictions.labels_of(slice(0, 60))[:, 3])[0])
    found = written(predictions, tmp_path)
    assert seen(found, found["images"][place]) == [("person", None)]
    found = written(predictions, tmp_path, TAXONOMY)
    assert seen(found, found["images"][place]) == [("person", "person")]
    renamed = dataclasses.replace(predictions, classes=[*CLASSES[:3], "human", *CLASSES[4:]])
    found = written(renamed, tmp_path)
    assert seen(found, found["images"][place]) == [("person", "human")]


# --- several labels -----------------------------------------------------------------------------------------


def test_several_labels_are_classifications_of_a_detection_for_each_category(tmp_path):
    predictions = drawn_predictions(multilabel=True)
    found = written(predictions, tmp_path)
    kinds = dict(zip(CLASSES, (None, "animal", "animal", "person", "vehicle", "animal"), strict=True))
    for place, image in enumerate(found["images"]):
        labels = {CLASSES[label] for label in np.flatnonzero(predictions.labels[place])} - {"blank"}
        if image.get("failure") or not labels:
            continue
        named = {
            found["classification_categories"][own]
            for detection in image["detections"]
            for own, _ in detection.get("classifications", [])
        }
        assert named == labels - {"person"}
        categories = [found["detection_categories"][one["category"]] for one in image["detections"]]
        assert sorted(categories) == sorted({kinds[label] for label in labels})


def test_an_image_with_none_of_several_labels_has_the_probabilities_of_the_likeliest(tmp_path):
    found = written(drawn_predictions(multilabel=True), tmp_path)
    (detection,) = found["images"][0]["detections"]
    assert detection["conf"] == 0.1
    assert len(detection["classifications"]) == 5
    assert "typical_classification_threshold" not in found["info"]["classifier_metadata"]


def test_an_image_whose_only_label_is_blank_is_empty(tmp_path):
    predictions = drawn_predictions(2, multilabel=True)
    predictions.labels[0] = [True, False, False, False, False, False]
    (detection,) = written(predictions, tmp_path)["images"][0]["detections"]
    assert detection["conf"] == 0.0
    assert len(detection["classifications"]) == 1


# --- the rest of the file -----------------------------------------------------------------------------------


def test_info_names_the_model_its_digest_and_the_time(tmp_path):
    info = written(drawn_predictions(), tmp_path)["info"]
    assert info["classifier"] == "field-model-3"
    assert info["classifier_metadata"]["sha256"] == "ab" * 32
    assert info["classification_completion_time"] == "2025-03-04 05:06:07"
    assert info["detector_metadata"]["typical_detection_threshold"] == USUAL


def test_with_a_taxonomy_every_class_has_seven_fields_by_which_readers_know_people_and_blanks(tmp_path):
    predictions = drawn_predictions()
    assert "classification_category_descriptions" not in written(predictions, tmp_path)
    found = written(predictions, tmp_path, TAXONOMY)
    said = {
        name: found["classification_category_descriptions"][own]
        for own, name in found["classification_categories"].items()
    }
    assert said["red deer"] == ";mammalia;;cervidae;cervus;elaphus;red deer"
    assert said["person"] == ";;;;homo;sapiens;human"
    assert said["blank"] == ";;;;;;blank"
    assert said["fox"] == ";;;;;;fox"


@given(order=st.permutations(["animal", "person", "vehicle", "fox", "owl", "elk", *"abcdef"]))
def test_the_first_class_is_not_called_as_a_detection_is(tmp_path_factory, order):
    folder = tmp_path_factory.mktemp("written")
    found = written(drawn_predictions(3, classes=tuple(order)), folder)
    numbers = found["classification_categories"]
    assert sorted(numbers.values()) == sorted(order)
    assert numbers[min(numbers)] not in found["detection_categories"].values()  # by text, as Timelapse sorts


def test_times_are_the_cameras_clock_and_what_is_not_known_is_left_out(tmp_path):
    found = written(drawn_predictions(offset="+02:00"), tmp_path)
    image = found["images"][0]
    assert (image["datetime"], image["location"]) == ("2024-05-11 14:02:10", "north gate")
    assert (image["width"], image["height"]) == (24, 16)
    assert "datetime" not in found["images"][4]
    assert "location" not in found["images"][10]
    assert found["images"][6].keys() == {"file", "failure", "detections"}


def test_strange_names_stay_as_they_are_and_equal_predictions_are_equal_bytes(tmp_path, monkeypatch):
    predictions = drawn_predictions(classes=STRANGE_CLASSES, strange=True)
    predictions.rows.loc[0, "file"] = 'half \udcff, "quoted"\n.jpg'
    found = written(predictions, tmp_path)
    assert set(found["classification_categories"].values()) == set(STRANGE_CLASSES)
    assert [image["file"] for image in found["images"]] == predictions.rows["file"].tolist()
    whole = (tmp_path / "megadetector.json").read_bytes()
    monkeypatch.setattr("trapline.formats.predictions.BATCH", 7)
    written(predictions, tmp_path)
    assert (tmp_path / "megadetector.json").read_bytes() == whole
