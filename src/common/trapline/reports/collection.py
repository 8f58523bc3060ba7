"""Collection: the answers of batch transform become predictions.csv, submission.csv and report.html.

Where images have several labels there is no submission of probabilities, but label_predictions.csv. The
report is one file with all a person asks of a run, that opens anywhere without a network.
"""

import base64
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from trapline.data.leakage import KNOWN, LeakageGap, summarised_gap
from trapline.data.prepared import (
    SUBMISSION_FORMAT,
    DatasetDescription,
    PreparedSet,
    open_prepared,
)
from trapline.data.quarantine import FILE_NAME as QUARANTINE
from trapline.errors import TraplineError, UsageError
from trapline.evaluation.measured import class_prior
from trapline.evaluation.result_files import (
    EVALUATION,
    RESULTS,
    TEST_PREDICTIONS,
    remove_stale,
    result_lines,
    shared_sites,
    some,
    with_claims,
)
from trapline.evaluation.sequences import pooling_sentence
from trapline.formats.writing import WRITTEN, format_settings, write_answers
from trapline.job_contract import ensure_writable
from trapline.job_options import CollectOptions
from trapline.reports.answer_tables import (
    FAILED,
    OK,
    Answer,
    Submission,
    read_answers,
    read_format,
    read_index,
    write_label_predictions,
    write_submission,
)
from trapline.reports.collected import collected_predictions
from trapline.reports.curves import curves_png
from trapline.reports.figures import (
    CLASS,
    SITE,
    class_figure,
    confusion_figure,
    reliability_figure,
    site_figure,
)
from trapline.reports.fonts import drawn, why
from trapline.reports.mistakes import most_confident_errors
from trapline.reports.page_template import (
    BASELINE_NAMES,
    LABEL_BASELINE_NAMES,
    LABEL_METRIC_NAMES,
    LABEL_SEQUENCE_METRIC_NAMES,
    METRIC_NAMES,
    PHASE_NAMES,
    POLICY,
    SEQUENCE_METRIC_NAMES,
    STYLE,
    TEMPLATE,
)
from trapline.reports.pooled_answers import pool_answers
from trapline.reports.run_logs import History, parse_history, read_history
from trapline.storage import atomic_file, read_json
from trapline.tables import read_strings
from trapline.unpacking import read_text

SUBMISSION, REPORT = "submission.csv", "report.html"
LABEL_PREDICTIONS = "label_predictions.csv"
METRICS, OUTPUT_ARCHIVE = "metrics.csv", "output.tar.gz"


def collect(options: CollectOptions) -> None:
    """Write predictions.csv, report.html and, where its format is known, submission.csv.

    For several labels an image, label_predictions.csv instead of the last. The places are local here. Raises
    TraplineError when the answers are not of this data set, or the submission cannot be made, UsageError
    where there is none.
    """
    folder, output = Path(options.prepared), Path(options.output)
    ensure_writable(output)
    remove_stale(output, [*WRITTEN, LABEL_PREDICTIONS, SUBMISSION, REPORT])
    prepared = open_prepared(folder, parts=("test", "unlabeled"))
    evaluated = Path(options.evaluation)
    evaluated = evaluated / EVALUATION if evaluated.is_dir() else evaluated
    evaluation = _read_evaluation(evaluated, prepared)
    data, multilabel = prepared.description, prepared.description.task == "multilabel"
    settings = format_settings(options, data.classes, data.task)
    index = read_index(folder)
    answers = read_answers(Path(options.predictions), index, data.classes, multilabel=multilabel)
    pooled = ""
    if evaluation["champion"].get("pool_sequences", False):
        answers, pooled = pool_answers(answers, index, data, evaluation["champion"]["thresholds"])
    asked = options.model_copy(update={"formats": tuple(dict.fromkeys(("csv", *options.formats)))})
    predictions = collected_predictions(answers, index, prepared, evaluation, options.review_below)
    write_answers(predictions, output, asked, settings)
    if multilabel:
        write_label_predictions(output / LABEL_PREDICTIONS, answers, data.classes, data.class_codes)
    submission = _submit(options, data, answers)
    results = evaluated.with_name(RESULTS)
    write_page(
        output / REPORT,
        evaluation=evaluation,
        histories=[
            (f"Phase {number}", read_any_history(Path(each)))
            for number, each in enumerate(options.history, 1)
        ],
        mistakes=most_confident_errors(
            evaluated.with_name(TEST_PREDICTIONS),
            prepared.part("test"),
            without=settings.drop_classes,
            split=prepared.description.split,
        )
        if evaluation["test"]["available"]
        else None,
        answers=answers,
        review_below=options.review_below,
        submission=submission,
        quarantine=_quarantine(folder),
        notes=_notes(folder),
        results=result_lines(read_json(results)) if results.is_file() else [],
        pooled=pooled,
        leakage=data.leakage or summarised_gap(folder),
    )
    _print_summary(output, answers, submission, pooled)


