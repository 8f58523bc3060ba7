"""What comes from outside is shown as text, never obeyed, and never passes for a line of ours."""

import subprocess
import sys
import textwrap

import pytest

from trapline import console
from trapline.errors import TraplineError
from trapline.metrics import emit, read_line, read_values
from trapline.printing import Escaping, escaped_output, printable, printable_lines, relayed

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
