import importlib.util
import io
import sys

import pytest

from trapline import console
from trapline.errors import TraplineError, UsageError


def ending(capsys, error, failure=None):
    def main():
        if error is not None:
            raise error

    with pytest.raises(SystemExit) as end:
        console.run(main, failure=lambda: failure)
    return end.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (None, 0, ""),
        (TraplineError("a.csv: damaged"), 1, "error: a.csv: damaged\n"),
        (UsageError("--lr: negative"), 2, "error: --lr: negative\n"),
        (PermissionError(13, "Permission denied", "/out/x"), 1, "error: /out/x: Permission denied\n"),
        (TraplineError(), 1, "error: TraplineError without a message\n"),
        (OSError(), 1, "error: input/output: OSError without a message\n"),
        (KeyboardInterrupt(), 130, "error: interrupted; the same command goes on where it can\n"),
    ],
)
def test_an_expected_end_has_its_exit_code_and_no_traceback(capsys, error, code, message):
    assert ending(capsys, error) == (code, message)


def test_a_defect_shows_its_traceback_and_one_line(capsys):
    code, text = ending(capsys, ZeroDivisionError("by zero"))
    assert code == 1
    assert "Traceback" in text
    assert text.splitlines()[-1].startswith("error: ZeroDivisionError: by zero (a defect")


def test_the_failure_file_holds_the_message_cut_to_what_is_shown(capsys, tmp_path):
    failure = tmp_path / "output" / "failure"
    ending(capsys, TraplineError("ü" * 1000), failure)
    assert failure.read_text(encoding="utf-8") == "ü" * 512


def test_a_name_that_is_no_utf8_is_shown_with_escapes(capsys, tmp_path):
    def main():
        raise TraplineError("caf\udce9.zip: is truncated")

    with pytest.raises(SystemExit) as end:
        console.run(main, lambda: tmp_path / "failure")
    assert end.value.code == 1
    assert capsys.readouterr().err == "error: caf\\udce9.zip: is truncated\n"
    assert (tmp_path / "failure").read_text() == "caf\\udce9.zip: is truncated"


def test_progress_yields_everything_and_prints_plain_lines(capsys, monkeypatch):
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 0.0)
    assert list(console.progress(range(3), "packing", 3)) == [0, 1, 2]
    assert capsys.readouterr().out.splitlines()[-1].startswith("packing: 3 of 3 images")


def test_a_plain_line_ends_with_the_status_and_it_is_asked_for_then_alone(capsys, monkeypatch):
    asked = []

    def status():
        asked.append(1)
        return "loss 1.5000"

    assert list(console.progress(range(50), "epoch 1/5", 50, "batches", status)) == list(range(50))
    assert asked == []  # no ten seconds are over
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 0.0)
    list(console.progress(range(2), "epoch 1/5", 2, "batches", status))
    assert [line.endswith("/s, loss 1.5000") for line in capsys.readouterr().out.splitlines()] == [True, True]
    assert len(asked) == 2


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_a_bar_with_the_status_now_and_then_and_stdout_gets_nothing(capsys, monkeypatch):
    asked, terminal = [], Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    def status():
        asked.append(1)
        return f"loss {len(asked)}.5"

    assert list(console.progress(range(45), "epoch 1/5", 45, "batches", status)) == list(range(45))
    assert len(asked) == 45 // console.ITEMS_BETWEEN_LOOKS
    assert "epoch 1/5" in terminal.getvalue()
    assert capsys.readouterr().out == ""


def test_a_bar_is_closed_when_the_work_fails(monkeypatch):
    closed = []

    class Bar:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            closed.append(True)

        def update(self):
            pass

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(console, "_bar_class", lambda: lambda **_: Bar())
    with pytest.raises(ZeroDivisionError):
        list(console.progress((1 // n for n in (1, 0)), "epoch 1/5", 2))
    assert closed == [True]


def test_a_notebook_gets_its_own_bar_only_where_what_draws_it_is_installed(monkeypatch):
    monkeypatch.setattr(console, "in_kernel", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert console._bar_class() is console.tqdm


def test_a_table_is_aligned():
    assert console.table(["class", "n"], [["hog", "5"], ["bird", "12"]]).splitlines() == [
        "class   n",
        "-----  --",
        "hog     5",
        "bird   12",
    ]
