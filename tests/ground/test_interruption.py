"""Ctrl-C ends a command also where Python loses it: in a finalizer, which swallows it without a word."""

import signal
import subprocess
import sys
import threading

import pytest

from tests.support.interrupting import lose_ctrl_c
from trapline import interruption
from trapline.console import progress, run


def code_of(main):
    with pytest.raises(SystemExit) as ended:
        run(main)
    return ended.value.code


def test_the_interpreter_loses_a_ctrl_c_in_a_finalizer():
    went_on = False
    lose_ctrl_c()
    went_on = True
    assert went_on  # else the tests below would say nothing


def test_a_lost_ctrl_c_ends_the_command_where_it_next_waits(monkeypatch, capsys):
    slept = []
    monkeypatch.setattr(interruption.time, "sleep", slept.append)

    def main():
        interruption.pause(1)
        lose_ctrl_c()
        interruption.pause(2)

    assert code_of(main) == 130
    assert slept == [1]
    assert capsys.readouterr().err == "error: interrupted; the same command goes on where it can\n"


@pytest.mark.parametrize("bars", [True, False])
def test_a_lost_ctrl_c_ends_the_command_before_its_next_item(monkeypatch, bars, capsys):
    monkeypatch.setattr("trapline.console.shows_bars", lambda: bars)
    seen = []

    def main():
        for item in progress(range(5), "counting", 5):
            seen.append(item)
            if item == 2:
                lose_ctrl_c()

    assert code_of(main) == 130
    assert seen == [0, 1, 2]


def test_a_ctrl_c_ends_one_command_not_the_next_of_the_same_process(capsys):
    assert code_of(lambda: signal.raise_signal(signal.SIGINT)) == 130
    assert code_of(lambda: interruption.pause(0)) == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_interrupts_too(capsys):
    def main():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            signal.raise_signal(signal.SIGINT)

    assert code_of(main) == 130


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL, lambda *_: None])
def test_another_handler_than_pythons_own_is_left_alone(handler):
    before = signal.signal(signal.SIGINT, handler)
    try:
        with interruption.remembered():
            assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_a_thread_nothing_is_changed_and_a_ctrl_c_is_the_main_threads():
    ended = []

    def work():
        with interruption.remembered():
            interruption.check()
            ended.append(True)

    with interruption.remembered():
        lose_ctrl_c()
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        with pytest.raises(KeyboardInterrupt):
            interruption.check()
    assert ended == [True]


def test_what_a_command_starts_heeds_ctrl_c():
    script = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    with interruption.remembered():
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "True\n"
