"""What people give for a Camtrap DP: field sheets, project.json and taxonomies of small projects."""

import json

import numpy as np
import pandas as pd

from tests.support.predictions import CLASSES, CREATED, MODEL, SITES
from tests.support.written_sets import write_rows
from trapline.formats.predictions import COLUMNS, NO_CLASS, OK, Predictions
from trapline.formats.settings import FormatSettings
from trapline.formats.taxonomy import Taxon

PROJECT = {
    "contributors": [{"title": "Ada Lund", "email": "ada@example.org", "role": "contact"}],
    "licenses": [
        {"name": "CC0-1.0", "scope": "data"},
        {"path": "http://creativecommons.org/licenses/by/4.0/", "scope": "media"},
    ],
    "project": {
        "title": "Predators of the northern forest",
        "samplingDesign": "systematicRandom",
        "captureMethod": ["activityDetection"],
        "individualAnimals": False,
    },
}
TAXONOMY = {
    "red deer": Taxon("animal", "Cervus elaphus", "species", {"order": "Artiodactyla"}, "red deer", "QLXL"),
    "wild boar": Taxon("animal", "Sus scrofa", "species"),
    "fox": Taxon("animal", "Vulpes", "genus", {"family": "Canidae"}),
}
LABELS = {  # what preparation calls what these classes are written as
    "blank": "blank", "red deer": "Cervus elaphus", "wild boar": "Sus scrofa", "person": "human",
    "vehicle": "vehicle", "fox": "Vulpes",
}  # fmt: skip


def sheet_row(own="d1", location="north gate", start="2024-05-11T00:00:00+02:00", end="", **further):
    """A row of a field sheet; it ends in June where nothing else is said."""
    return {
        "deploymentID": own, "locationID": location, "latitude": "61.5", "longitude": "10.25",
        "deploymentStart": start, "deploymentEnd": end or "2024-06-11T00:00:00+02:00", **further,
    }  # fmt: skip


def field_sheet(folder, rows=None, name="deployments.csv"):
    """The CSV of a field sheet; by default a deployment for each site of the drawn predictions."""
    rows = rows or [sheet_row(f"d{number}", site) for number, site in enumerate(SITES)]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    write_rows(folder / name, [{column: row.get(column, "") for column in columns} for row in rows])
    return folder / name


def settings(folder, rows=None, *, project=None, taxonomy=None, timezone=None):
    """The settings of a project, its files written into `folder`."""
    (folder / "project.json").write_text(json.dumps(PROJECT if project is None else project))
    return FormatSettings(
        taxonomy=TAXONOMY if taxonomy is None else taxonomy,
        deployments=field_sheet(folder, rows),
        project=folder / "project.json",
        timezone=timezone,
    )


def predictions_of(rows, classes=CLASSES, labels=None):
    """Predictions for images of which a few cells are given, all of the first class unless one is named."""
    base = dict.fromkeys(COLUMNS) | {"status": OK, "label": 0, "confidence": 0.9, "width": 24, "height": 16}
    full = []
    for number, row in enumerate(rows):
        own = base | {"id": f"i{number}", "file": f"i{number}.jpg", "path": f"i{number}.jpg"} | row
        full.append(own | ({"label": NO_CLASS, "confidence": np.nan} if own["status"] != OK else {}))
    numbers = ("label", "confidence", "width", "height")
    table = {
        name: pd.Series([row[name] for row in full], dtype=None if name in numbers else object)
        for name in COLUMNS
    }
    probabilities = np.full((len(full), len(classes)), np.nan)
    for number, row in enumerate(full):
        if row["status"] == OK:
            probabilities[number] = 0.02
            probabilities[number, row["label"]] = row["confidence"]
    return Predictions(pd.DataFrame(table), probabilities, list(classes), MODEL, CREATED, labels, 0.35)
