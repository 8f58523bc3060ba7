"""Ctrl-C and SIGTERM of a launcher here: the first stops it, but one that its parent has it ignore."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tests.support.interrupting import lose_ctrl_c
from trapline import interruption
from trapline.errors import TraplineError
from trapline.launching.local.running import follow, stop_on_signals


@pytest.fixture
def as_before():
    """The handlers of the test's process, put back at the end."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_interrupts_and_the_handlers_are_put_back(as_before, number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), stop_on_signals() as signals:
        os.kill(os.getpid(), number)
    assert signals.caught
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_is_ignored_by_the_parents_wish_stays_so(as_before, number):
    signal.signal(number, signal.SIG_IGN)
    with stop_on_signals() as signals:
        os.kill(os.getpid(), number)
    assert not signals.caught
    assert signal.getsignal(number) == signal.SIG_IGN


def test_where_ctrl_c_is_ignored_sigterm_still_stops(as_before):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with pytest.raises(KeyboardInterrupt), stop_on_signals():
        os.kill(os.getpid(), signal.SIGTERM)


def test_an_error_that_the_sdk_made_of_an_interruption_is_one(as_before):
    def swallow():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise TraplineError("what the SDK made of it") from None

    with pytest.raises(KeyboardInterrupt), stop_on_signals():
        swallow()


class Output:
    """What follows a job's lines; Ctrl-C comes while the second one is shown, and is lost."""

    def __init__(self):
        self.lines = []

    def line(self, line):
        self.lines.append(line)
        if len(self.lines) == 2:
            lose_ctrl_c()


def test_a_ctrl_c_that_a_finalizer_swallows_stops_the_job_at_its_next_line(as_before):
    script = (
        "import itertools, time\nfor line in itertools.count():\n print(line, flush=True); time.sleep(0.05)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    output = Output()
    with pytest.raises(KeyboardInterrupt), stop_on_signals():
        follow(process, [], output, "trapline-test-of-stopping", SimpleNamespace(engine=None))
    assert output.lines == [b"0\n", b"1\n"]
    assert process.returncode == -signal.SIGTERM
    interruption.check()  # what was interrupted has ended


def test_tests_and_what_they_start_heed_ctrl_c_also_where_they_run_in_the_background():
    script = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "True\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
