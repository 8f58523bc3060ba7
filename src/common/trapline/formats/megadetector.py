"""megadetector.json: MegaDetector's output format 1.6, for Timelapse, AddaxAI and MegaDetector's tools.

A model of whole images finds no boxes: an image has one detection, which covers the frame. Its category is
that of the label: animal, person or vehicle. Its `conf` is how probable that category is: of an image of one
label the sum over the category's classes, of several labels the highest of them. Tools take an image for
empty where no detection reaches their threshold, so one that is labelled as blank has the conf 0, the
format's own value for "no object of interest", and still says in `classifications` how sure that is.

Several labels of one category are classifications of one detection; an image of animals and people has a
detection for each category, because tools show and hide people by the category alone.

Tools that look at the classification first know people and vehicles by the words human and vehicle alone, in
a class's name or its seven fields, and take any other for an animal's. Without them such a detection has no
classifications, as MegaDetector's own have none; then its category is what counts.

Timelapse warns of a file whose first class is called as a detection category is: such classes come last.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trapline.formats.common import clock_time, failure, rounded, rows_of, text, write_records
from trapline.formats.predictions import Predictions
from trapline.formats.settings import Format, FormatSettings
from trapline.formats.taxonomy import ObservationType, Taxon, taxon_of

FILE = "megadetector.json"
VERSION = "1.6"
DETECTIONS = {"1": "animal", "2": "person", "3": "vehicle"}  # category -> its name
ANIMAL, PERSON, VEHICLE, BLANK = 0, 1, 2, 3  # categories by their place; the last has none of its own
CATEGORY_OF: dict[ObservationType, int] = {
    "animal": ANIMAL, "unknown": ANIMAL, "human": PERSON, "vehicle": VEHICLE, "blank": BLANK,
}  # fmt: skip
# What SpeciesNet calls them, by which tools know that a class is no animal.
COMMON_NAMES: dict[ObservationType, str] = {"human": "human", "vehicle": "vehicle", "blank": "blank"}
FRAME = [0.0, 0.0, 1.0, 1.0]  # x, y, width and height, as shares of the image
MOST, LEAST = 5, 1e-3  # classifications of a detection; the least probability of all but the first
# What tools choose where a file says nothing; here for those that ask.
THRESHOLDS = {"typical_detection_threshold": 0.2, "conservative_detection_threshold": 0.05}
TIME = "%Y-%m-%d %H:%M:%S"
Rows = npt.NDArray[np.float64]


def write_megadetector(predictions: Predictions, folder: Path, settings: FormatSettings) -> list[Path]:
    """Write megadetector.json; with a taxonomy it also has the seven fields of each class."""
    classes = predictions.classes
    taxa = [taxon_of(name, settings.taxonomy) for name in classes]
    numbers = _numbers(classes)
    by_number = sorted(range(len(classes)), key=lambda place: int(numbers[place]))
    head: dict[str, Any] = {
        "info": _info(predictions),
        "detection_categories": DETECTIONS,
        "classification_categories": {numbers[place]: classes[place] for place in by_number},
    }
    if settings.taxonomy:
        head["classification_category_descriptions"] = {
            numbers[place]: _seven_fields(classes[place], taxa[place]) for place in by_number
        }
    path = folder / FILE
    categories = np.array([CATEGORY_OF[taxon.observation_type] for taxon in taxa], dtype=np.int64)
    misread = {
        place
        for place, own in enumerate(taxa)
        if not settings.taxonomy and not _is_known(classes[place], own)
    }
    write_records(path, head, {"images": _images(predictions, numbers, misread, categories)})
    return [path]


def _is_known(name: str, taxon: Taxon) -> bool:
    """Whether tools know by a class's name alone that it is no animal, where it is none."""
    kind = taxon.observation_type
    return kind not in ("human", "vehicle") or name == COMMON_NAMES[kind]


def _numbers(classes: Sequence[str]) -> list[str]:
    """The id of each class: numbers from 1, those that are called as a detection category is last."""
    names = set(DETECTIONS.values())
    order = sorted(range(len(classes)), key=lambda place: classes[place] in names)
    number_of = dict(zip(order, map(str, count(1)), strict=False))
    return [number_of[place] for place in range(len(classes))]


