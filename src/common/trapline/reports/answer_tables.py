"""What batch transform answered, one JSON file an input, brought back to tables of a row for each input.

predictions.csv has all. Where an image may have several labels, it has a column for them too, and
label_predictions.csv has them alone, as ImageID and Labels, in the source's own codes. Where a submission is
asked for, submission.csv has the predictions in its form, checked against its example.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trapline.data.quarantine import INDEX, TRANSFORM_FOLDER
from trapline.errors import TraplineError, refuse_any
from trapline.evaluation.result_files import number, some
from trapline.names import Kind, ascii_quoted, clean, keys
from trapline.storage import joined, parse_json, write_table
from trapline.tables import read_rows, read_strings

SUFFIX = ".out"
OK, FAILED = "ok", "failed"
NO_ANSWER = "no_answer"  # the input was handed over, but nothing came back
BAD_ANSWER = "bad_answer"  # what came back is no answer of a model with these classes
LABEL_COLUMNS = ("ImageID", "Labels")
ROUNDING = 1e-4  # how far the numbers of an answer may be from agreeing
ID = "id"  # what a submission calls its inputs
SUM_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Answer:
    """The answer for one input; `probabilities` in the order of the classes, None where it failed.

    labels: where the image may have several, in the order of the classes; None where it failed or has one.
    """

    id: str
    status: str
    reason: str
    label: str = ""
    probabilities: tuple[float, ...] | None = None
    detail: str = ""  # for a person, where preparation knows why
    labels: tuple[str, ...] | None = None

    @property
    def confidence(self) -> float | None:
        """The probability of the label, None where it failed."""
        return None if self.probabilities is None else max(self.probabilities)

    def needs_review(self, below: float) -> bool:
        """Whether a person should look: it failed, or its confidence is below `below`."""
        return self.confidence is None or self.confidence < below


def read_index(prepared: Path) -> pd.DataFrame:
    """The rows of transform/index.csv of a prepared data set, a row for each input, as text."""
    path = prepared / TRANSFORM_FOLDER / INDEX
    if not path.is_file():
        raise TraplineError(f"{path}: no such file; entry_points/prepare.py makes a prepared data set")
    return read_strings(path, ["name", "id", "reason", "detail"], exact=None)


def read_answers(
    folder: Path, index: pd.DataFrame, classes: Sequence[str], *, multilabel: bool = False
) -> list[Answer]:
    """One answer for each row of the index, in its order, from the `<name>.out` files anywhere in `folder`.

    `multilabel`: whether an image may have several labels. An input without bytes fails with the reason in
    the index; one that got no answer with that reason too, or with no_answer where the index has none; one
    whose answer cannot be used, with bad_answer. Raises TraplineError when there is no answer at all, or when
    there are answers for inputs that are not in the index, or several for one: the folder is then of another
    data set, or of more than one run.
    """
    files = _answer_files(folder, index)
    return [
        _read_one(files[row["name"]], row["id"], classes, multilabel)
        if row["name"] in files
        else Answer(row["id"], FAILED, row["reason"] or NO_ANSWER, detail=row["detail"])
        for row in index.to_dict("records")
    ]


def _answer_files(folder: Path, index: pd.DataFrame) -> dict[str, Path]:
    paths = sorted(folder.rglob(f"*{SUFFIX}"))
    names = [path.name.removesuffix(SUFFIX) for path in paths]
    known = set(index["name"]) - {""}
    unknown = sorted(set(names) - known)
    twice = [name for name, count in Counter(names).items() if count > 1]
    refusals = (
        (known and not paths, f"holds no {SUFFIX} file; give the folder that batch transform wrote"),
        (
            unknown,
            f"{len(unknown)} answers are for inputs that are not in {TRANSFORM_FOLDER}/{INDEX} "
            f"({some(unknown)}); give the answers of this data set alone",
        ),
        (twice, f"{len(twice)} inputs have several answers ({some(twice)}); give those of one run"),
    )
    refuse_any(((holds, f"{folder}: {fault}") for holds, fault in refusals), TraplineError)
    return dict(zip(names, paths, strict=True))


def _read_one(path: Path, identifier: str, classes: Sequence[str], multilabel: bool) -> Answer:
    """The answer in a file; failed where it is none, or of a model of other classes or task."""
    bad = Answer(identifier, FAILED, BAD_ANSWER)
    try:
        content = parse_json(path.read_bytes())
    except ValueError:  # of JSON and of UTF-8 as well
        return bad
    if not isinstance(content, dict) or content.get("status") not in (OK, FAILED):
        return bad
    if content["status"] == FAILED:
        return Answer(identifier, FAILED, str(content.get("reason") or BAD_ANSWER))
    given: Any = content.get("probabilities")
    labels: Any = content.get("labels") if multilabel else []
    label = str(content.get("label"))
    is_sound = (
        isinstance(given, dict)
        and given.keys() == set(classes)
        and all(type(value) in (int, float) and 0 <= value <= 1 for value in given.values())
        and (multilabel or abs(math.fsum(given.values()) - 1) <= ROUNDING * len(given))
        and isinstance(labels, list)
        and set(map(str, labels)) <= set(classes)
        and label in given  # the most probable class
        and given[label] >= max(given.values()) - ROUNDING
    )
    if not is_sound:
        return bad
    return Answer(
        identifier,
        OK,
        "",
        label,
        tuple(float(given[name]) for name in classes),
        labels=tuple(name for name in classes if name in labels) if multilabel else None,
    )


def write_label_predictions(
    path: Path, answers: Sequence[Answer], classes: Sequence[str], codes: Sequence[str] | None
) -> None:
    """Write label_predictions.csv: the labels of each input, as codes where the classes have any.

    A cell is empty where the image has no label, and where the input failed: predictions.csv says which.
    """
    code_of = dict(zip(classes, codes or classes, strict=True))
    rows = ([answer.id, joined([code_of[name] for name in answer.labels or ()])] for answer in answers)
    write_table(path, LABEL_COLUMNS, rows, exact=None)


# --- submission.csv -----------------------------------------------------------------------------------------


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
    number_of = {name: place for place, name in enumerate(classes)}
    columns = [
        None if name == wanted.id_column else number_of[wanted.class_of.get(name, name)]
        for name in wanted.columns
    ]
    values = np.array([prior if probabilities is None else probabilities for probabilities in given])
    shares = values / values.sum(axis=1, keepdims=True)  # answers are rounded; what is handed in sums to 1
    rows = [
        [name if place is None else number(row[place]) for place in columns]
        for name, row in zip(wanted.ids, shares, strict=True)
    ]
    write_table(path, wanted.columns, rows, exact=None)
    check_submission(path, wanted)
    return Submission(
        rows=len(rows),
        by_prior=sum(values is None for values in given),
        left_out=len(inputs) - len(wanted.ids),
    )


def check_submission(path: Path, wanted: SubmissionFormat) -> None:
    """Read a submission back and raise TraplineError, naming the first fault, where it breaks the form.

    Checked: columns and their order, ids and their order, numbers that are finite and from 0 to 1, row sums.
    """
    table = read_strings(path, [wanted.id_column], exact=None)
    names, form = [str(name) for name in table.columns], f"are not those of {wanted.path.name}, in that order"
    refusals = (
        (names != wanted.columns, f"{path}: its columns {form}"),
        (table[wanted.id_column].tolist() != wanted.ids, f"{path}: its ids {form}"),
    )
    refuse_any(refusals, TraplineError)
    try:
        values = table.drop(columns=wanted.id_column).to_numpy(dtype=np.float64)
    except ValueError as error:
        raise TraplineError(f"{path}: holds what is no number ({error})") from None
    usable = np.isfinite(values).all(axis=1) & (values >= 0).all(axis=1) & (values <= 1).all(axis=1)
    right = usable & (np.abs(values.sum(axis=1) - 1) <= SUM_TOLERANCE)
    if not right.all():
        first = wanted.ids[int(np.argmin(right))]
        raise TraplineError(f"{path}: {first}: its probabilities are not from 0 to 1 with the sum 1")


# --- names of one table found again in another, which may spell them otherwise ------------------------------


def _found(
    path: Path, wanted: Sequence[str], given: Sequence[str], kind: Kind, remedy: str
) -> dict[str, str]:
    try:
        return matched(wanted, given, kind)
    except ValueError as error:
        raise TraplineError(
            f"{path}: {kind} {error}, and which one is meant is not clear; {remedy}"
        ) from None


def matched(wanted: Sequence[str], given: Sequence[str], kind: Kind) -> dict[str, str]:
    """For each of `wanted` the one of `given` that it names: the same text, else the one with the same key.

    Each of `given` is found at most once, and what names nothing is left out. Raises ValueError, naming two
    spellings, where it cannot be told which of two is meant.
    """
    same = {name: name for name in set(wanted) & set(given)}
    open_ones, left = ([name for name in names if name not in same] for names in (wanted, given))
    if not open_ones:
        return same
    key_of = dict(zip([*wanted, *given], keys([*wanted, *given], kind), strict=True))
    by_key = _one_of_each_key(left, key_of, {key_of[name] for name in open_ones})
    asking = _one_of_each_key(open_ones, key_of, by_key.keys())
    return same | {name: by_key[own] for own, name in asking.items()}


def _one_of_each_key(
    names: Iterable[str], key_of: Mapping[str, str | None], wanted: Iterable[str | None]
) -> dict[str, str]:
    """The names that have a key among `wanted`, by key. Raises ValueError where two have the same one."""
    found: dict[str, str] = {}
    asked = set(wanted)
    for name in names:
        own = key_of[name]
        if own is not None and own in asked and found.setdefault(own, name) != name:
            raise ValueError(
                f"{ascii_quoted(found[own])} and {ascii_quoted(name)} differ in their spelling alone"
            )
    return found
