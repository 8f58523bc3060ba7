"""What batch transform answered, one JSON file an input, brought back to one row for each input.

Where an image may have several labels, predictions.csv has a column for them too, and label_predictions.csv
has them alone, as ImageID and Labels, in the source's own codes.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from trapline.cells import joined, write_table
from trapline.data.transform_input import INDEX, TRANSFORM_FOLDER
from trapline.errors import TraplineError
from trapline.evaluation.result_tables import number, probability_columns, some
from trapline.storage import parse_json
from trapline.tables import read_strings

SUFFIX = ".out"
OK, FAILED = "ok", "failed"
NO_ANSWER = "no_answer"  # the input was handed over, but nothing came back
BAD_ANSWER = "bad_answer"  # what came back is no answer of a model with these classes
COLUMNS = ("id", "status", "reason", "label", "confidence", "needs_review")
MULTILABEL_COLUMNS = ("id", "status", "reason", "labels", "label", "confidence", "needs_review")
LABEL_COLUMNS = ("ImageID", "Labels")
ROUNDING = 1e-4  # how far the numbers of an answer may be from agreeing


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
        else _unanswered(row)
        for row in index.to_dict("records")
    ]


def _unanswered(row: dict[Any, Any]) -> Answer:
    return Answer(row["id"], FAILED, row["reason"] or NO_ANSWER, detail=row["detail"])


def _answer_files(folder: Path, index: pd.DataFrame) -> dict[str, Path]:
    paths = sorted(folder.rglob(f"*{SUFFIX}"))
    known = set(index["name"]) - {""}
    if known and not paths:
        raise TraplineError(f"{folder}: holds no {SUFFIX} file; give the folder that batch transform wrote")
    names = [path.name.removesuffix(SUFFIX) for path in paths]
    unknown = sorted(set(names) - known)
    if unknown:
        raise TraplineError(
            f"{folder}: {len(unknown)} answers are for inputs that are not in {TRANSFORM_FOLDER}/{INDEX} "
            f"({some(unknown)}); give the answers of this data set alone"
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise TraplineError(
            f"{folder}: {len(twice)} inputs have several answers ({some(twice)}); give those of one run"
        )
    return dict(zip(names, paths, strict=True))


def _read_one(path: Path, identifier: str, classes: Sequence[str], multilabel: bool) -> Answer:
    try:
        content = parse_json(path.read_bytes())
        return parse_answer(content, identifier, classes, multilabel=multilabel)
    except ValueError:  # of JSON and of UTF-8 as well
        return Answer(identifier, FAILED, BAD_ANSWER)


def parse_answer(
    content: Any, identifier: str, classes: Sequence[str], *, multilabel: bool = False
) -> Answer:
    """An answer from its JSON. Raises ValueError where it is none, or of a model of other classes or task."""
    if not isinstance(content, dict) or content.get("status") not in (OK, FAILED):
        raise ValueError("no answer of a model")
    if content["status"] == FAILED:
        return Answer(identifier, FAILED, str(content.get("reason") or BAD_ANSWER))
    given = content.get("probabilities")
    if not isinstance(given, dict) or given.keys() != set(classes):
        raise ValueError("probabilities of other classes")
    values = tuple(_probability(given[name]) for name in classes)
    if not multilabel and abs(math.fsum(values) - 1) > ROUNDING * len(values):
        raise ValueError("probabilities that do not sum to 1")
    labels = _labels(content.get("labels"), classes) if multilabel else None
    label = str(content.get("label"))
    if label not in given or given[label] < max(values) - ROUNDING:
        raise ValueError("a label that is not the most probable class")
    return Answer(identifier, OK, "", label, values, labels=labels)


def _labels(given: Any, classes: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(given, list) or not set(map(str, given)) <= set(classes):
        raise ValueError("labels that are no classes")
    return tuple(name for name in classes if name in given)


def _probability(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= 1:
        raise ValueError(f"{value!r} is no probability")
    return float(value)


def write_predictions(
    path: Path,
    answers: Sequence[Answer],
    classes: Sequence[str],
    review_below: float,
    *,
    multilabel: bool = False,
) -> None:
    """Write predictions.csv: COLUMNS, then a probability column for each class; empty where it failed.

    `multilabel`: whether an image may have several labels, which are then a column too.
    """
    columns = MULTILABEL_COLUMNS if multilabel else COLUMNS
    rows = (_row(answer, len(classes), review_below, multilabel) for answer in answers)
    write_table(path, [*columns, *probability_columns(classes, columns)], rows)


def write_label_predictions(
    path: Path, answers: Sequence[Answer], classes: Sequence[str], codes: Sequence[str] | None
) -> None:
    """Write label_predictions.csv: the labels of each input, as codes where the classes have any.

    A cell is empty where the image has no label, and where the input failed: predictions.csv says which.
    """
    code_of = dict(zip(classes, codes or classes, strict=True))
    rows = ([answer.id, joined([code_of[name] for name in answer.labels or ()])] for answer in answers)
    write_table(path, LABEL_COLUMNS, rows, exact=None)


def _row(answer: Answer, classes: int, review_below: float, multilabel: bool) -> list[str]:
    confidence = "" if answer.confidence is None else number(answer.confidence)
    review = "true" if answer.needs_review(review_below) else "false"
    probabilities: Iterator[str] = map(number, answer.probabilities or ())
    return [
        answer.id,
        answer.status,
        answer.reason,
        *([joined(answer.labels or ())] if multilabel else []),
        answer.label,
        confidence,
        review,
        *(probabilities if answer.probabilities else [""] * classes),
    ]
