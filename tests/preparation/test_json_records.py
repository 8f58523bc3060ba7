import json
import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trapline.errors import TraplineError
from trapline.preparation import json_records
from trapline.preparation.json_records import MEMBER, records

LISTS = ("images", "annotations")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=3), VALUES, max_size=3).flatmap(
    lambda others: st.fixed_dictionaries({name: st.lists(VALUES, max_size=4) for name in LISTS}).map(
        lambda lists: {**others, **lists}
    )
)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("records") / "set.json"


@pytest.fixture
def refused(file):
    """The message with which a text is refused."""

    def message(text):
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(TraplineError) as caught:
            list(records(file, LISTS))
        return str(caught.value)

    return message


@settings(max_examples=100, deadline=None)
@given(content=OBJECTS, indent=st.sampled_from([None, 0, 2]), chunk=st.integers(1, 40), mark=st.booleans())
def test_the_records_are_those_of_json_however_the_file_is_read_in_pieces(file, content, indent, chunk, mark):
    file.write_text(
        "\ufeff" * mark + json.dumps(content, indent=indent, ensure_ascii=False), "utf-8", "surrogatepass"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_records, "CHUNK", chunk)
        found = list(records(file, LISTS))
    assert [name for name, record in found if record is MEMBER] == list(content)
    for name in LISTS:
        assert [record for own, record in found if own == name and record is not MEMBER] == content[name]


@settings(max_examples=100, deadline=None)
@given(content=OBJECTS, chunk=st.integers(1, 40), share=st.floats(0, 1, exclude_max=True))
def test_a_file_that_ends_too_early_is_an_error_that_names_it(file, content, chunk, share):
    text = json.dumps(content)
    file.write_text(text[: int(len(text) * share)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_records, "CHUNK", chunk)
        with pytest.raises(TraplineError, match=r"set\.json: not valid JSON"):
            list(records(file, LISTS))


def test_numbers_that_are_none_are_read_as_nothing(file):
    file.write_text('{"images": [NaN, Infinity, {"a": -Infinity}]}')
    assert [record for _, record in records(file, LISTS)][1:] == [None, None, {"a": None}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "ends too early: an object"),
        ("[1]", "line 1: not '\\['"),
        ('{"images": 1}', "line 1: its 'images' is no list"),
        ('{"images": [],\n"images": []}', "line 2: 'images' is no key, or comes twice"),
        ('{"images": [{"a": 1, "a": 2}]}', "'a' comes twice in one object"),
        ('{"images": [1,\n 2\n 3]}', "line 3: not '3'"),
        ('{"images": [1]} {}', "line 1: something follows after its end"),
        ("{} x", "line 1: something follows after its end"),
        ('{"images": [' + "[" * 102 + "]" * 102 + "]}", "more than 100 brackets"),
        ('{"images": [' + "[" * 200_000, "more than 100 brackets"),
        ('{"info": ' + '{"a":' * 200_000, "more than 100 brackets"),
        ('{"images": [' + "7" * 5000 + "]}", "Exceeds the limit"),
        ('{"images": ["a\0b"]}', "line 1: Invalid control character"),
        (b'{"images": ["\xff"]}', "is no UTF-8"),
        ('{"images": []}'.encode("utf-16"), "is no UTF-8"),
    ],
)  # fmt: skip
def test_what_is_none_is_refused_with_its_line(refused, text, message):
    assert re.search(message, refused(text))


def test_a_record_without_end_is_refused_before_it_fills_the_memory(refused, monkeypatch):
    monkeypatch.setattr(json_records, "MAX_RECORD", 1000)
    monkeypatch.setattr(json_records, "CHUNK", 100)
    assert "Unterminated string" in refused('{"images": ["' + "a" * 10_000)


def test_a_file_that_is_too_large_and_one_that_is_not_there_are_refused_by_name(refused, monkeypatch, file):
    monkeypatch.setattr(json_records, "MAX_BYTES", 10)
    assert "set.json: more than 0 GiB; divide it" in refused('{"images": [1]}')
    with pytest.raises(TraplineError, match=r"absent\.json: no such file"):
        list(records(file.with_name("absent.json"), LISTS))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all files")
def test_a_file_that_may_not_be_read_is_refused_by_name(refused, file):
    file.write_text("{}")
    file.chmod(0)
    with pytest.raises(TraplineError, match="cannot be read"):
        list(records(file, LISTS))
    file.chmod(0o600)
