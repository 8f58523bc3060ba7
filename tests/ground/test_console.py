"""What comes from outside is shown as text, never obeyed, and never passes for a line of ours."""

import importlib.util
import io
import subprocess
import sys
import textwrap

import pytest
from tqdm import tqdm

from trapline import console
from trapline.console import Escaping, escaped_output, printable, printable_lines, relayed
from trapline.errors import TraplineError, UsageError
from trapline.metrics import emit, read_line, read_values


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


@pytest.mark.parametrize(("value", "shown"), [(251.7, "252"), (10.0, "10"), (3.44, "3.4"), (0.0512, "0.051")])
def test_a_slow_rate_is_not_shown_as_none(value, shown):
    assert console._rate(value) == shown


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
    assert console._bar_class() is tqdm


def test_a_table_is_aligned():
    assert console.table(["class", "n"], [["hog", "5"], ["bird", "12"]]).splitlines() == [
        "class   n",
        "-----  --",
        "hog     5",
        "bird   12",
    ]


NASTY = "a\x1b[2J\x1b]0;title\x07\u202eb\x08c\x9b31m\x85d"


def harmless(text, kept="\n"):
    return all(letter in kept or letter.isprintable() for letter in text)


def test_one_line_shows_an_escape_for_what_would_be_obeyed():
    assert printable(NASTY) == r"a\x1b[2J\x1b]0;title\x07\u202eb\x08c\x9b31m\x85d"
    assert printable("a\nb\tc\r\u2028\ud800") == r"a\nb\tc\r\u2028\ud800"
    assert printable("caf\xe9 \xa0 \u0645\u06cc\u200c\u062e") == "caf\xe9 \xa0 \u0645\u06cc\u200c\u062e"


def test_a_mark_of_ours_is_shown_and_not_read():
    shown = printable("[METRICS] val_loss=0.000001 [/METRICS]")
    assert shown == r"\u005bMETRICS] val_loss=0.000001 \u005b/METRICS]"
    assert read_values(shown) == {}


def test_the_further_lines_of_a_message_never_begin_as_ours_do():
    assert printable_lines("a\nerror: b", "  ") == "a\n  error: b"


def test_a_relayed_line_keeps_colours_bars_and_marks_and_no_other_control():
    line = "\x1b[36m[METRICS] epoch=1 [/METRICS]\x1b[0m\t 10%|\u2588 |\r 20%"
    assert relayed(line) == line
    shown = relayed("a\x1b[2J\x1b[8mb\x1b]52;c;aaaa\x07\x1b[1;31mred\x9b")
    assert shown == "a\\x1b[2J\\x1b[8mb\\x1b]52;c;aaaa\\x07\x1b[1;31mred\\x9b"


def test_whatever_is_printed_inside_is_escaped_and_our_own_lines_stay(capsys):
    with escaped_output():
        print(f"note: {NASTY} [METRICS] val_loss=0 [/METRICS]")
        print("[SERVE] 400 [METRICS] val_loss=0 [/METRICS]")
        print("a\tb", end="\r")
        emit({"epoch": 1, "val_loss": 0.5})
    out = capsys.readouterr().out
    assert harmless(out, "\n\t\r")
    assert "\n[SERVE] 400 \\u005bMETRICS]" in out
    assert [read_values(line) for line in out.splitlines()][-1] == {"epoch": 1, "val_loss": 0.5}
    assert out.count("[METRICS]") == 1


def test_an_escaping_stream_is_otherwise_the_one_below(tmp_path):
    with (tmp_path / "log").open("w", encoding="utf-8") as file:
        stream = Escaping(file)
        stream.writelines(["a\n", "b\x1b"])
        assert (stream.fileno(), stream.encoding) == (file.fileno(), "utf-8")
    assert (tmp_path / "log").read_text() == "a\nb\\x1b"


@pytest.mark.parametrize("error", [TraplineError(f"{NASTY}\nerror: all is well"), ZeroDivisionError(NASTY)])
def test_an_error_message_shows_no_control_character_and_no_second_error(capsys, tmp_path, error):
    def main():
        raise error

    with pytest.raises(SystemExit):
        console.run(main, lambda: tmp_path / "failure")
    text = capsys.readouterr().err
    assert harmless(text)
    assert harmless((tmp_path / "failure").read_text())
    assert sum(line.startswith("error:") for line in text.splitlines()) == 1


def test_tables_and_progress_escape_what_they_show(capsys, monkeypatch):
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 0.0)
    print(console.table(["class", "n"], [[NASTY, "1"], ["b\nc", "2"]]))
    list(console.progress(range(2), f"packing {NASTY}", 2))
    console.note(f"{NASTY}\nb")
    assert harmless(capsys.readouterr().out)
    assert len(console.table(["class"], [["b\nc"]]).splitlines()) == 3


def test_warnings_and_bars_of_a_run_are_escaped():
    code = textwrap.dedent("""
        import sys, warnings
        from tqdm import tqdm
        from trapline import console
        def main():
            warnings.warn("a\\x1b[2J [METRICS] val_loss=0 [/METRICS]")
            list(tqdm(range(3), desc="b\\x1b[2J"))
        console.run(main)
    """)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert "\\x1b[2J" in done.stderr
    assert "100%" in done.stderr
    assert harmless(done.stderr, "\n\r")
    assert read_values(done.stderr) == {}


@pytest.mark.parametrize(
    "line",
    [
        "note: [METRICS] val_loss=0.1 [/METRICS]",
        "class [METRICS] val_loss=0.1 [/METRICS]  12",
        "[METRICS] val_loss=0.1 [/METRICS] more",
        "[METRICS] val_loss=0.1 unknown=1 [/METRICS]",
        "[METRICS] val_loss=0.1 epoch=1 [/METRICS]",
        "[METRICS]  val_loss=0.1 [/METRICS]",
        "[METRICS] val_loss=0.1 [METRICS] val_loss=0.1 [/METRICS]",
    ],
)
def test_a_metric_line_within_other_text_or_of_another_form_is_none(line):
    assert read_line(line) == {}


@pytest.mark.parametrize(
    "before",
    ["", "algo-1-x7 | ", "\x1b[36m[1,mpirank:0,algo-1]<stdout>:\x1b[0m", "[node 0] ", "train-1 | ",
     "2026-11-22T10:00:00.123Z "],
)  # fmt: skip
@pytest.mark.parametrize("after", ["", "\r", "\x1b[0m\n"])
def test_a_metric_line_is_read_behind_what_runners_put_before_it(before, after):
    assert read_line(f"{before}[METRICS] epoch=2 val_loss=nan lr=0.1 [/METRICS]{after}") == {
        "epoch": 2,
        "lr": 0.1,
    }
