"""The columns of Camtrap DP 1.0.2's tables, and what their cells may hold.

From deployments-table-schema.json, media-table-schema.json and observations-table-schema.json of
https://github.com/tdwg/camtrap-dp (MIT).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from trapline.names import shown
from trapline.preparation.facts import is_nothing

VERSION = "1.0.2"
SOURCE = f"https://raw.githubusercontent.com/tdwg/camtrap-dp/{VERSION}"
MISSING = ("", "NA", "NaN", "nan")  # what the standard reads as nothing
CAPTURE_METHODS = ("activityDetection", "timeLapse")
MEDIA = (
    "mediaID", "deploymentID", "captureMethod", "timestamp", "filePath", "filePublic", "fileName",
    "fileMediatype", "exifData", "favorite", "mediaComments",
)  # fmt: skip
OBSERVATIONS = (
    "observationID", "deploymentID", "mediaID", "eventID", "eventStart", "eventEnd", "observationLevel",
    "observationType", "cameraSetupType", "scientificName", "count", "lifeStage", "sex", "behavior",
    "individualID", "individualPositionRadius", "individualPositionAngle", "individualSpeed", "bboxX",
    "bboxY", "bboxWidth", "bboxHeight", "classificationMethod", "classifiedBy", "classificationTimestamp",
    "classificationProbability", "observationTags", "observationComments",
)  # fmt: skip
TRUE, FALSE = ("true", "True", "TRUE", "1"), ("false", "False", "FALSE", "0")
WHOLE = re.compile(r"([+-]?[0-9]{1,15})(?:\.0{1,2})?")  # 120 or 120.0, as spreadsheets write it
DECIMAL = re.compile(r"[+-]?([0-9]{1,15}([.,][0-9]*)?|[.,][0-9]+)")  # some countries write a comma


@dataclass(frozen=True)
class Field:
    """What a cell of a deployment may hold: a `kind`, between bounds, one of `choices`; or nothing."""

    kind: Literal["text", "number", "integer", "boolean", "time"] = "text"
    minimum: float = -math.inf
    maximum: float = math.inf
    choices: tuple[str, ...] = ()


FEATURES = (
    "roadPaved", "roadDirt", "trailHiking", "trailGame", "roadUnderpass", "roadOverpass", "roadBridge",
    "culvert", "burrow", "nestSite", "carcass", "waterSource", "fruitingTree",
)  # fmt: skip
DEPLOYMENTS: Mapping[str, Field] = {
    "deploymentID": Field(),
    "locationID": Field(),
    "locationName": Field(),
    "latitude": Field("number", -90, 90),
    "longitude": Field("number", -180, 180),
    "coordinateUncertainty": Field("integer", 1),
    "deploymentStart": Field("time"),
    "deploymentEnd": Field("time"),
    "setupBy": Field(),
    "cameraID": Field(),
    "cameraModel": Field(),
    "cameraDelay": Field("integer", 0),
    "cameraHeight": Field("number", 0),
    "cameraDepth": Field("number", 0),
    "cameraTilt": Field("integer", -90, 90),
    "cameraHeading": Field("integer", 0, 360),
    "detectionDistance": Field("number", 0),
    "timestampIssues": Field("boolean"),
    "baitUse": Field("boolean"),
    "featureType": Field(choices=FEATURES),
    "habitat": Field(),
    "deploymentGroups": Field(),
    "deploymentTags": Field(),
    "deploymentComments": Field(),
}
REQUIRED = ("deploymentID", "latitude", "longitude", "deploymentStart", "deploymentEnd")


class BadCell(ValueError):
    """A cell that its column cannot hold; the text says why, after the column's name."""


def cell_of(text: str, field: Field) -> str:
    """The cell as the standard writes it, empty for one that says nothing. Raises BadCell."""
    plain = text.strip()
    if plain in MISSING:
        return ""
    if field.kind in ("number", "integer"):
        return _number(plain, field)
    if field.kind == "boolean":
        return _boolean(plain)
    if field.choices and plain not in field.choices:
        raise BadCell(f"{shown(plain)} is none of {', '.join(field.choices)}")
    return plain


def _number(text: str, field: Field) -> str:
    found = WHOLE.fullmatch(text) if field.kind == "integer" else DECIMAL.fullmatch(text)
    if not found:
        what = "whole number" if field.kind == "integer" else "number"
        raise BadCell(f"{shown(text)} is no {what}, such as {'120' if what != 'number' else '52.70442'}")
    plain = str(int(found[1])) if field.kind == "integer" else text.replace(",", ".").removeprefix("+")
    if not field.minimum <= float(plain) <= field.maximum:
        low = "" if field.minimum == -math.inf else f" from {field.minimum:g}"
        high = "" if field.maximum == math.inf else f" to {field.maximum:g}"
        raise BadCell(f"{shown(text)} is outside of its range{low}{high}")
    return plain


def _boolean(text: str) -> str:
    if text in TRUE:
        return "true"
    if text in FALSE:
        return "false"
    raise BadCell(f"{shown(text)} is neither true nor false")


def is_usable_id(text: str) -> bool:
    """Whether all readers take a text for the same id: none trims, obeys or overlooks it."""
    return text == text.strip() and text.isprintable() and not is_nothing(text)
