"""How figures get from the benchmarks into the table of docs/figures.md."""

import ast
import importlib.util
import shlex
import sys

import pytest

from tests.conftest import ROOT

FOLDER = ROOT / "benchmarks"
HELPERS = {"figures", "models", "peak_memory", "run", "side_by_side"}
PAGE = "Before.\n{start}\n{header}\n{rule}\n{rows}\n{end}\nAfter.\n"


@pytest.fixture(scope="module")
def loaded():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        scripts = {}
        for name in ("figures", "run"):
            specification = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
            scripts[name] = importlib.util.module_from_spec(specification)
            patch.setitem(sys.modules, f"benchmark_{name}", scripts[name])
            specification.loader.exec_module(scripts[name])
        yield scripts


def page(figures, *rows):
    marks = {"start": figures.START, "end": figures.END, "header": figures.HEADER, "rule": figures.RULE}
    return PAGE.format(rows="\n".join(rows), **marks)


def test_a_benchmarks_figures_are_read_from_what_it_prints(loaded, capsys):
    figures = loaded["figures"]
    figures.emit(figures.Figure("loading", "a | b: 1 images/s", "c: 2 images/s", "2.00"))
    assert figures.read_figures("something\n" + capsys.readouterr().out) == [
        figures.Figure("loading", "a | b: 1 images/s", "c: 2 images/s", "2.00")
    ]


def test_new_figures_replace_those_of_the_same_command_and_no_others(loaded):
    figures = loaded["figures"]
    old = page(figures, "| `loading` | old | | | | |", "| `loading --x 1` | kept | | | | |")
    new = figures.with_rows(old, {"loading": [figures.Figure("new", "1|2", "3", "3.0")]}, "a machine")
    kept, written = "| `loading --x 1` | kept | | | | |", "| `loading` | new | 1/2 | 3 | 3.0 | a machine |"
    assert new == page(figures, kept, written)


def test_a_page_without_marks_is_refused(loaded):
    with pytest.raises(ValueError, match="lacks the marks"):
        loaded["figures"].with_rows("no table", {}, "a machine")


def test_run_knows_every_benchmark_and_each_has_a_command_line_of_its_own(loaded):
    named = set(loaded["run"].BENCHMARKS)
    assert named == {path.stem for path in FOLDER.glob("*.py")} - HELPERS
    for name in named:
        text = (FOLDER / f"{name}.py").read_text()
        assert f"\nRun: python benchmarks/{name}.py" in ast.get_docstring(ast.parse(text))
        assert "emit(" in text or "compare(" in text or "judge(" in text


def test_only_benchmarks_are_run(loaded, capsys):
    parser = loaded["run"].parser()
    words = ["loading", "training_step --arch swin_t"]
    assert parser.parse_args(words).commands == words
    with pytest.raises(SystemExit):
        parser.parse_args(["nothing"])
    assert "is no benchmark" in capsys.readouterr().err


def test_the_commands_of_the_page_are_taken(loaded):
    lines = (ROOT / "docs" / "figures.md").read_text().splitlines()
    shown = [shlex.split(line)[2:] for line in lines if line.startswith(".venv/bin/python benchmarks/run.py")]
    assert len(shown) > 1
    for words in shown:
        assert loaded["run"].parser().parse_args(words).commands == words


def test_the_published_table_is_one_that_run_can_write(loaded):
    figures, text = loaded["figures"], (ROOT / "docs" / "figures.md").read_text()
    assert figures.with_rows(text, {}, "") == text
    rows = text.partition(figures.START)[2].partition(figures.END)[0].splitlines()[3:]
    names = {row.split("|")[1].strip().strip("`").split()[0] for row in rows}
    assert names <= set(loaded["run"].BENCHMARKS)
