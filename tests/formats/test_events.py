"""Independent events of a site and a class, from images one by one."""

import itertools
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.predictions import CLASSES, STRANGE_CLASSES, drawn_predictions
from trapline.errors import UsageError
from trapline.formats.events import COLUMNS, events_of, write_events
from trapline.formats.predictions import COLUMNS as ROW_COLUMNS
from trapline.formats.predictions import FAILED, NO_CLASS, OK, Predictions
from trapline.formats.taxonomy import Taxon
from trapline.tables import read_strings

NOON = datetime(2024, 5, 11, 12)
BLANK, DEER, BOAR = 0, 1, 2


def seen(images, multilabel=False, classes=CLASSES):
    """Predictions of (site, time or minutes after noon, label or labels, sequence) each, in that order."""
    rows = [_row(number, *(*image, None)[:4]) for number, image in enumerate(images)]
    table = pd.DataFrame(rows, columns=list(ROW_COLUMNS)).astype({"site": object, "time": object})
    probabilities = np.full((len(rows), len(classes)), 0.1)
    labels = np.zeros((len(rows), len(classes)), dtype=bool)
    for number, image in enumerate(images):
        wanted = [image[2]] if isinstance(image[2], int) else image[2]
        probabilities[number, wanted] = 0.5 + number / (10 * len(images))
        labels[number, wanted] = True
    model = drawn_predictions(3)
    return Predictions(
        table, probabilities, classes, model.model, model.created, labels if multilabel else None
    )


def _row(number, site, time, label, sequence):
    if isinstance(time, int | float):
        time = (NOON + timedelta(minutes=time)).isoformat()
    label = label if isinstance(label, int) else next(iter(label), DEER)
    return {
        "id": str(number), "file": f"{number}.jpg", "path": f"{number}.jpg", "status": OK, "reason": None,
        "detail": None, "label": label, "confidence": 0.6, "site": site, "sequence": sequence, "time": time,
        "width": 4, "height": 4,
    }  # fmt: skip


def spans(events):
    """Site, label and images of each event."""
    return list(events.table[["site", "label", "images"]].itertuples(index=False, name=None))


# --- the rule -----------------------------------------------------------------------------------------------


def test_the_gap_runs_from_the_last_image_and_must_be_exceeded():
    events = events_of(seen([("a", minutes, DEER) for minutes in (0, 20, 40, 70, 101)]))

    assert spans(events) == [("a", "red deer", 4), ("a", "red deer", 1)]
    assert events.table["first_time"].tolist() == ["2024-05-11T12:00:00", "2024-05-11T13:41:00"]
    assert events.table["last_time"].tolist() == ["2024-05-11T13:10:00", "2024-05-11T13:41:00"]


def test_another_class_or_site_in_between_ends_no_event():
    images = [("a", 0, DEER), ("a", 10, BOAR), ("b", 15, DEER), ("a", 20, DEER)]

    assert spans(events_of(seen(images))) == [
        ("a", "red deer", 2), ("a", "wild boar", 1), ("b", "red deer", 1)
    ]  # fmt: skip


def test_images_may_come_in_any_order():
    images = [("a", minutes, DEER) for minutes in (100, 0, 20, 110)]

    assert spans(events_of(seen(images))) == [("a", "red deer", 2), ("a", "red deer", 2)]


def test_blank_images_make_no_event_by_the_usual_words_or_the_taxonomy():
    images = seen([("a", 0, BLANK), ("a", 200, DEER), ("a", 400, BOAR)])

    assert spans(events_of(images)) == [("a", "red deer", 1), ("a", "wild boar", 1)]
    named = {"wild boar": Taxon("blank"), "blank": Taxon("animal", "Blank blank")}
    assert spans(events_of(images, taxonomy=named)) == [("a", "blank", 1), ("a", "red deer", 1)]


def test_an_image_below_the_threshold_is_in_no_event():
    unsure = replace(seen([("a", 0, DEER)]), threshold=0.7)

    assert spans(events_of(unsure)) == []


