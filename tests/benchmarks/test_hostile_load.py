"""What the hostile load is judged by."""

import importlib.util
import sys

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "benchmarks" / "hostile_load.py"


@pytest.fixture(scope="module")
def hostile_load():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))
        specification = importlib.util.spec_from_file_location("hostile_load", SCRIPT)
        script = importlib.util.module_from_spec(specification)
        patch.setitem(sys.modules, "hostile_load", script)
        specification.loader.exec_module(script)
        yield script


def load_of(script, seconds, *, wrong=0, others=(), peak=10):
    load = script.Load(seconds=1.0, peak=peak)
    load.good.seconds += [seconds] * 100
    load.good.counts.update(right=100 - wrong, wrong=wrong)
    load.others.update(others)
    return load


@pytest.mark.slow
def test_a_wrong_answer_a_500_a_late_answer_and_too_much_memory_are_each_a_failure(hostile_load):
    friendly = load_of(hostile_load, 0.1)
    assert hostile_load.report(friendly, load_of(hostile_load, 0.5, others=["a file: 422 corrupt"]), 10)
    for attacked in (
        load_of(hostile_load, 0.1, wrong=1),
        load_of(hostile_load, 0.1, others=["a file: 500 internal_error"]),
        load_of(hostile_load, 0.51),
        load_of(hostile_load, 0.1, peak=11),
    ):
        assert not hostile_load.report(friendly, attacked, 10)
    assert not hostile_load.report(load_of(hostile_load, 0.1, wrong=1), load_of(hostile_load, 0.1), 10)


@pytest.mark.slow
def test_hostile_requests_have_names_of_their_own_and_fit_into_a_request(hostile_load):
    worst = [name for name, _ in hostile_load.worst_requests(1)]
    assert len(set(worst)) == len(worst) > 20
    assert all(len(data) < 6 * hostile_load.MIB for data in hostile_load._files().values())
