"""A table that is opened in a spreadsheet runs nothing, and is read back as it was."""

import csv
import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as some

from trapline.cells import NUMBER, neutralised, restored, restored_table, write_table
from trapline.data.pseudo import COLUMNS as PSEUDO_COLUMNS
from trapline.data.pseudo import _accepted
from trapline.data.quarantine import Quarantined, write_quarantine
from trapline.inference.pseudo_labels import _write_table

SIGNS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
FORMULAS = [
    "=1+1",
    "+x",
    "-cat",
    "@SUM(A1)",
    "\tx",
    "\rx",
    "\nx",
    "\uff1d1",
    "\uff0bx",
    "\uff0dx",
    "\uff20x",
    "=",
    "-",
    "-1-1",
]
NUMBERS = ["-0.5", "+1e-3", "nan", "-nan", "-inf", "+.5", "-5.", "0", "-1E+20"]
texts = some.text(some.sampled_from(f"{SIGNS}' ab1.e") | some.characters(), max_size=8)


@given(texts)
def test_what_is_neutralised_is_restored(text):
    assert restored(neutralised(text)) == text


@given(texts)
def test_nothing_that_is_neutralised_is_a_formula(text):
    assert NUMBER.fullmatch(text) or not neutralised(text).startswith(tuple(SIGNS))


@given(texts)
def test_what_is_no_formula_stays_as_it_is(text):
    if not text.lstrip("'").startswith(tuple(SIGNS)):
        assert neutralised(text) == restored(text) == text


@given(texts, texts)
def test_no_two_texts_become_one(text, other):
    assert text == other or neutralised(text) != neutralised(other)


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_gets_an_apostrophe_and_one_more_where_it_has_some(text):
    assert neutralised(text) == f"'{text}"
    assert neutralised(f"''{text}") == f"'''{text}"


@pytest.mark.parametrize("text", NUMBERS)
def test_a_number_stays_a_number(text):
    assert neutralised(text) == text


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_headers_are_neutralised_and_ids_are_not(tmp_path):
    write_table(tmp_path / "t.csv", ["id", "=cmd", "label"], [["=id", -0.5, "=cmd"], ["-a", "-0.5", None]])
    assert read(tmp_path / "t.csv") == [
        ["id", "'=cmd", "label"], ["=id", "-0.5", "'=cmd"], ["-a", "-0.5", ""],
    ]  # fmt: skip
    table = restored_table(pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False))
    assert table.columns.tolist() == ["id", "=cmd", "label"]
    assert table.to_numpy().tolist() == [["=id", "-0.5", "=cmd"], ["-a", "-0.5", ""]]


def test_which_columns_are_exact_is_for_the_writer_to_say(tmp_path):
    rows = [["=a", "'=b"]]
    write_table(tmp_path / "t.csv", ["=x", "ImageID"], rows, exact=None)
    assert read(tmp_path / "t.csv") == [["=x", "ImageID"], *rows]
    write_table(tmp_path / "t.csv", ["=x", "ImageID"], rows, exact=["=x"])
    assert read(tmp_path / "t.csv") == [["=x", "ImageID"], ["=a", "''=b"]]


@pytest.mark.parametrize("line_end", ["\r\n", "\n"])
def test_clean_rows_are_written_as_the_csv_module_writes_them(tmp_path, line_end):
    rows = [["a,b", 'say "x"', 1.5], ["é", "two\nlines", None], ["", "'quoted'", -3]]
    write_table(tmp_path / "t.csv", ["one", "two", "three"], rows, line_end=line_end)
    expected = io.StringIO(newline="")
    csv.writer(expected, lineterminator=line_end).writerows([["one", "two", "three"], *rows])
    assert (tmp_path / "t.csv").read_bytes() == expected.getvalue().encode()


def test_a_row_of_another_length_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(ValueError, match="zip"):
        write_table(tmp_path / "t.csv", ["one", "two"], [["a"]])
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_no_text_are_escaped(tmp_path):
    write_table(tmp_path / "t.csv", ["name"], [["=\udcff"]])
    assert read(tmp_path / "t.csv") == [["name"], ["'=\\udcff"]]


def test_quarantine_shows_a_file_called_like_a_formula_as_text(tmp_path):
    path = write_quarantine(tmp_path, [Quarantined("=id", "=cmd|x.jpg", "empty", "-no bytes")])
    assert read(path)[1] == ["=id", "'=cmd|x.jpg", "empty", "'-no bytes"]


def test_pseudo_labels_of_a_class_called_like_a_formula_are_read_back(tmp_path):
    rows = [["=1", "=cmd", 0, 0.9375, "true", ""], ["-2", "'=cmd", 1, 0.5, "false", "not_sure"]]
    _write_table(tmp_path / "p.csv", rows)
    assert read(tmp_path / "p.csv")[1:] == [
        ["=1", "'=cmd", "0", "0.9375", "true", ""], ["-2", "''=cmd", "1", "0.5", "false", "not_sure"],
    ]  # fmt: skip
    accepted = _accepted(tmp_path / "p.csv")
    assert accepted[PSEUDO_COLUMNS[:2]].to_numpy().tolist() == [["=1", "=cmd"]]