def _read_evaluation(path: Path, prepared: PreparedSet) -> dict[str, Any]:
    evaluation = read_json(path)
    if not isinstance(evaluation, dict) or evaluation.get("format_version") != 1:
        raise TraplineError(f"{path}: is no {EVALUATION} of this version; evaluate again")
    if evaluation["data"]["fingerprint"] != prepared.description.fingerprint:
        raise TraplineError(
            f"{path}: is of another data set than {prepared.folder}; evaluate on this one, or give that one"
        )
    shared = shared_sites(prepared.folder)  # an older evaluation has not looked for them
    return with_claims(evaluation, shared) if shared else evaluation


def _submit(
    options: CollectOptions, data: DatasetDescription, answers: Sequence[Answer]
) -> Submission | None:
    given, kept = options.submission_format, Path(options.prepared) / SUBMISSION_FORMAT
    if given and data.task == "multilabel":
        raise UsageError(
            f"--submission-format: images of {Path(options.prepared)} have several labels, whose "
            f"probabilities do not sum to 1; leave it out and take {LABEL_PREDICTIONS}"
        )
    if data.task == "multilabel" or not (given or kept.is_file()):
        return None
    wanted = read_format(Path(given) if given else kept, data.classes)
    return write_submission(
        Path(options.output) / SUBMISSION, wanted, answers, data.classes, class_prior(data)
    )


def read_any_history(path: Path) -> History:
    """The rows of a metrics.csv, of the one in an output.tar.gz, or of the one in a folder with either.

    Raises TraplineError where there is none, naming the file.
    """
    if path.is_dir():
        names = (METRICS, f"data/{METRICS}", OUTPUT_ARCHIVE)
        found = [path / name for name in names if (path / name).is_file()]
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
    columns = ["id", "reason", "detail"]
    return list(read_strings(path, columns)[columns].itertuples(index=False, name=None))


def _notes(prepared: Path) -> list[str]:
    path = prepared / "summary.json"
    content = read_json(path) if path.is_file() else {}
    return [f"{str(note)[:1].upper()}{str(note)[1:]}." for note in content.get("notes", [])]


def _print_summary(
    output: Path, answers: Sequence[Answer], submission: Submission | None, pooled: str
) -> None:
    reasons = Counter(answer.reason for answer in answers if answer.status == FAILED)
    failed = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    predicted = sum(answer.status == OK for answer in answers)
    shown = f" ({failed})" if failed else ""
    print(f"{len(answers)} inputs: {predicted} predicted, {reasons.total()} failed{shown}")
    if pooled:
        print(pooled)
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


# --- report.html --------------------------------------------------------------------------------------------

MAX_PROBLEMS = 200  # rows of a table of failed inputs


