"""Collection: the answers of batch transform become predictions.csv, submission.csv and report.html.

Where images have several labels there is no submission of probabilities, but label_predictions.csv.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trapline.channels import ensure_writable
from trapline.data.prepared import SUBMISSION_FORMAT, DatasetDescription, PreparedSet, open_prepared
from trapline.data.quarantine import FILE_NAME as QUARANTINE
from trapline.errors import TraplineError, UsageError
from trapline.evaluation.claims import with_claims
from trapline.evaluation.measured import class_prior
from trapline.evaluation.result_lines import RESULTS, result_lines
from trapline.evaluation.result_tables import EVALUATION, TEST_PREDICTIONS, remove_stale, some
from trapline.evaluation.unseen import shared_sites
from trapline.reports.answer_table import (
    FAILED,
    OK,
    Answer,
    read_answers,
    read_index,
    write_label_predictions,
    write_predictions,
)
from trapline.reports.history import History, parse_history, read_history
from trapline.reports.page import PageContent, write_page
from trapline.reports.pictures import Mistake, most_confident_errors
from trapline.reports.submission import Submission, read_format, write_submission
from trapline.storage import read_json
from trapline.tables import read_strings
from trapline.unpacking import read_text

PREDICTIONS, SUBMISSION, REPORT = "predictions.csv", "submission.csv", "report.html"
LABEL_PREDICTIONS = "label_predictions.csv"
METRICS, OUTPUT_ARCHIVE = "metrics.csv", "output.tar.gz"


@dataclass(frozen=True)
class Collection:
    """What is collected.

    predictions: the folder that batch transform wrote. evaluation: evaluation.json or its folder. histories:
    one for each phase, a metrics.csv, an output.tar.gz of a training job, or a folder with one of them.
    submission_format: instead of the one in the prepared data set.
    """

    prepared: Path
    predictions: Path
    evaluation: Path
    histories: Sequence[Path]
    output: Path
    review_below: float
    submission_format: Path | None = None


def collect(options: Collection) -> None:
    """Write predictions.csv, report.html and, where its format is known, submission.csv.

    For several labels an image, label_predictions.csv instead of the last. Raises TraplineError when the
    answers are not of this data set, or the submission cannot be made, UsageError where there is none.
    """
    ensure_writable(options.output)
    remove_stale(options.output, [PREDICTIONS, LABEL_PREDICTIONS, SUBMISSION, REPORT])
    prepared = open_prepared(options.prepared, parts=("test",))
    evaluation = _read_evaluation(options, prepared.description)
    classes, multilabel = prepared.description.classes, prepared.description.task == "multilabel"
    index = read_index(options.prepared)
    answers = read_answers(options.predictions, index, classes, multilabel=multilabel)
    path = options.output / PREDICTIONS
    write_predictions(path, answers, classes, options.review_below, multilabel=multilabel)
    if multilabel:
        codes = prepared.description.class_codes
        write_label_predictions(options.output / LABEL_PREDICTIONS, answers, classes, codes)
    submission = _submit(options, prepared.description, answers)
    content = PageContent(
        evaluation=evaluation,
        histories=[
            (f"Phase {number}", read_any_history(path)) for number, path in enumerate(options.histories, 1)
        ],
        mistakes=_mistakes(options, prepared, evaluation),
        answers=answers,
        review_below=options.review_below,
        submission=submission,
        quarantine=_quarantine(options.prepared),
        notes=_notes(options.prepared),
        results=_results(options),
    )
    write_page(options.output / REPORT, content)
    _print_summary(options.output, answers, submission)


def _read_evaluation(options: Collection, data: DatasetDescription) -> dict[str, Any]:
    path = _evaluation_file(options)
    evaluation = read_json(path)
    if not isinstance(evaluation, dict) or evaluation.get("format_version") != 1:
        raise TraplineError(f"{path}: is no {EVALUATION} of this version; evaluate again")
    if evaluation["data"]["fingerprint"] != data.fingerprint:
        raise TraplineError(
            f"{path}: is of another data set than {options.prepared}; evaluate on this one, or give that one"
        )
    shared = shared_sites(options.prepared)  # an older evaluation has not looked for them
    return with_claims(evaluation, shared) if shared else evaluation


def _evaluation_file(options: Collection) -> Path:
    return options.evaluation / EVALUATION if options.evaluation.is_dir() else options.evaluation


def _results(options: Collection) -> list[tuple[str, str]]:
    path = _evaluation_file(options).with_name(RESULTS)
    return result_lines(read_json(path)) if path.is_file() else []


def _submit(options: Collection, data: DatasetDescription, answers: Sequence[Answer]) -> Submission | None:
    if data.task == "multilabel":
        if options.submission_format is not None:
            raise UsageError(
                f"--submission-format: images of {options.prepared} have several labels, whose probabilities "
                f"do not sum to 1; leave it out and take {LABEL_PREDICTIONS}"
            )
        return None
    path = options.submission_format or options.prepared / SUBMISSION_FORMAT
    if options.submission_format is None and not path.is_file():
        return None
    wanted = read_format(path, data.classes)
    return write_submission(options.output / SUBMISSION, wanted, answers, data.classes, class_prior(data))


def _mistakes(options: Collection, prepared: PreparedSet, evaluation: dict[str, Any]) -> list[Mistake] | None:
    if not evaluation["test"]["available"]:
        return None
    table = _evaluation_file(options).with_name(TEST_PREDICTIONS)
    return most_confident_errors(table, prepared.part("test"))


def read_any_history(path: Path) -> History:
    """The rows of a metrics.csv, of the one in an output.tar.gz, or of the one in a folder with either.

    Raises TraplineError where there is none, naming the file.
    """
    if path.is_dir():
        inside = [path / METRICS, path / "data" / METRICS, path / OUTPUT_ARCHIVE]
        found = [each for each in inside if each.is_file()]
        if not found:
            raise TraplineError(f"{path}: holds no {METRICS} and no {OUTPUT_ARCHIVE}; name the file")
        path = found[0]
    if not path.name.endswith(".tar.gz"):
        return read_history(path)
    with path.open("rb") as stream:
        text = read_text(stream, str(path), {METRICS, f"data/{METRICS}"})
    if text is None:
        raise TraplineError(f"{path}: holds no {METRICS}; give the output of a training job")
    return parse_history(text, f"{path}: {METRICS}")


def _quarantine(prepared: Path) -> list[tuple[str, str, str]]:
    path = prepared / QUARANTINE
    if not path.is_file():
        return []
    rows = read_strings(path, ["id", "reason", "detail"])
    return list(zip(rows["id"], rows["reason"], rows["detail"], strict=True))


def _notes(prepared: Path) -> list[str]:
    path = prepared / "summary.json"
    content = read_json(path) if path.is_file() else {}
    return [f"{str(note)[:1].upper()}{str(note)[1:]}." for note in content.get("notes", [])]


def _print_summary(output: Path, answers: Sequence[Answer], submission: Submission | None) -> None:
    reasons = Counter(answer.reason for answer in answers if answer.status == FAILED)
    failed = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    predicted = sum(answer.status == OK for answer in answers)
    shown = f" ({failed})" if failed else ""
    print(f"{len(answers)} inputs: {predicted} predicted, {reasons.total()} failed{shown}")
    if (output / LABEL_PREDICTIONS).is_file():
        names = [answer.id for answer in answers if answer.status == FAILED]
        empty = f"; no labels for the inputs that failed: {some(names, 10)}" if names else ""
        print(f"{LABEL_PREDICTIONS}: {len(answers)} rows{empty}")
    if submission:
        print(
            f"submission: {submission.rows} rows, {submission.by_prior} of them with the class prior because "
            f"the input failed; {submission.left_out} predictions are not asked for"
        )
    print(f"collected: {output}", flush=True)