def test_each_label_of_an_image_is_in_an_event_of_its_own_class():
    events = events_of(seen([("a", 0, [DEER, BOAR]), ("a", 5, [DEER]), ("a", 9, [])], multilabel=True))

    assert spans(events) == [("a", "red deer", 2), ("a", "wild boar", 1)]


def test_an_event_has_its_highest_confidence_and_its_number_of_sequences():
    images = [("a", 0, DEER, "s1"), ("a", 1, DEER, "s1"), ("a", 9, DEER, "s2"), ("a", 12, DEER, None)]
    events = events_of(seen(images))

    assert events.table["sequences"].tolist() == [2]
    assert events.table["highest_confidence"].tolist() == [pytest.approx(0.5 + 3 / 40)]


def test_a_sequence_never_falls_apart_and_that_is_said():
    images = [("a", 0, DEER, "long"), ("a", 45, DEER, None), ("a", 90, DEER, "long"), ("a", 150, DEER, None)]
    events = events_of(seen(images))

    assert spans(events) == [("a", "red deer", 3), ("a", "red deer", 1)]
    assert events.joined == 2
    assert "2 times images further apart than the gap" in events.notes[0]


def test_equal_names_of_sequences_join_nothing_across_sites_or_classes():
    images = [("a", 0, DEER, "1"), ("a", 60, BOAR, "1"), ("b", 120, DEER, "1"), ("a", 180, BOAR, None)]

    assert events_of(seen(images)).joined == 0
    assert len(events_of(seen(images)).table) == 4


def test_images_without_site_or_time_of_day_are_counted_and_said():
    images = [(None, 0, DEER), ("a", None, DEER), ("a", "2024-05-11", DEER), ("a", "noonish", BOAR),
              (None, None, BLANK), ("a", 3, DEER)]  # fmt: skip
    events = events_of(seen(images))

    assert (events.without_site, events.without_time) == (1, 3)
    assert spans(events) == [("a", "red deer", 1)]
    assert any("--site-csv" in note for note in events.notes)


def test_times_of_one_site_are_instants_where_all_have_an_offset_and_of_the_clock_else():
    apart = (
        "2024-10-27T02:50:00+02:00",
        "2024-10-27T02:40:00+01:00",
    )  # 50 minutes, over the end of summer time
    images = [("a", apart[0], DEER), ("a", apart[1], DEER)]

    assert len(events_of(seen(images)).table) == 2
    assert events_of(seen(images)).table["last_time"].tolist() == list(apart)
    assert len(events_of(seen([*images, ("a", "2024-10-27T02:45:00", BOAR)])).table) == 2
    assert len(events_of(seen([*images, ("b", "2024-10-27T02:45:00", BOAR)])).table) == 3


@pytest.mark.parametrize("gap", [-1, float("nan"), float("inf")])
def test_a_gap_that_is_no_time_is_refused_by_its_flag(gap):
    with pytest.raises(UsageError, match="--event-gap"):
        events_of(seen([("a", 0, DEER)]), gap)


# --- the file -----------------------------------------------------------------------------------------------


def test_an_id_stays_whatever_else_is_predicted_and_is_no_number():
    few = events_of(seen([("a", 0, DEER)])).table["event_id"][0]
    many = events_of(seen([("0", 0, BOAR), ("a", 0, DEER), ("a", 1, DEER)])).table

    assert few in set(many["event_id"])
    assert few.startswith("event-")
    assert many["event_id"].is_unique


def test_the_table_is_read_back_with_names_that_a_spreadsheet_would_run(tmp_path):
    predictions = drawn_predictions(60, STRANGE_CLASSES, multilabel=True)
    told = []
    path = write_events(predictions, tmp_path, tell=told.append)

    written = read_strings(path, COLUMNS)
    assert written["label"].tolist() == events_of(predictions).table["label"].tolist()
    assert {"=1+1", 'owl "barn", large', "-fox"} <= set(written["label"])
    assert "'=1+1" in path.read_text(encoding="utf-8")
    assert told == events_of(predictions).notes