def write_page(
    path: Path,
    *,
    evaluation: dict[str, Any],
    histories: Sequence[tuple[str, History]],
    mistakes: pd.DataFrame | None,
    answers: Sequence[Answer],
    review_below: float,
    submission: Submission | None,
    quarantine: Sequence[tuple[str, str, str]],
    notes: Sequence[str],
    results: Sequence[tuple[str, str]] = (),
    pooled: str = "",
    leakage: LeakageGap | None = None,
) -> None:
    """Write the page, atomically. All text in it is escaped.

    histories: (name, rows of metrics.csv). mistakes: those of `most_confident_errors`; None where there is no
    test part. quarantine: (id,
    reason, detail) of the inputs that are in no part of the data. notes: sentences of summary.json. results:
    name and text of what was measured; none where there is no results.json. pooled: what was pooled of the
    answers, empty where the champion does not pool. leakage: of the data set, None where there is none.
    """
    from jinja2 import Environment, StrictUndefined  # late: the checks that come first need none of this

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    test, validation = evaluation["test"], evaluation["validation"]
    shown = test if test["available"] else validation
    multilabel = evaluation.get("task") == "multilabel"
    page = environment.from_string(TEMPLATE).render(
        policy=POLICY,
        style=STYLE,
        multilabel=multilabel,
        evaluation=evaluation,
        test=test,
        validation=validation,
        shown=shown,
        shown_part="test" if test["available"] else "validation",
        confidence=f"{evaluation['bootstrap']['confidence']:.0%}",
        phase_names=PHASE_NAMES,
        **_metric_names(multilabel),
        pooling=_pooling(evaluation),
        pooled=pooled,
        leakage=leakage,
        known=KNOWN,
        notes=list(notes),
        results=results,
        figures=_figures(shown, evaluation["classes"]),
        numbered=_numbered(shown, evaluation["classes"]),
        curves=[(name, _encoded(curves_png(rows, title=name))) for name, rows in histories],
        mistakes=None if mistakes is None else _pictured(mistakes),
        answers=_answer_counts(answers, review_below),
        submission=submission,
        problems=_problems(answers, quarantine),
    )
    with atomic_file(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(page)


def _metric_names(multilabel: bool) -> dict[str, Any]:
    names = (METRIC_NAMES, SEQUENCE_METRIC_NAMES, BASELINE_NAMES)
    of_labels = (LABEL_METRIC_NAMES, LABEL_SEQUENCE_METRIC_NAMES, LABEL_BASELINE_NAMES)
    keys_of_page = ("metric_names", "sequence_metric_names", "baseline_names")
    return dict(zip(keys_of_page, of_labels if multilabel else names, strict=True))


def _pictured(mistakes: pd.DataFrame) -> list[dict[Any, Any]]:
    return mistakes.assign(picture=mistakes["jpeg"].map(_encoded)).to_dict("records")


def _pooling(evaluation: dict[str, Any]) -> str:
    """Whether the champion pools over sequences, in words; empty where an older evaluation says nothing."""
    record = evaluation.get("pooling")
    return pooling_sentence(record["chosen"], record["reason"]) if record else ""


def _figures(shown: dict[str, Any], classes: Sequence[str]) -> dict[str, str]:
    figures = {
        "classes": class_figure(shown["per_class"]),
        "reliability": reliability_figure(shown["calibration"]["reliability"]),
    }
    if shown["confusion_matrix"]:
        figures["confusion"] = confusion_figure(shown["confusion_matrix"], classes)
    else:
        figures["average_precisions"] = class_figure(
            shown["per_class"], "average_precision", "average precision"
        )
    if shown["per_site"]:
        figures["sites"] = site_figure(shown["per_site"], shown["log_loss"])
    return {name: _encoded(figure) for name, figure in figures.items()}


def _numbered(shown: dict[str, Any], classes: Sequence[str]) -> str:
    """Which names the figures show by a number, and why; empty where none."""
    sites = drawn([row[SITE] for row in shown["per_site"] or []], SITE)
    return why(drawn(classes, CLASS).replaced | sites.replaced)


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _answer_counts(answers: Sequence[Answer], review_below: float) -> dict[str, Any]:
    status = Counter(answer.status for answer in answers)
    given = [
        (answer.label,) if answer.labels is None else answer.labels
        for answer in answers
        if answer.status == OK
    ]
    return {
        "inputs": len(answers),
        "ok": status[OK],
        "failed": status[FAILED],
        "review": sum(answer.needs_review(review_below) for answer in answers),
        "review_below": review_below,
        "labels": Counter(name for names in given for name in names).most_common(),
        "without_label": sum(not names for names in given),
    }


def _problems(
    answers: Sequence[Answer], quarantine: Sequence[tuple[str, str, str]]
) -> list[tuple[str, list[tuple[str, str, str]], int]]:
    """Tables of what could not be used: heading, rows to show, number of all rows."""
    failed = [(answer.id, answer.reason, answer.detail) for answer in answers if answer.status == FAILED]
    tables = (("Inputs that failed", failed), ("Images in quarantine", list(quarantine)))
    return [(heading, rows[:MAX_PROBLEMS], len(rows)) for heading, rows in tables]
