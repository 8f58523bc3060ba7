import pytest

from common import console
from common.errors import TraplineError, UsageError


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


def test_progress_yields_everything_and_prints_plain_lines(capsys, monkeypatch):
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 0.0)
    assert list(console.progress(range(3), "packing", 3)) == [0, 1, 2]
    assert capsys.readouterr().out.splitlines()[-1].startswith("packing: 3 of 3 images")


def test_a_table_is_aligned():
    assert console.table(["class", "n"], [["hog", "5"], ["bird", "12"]]).splitlines() == [
        "class   n",
        "-----  --",
        "hog     5",
        "bird   12",
    ]
