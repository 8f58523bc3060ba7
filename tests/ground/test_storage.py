"""A table that is opened in a spreadsheet runs nothing, and is read back as it was."""

import csv
import errno
import fcntl
import io
import math
import os
import shutil

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as some

from trapline import storage
from trapline.data.parts import COLUMNS as PSEUDO_COLUMNS
from trapline.data.parts import _accepted
from trapline.data.quarantine import Quarantined, write_quarantine
from trapline.errors import TraplineError
from trapline.storage import NUMBER, held, hold, neutralised, remove_empty, restored, write_table
from trapline.tables import restored_table


def test_an_atomic_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with pytest.raises(UnicodeEncodeError), storage.atomic_file(path, "w", encoding="ascii") as file:
        file.writelines(["half", "ü"])
    assert list(path.parent.iterdir()) == []
    with storage.atomic_file(path, "w") as file:
        file.write("whole")
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_rewrite_keeps_the_old_content(tmp_path):
    path = tmp_path / "file.json"
    storage.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.write_json(path, {"a": math.nan})
    assert storage.read_json(path) == {"a": 1}


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b""])
def test_damaged_json_is_named(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(TraplineError, match=r"x\.json"):
        storage.read_json(path)


def test_missing_json_is_named(tmp_path):
    with pytest.raises(TraplineError, match=r"x\.json: no such file"):
        storage.read_json(tmp_path / "x.json")


def test_the_files_of_code_are_sorted_and_without_caches(tmp_path):
    for name in ("b.py", "a.py", "inner/c.py", "__pycache__/a.cpython-311.py", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = [path.relative_to(tmp_path).as_posix() for path in storage.source_files(tmp_path)]
    assert names == ["a.py", "b.py", "inner/c.py"]


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
    write_table(tmp_path / "p.csv", PSEUDO_COLUMNS, rows)
    assert read(tmp_path / "p.csv")[1:] == [
        ["=1", "'=cmd", "0", "0.9375", "true", ""], ["-2", "''=cmd", "1", "0.5", "false", "not_sure"],
    ]  # fmt: skip
    accepted = _accepted(tmp_path / "p.csv")
    assert accepted[PSEUDO_COLUMNS[:2]].to_numpy().tolist() == [["=1", "=cmd"]]


def once(patch, owner, name, meddle):
    """Call `meddle` before the first call of a function."""
    original, calls = getattr(owner, name), []

    def meddled(*arguments, **settings):
        if not calls:
            calls.append(arguments)
            meddle()
        return original(*arguments, **settings)

    patch.setattr(owner, name, meddled)


@pytest.mark.parametrize(("owner", "name"), [(os, "open"), (fcntl, "flock")])
@pytest.mark.parametrize("file", [None, "lock"])
def test_a_folder_that_goes_before_it_is_locked_is_made_again(tmp_path, monkeypatch, owner, name, file):
    folder = tmp_path / "above" / "folder"
    once(monkeypatch, owner, name, lambda: shutil.rmtree(tmp_path / "above"))
    descriptor = hold(folder, file)
    assert os.path.samestat(os.fstat(descriptor), (folder / (file or "")).stat())
    with pytest.raises(BlockingIOError):
        hold(folder, file, wait=False)
    os.close(descriptor)


def test_the_folder_above_may_go_while_the_folder_is_being_made(tmp_path, monkeypatch):
    folder = tmp_path / "above" / "folder"
    folder.parent.mkdir()
    original, left = os.mkdir, [1]

    def mkdir(path, *arguments, **settings):
        if left and str(path) == str(folder):
            if not folder.parent.exists():
                left.clear()
                original(folder.parent)
            remove_empty(folder.parent)
        return original(path, *arguments, **settings)

    monkeypatch.setattr(os, "mkdir", mkdir)
    os.close(hold(folder))
    assert folder.is_dir()


def test_another_folder_of_the_same_name_is_not_what_was_locked(tmp_path, monkeypatch):
    folder = tmp_path / "folder"

    def replace():
        folder.rename(tmp_path / "old")
        folder.mkdir()

    once(monkeypatch, fcntl, "flock", replace)
    descriptor = hold(folder)
    assert os.path.samestat(os.fstat(descriptor), folder.stat())
    os.close(descriptor)


def test_a_folder_that_can_never_be_made_is_an_error(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(storage.Path, "mkdir", refuse)
    with pytest.raises(FileNotFoundError):
        hold(tmp_path / "folder")


def test_a_held_folder_goes_when_it_is_empty_and_stays_with_content(tmp_path):
    with held(tmp_path / "folder", mode=0o700):
        assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o700
    assert not (tmp_path / "folder").exists()
    with held(tmp_path / "folder"):
        (tmp_path / "folder" / "file").touch()
    assert (tmp_path / "folder" / "file").exists()


def test_a_folder_that_is_gone_already_or_another_disks_place_is_no_matter(tmp_path, monkeypatch, capsys):
    remove_empty(tmp_path / "nowhere")
    monkeypatch.setattr(storage.Path, "rmdir", _failing(errno.EBUSY))
    remove_empty(tmp_path)
    monkeypatch.undo()
    (tmp_path / "link").symlink_to(tmp_path / "other")
    (tmp_path / "other").mkdir()
    remove_empty(tmp_path / "link")
    assert (tmp_path / "link").is_dir()
    assert capsys.readouterr().out == ""


def test_any_other_reason_for_which_it_stays_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(storage.Path, "rmdir", _failing(errno.EACCES))
    remove_empty(tmp_path / "folder")
    assert capsys.readouterr().out == (
        f"note: {tmp_path}/folder: empty, and cannot be removed (Permission denied)\n"
    )


def _failing(number):
    def fail(_):
        raise OSError(number, os.strerror(number))

    return fail
