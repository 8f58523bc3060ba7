"""What spares time and memory where tables are large changes nothing of what is read."""

import gc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trapline import large_tables
from trapline.job_options import PrepareOptions
from trapline.large_tables import SharedRows, collection_paused
from trapline.preparation.raw_input import raw_input
from trapline.preparation.sources import read_source

ROWS = st.lists(st.lists(st.sampled_from(["", "fox", "owl", "x" * 40, "cam 1"]), max_size=4), max_size=40)


@settings(deadline=None)
@given(rows=ROWS, block=st.integers(1, 9))
def test_rows_come_back_as_they_are_and_in_their_order(rows, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large_tables, "BLOCK", block)
        shared = SharedRows()
        for row in rows:
            shared.append(list(row))
        assert shared.all() == rows


def test_cells_that_repeat_themselves_are_one_object(monkeypatch):
    monkeypatch.setattr(large_tables, "BLOCK", 10)
    shared = SharedRows()
    for number in range(50):
        shared.append([f"image {number}", "".join(["red", " ", "deer"])])
    rows = shared.all()
    assert len({id(row[1]) for row in rows}) == 1
    assert len({id(row[0]) for row in rows}) == 50


def fail(seen):
    seen.append(gc.isenabled())
    raise KeyError


@pytest.mark.parametrize("was_on", [True, False])
def test_collection_is_as_it_was_also_after_an_error(was_on):
    before, seen = gc.isenabled(), []
    try:
        (gc.enable if was_on else gc.disable)()
        with pytest.raises(KeyError), collection_paused():
            fail(seen)
        assert gc.isenabled() is was_on
        assert seen == [False]
    finally:
        (gc.enable if before else gc.disable)()


def test_it_is_paused_while_an_input_is_listed(class_folders, tmp_path):
    seen = []

    def read(folder, rule, **given):
        seen.append(gc.isenabled())
        return read_source(folder, rule, **given)

    options = PrepareOptions(input=(str(class_folders),), output=str(tmp_path / "out"))
    with raw_input(options, tmp_path / "work", read):
        assert gc.isenabled()
    assert seen == [False]