def test_events_are_in_order_and_equal_answers_are_equal_bytes(tmp_path):
    predictions = drawn_predictions(90, multilabel=True)
    once = write_events(predictions, tmp_path / "a", tell=str).read_bytes()

    assert write_events(predictions, tmp_path / "b", tell=str).read_bytes() == once
    table = events_of(predictions).table
    order = list(table[["site", "first_time", "label"]].itertuples(index=False, name=None))
    assert order == sorted(order)


def test_no_image_makes_a_table_of_no_event(tmp_path):
    path = write_events(seen([]), tmp_path)

    assert read_strings(path, COLUMNS).empty


# --- whatever images there are ------------------------------------------------------------------------------

IMAGES = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", None]),
        st.one_of(st.none(), st.integers(0, 400)),
        st.lists(st.integers(0, 3), max_size=3, unique=True),
        st.sampled_from([None, "s1", "s2"]),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(images=IMAGES, gap=st.integers(0, 60))
def test_events_are_chains_that_lie_apart_and_hold_every_image_once(images, gap):
    events = events_of(seen([(*image[:3], None) for image in images], multilabel=True), gap * 60)
    chains = _chains(images, gap)

    found = events.table[["site", "label", "first_time", "last_time", "images"]]
    assert sorted(found.itertuples(index=False, name=None)) == sorted(chains)


@settings(max_examples=60, deadline=None)
@given(images=IMAGES, gap=st.integers(0, 60))
def test_events_of_a_site_and_class_are_apart_and_count_every_image_whatever_the_sequences(images, gap):
    events = events_of(seen(images, multilabel=True), gap * 60)

    counted = Counter()
    for site, minutes, labels, _ in images:
        if site is not None and minutes is not None:
            counted.update((site, CLASSES[label]) for label in labels if label != BLANK)
    assert events.table.groupby(["site", "label"])["images"].sum().to_dict() == counted
    for _, own in events.table.groupby(["site", "label"]):
        ends = pd.to_datetime(own["last_time"]).to_numpy()[:-1]
        assert (pd.to_datetime(own["first_time"]).to_numpy()[1:] - ends > np.timedelta64(gap, "m")).all()
    lost = sum(any(label != BLANK for label in labels) for site, minutes, labels, _ in images
               if site is None or minutes is None)  # fmt: skip
    assert events.without_site + events.without_time == lost


def _chains(images, gap):
    """The same by walking through them one by one."""
    found = []
    for site in ("a", "b"):
        for label in range(1, 4):
            own = sorted(minutes for at, minutes, labels, _ in images
                         if at == site and minutes is not None and label in labels)  # fmt: skip
            chain = []
            for minutes, after in itertools.zip_longest(own, own[1:]):
                chain.append(minutes)
                if after is None or after - minutes > gap:
                    first, last = ((NOON + timedelta(minutes=end)).isoformat() for end in (chain[0], minutes))
                    found.append((site, CLASSES[label], first, last, len(chain)))
                    chain = []
    return found


def test_failed_images_are_in_no_event():
    failing = seen([("a", 0, DEER), ("a", 1, DEER)])
    rows = failing.rows.assign(status=[OK, FAILED], label=[DEER, NO_CLASS], confidence=[0.6, np.nan])

    assert spans(events_of(replace(failing, rows=rows))) == [("a", "red deer", 1)]


def test_real_frames_are_pooled_by_the_cameras_own_clock(real_data):
    frames = pd.read_csv(real_data / "camera_traps_norway" / "labels.csv")
    classes = sorted(set(frames["label"]))
    times = frames["date"] + "T" + frames["time"]
    predictions = seen(
        [(site, time, classes.index(label))
         for site, time, label in zip(frames["site"], times, frames["label"], strict=True)],
        classes=classes,
    )  # fmt: skip

    events = events_of(predictions)
    shown = frames[frames["label"] != "empty"].assign(time=pd.to_datetime(times)).sort_values("time")
    gaps = shown.groupby(["site", "label"])["time"].diff()
    assert len(events.table) == int((gaps.isna() | (gaps > pd.Timedelta(minutes=30))).sum())
    assert events.table["images"].sum() == len(shown)
