"""coco.json: COCO Camera Traps with scores."""

import json

import numpy as np
import pytest

from tests.support.predictions import STRANGE_CLASSES, drawn_predictions
from tests.support.read_back import facts_of, read_back
from tests.support.real_predictions import REAL
from trapline.formats.coco import COCO
from trapline.formats.settings import FormatSettings
from trapline.formats.taxonomy import Taxon


def written(predictions, folder, settings=None):
    (path,) = COCO.write(predictions, folder, settings or FormatSettings())
    return path


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("multilabel", [False, True])
def test_each_label_is_an_annotation_with_its_score(tmp_path, multilabel):
    predictions = drawn_predictions(multilabel=multilabel, classes=STRANGE_CLASSES, strange=True)
    found = read(written(predictions, tmp_path))
    names = {category["id"]: category["name"] for category in found["categories"]}
    place_of = {name: place for place, name in enumerate(predictions.rows["id"])}
    labels = np.zeros(predictions.probabilities.shape, dtype=bool)
    for annotation in found["annotations"]:
        place = place_of[annotation["image_id"]]
        label = predictions.classes.index(names[annotation["category_id"]])
        labels[place, label] = True
        assert annotation["score"] == pytest.approx(predictions.probabilities[place, label], abs=1e-5)
    np.testing.assert_array_equal(labels, predictions.labels_of(slice(0, len(predictions))))
    assert [one["id"] for one in found["annotations"]] == list(range(1, labels.sum() + 1))


def test_images_have_what_is_known_of_them_and_failed_ones_say_why(tmp_path):
    found = read(written(drawn_predictions(), tmp_path))
    assert found["images"][0] == {
        "id": "image 0", "file_name": "north_gate/00/IMG_0000.jpg", "location": "north gate",
        "datetime": "2024-05-11T14:02:10", "width": 24, "height": 16, "seq_id": "sequence 0",
        "seq_num_frames": 3, "frame_num": 1,
    }  # fmt: skip
    assert found["images"][6] == {
        "id": "image 6",
        "file_name": "north_gate/02/IMG_0006.jpg",
        "failure": "not_an_image: cannot identify the image",
    }
    assert "location" not in found["images"][10]
    annotated = {annotation["image_id"] for annotation in found["annotations"]}
    assert not annotated & {"image 6", "image 1"}  # failed; below the threshold


def test_blank_images_are_the_category_0_that_the_format_reserves(tmp_path):
    predictions = drawn_predictions(classes=("fox", "nothing", "owl"))
    categories = read(written(predictions, tmp_path))["categories"]
    assert categories == [{"id": 0, "name": "nothing"}, {"id": 1, "name": "fox"}, {"id": 2, "name": "owl"}]
    settings = FormatSettings(taxonomy={"nothing": Taxon("animal"), "owl": Taxon("blank")})
    categories = read(written(predictions, tmp_path, settings))["categories"]
    assert [category["name"] for category in categories] == ["owl", "fox", "nothing"]


def test_frames_are_counted_by_time_and_by_their_order_where_a_time_is_not_known(tmp_path):
    predictions = drawn_predictions(6, gaps=False)
    predictions.rows.loc[2, "time"] = "2024-05-11T14:02:00"
    predictions.rows.loc[4, "time"] = None
    images = read(written(predictions, tmp_path))["images"]
    assert [image["frame_num"] for image in images] == [2, 3, 1, 1, 2, 3]


def test_the_same_predictions_are_the_same_bytes_in_batches_of_any_size(tmp_path, monkeypatch):
    predictions = drawn_predictions(multilabel=True)
    whole = written(predictions, tmp_path).read_bytes()
    monkeypatch.setattr("trapline.formats.predictions.BATCH", 7)
    assert written(predictions, tmp_path).read_bytes() == whole


def test_half_a_surrogate_is_an_escape_of_json(tmp_path):
    predictions = drawn_predictions(3)
    predictions.rows.loc[0, "site"] = 'half \udcff, "quoted"\n'
    assert read(written(predictions, tmp_path))["images"][0]["location"] == 'half \udcff, "quoted"\n'


def test_what_is_written_is_prepared_to_the_same_labels_sites_sequences_and_times(tmp_path, call_script):
    predictions = drawn_predictions(
        folder=tmp_path / "photos", classes=STRANGE_CLASSES, strange=True, offset="+02:00"
    )
    found, aside = read_back(call_script, written(predictions, tmp_path), tmp_path / "photos")
    assert (found, aside) == facts_of(predictions)


def test_several_labels_come_back_too(tmp_path, call_script):
    predictions = drawn_predictions(folder=tmp_path / "photos", multilabel=True)
    found, aside = read_back(
        call_script, written(predictions, tmp_path), tmp_path / "photos", "--several", "multilabel"
    )
    assert (found, aside) == facts_of(predictions)


@pytest.mark.parametrize("drawn", REAL)
def test_frames_of_real_cameras_come_back_with_labels_sites_and_times(
    tmp_path, real_data, call_script, drawn
):
    predictions, folder = drawn(real_data)
    found, aside = read_back(call_script, written(predictions, tmp_path), folder)
    assert (found, aside) == facts_of(predictions)
