"""Predictions over drawn images, for what writes them: failures, missing sites and times, strange names."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from tests.conftest import write_jpeg
from trapline.formats.predictions import COLUMNS, FAILED, NO_CLASS, OK, PredictingModel, Predictions

CLASSES = ("blank", "red deer", "wild boar", "person", "vehicle", "fox")
STRANGE_CLASSES = ("blank", "=1+1", 'owl "barn", large', "person", "élan; Alces", "-fox")
STRANGE_NAMES = (
    "=cmd.jpg", 'a "quoted", name.jpg', "café Ärger 鹿.jpg", "semi;colon.jpg", "'apostrophe.jpg", "-12.jpg",
    "two  blanks.jpg", "\\udcff.jpg",
)  # fmt: skip
SITES = ("north gate", "south pond", "ridge")
CREATED = datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)
MODEL = PredictingModel("field-model-3", "ab" * 32, "resnet18")
FIRST = datetime(2024, 5, 11, 14, 2, 10)
OF_SEQUENCE = 3  # images
FAILS, NO_SITE, NO_TIME = 7, 11, 5  # every how many images one lacks it, in a set with gaps
THRESHOLD = 0.35


def drawn_predictions(
    count=30, classes=CLASSES, *, multilabel=False, seed=0, gaps=True, strange=False, folder=None, offset=""
):
    """Predictions for `count` images, `site/seq/IMG_0007.jpg`, three a sequence and a third of them a site.

    gaps: every seventh failed (without site, time and size), every eleventh has no site, every fifth no time.
    strange: the first images, of a folder each, have STRANGE_NAMES. folder: where the images are drawn, the
    failed ones as a text; None draws none. offset: of the times, such as +02:00; local to the camera without.
    With one label an image the first is sure, the second is below `threshold`.
    """
    rng = np.random.default_rng(seed)
    rows = [_row(number, count, gaps, strange, offset) for number in range(count)]
    probabilities = _probabilities(rng, count, len(classes), multilabel)
    for number, row in enumerate(rows):
        if row["status"] == FAILED:
            probabilities[number] = np.nan
        else:
            row["label"] = int(probabilities[number].argmax())
            row["confidence"] = float(probabilities[number].max())
        if folder is not None:
            _draw(folder, row, number)
    labels = None
    if multilabel:
        labels = np.nan_to_num(probabilities) >= 0.5
    return Predictions(
        rows=_table(rows),
        probabilities=probabilities,
        classes=list(classes),
        model=MODEL,
        created=CREATED,
        labels=labels,
        threshold=0.0 if multilabel else THRESHOLD,
    )


def _table(rows):
    """The rows as Predictions has them: texts as objects, so that None stays None."""
    numbers = ("label", "confidence", "width", "height")
    cells = {name: [row[name] for row in rows] for name in COLUMNS}
    return pd.DataFrame(
        {name: pd.Series(own, dtype=None if name in numbers else object) for name, own in cells.items()}
    )


def _row(number, count, gaps, strange, offset):
    site = SITES[number * len(SITES) // count]
    sequence, frame = divmod(number, OF_SEQUENCE)
    failed = gaps and number % FAILS == FAILS - 1
    file = f"{site.replace(' ', '_')}/{sequence:02d}/IMG_{number:04d}.jpg"
    if strange and number < len(STRANGE_NAMES):
        file = f"{site.replace(' ', '_')}/{sequence:02d}/{STRANGE_NAMES[number]}"
    time = FIRST + timedelta(hours=2 * sequence, seconds=frame)
    return {
        "id": f"image {number}",
        "file": file,
        "path": file,
        "status": FAILED if failed else OK,
        "reason": "not_an_image" if failed else None,
        "detail": "cannot identify the image" if failed else None,
        "label": NO_CLASS,
        "confidence": np.nan,
        "site": None if failed or (gaps and number % NO_SITE == NO_SITE - 1) else site,
        "sequence": None if failed else f"sequence {sequence}",
        "time": None if failed or (gaps and number % NO_TIME == NO_TIME - 1) else time.isoformat() + offset,
        "width": 0 if failed else 24,
        "height": 0 if failed else 16,
    }


def _probabilities(rng, count, classes, multilabel):
    if multilabel:
        values = rng.uniform(0, 1, (count, classes)) ** 1.5
        values[:1], values[1:2] = 0.1, 0.9  # none of the classes, and all of them
        return values
    logits = rng.normal(0, 2.5, (count, classes))
    logits[:1], logits[1:2] = np.arange(classes) * 3.0, np.arange(classes) * 0.01
    values = np.exp(logits - logits.max(axis=1, keepdims=True))
    return values / values.sum(axis=1, keepdims=True)


def _draw(folder, row, number):
    """The picture of a row below `folder`, and where it lies."""
    path = folder / row["file"]
    row["path"] = str(path)
    if row["status"] == FAILED:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("no picture")
    else:
        write_jpeg(path, number, side=16)
