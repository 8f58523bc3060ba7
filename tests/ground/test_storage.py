import math

import pytest

from trapline import storage
from trapline.errors import TraplineError


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
