"""A job's log is read as it grows: no line twice, none lost, each stream in its order."""

import contextlib

import pytest
from botocore.exceptions import ClientError

from tests.support.cloud import NAME, STREAM, Cloud, metric_line, refused
from trapline.launching.aws.logs import JobLog
from trapline.metrics import END, START

SECOND = f"{NAME}/algo-2-1767225600"


def new_lines(log, found=None):
    """The lines that one look brings, added to `found` as they come."""
    found = [] if found is None else found
    log.look()
    while lines := log.read():
        found += lines
    return found


def texts(lines):
    return [line.text for line in lines]


def log_of(cloud, tail=None):
    return JobLog(cloud.clients.logs, "/aws/sagemaker/TrainingJobs", NAME, tail)


def test_before_the_first_job_of_an_account_there_is_no_log_and_no_error():
    assert new_lines(log_of(Cloud())) == []


def test_each_look_brings_what_is_new_and_only_that():
    cloud = Cloud()
    log = log_of(cloud)
    cloud.write("one", "two")
    assert texts(new_lines(log)) == ["one", "two"]
    assert new_lines(log) == []
    cloud.write("three", at=2)
    assert texts(new_lines(log)) == ["three"]


def test_a_long_log_comes_page_by_page_and_whole():
    cloud = Cloud(page_size=7)
    cloud.write(*map(str, range(50)))
    assert texts(new_lines(log_of(cloud))) == [str(number) for number in range(50)]


def test_lines_of_two_machines_are_told_apart_and_come_by_time():
    cloud = Cloud()
    cloud.write("a0", "a1", "a2")
    cloud.write("b0", "b1", stream=SECOND, at=1)
    lines = new_lines(log_of(cloud))
    assert [(line.machine, line.text) for line in lines] == [
        ("algo-1", "a0"),
        ("algo-1", "a1"),
        ("algo-2", "b0"),
        ("algo-1", "a2"),
        ("algo-2", "b1"),
    ]


def test_a_machine_that_comes_later_is_read_from_its_beginning():
    cloud = Cloud()
    log = log_of(cloud, tail=1)
    cloud.write("a0", "a1")
    assert texts(new_lines(log)) == ["a1"]
    cloud.write("b0", "b1", stream=SECOND)
    assert texts(new_lines(log)) == ["b0", "b1"]


def test_the_log_of_a_job_with_a_longer_name_is_another_jobs():
    cloud = Cloud()
    cloud.write("mine")
    cloud.write("not mine", stream=f"{NAME}-2/algo-1-1767225600")
    assert texts(new_lines(log_of(cloud))) == ["mine"]


@pytest.mark.parametrize(("tail", "first"), [(0, []), (2, ["3", "4"]), (10, ["0", "1", "2", "3", "4"])])
def test_a_tail_begins_with_the_last_lines_and_loses_none_after_them(tail, first):
    cloud = Cloud()
    cloud.write(*"01234")
    log = log_of(cloud, tail)
    assert texts(new_lines(log)) == first
    cloud.write("5", "6", at=5)
    assert texts(new_lines(log)) == ["5", "6"]


def test_trouble_between_two_pages_loses_nothing_and_repeats_nothing():
    cloud = Cloud(page_size=2)
    cloud.write(*"abcde")
    cloud.write(*"vwxyz", stream=SECOND)
    log = log_of(cloud)
    found = []
    for _ in range(12):
        cloud.troubles = [None, None, None, refused("ThrottlingException")]
        with contextlib.suppress(ClientError):
            new_lines(log, found)
    assert "".join(line.text for line in found if line.machine == "algo-1") == "abcde"
    assert "".join(line.text for line in found if line.machine == "algo-2") == "vwxyz"


def test_where_the_token_has_expired_the_log_goes_on_behind_the_last_line():
    cloud = Cloud()
    log = log_of(cloud)
    cloud.write("one", "two")
    cloud.write("also at second 1", at=1)
    assert len(new_lines(log)) == 3
    cloud.write("at second 1 too", at=1)
    cloud.write("three", at=2)
    cloud.troubles = [None, refused("InvalidParameterException", "The specified nextToken is invalid.")]
    assert texts(new_lines(log)) == ["at second 1 too", "three"]


def test_a_stream_whose_lines_are_no_longer_kept_ends():
    cloud = Cloud()
    cloud.write("one")
    cloud.troubles = [None, refused("ResourceNotFoundException", "The specified log stream does not exist.")]
    assert new_lines(log_of(cloud)) == []


@pytest.mark.parametrize("cut", [1, len(START) - 1, len(START), 30, -1, -len(END)])
def test_a_torn_metric_line_is_put_together(cut):
    cloud = Cloud()
    whole = metric_line(3)
    cloud.write("before", whole[:cut], whole[cut:], "after")
    assert texts(new_lines(log_of(cloud))) == ["before", whole, "after"]


def test_a_metric_line_torn_between_two_looks_is_put_together():
    cloud = Cloud()
    log = log_of(cloud)
    whole = metric_line(3)
    cloud.write(whole[:30])
    assert new_lines(log) == []
    cloud.write(whole[30:], at=1)
    assert texts(new_lines(log)) == [whole]


def test_pieces_of_different_machines_are_not_put_together():
    cloud = Cloud()
    whole = metric_line(3)
    cloud.write(whole[:30], whole[30:])
    cloud.write("between", stream=SECOND)
    assert sorted(texts(new_lines(log_of(cloud)))) == sorted([whole, "between"])


def test_a_line_that_only_looks_torn_is_not_held_back_for_long():
    cloud = Cloud()
    log = log_of(cloud)
    cloud.write("list = [")
    assert new_lines(log) == []
    assert texts(new_lines(log)) == ["list = ["]
    cloud.write("1, 2]", at=1)
    assert texts(new_lines(log)) == ["1, 2]"]


def test_lines_that_only_look_torn_stay_lines_of_their_own():
    cloud = Cloud()
    cloud.write("list = [", "1, 2]", f"{START} is how it begins", "end")
    assert texts(new_lines(log_of(cloud))) == ["list = [", "1, 2]", f"{START} is how it begins", "end"]


def test_what_is_held_back_at_the_end_of_the_job_is_not_lost():
    cloud = Cloud()
    log = log_of(cloud)
    cloud.write("killed here: [MET")
    assert new_lines(log) == []
    assert texts(log.rest()) == ["killed here: [MET"]
    assert log.rest() == []


def test_an_event_of_several_lines_is_several_lines():
    cloud = Cloud()
    cloud.write("Traceback:\n  File x\r\nValueError: y\n")
    assert texts(new_lines(log_of(cloud))) == ["Traceback:", "  File x", "ValueError: y"]


@pytest.mark.parametrize(
    ("stream", "machine"),
    [
        (STREAM, "algo-1"),
        (f"{NAME}/algo-12-1767225600123", "algo-12"),
        (f"{NAME}/i-0abc/data-log", "i-0abc/data-log"),
    ],
)
def test_a_machine_is_named_as_sagemaker_names_it(stream, machine):
    cloud = Cloud()
    cloud.write("x", stream=stream)
    assert new_lines(log_of(cloud))[0].machine == machine
