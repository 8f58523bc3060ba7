"""Predictions over frames of real cameras, as if a model were always right."""

import csv

import numpy as np
import pandas as pd

from tests.support.predictions import CREATED, MODEL
from trapline.formats.predictions import COLUMNS, OK, Predictions

IMAGES = 24  # of a folder, spread over it


def _rows(folder):
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["label"]]
    return rows[:: len(rows) // IMAGES][:IMAGES]


def _predictions(folder, facts):
    classes = sorted({row["label"] for row in facts})
    probabilities = np.full((len(facts), len(classes)), 0.1 / max(1, len(classes) - 1))
    labels = [classes.index(row["label"]) for row in facts]
    probabilities[np.arange(len(facts)), labels] = 0.9
    cells = {
        "id": [row["path"] for row in facts],
        "file": [row["path"] for row in facts],
        "path": [str(folder / row["path"]) for row in facts],
        "status": [OK] * len(facts),
        "site": [row.get("site") for row in facts],
        "time": [row["time"] for row in facts],
    }
    rows = {name: pd.Series(cells.get(name, [None] * len(facts)), dtype=object) for name in COLUMNS}
    numbers = {"label": labels, "confidence": [0.9] * len(facts), "width": [0] * len(facts)}
    table = pd.DataFrame(rows | numbers | {"height": [0] * len(facts)})[list(COLUMNS)]
    return Predictions(table, probabilities, classes, MODEL, CREATED)


def norway(data):
    """Frames of three sites with the times that their table has, and their folder."""
    folder = data / "camera_traps_norway"
    facts = [{**row, "time": f"{row['date']}T{row['time']}"} for row in _rows(folder)]
    return _predictions(folder, facts), folder


def with_exif(data):
    """Frames without sites, with the times of their EXIF, and their folder."""
    folder = data / "camera_traps_exif"
    facts = [
        {**row, "time": f"{row['datetime'][:10].replace(':', '-')}T{row['datetime'][11:]}"}
        for row in _rows(folder)
    ]
    return _predictions(folder, facts), folder


REAL = (norway, with_exif)
