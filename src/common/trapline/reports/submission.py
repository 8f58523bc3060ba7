"""submission.csv: the predictions in the form that a competition asks for, checked against its example."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trapline.cells import write_table
from trapline.errors import TraplineError
from trapline.evaluation.result_tables import number, some
from trapline.names import Kind, clean
from trapline.reports.answer_table import Answer
from trapline.reports.matching import matched
from trapline.tables import read_rows, read_strings

ID = "id"
SUM_TOLERANCE = 1e-6


@dataclass(frozen=True)
class SubmissionFormat:
    """What a submission must look like: its ids in order, and its columns in order, as they are spelt there.

    class_of: the class of each column that the format spells otherwise. id_column: what it calls the ids.
    """

    path: Path
    ids: list[str]
    columns: list[str]
    class_of: Mapping[str, str] = field(default_factory=dict)
    id_column: str = ID


@dataclass(frozen=True)
class Submission:
    """What was written: its rows, how many of them hold the class prior, and the predictions left out."""

    rows: int
    by_prior: int
    left_out: int


def read_format(path: Path, classes: Sequence[str]) -> SubmissionFormat:
    """Read an example of a submission. Raises TraplineError when it is not one for these classes.

    Its columns may spell the classes otherwise, as long as each is one class and no other.
    """
    columns, rows = read_rows(path, [ID])
    at = next((place for place, name in enumerate(columns) if clean(name).casefold() == ID), None)
    if at is None:
        raise TraplineError(f"{path}: lacks the column {ID}; it has {', '.join(columns)}")
    ids = [row[at] for row in rows]
    if not ids:
        raise TraplineError(f"{path}: asks for no {ID}; give the format with its rows")
    own = [name for place, name in enumerate(columns) if place != at]
    class_of = _found(path, own, classes, Kind.CLASS, "give each class one column")
    if len(own) != len(classes) or class_of.keys() != set(own):
        raise TraplineError(
            f"{path}: its columns ({', '.join(columns)}) are not {ID} and the classes ({', '.join(classes)})"
        )
    repeated = [name for name, count in Counter(ids).items() if count > 1]
    if repeated:
        raise TraplineError(f"{path}: {len(repeated)} ids are there twice ({some(repeated)})")
    return SubmissionFormat(path, ids, columns, class_of, columns[at])


def _found(
    path: Path, wanted: Sequence[str], given: Sequence[str], kind: Kind, remedy: str
) -> dict[str, str]:
    try:
        return matched(wanted, given, kind)
    except ValueError as error:
        raise TraplineError(
            f"{path}: {kind} {error}, and which one is meant is not clear; {remedy}"
        ) from None


def write_submission(
    path: Path, wanted: SubmissionFormat, answers: Sequence[Answer], classes: Sequence[str], prior: np.ndarray
) -> Submission:
    """Write the answers in the wanted form, the class prior (classes,) in the rows that failed, and check it.

    An id that no input has, as it is spelt, is that of the input which spells it otherwise; it is written as
    the form has it. Predictions for ids that the form does not ask for are left out. Raises TraplineError
    when it asks for an id that is no input, or that may be either of two.
    """
    # Of rows with the same id the first is the one that counts, as when data are prepared.
    answer_of = {answer.id: answer for answer in reversed(answers)}
    inputs = [*dict.fromkeys(answer.id for answer in answers)]
    input_of = _found(wanted.path, wanted.ids, inputs, Kind.ID, "write ids there as the data have them")
    missing = [name for name in wanted.ids if name not in input_of]
    if missing:
        raise TraplineError(
            f"{wanted.path}: asks for {len(missing)} ids that are no inputs ({some(missing)}); "
            "prepare the data that it belongs to"
        )
    given = [answer_of[input_of[name]].probabilities for name in wanted.ids]
    rows = _rows(wanted, [prior if values is None else values for values in given], classes)
    write_table(path, wanted.columns, rows, exact=None)
    check_submission(path, wanted)
    by_prior = sum(values is None for values in given)
    return Submission(len(rows), by_prior, len(inputs) - len(wanted.ids))


def _rows(
    wanted: SubmissionFormat, given: Sequence[Sequence[float] | np.ndarray], classes: Sequence[str]
) -> list[list[str]]:
    number_of = {name: number for number, name in enumerate(classes)}
    place = {
        name: number_of[wanted.class_of.get(name, name)]
        for name in wanted.columns
        if name != wanted.id_column
    }
    return [_row(name, values, wanted, place) for name, values in zip(wanted.ids, given, strict=True)]


def _row(
    name: str, values: Sequence[float] | np.ndarray, wanted: SubmissionFormat, place: Mapping[str, int]
) -> list[str]:
    total = float(np.sum(values))  # answers are rounded; what is handed in sums to 1
    return [
        name if column == wanted.id_column else number(values[place[column]] / total)
        for column in wanted.columns
    ]


def check_submission(path: Path, wanted: SubmissionFormat) -> None:
    """Read a submission back and raise TraplineError, naming the first fault, where it breaks the form.

    Checked: columns and their order, ids and their order, numbers that are finite and from 0 to 1, row sums.
    """
    table = read_strings(path, [wanted.id_column], exact=None)
    if [str(name) for name in table.columns] != wanted.columns:
        raise TraplineError(f"{path}: its columns are not those of {wanted.path.name}, in that order")
    if table[wanted.id_column].tolist() != wanted.ids:
        raise TraplineError(f"{path}: its ids are not those of {wanted.path.name}, in that order")
    try:
        values = table.drop(columns=wanted.id_column).to_numpy(dtype=np.float64)
    except ValueError as error:
        raise TraplineError(f"{path}: holds what is no number ({error})") from None
    usable = np.isfinite(values).all(axis=1) & (values >= 0).all(axis=1) & (values <= 1).all(axis=1)
    right = usable & (np.abs(values.sum(axis=1) - 1) <= SUM_TOLERANCE)
    if not right.all():
        first = wanted.ids[int(np.argmin(right))]
        raise TraplineError(f"{path}: {first}: its probabilities are not from 0 to 1 with the sum 1")
