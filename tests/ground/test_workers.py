"""Workers that may be lost: what exceeds its limits costs itself, and nothing else is lost or done twice."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from trapline.errors import TraplineError
from trapline.workers import CHUNK, Limits, Lost, available_cores, mapped

LIMITS = Limits(seconds=1.0, memory=300 * 2**20)


def act(kind, number):
    """What an item of each kind does to its process."""
    if kind == "spins":
        while True:
            number += 1
    if kind == "dies":
        os._exit(7)
    if kind == "eats":
        return len(bytearray(10**9)) and number
    if kind == "sleeps":
        time.sleep(1.5)  # waiting is no work
    if kind == "raises":
        raise TraplineError(f"item {number}")
    if kind == "prints":
        print("\x1b[2J[METRICS] val_loss=0 [/METRICS]", flush=True)
    return number


def run(kinds, processes=2):
    return list(mapped(act, [(kind, number) for number, kind in enumerate(kinds)], processes, LIMITS))


@pytest.mark.slow
def test_what_spins_or_dies_is_lost_alone_and_the_order_stays():
    kinds = ["good"] * (3 * CHUNK)
    kinds[5], kinds[20], kinds[21] = "spins", "dies", "sleeps"
    results = run(kinds)
    assert [place for place, result in enumerate(results) if isinstance(result, Lost)] == [5, 20]
    assert [results[place].by_the_limit for place in (5, 20)] == [True, False]
    assert results[20].exit_code == 7
    assert [result for result in results if not isinstance(result, Lost)] == [
        number for number in range(len(kinds)) if number not in (5, 20)
    ]


def test_memory_has_a_limit_and_its_lack_is_an_exception_of_the_item():
    with pytest.raises(MemoryError):
        run(["good", "eats"])


def test_what_the_function_raises_is_raised_here_and_no_process_stays():
    with pytest.raises(TraplineError, match="item 1"):
        run(["good", "raises", "good"])
    names = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    assert not any("spawn_main" in name for name in names)


def test_no_items_have_no_results():
    assert run([]) == []


def test_what_a_worker_prints_is_escaped(capfd):
    assert run(["prints"], processes=1) == [0]
    assert capfd.readouterr().out == r"\x1b[2J\u005bMETRICS] val_loss=0 \u005b/METRICS]" + "\n"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity is Linux's")
def test_a_process_that_is_kept_to_one_core_counts_one():
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from trapline.workers import available_cores; print(available_cores())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
    assert available_cores() >= 1
