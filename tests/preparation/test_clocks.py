"""Which times are believed: clocks that are absurd, set back, or on another zone."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trapline.preparation.clocks import with_times

TODAY = datetime(2026, 1, 1)
START = datetime(2019, 5, 1, 6)


def frames(times, folder="camera_A/100MEDIA", *, site="A", column="exif_time", first=1):
    """Numbered files of one camera, their times as EXIF or the table writes them."""
    written = [
        time if time is None or isinstance(time, str) else f"{time:%Y:%m:%d %H:%M:%S}" for time in times
    ]
    names = [f"{folder}/IMG_{number:04d}.JPG" for number in range(first, first + len(written))]
    rows = pd.DataFrame({"filepath": names, "site": site, "exif_time": None}, dtype=object)
    rows[column] = pd.Series(written, dtype=object)
    return rows


def hourly(count, start=START, step=3):
    return [start + timedelta(hours=step * number) for number in range(count)]


def believed(images):
    found, notes = with_times(images, TODAY)
    return [isinstance(time, str) for time in found["time"]], notes


def test_a_camera_that_was_reset_to_1970_for_a_week_in_the_middle():
    good = hourly(120)
    week = range(40, 96)
    times = [
        datetime(1970, 1, 1) + (time - good[40]) if place in week else time for place, time in enumerate(good)
    ]
    found, notes = believed(frames(times))
    assert found == [place not in week for place in range(120)]
    assert "56 images have times before 2000" in notes[0]
    assert "'A' (56)" in notes[0]


@pytest.mark.parametrize("year", [2010, 2017, 2019])
def test_a_clock_that_starts_on_new_years_day_and_stays_wrong(year):
    times = [*hourly(40), *hourly(20, datetime(year, 1, 1))]
    found, notes = believed(frames(times))
    assert found == [True] * 40 + [False] * 20
    assert "the clock was set back" in notes[0]


def test_a_clock_that_is_put_right_again_is_believed_from_then_on():
    good = hourly(60)
    times = [*good[:20], *[time - timedelta(days=700) for time in good[20:30]], *good[30:]]
    assert believed(frames(times))[0] == [True] * 20 + [False] * 10 + [True] * 30


def test_a_clock_that_ran_ahead_until_it_was_put_right():
    good = hourly(60)
    times = [*[time + timedelta(days=365) for time in good[:8]], *good[8:]]
    assert believed(frames(times))[0] == [False] * 8 + [True] * 52


def test_the_end_of_summer_time_is_no_reset():
    good = hourly(20, step=1)
    times = [*good[:10], *[time - timedelta(hours=1) for time in good[10:]]]
    assert all(believed(frames(times))[0])


def test_files_whose_numbers_are_in_no_order_of_time_are_believed():
    times = hourly(60)
    order = np.random.default_rng(0).permutation(60)
    assert all(believed(frames([times[place] for place in order]))[0])


def test_cameras_in_folders_of_their_own_are_judged_apart():
    one, two = frames(hourly(20)), frames(hourly(20, datetime(2015, 3, 1)), "camera_B/100MEDIA", site="B")
    assert all(believed(pd.concat([one, two], ignore_index=True))[0])


def test_a_time_after_today_is_not_believed():
    found, notes = believed(frames([START, TODAY + timedelta(days=3)]))
    assert found == [True, False]
    assert "after today" in notes[0]


def test_a_table_on_another_zone_counts_and_is_said():
    images = frames(hourly(10))
    images["time"] = [f"{time + timedelta(hours=2):%Y-%m-%d %H:%M:%S}" for time in hourly(10)]
    found, notes = with_times(images, TODAY)
    assert found["time"].iloc[0] == "2019-05-01T08:00:00"
    assert "the table is 2 h ahead of the clock of camera 'A'" in notes[0]


def test_twenty_four_oclock_is_midnight_and_lost_halves_are_not_believed():
    images = frames(["2019-05-01 24:00", "2019-05-02 00:10"], column="time")
    assert with_times(images, TODAY)[0]["time"].tolist() == ["2019-05-02T00:00:00", "2019-05-02T00:10:00"]
    lost = [f"2019-05-{day:02d} {day % 12 or 12}:30" for day in range(1, 29)]
    found, notes = believed(frames(lost, column="time"))
    assert not any(found)
    assert "AM and PM were lost" in notes[0]


def test_without_table_the_camera_says_it_and_without_exif_the_name_of_the_file():
    images = pd.DataFrame(
        {
            "filepath": ["a/StationA__2009-04-21__00-40-00(1).JPG", "a/IMG_0002.JPG", "a/IMG_0003.JPG"],
            "site": None,
            "exif_time": [None, "2009:04:21 01:00:00+02:00", None],
        },
        dtype=object,
    )
    found, notes = with_times(images, TODAY)
    assert found["time"].tolist() == ["2009-04-21T00:40:00", "2009-04-21T01:00:00+02:00", None]
    assert not notes


def test_a_day_without_a_time_is_kept_and_never_compared():
    found, _ = with_times(frames(["2019-05-31"], column="time"), TODAY)
    assert found["time"].tolist() == ["2019-05-31"]
    assert found["when"].isna().all()
    images = frames([datetime(2019, 5, 31, 7)])
    images["time"] = ["2019-05-31"]
    assert with_times(images, TODAY)[0]["time"].tolist() == ["2019-05-31T07:00:00"]


@given(
    st.lists(st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1)), max_size=60),
    st.integers(min_value=0, max_value=9998),
)
def test_whatever_clocks_say_nothing_but_plausible_times_are_kept(times, first):
    found, _ = with_times(frames(times, first=first), TODAY)
    assert len(found) == len(times)
    kept = [datetime.fromisoformat(time) for time in found["time"] if time is not None]
    assert all(datetime(2000, 1, 1) <= time <= TODAY + timedelta(days=1) for time in kept)
    assert (found["when"].isna() == found["time"].isna()).all()


@given(st.integers(min_value=2, max_value=200), st.integers(min_value=0, max_value=10**6))
def test_a_clock_that_runs_is_always_believed(count, seed):
    steps = np.random.default_rng(seed).integers(0, 500_000, count).cumsum()
    assert all(believed(frames([START + timedelta(seconds=int(step)) for step in steps if step < 2e8]))[0])