def _info(predictions: Predictions) -> dict[str, Any]:
    model, made = predictions.model, predictions.created.strftime(TIME)
    threshold = {"typical_classification_threshold": predictions.threshold} if predictions.threshold else {}
    return {
        "format_version": VERSION,
        "detector": "whole image",
        "detection_completion_time": made,
        "detector_metadata": THRESHOLDS,
        "classifier": model.name,
        "classification_completion_time": made,
        "classifier_metadata": {"architecture": model.architecture, "sha256": model.digest, **threshold},
    }


def _seven_fields(name: str, taxon: Taxon) -> str:
    common = COMMON_NAMES.get(taxon.observation_type, taxon.common_name)
    return replace(taxon, common_name=common).seven_fields(name)


# --- images -------------------------------------------------------------------------------------------------


def _images(
    predictions: Predictions,
    numbers: Sequence[str],
    misread: Collection[int],
    categories: npt.NDArray[np.int64],
) -> Iterator[dict[str, Any]]:
    several = predictions.labels is not None
    for rows in predictions.batches():
        probabilities = np.asarray(predictions.probabilities[rows])
        labels = predictions.labels_of(rows)
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :MOST]
        of_categories = _of_categories(probabilities, categories, several)
        for place, row in enumerate(rows_of(predictions, rows)):
            image: dict[str, Any] = {"file": row.file}
            if (failed := failure(row)) is not None:
                yield {**image, "failure": failed, "detections": None}
                continue
            own = np.flatnonzero(labels[place])
            detect = _by_labels if several and len(own) else _by_best
            found = detect(probabilities[place], own, best[place], categories, of_categories[place])
            yield {
                **image,
                **_facts(row),
                "detections": [_detection(*one, numbers, misread) for one in found],
            }


def _facts(row: Any) -> dict[str, Any]:
    """What is known of an image, by the names that MegaDetector's tools have for it."""
    said = {"datetime": clock_time(row.time), "location": text(row.site)}
    size = {"width": int(row.width), "height": int(row.height)}
    return {name: value for name, value in {**said, **size}.items() if value}


def _of_categories(probabilities: Rows, categories: npt.NDArray[np.int64], several: bool) -> Rows:
    """How probable each category is, (images, categories): sums of classes; of several labels the highest."""
    found = np.zeros((len(probabilities), BLANK + 1))
    for category in range(found.shape[1]):
        if len(own := np.flatnonzero(categories == category)):
            values = probabilities[:, own]
            found[:, category] = values.max(axis=1) if several else np.minimum(values.sum(axis=1), 1)
    return found


def _by_best(
    values: Rows, labels: npt.NDArray[np.int64], best: npt.NDArray[np.int64],
    categories: npt.NDArray[np.int64], of_categories: Rows,
) -> list[tuple[int, float, list[tuple[int, float]]]]:  # fmt: skip
    """One detection, of the most probable class, with the first few classes."""
    category = int(categories[best[0]])
    is_blank = category == BLANK and len(labels) > 0
    category = ANIMAL if category == BLANK else category
    kept = [(int(label), values[label]) for label in best if values[label] >= LEAST or label == best[0]]
    return [(category, 0.0 if is_blank else of_categories[category], kept)]


def _by_labels(
    values: Rows, labels: npt.NDArray[np.int64], best: npt.NDArray[np.int64],
    categories: npt.NDArray[np.int64], of_categories: Rows,
) -> list[tuple[int, float, list[tuple[int, float]]]]:  # fmt: skip
    """A detection for each category of which an image has labels, with them; blank only where it is alone."""
    order = labels[np.argsort(-values[labels], kind="stable")]
    found = [
        (category, values[own[0]], [(int(label), values[label]) for label in own])
        for category in (ANIMAL, PERSON, VEHICLE)
        if len(own := order[categories[order] == category])
    ]
    return found or [(ANIMAL, 0.0, [(int(label), values[label]) for label in order])]


def _detection(
    category: int,
    confidence: float,
    found: Sequence[tuple[int, float]],
    numbers: Sequence[str],
    misread: Collection[int],
) -> dict[str, Any]:
    """A detection; without classifications where the first would be taken for an animal's, and is none."""
    detection = {"category": list(DETECTIONS)[category], "conf": rounded(confidence), "bbox": FRAME}
    if found[0][0] in misread:
        return detection
    return {**detection, "classifications": [[numbers[label], rounded(value)] for label, value in found]}


MEGADETECTOR = Format("megadetector", write_megadetector)
