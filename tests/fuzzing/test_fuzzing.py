"""The fuzz command finds what it is for, runs a case again as it was, and finds nothing in what is here."""

import os
import shutil
import socket
from pathlib import Path
from random import Random

import pytest

from tests.fuzzing.__main__ import run, summed_up
from tests.fuzzing.cases import CANARY, KINDS, SECRET, Case, examined, in_turn, input_of, of_lost, outcomes
from tests.fuzzing.images import may_be_ended as work_is_unbounded
from tests.fuzzing.inputs import Input
from tests.fuzzing.mutations import LARGEST, mutated
from tests.fuzzing.tables import FORMATS
from trapline.workers import Limits, Lost, mapped

OUTSIDE = "../canary.jpg"


def test_the_same_kind_seed_and_number_make_the_same_bytes_and_others_make_others():
    for kind in KINDS:
        made = [input_of(Case(kind, 5, number)) for number in range(20)]
        assert made == [input_of(Case(kind, 5, number)) for number in range(20)]
        assert len({given.data for given in made}) > 15
        assert made != [input_of(Case(kind, 6, number)) for number in range(20)]


def test_mutations_damage_nearly_all_that_they_are_given_and_stay_small():
    seed, others = bytes(range(256)) * 40, [b"other" * 1_000]
    made = [mutated(seed, Random(number), others) for number in range(300)]
    assert sum(data != seed for data in made) > 280
    assert max(map(len, made)) <= LARGEST


def reads_outside(given, folder):
    return (folder / OUTSIDE).read_text()


def reads_outside_and_hides_it(given, folder):
    try:
        return (folder / OUTSIDE).read_text()
    except BaseException:
        return "read"


def reads_through_a_link(given, folder):
    (folder / "link").symlink_to("..")
    return (folder / "link" / CANARY).read_text()


def reads_the_machine(given, folder):
    return Path("/proc/self/environ").read_bytes()


def writes_outside(given, folder):
    (folder / "../written.jpg").touch()
    return "read"


def writes_beside_a_module(given, folder):
    Path(os.__file__).with_name("written.py").touch()
    return "read"


def lists_above(given, folder):
    return os.listdir(folder.parent)  # noqa: PTH208


def renames_to_the_outside(given, folder):
    (folder / "own").touch()
    (folder / "own").rename(folder / "../gone")
    return "read"


def starts_a_program(given, folder):
    return os.system("true")


def calls_a_server(given, folder):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", 9))


def raises(given, folder):
    raise KeyError("unforeseen")


def gives_up(given, folder):
    raise SystemExit


def keeps_to_its_folder(given, folder):
    (folder / "in").mkdir()
    (folder / "in" / "file").write_bytes(given.data)
    return f"read {len((folder / 'in' / 'file').read_bytes())}"


FAULTS = {
    "touches what is not its own": (
        reads_outside, reads_outside_and_hides_it, reads_through_a_link, reads_the_machine, writes_outside,
        writes_beside_a_module, lists_above, renames_to_the_outside, starts_a_program, calls_a_server,
    ),
    "raises KeyError": (raises,),
    "raises SystemExit": (gives_up,),
}  # fmt: skip


def examined_alone(check, top):
    folder = Path(top) / check.__name__ / "own"
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder.parent / CANARY).write_bytes(SECRET)
    return examined(check, Input("", b"four"), folder)


@pytest.mark.slow
def test_what_leaves_the_folder_or_raises_is_found_and_what_does_not_is_not(tmp_path):
    checks = [(reason, check) for reason, group in FAULTS.items() for check in group]
    items = [(check, str(tmp_path)) for _, check in checks] + [(keeps_to_its_folder, str(tmp_path))]
    *found, sound = mapped(examined_alone, items, 1, Limits(10, 1 << 30))
    assert sound == ("read 4", "")
    for (reason, check), (came, failure) in zip(checks, found, strict=True):
        assert (came, bool(failure)) == (reason, True), check.__name__
    assert (tmp_path / "reads_outside" / CANARY).read_bytes() == SECRET


def test_a_crash_and_what_takes_too_long_are_failures_but_not_where_no_header_bounds_the_work():
    case = Case("requests", 0, 0)
    for code, reason in [
        (-11, "crashes"),
        (-6, "crashes"),
        (-9, "crashes"),
        (-14, "hangs"),
        (-27, "ended by its limit"),
    ]:
        outcome = of_lost(case, Lost(code))
        assert (outcome.reason, bool(outcome.failure)) == (reason, True)
    numbers = range(400)
    called = {number: input_of(Case("images", 0, number)) for number in numbers}
    unbounded = next(number for number, given in called.items() if work_is_unbounded(given))
    assert of_lost(Case("images", 0, unbounded), Lost(-27)).failure == ""
    assert of_lost(Case("images", 0, unbounded), Lost(-11)).failure


def cases(count, seed):
    """As many cases; those of submission formats apart, whose reader takes seconds to import."""
    return [case for case in in_turn(KINDS, seed, count) if input_of(case).target != FORMATS]


@pytest.mark.slow
def test_two_hundred_damaged_inputs_break_nothing(tmp_path):
    found = list(outcomes(cases(200, 1), 1, tmp_path))
    assert len(found) > 180
    assert [(case, outcome) for case, outcome in found if outcome.failure] == []
    assert {case.kind for case, outcome in found if outcome.reason.split()[-1] in ("read", "unpacked")} == {
        *KINDS
    }


@pytest.mark.slow
def test_two_thousand_damaged_inputs_break_nothing(tmp_path, capsys):
    failed = summed_up(run(in_turn(KINDS, 2, 2_000), 2, tmp_path / "kept"))
    assert failed == 0, capsys.readouterr().out
    assert not (tmp_path / "kept").exists()
