"""effort.csv: how long each site took images; counts.csv: how many images of what it took.

Effort is what the images themselves show. A camera that stood for a month and took none of its last two weeks
looks as if it had been taken down: dates of setting up and taking down are in a field sheet, if anywhere.
"""

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from trapline.console import note
from trapline.formats.events import NOWHERE, known, moments, numbered
from trapline.formats.predictions import FAILED, Predictions
from trapline.storage import write_table

EFFORT, COUNTS = "effort.csv", "counts.csv"
EFFORT_COLUMNS = (
    "site", "first_day", "last_day", "days_with_images", "days_between", "images", "images_without_time",
)  # fmt: skip
COUNT_COLUMNS = ("site", "status", "label", "images")
CLASSIFIED, UNCLASSIFIED = "classified", "unclassified"


def write_effort(predictions: Predictions, folder: Path, tell: Callable[[str], None] = note) -> Path:
    """Write effort.csv into `folder`; `tell` gets how many images have no site. See `effort_of`."""
    path = folder / EFFORT
    write_table(path, EFFORT_COLUMNS, effort_of(predictions).itertuples(index=False, name=None))
    lost = sum(site is None for site in known(predictions.rows["site"]))
    if lost:
        tell(f"{path.name}: {lost} images have no site and are of no site's days; --site-csv names sites")
    return path


def effort_of(predictions: Predictions) -> pd.DataFrame:
    """The days on which each site took images, a row for each site, with EFFORT_COLUMNS, by site.

    Every image with a time counts, blank and failed ones too, and one of which the day alone is known. A day
    is that of the camera's clock. days_between: from first_day to last_day, both included; 0 where no day is
    known, and both are empty then. images: all; images_without_time: those whose day is not known.
    """
    site, names = numbered(known(predictions.rows["site"]))
    found = moments(known(predictions.rows["time"]))
    day = np.array([np.nan if moment is None else moment.toordinal() for moment in found], dtype=np.float64)
    frame = pd.DataFrame({"site": site, "day": day})[site != NOWHERE]
    days = frame.groupby("site")["day"].agg(["min", "max", "nunique", "size", "count"])
    between = (days["max"] - days["min"] + 1).fillna(0).astype(np.int64)
    columns = (
        names, _written(days["min"]), _written(days["max"]), days["nunique"].tolist(), between.tolist(),
        days["size"].tolist(), (days["size"] - days["count"]).tolist(),
    )  # fmt: skip
    return pd.DataFrame(dict(zip(EFFORT_COLUMNS, columns, strict=True)))


def _written(days: pd.Series) -> list[str]:
    return ["" if day != day else date.fromordinal(int(day)).isoformat() for day in days]


def write_counts(predictions: Predictions, folder: Path) -> Path:
    """Write counts.csv into `folder`. See `counts_of`."""
    path = folder / COUNTS
    write_table(path, COUNT_COLUMNS, counts_of(predictions))
    return path


def counts_of(predictions: Predictions) -> Iterator[tuple[str, str, str, int]]:
    """How many images of each site have each label, as COUNT_COLUMNS, by site, status and label.

    Those without a site come last, with an empty one. `status` is classified, or, with an empty label,
    unclassified or failed: words in a column of their own, as a class may be called anything. An image with
    several labels counts for each. What no image has is left out.
    """
    site, names = numbered(known(predictions.rows["site"]))
    failed = predictions.rows["status"].to_numpy() == FAILED
    images = np.zeros((len(names) + 1, len(predictions.classes) + 2), dtype=np.int64)
    unclassified, broken = len(predictions.classes), len(predictions.classes) + 1
    for rows in predictions.batches():
        labels = predictions.labels_of(rows)
        image, label = np.nonzero(labels)
        np.add.at(images, (site[rows][image], label), 1)
        np.add.at(images[:, unclassified], site[rows][~labels.any(axis=1) & ~failed[rows]], 1)
        np.add.at(images[:, broken], site[rows][failed[rows]], 1)
    by_name = sorted(range(len(predictions.classes)), key=lambda place: predictions.classes[place])
    words = [(CLASSIFIED, name) for name in predictions.classes] + [(UNCLASSIFIED, ""), (FAILED, "")]
    for name, row in zip([*names, ""], images, strict=True):
        for place in (*by_name, unclassified, broken):
            if row[place]:
                yield name, *words[place], int(row[place])
