"""How long sites took images, and how many of what."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd

from tests.support.predictions import CLASSES, SITES, STRANGE_CLASSES, drawn_predictions
from trapline.formats.effort import (
    COUNT_COLUMNS,
    EFFORT_COLUMNS,
    counts_of,
    effort_of,
    write_counts,
    write_effort,
)  # fmt: skip
from trapline.formats.predictions import FAILED, OK
from trapline.tables import read_strings

SOME = 12


def with_columns(**columns):
    """Twelve images without gaps, with other columns."""
    predictions = drawn_predictions(SOME, gaps=False)
    given = {name: pd.Series(list(cells), dtype=object) for name, cells in columns.items()}
    return replace(predictions, rows=predictions.rows.assign(**given))


def test_days_are_counted_once_and_the_span_has_both_ends():
    days = ["2024-05-30T23:59:59", "2024-05-31T00:00:01", "2024-05-31T12:00:00", "2024-06-02T01:00:00"]
    effort = effort_of(with_columns(site=["a"] * SOME, time=days * 3))

    assert effort.to_dict("records") == [
        {"site": "a", "first_day": "2024-05-30", "last_day": "2024-06-02", "days_with_images": 3,
         "days_between": 4, "images": 12, "images_without_time": 0}
    ]  # fmt: skip


def test_a_day_is_that_of_the_cameras_clock_whatever_its_offset():
    effort = effort_of(with_columns(site=["a"] * SOME, time=["2024-05-31T23:30:00-05:00"] * SOME))

    assert effort["first_day"].tolist() == ["2024-05-31"]


def test_failed_and_blank_images_and_days_without_a_time_of_day_count():
    predictions = with_columns(
        site=["a"] * SOME,
        time=["2024-05-01", None, "2024-05-03T01:02:03", *[None] * 9],
        status=[OK, OK, FAILED, *[OK] * 9],
    )
    effort = effort_of(predictions)

    assert effort["days_with_images"].tolist() == [2]
    assert effort["images_without_time"].tolist() == [10]


def test_a_site_without_any_time_has_no_days_and_one_without_a_name_is_no_site(tmp_path):
    told = []
    path = write_effort(
        with_columns(site=["b"] * 10 + [None, None], time=[None] * SOME), tmp_path, told.append
    )

    row = read_strings(path, EFFORT_COLUMNS).to_dict("records")
    assert row == [
        {"site": "b", "first_day": "", "last_day": "", "days_with_images": "0", "days_between": "0",
         "images": "10", "images_without_time": "10"}
    ]  # fmt: skip
    assert told[0].startswith("effort.csv: 2 images have no site")


def test_every_image_with_a_site_is_in_effort_once():
    predictions = drawn_predictions(60)

    effort = effort_of(predictions)
    assert effort["site"].tolist() == sorted(SITES)
    assert effort["images"].sum() == predictions.rows["site"].notna().sum()
    assert (
        effort["images_without_time"].sum()
        == (predictions.rows["site"].notna() & predictions.rows["time"].isna()).sum()
    )


def test_counts_tell_the_failed_from_the_unclassified_and_both_from_classes_of_those_names():
    names = ["unclassified", "failed", "wild boar", "person", "vehicle", "fox"]
    predictions = drawn_predictions(60, names)
    counts = pd.DataFrame(counts_of(predictions), columns=list(COUNT_COLUMNS))

    assert counts["images"].sum() == len(predictions)
    failed = counts[counts["status"] == "failed"]
    assert (failed["label"] == "").all()
    assert failed["images"].sum() == (predictions.rows["status"] == FAILED).sum()
    labels = predictions.labels_of(slice(0, 60)).sum(axis=0)
    by_label = counts[counts["status"] == "classified"].groupby("label")["images"].sum()
    assert by_label.to_dict() == {name: int(n) for name, n in zip(names, labels, strict=True) if n}


def test_each_label_of_an_image_counts_and_images_without_a_site_come_last():
    predictions = drawn_predictions(60, multilabel=True)
    counts = list(counts_of(predictions))

    found = Counter()
    labels = predictions.labels_of(slice(0, 60))
    for site, has, status in zip(predictions.rows["site"], labels, predictions.rows["status"], strict=True):
        own = [("classified", CLASSES[at]) for at in np.flatnonzero(has)]
        found.update(
            (site or "", *each) for each in own or [(FAILED if status == FAILED else "unclassified", "")]
        )
    assert {tuple(row[:3]): row[3] for row in counts} == found
    assert [row[0] for row in counts] == sorted(
        (row[0] for row in counts), key=lambda site: (site == "", site)
    )


def test_counts_are_read_back_with_names_that_a_spreadsheet_would_run(tmp_path):
    predictions = drawn_predictions(60, STRANGE_CLASSES)
    path = write_counts(predictions, tmp_path)

    written = read_strings(path, COUNT_COLUMNS)
    assert written["label"].tolist() == [row[2] for row in counts_of(predictions)]
    assert write_counts(predictions, tmp_path / "again").read_bytes() == path.read_bytes()


def test_no_image_makes_tables_of_no_row(tmp_path):
    nothing = drawn_predictions(3)
    nothing = replace(nothing, rows=nothing.rows.iloc[:0], probabilities=nothing.probabilities[:0])

    assert read_strings(write_effort(nothing, tmp_path), EFFORT_COLUMNS).empty
    assert read_strings(write_counts(nothing, tmp_path), COUNT_COLUMNS).empty
