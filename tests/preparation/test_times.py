"""Times as tables, cameras and file names write them."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trapline.preparation.times import Moment, read_times, time_in_name

MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1)).map(
    lambda found: found.replace(microsecond=0)
)


def texts(*cells, **options):
    """What a column of cells is read as."""
    return [moment and moment.text() for moment in read_times(cells, **options).moments]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("2019-05-31 14:02:11", "2019-05-31T14:02:11"),
        ("2016:08:04 17:46:54", "2016-08-04T17:46:54"),
        ("2020-05-30T04:57:37Z", "2020-05-30T04:57:37+00:00"),
        ("2020-05-30T04:57:37.250+02:00", "2020-05-30T04:57:37+02:00"),
        ("2020-05-30T04:57:37-0330", "2020-05-30T04:57:37-03:30"),
        ("31/05/2019 14:02", "2019-05-31T14:02:00"),
        ("05/31/2019 2:02:11 PM", "2019-05-31T14:02:11"),
        ("12:00 AM", None),
        ("31-May-2019 10:00:00", "2019-05-31T10:00:00"),
        ("May 31, 2019 10:00", "2019-05-31T10:00:00"),
        ("20190531T140211", "2019-05-31T14:02:11"),
        ("20190531", "2019-05-31"),
        ("5.6.2019 04:00", "2019-06-05T04:00:00"),
        ("2019-05-31 24:00:00", "2019-06-01T00:00:00"),
        ("2019-12-31 24:00", "2020-01-01T00:00:00"),
        ("2019-05-31 24:01", None),
        ("2019-02-30 10:00", None),
        ("2019-05-31", "2019-05-31"),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_a_time_is_read_or_is_none(cell, text):
    assert texts(cell) == [text]


@given(
    MOMENTS, st.sampled_from(["%Y-%m-%d %H:%M:%S", "%Y:%m:%d %H:%M:%S", "%Y%m%dT%H%M%S", "%d-%b-%Y %H:%M:%S"])
)
def test_a_moment_is_read_as_it_was_written(moment, form):
    assert read_times([moment.strftime(form)]).moments[0].local == moment


@given(st.lists(MOMENTS, min_size=1, max_size=40))
def test_the_order_of_day_and_month_is_the_columns_or_nobodys(moments):
    found = read_times([moment.strftime("%d/%m/%Y %H:%M:%S") for moment in moments])
    if any(moment.day > 12 for moment in moments):
        read = [moment and moment.local for moment in found.moments]
        assert read == moments or not any(read)  # where all are of 1 to 12 o'clock, too
    else:
        assert not any(found.moments)
        assert "day or month may come first" in found.notes[0]


def test_one_column_in_two_orders_is_not_read_and_both_are_named():
    found = read_times(["31/05/2019 10:00", "05/31/2019 10:00", "2019-05-31 10:00"])
    assert [moment and moment.text() for moment in found.moments] == [None, None, "2019-05-31T10:00:00"]
    assert "'31/05/2019 10:00'" in found.notes[0]
    assert "'05/31/2019 10:00'" in found.notes[0]


def test_what_the_images_say_decides_where_the_column_does_not():
    witness = Moment(datetime(2019, 5, 6, 10, 0))
    assert (
        texts("6/5/2019 10:00", "7/5/2019 10:00", witnesses=lambda: [witness, None])[0]
        == "2019-05-06T10:00:00"
    )
    assert texts("5/6/2019 10:00", witnesses=lambda: [witness]) == ["2019-05-06T10:00:00"]
    assert texts("5/6/2019 10:00", witnesses=lambda: [Moment(datetime(2011, 1, 1))]) == [None]


def test_hours_of_a_clock_that_lost_am_and_pm_are_not_believed():
    hours = [f"2019-05-{day:02d} {day % 12 or 12}:30" for day in range(1, 29)]
    found = read_times(hours)
    assert not any(found.moments)
    assert "AM and PM were lost" in found.notes[-1]
    assert all(read_times([f"{hour} AM" for hour in hours]).moments)
    assert all(read_times([*hours, "2019-05-30 13:30"]).moments)


def test_a_camera_of_the_morning_is_believed():
    assert all(read_times([f"2019-05-{day:02d} {5 + day % 6}:30" for day in range(1, 29)]).moments)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("StationA__2009-04-21__00-40-00(1).JPG", "2009-04-21T00:40:00"),
        ("20210531082538-RCNX0031.JPG", "2021-05-31T08:25:38"),
        ("IMG_20190531_140211.jpg", "2019-05-31T14:02:11"),
        ("2019-05-31 14.02.11.jpg", "2019-05-31T14:02:11"),
        ("vj_ga_hu_1_2019-07-08_0001.JPG", None),
        ("IMG_0001.JPG", None),
        ("12019053114021199.jpg", None),
        ("2019-13-31__14-02-11.jpg", None),
    ],
)
def test_a_files_name_says_a_time_or_none(name, text):
    moment = time_in_name(name)
    assert (moment and moment.text()) == text


@given(st.text(max_size=40))
def test_no_text_breaks_the_reading(text):
    found = read_times([text, "2019-05-31 10:00"]).moments[1]
    assert found.local == datetime(2019, 5, 31, 10)
    time_in_name(text)


def test_an_offset_is_kept_and_the_local_time_compared():
    one, two = read_times(["2019-05-31T10:00:00+02:00", "2019-05-31T10:00:00"]).moments
    assert (one.local, one.offset) == (two.local, 120)
    assert two.offset is None
    assert one.local - two.local == timedelta(0)
