"""submission.csv: the predictions in the form that a competition asks for, checked against its example."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import TraplineError
from common.reports.answers import Answer
from common.reports.tables import number, read_strings, some, write_rows

ID = "id"
SUM_TOLERANCE = 1e-6


@dataclass(frozen=True)
class SubmissionFormat:
    """What a submission must look like: its ids in order, and its class columns in order."""

    path: Path
    ids: list[str]
    columns: list[str]


@dataclass(frozen=True)
class Submission:
    """What was written: its rows, how many of them hold the class prior, and the predictions left out."""

    rows: int
    by_prior: int
    left_out: int


def read_format(path: Path, classes: Sequence[str]) -> SubmissionFormat:
    """Read an example of a submission. Raises TraplineError when it is not one for these classes."""
    table = read_strings(path, [ID])
    columns = [str(name) for name in table.columns]
    if sorted(columns) != sorted([ID, *classes]):
        raise TraplineError(
            f"{path}: its columns ({', '.join(columns)}) are not {ID} and the classes ({', '.join(classes)})"
        )
    repeated = table[ID][table[ID].duplicated()].tolist()
    if repeated:
        raise TraplineError(f"{path}: {len(repeated)} ids are there twice ({some(repeated)})")
    return SubmissionFormat(path, table[ID].tolist(), columns)


def write_submission(
    path: Path, wanted: SubmissionFormat, answers: Sequence[Answer], classes: Sequence[str], prior: np.ndarray
) -> Submission:
    """Write the answers in the wanted form, the class prior (classes,) in the rows that failed, and check it.

    Predictions for ids that the form does not ask for are left out. Raises TraplineError when it asks for an
    id that is no input.
    """
    # Of rows with the same id the first is the one that counts, as when data are prepared.
    answer_of = {answer.id: answer for answer in reversed(answers)}
    missing = [name for name in wanted.ids if name not in answer_of]
    if missing:
        raise TraplineError(
            f"{wanted.path}: asks for {len(missing)} ids that are no inputs ({some(missing)}); "
            "prepare the data that it belongs to"
        )
    place = {name: column for column, name in enumerate(classes)}
    given = [answer_of[name].probabilities for name in wanted.ids]
    rows = [
        _row(name, prior if values is None else values, wanted, place)
        for name, values in zip(wanted.ids, given, strict=True)
    ]
    write_rows(path, wanted.columns, rows)
    check_submission(path, wanted)
    by_prior = sum(values is None for values in given)
    return Submission(len(rows), by_prior, len(answer_of.keys() - set(wanted.ids)))


def _row(
    name: str, values: Sequence[float] | np.ndarray, wanted: SubmissionFormat, place: dict[str, int]
) -> list[str]:
    total = float(np.sum(values))  # answers are rounded; what is handed in sums to 1
    return [name if column == ID else number(values[place[column]] / total) for column in wanted.columns]


def check_submission(path: Path, wanted: SubmissionFormat) -> None:
    """Read a submission back and raise TraplineError, naming the first fault, where it breaks the form.

    Checked: columns and their order, ids and their order, numbers that are finite and from 0 to 1, row sums.
    """
    table = read_strings(path, [ID])
    if [str(name) for name in table.columns] != wanted.columns:
        raise TraplineError(f"{path}: its columns are not those of {wanted.path.name}, in that order")
    if table[ID].tolist() != wanted.ids:
        raise TraplineError(f"{path}: its ids are not those of {wanted.path.name}, in that order")
    try:
        values = table.drop(columns=ID).to_numpy(dtype=np.float64)
    except ValueError as error:
        raise TraplineError(f"{path}: holds what is no number ({error})") from None
    usable = np.isfinite(values).all(axis=1) & (values >= 0).all(axis=1) & (values <= 1).all(axis=1)
    right = usable & (np.abs(values.sum(axis=1) - 1) <= SUM_TOLERANCE)
    if not right.all():
        first = wanted.ids[int(np.argmin(right))]
        raise TraplineError(f"{path}: {first}: its probabilities are not from 0 to 1 with the sum 1")
