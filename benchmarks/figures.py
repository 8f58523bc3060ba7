"""Figures of benchmarks: each prints its own, and run.py puts them into the table of docs/figures.md."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

MARK = "[FIGURE] "
START, END = "<!-- figures: python benchmarks/run.py writes them -->", "<!-- end of figures -->"
HEADER = "| command | what | the usual way | Trapline | ratio (spread) | machine |"
RULE = "| --- | --- | --- | --- | --- | --- |"


@dataclass(frozen=True)
class Figure:
    """What was measured: the usual way, ours, and ours over it with the spread; texts for people."""

    what: str
    baseline: str
    measured: str
    ratio: str = ""


def emit(figure: Figure) -> None:
    """Print the figure on a line of its own."""
    print(MARK + json.dumps(asdict(figure)), flush=True)


def read_figures(output: str) -> list[Figure]:
    """The figures among the lines that a benchmark has printed."""
    lines = (line for line in output.splitlines() if line.startswith(MARK))
    return [Figure(**json.loads(line.removeprefix(MARK))) for line in lines]


def with_rows(page: str, measured: Mapping[str, list[Figure]], machine: str) -> str:
    """The page with the figures of `measured`, command -> figures, in place of what their commands had there.

    The table lies between START and END; rows of other commands stay. Raises ValueError without the marks.
    """
    before, start, rest = page.partition(START)
    table, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"the page lacks the marks {START} and {END}")
    kept = [row for row in table.splitlines()[3:] if row and _command_of(row) not in measured]
    new = [_row(command, figure, machine) for command, figures in measured.items() for figure in figures]
    rows = "\n".join([HEADER, RULE, *kept, *new])
    return f"{before}{start}\n{rows}\n{end}{after}"


def _row(command: str, figure: Figure, machine: str) -> str:
    cells = [f"`{command}`", figure.what, figure.baseline, figure.measured, figure.ratio, machine]
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def _command_of(row: str) -> str:
    return row.split("|")[1].strip().strip("`")
