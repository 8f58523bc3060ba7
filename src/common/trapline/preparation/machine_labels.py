"""Whose labels a table has: a person's, or a model's, which are no truth and count if asked for alone.

Trapline's own answers, which a person may have opened but not confirmed, and the columns in which other tools
say who labelled an image: AddaxAI's human_verified, identified_by of Wildlife Insights, classificationMethod
of Camtrap DP.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from trapline.column_names import plain_column
from trapline.job_contract import prepare_option
from trapline.preparation.listing import Reading, Source
from trapline.preparation.table_statements import FALSE, Cells, texts
from trapline.tables import Table

MACHINE = "machine"  # a classificationMethod
SAYS_WHO: dict[str, Callable[[str], bool]] = {  # column -> whether a cell in lower case says: a machine
    "classificationmethod": lambda said: said == MACHINE,
    "humanverified": lambda said: said in FALSE,
    "identifiedby": lambda said: said == "computer vision",
}
ANSWERS = (  # columns of Trapline's predictions.csv, and of the sorted.csv of predict.py --sort
    {"status", "reason", "label", "confidence", "needsreview"},
    {"sortedfile", "label", "confidence", "status"},
)
TIMELAPSE_ANSWERS = ("species", "confidence", "needsreview", "remark")  # of its timelapse.csv,
ROOT = "rootfolder"  # which is empty there: Timelapse fills it, or leaves the column out


def without_machines(
    table: Table, labels: Sequence[Cells], reading: Reading
) -> tuple[list[Cells], list[str]]:
    """`labels` without those that a machine gave, unless a person takes these for true; and a note on them.

    `labels`: columns of them, a cell a row of the table.
    """
    if reading.machine_labels or not reading.needs_labels:
        return list(labels), []
    of_machine = _by_machine(table)
    lost = sum(any(cells[row] for cells in labels) for row in np.flatnonzero(of_machine).tolist())
    left = [
        [None if machine else cell for cell, machine in zip(cells, of_machine.tolist(), strict=True)]
        for cells in labels
    ]
    return left, told_of_machines(table.path.name, lost, "rows with a label")


def told_of_machines(table: str, count: int, what: str) -> list[str]:
    """A note on labels that are left out, none where there are none.

    `what`: what has them, as observations or annotations.
    """
    way_out = prepare_option("machine-labels", "true")
    said = f"{table}: {count} {what} are a machine's and no truth; {way_out} takes them for it"
    return [said] if count else []


def with_told(source: Source, left_out: Sequence[str]) -> Source:
    """`source` with notes on labels that a machine gave, and that were left out."""
    return replace(source, notes=[*source.notes, *left_out], of_machines=[*source.of_machines, *left_out])


def _by_machine(table: Table) -> npt.NDArray[np.bool_]:
    """Whether a machine has labelled each row."""
    plain = {plain_column(name): name for name in reversed(table.written)}
    is_answers = any(plain.keys() >= columns for columns in ANSWERS)
    if plain.keys() >= {ROOT, *TIMELAPSE_ANSWERS}:
        is_answers = not any(texts(list(table.cells[plain[ROOT]])))
    found = np.full(len(table.lines), is_answers)
    for column, is_machine in SAYS_WHO.items():
        if column in plain:
            cells = table.cells[plain[column]]
            said = {cell: is_machine(cell.strip().casefold()) for cell in set(cells)}
            found |= np.fromiter((said[cell] for cell in cells), bool, len(found))
    return found
