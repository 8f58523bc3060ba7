"""report.html: one file with all a person asks of a run, that opens anywhere without a network."""

import base64
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trapline.reports.answer_table import FAILED, OK, Answer
from trapline.reports.curves import write_curves
from trapline.reports.figures import (
    CLASS,
    SITE,
    average_precision_figure,
    class_figure,
    confusion_figure,
    reliability_figure,
    site_figure,
)
from trapline.reports.fonts import drawn, why
from trapline.reports.history import History
from trapline.reports.page_template import POLICY, STYLE, TEMPLATE
from trapline.reports.pictures import Mistake
from trapline.reports.submission import Submission
from trapline.storage import atomic_file

MAX_PROBLEMS = 200  # rows of a table of failed inputs
PHASE_NAMES = {"phase1": "Phase 1", "phase2": "Phase 2"}
METRIC_NAMES = (
    ("log_loss", "log loss"),
    ("accuracy", "accuracy"),
    ("macro_f1", "macro F1"),
    ("weighted_f1", "weighted F1"),
    ("top3_accuracy", "among the first three"),
    ("site_balanced_log_loss", "log loss, every site alike"),
    ("site_balanced_accuracy", "accuracy, every site alike"),
)
LABEL_METRIC_NAMES = (
    ("log_loss", "log loss, mean over labels"),
    ("micro_f1", "micro F1"),
    ("micro_precision", "micro precision"),
    ("micro_recall", "micro recall"),
    ("macro_f1", "macro F1"),
    ("macro_precision", "macro precision"),
    ("macro_recall", "macro recall"),
    ("map", "mean average precision"),
    ("accuracy", "accuracy, all labels of an image right"),
    ("site_balanced_log_loss", "log loss, every site alike"),
    ("site_balanced_accuracy", "accuracy, every site alike"),
)
BASELINE_NAMES = (
    ("uniform_log_loss", "log loss of the uniform guess"),
    ("prior_log_loss", "log loss of the class prior"),
    ("prior_accuracy", "accuracy of the commonest class"),
)


LABEL_BASELINE_NAMES = (
    ("uniform_log_loss", "log loss of a half for each label"),
    ("prior_log_loss", "log loss of the labels' frequencies"),
    ("prior_accuracy", "accuracy of the labels that most images have"),
)


@dataclass(frozen=True)
class PageContent:
    """What goes into the page.

    histories: (name, rows of metrics.csv). mistakes: None where there is no test part. quarantine: (id,
    reason, detail) of the inputs that are in no part of the data. notes: sentences of summary.json. results:
    name and text of what was measured; none where there is no results.json.
    """

    evaluation: dict[str, Any]
    histories: Sequence[tuple[str, History]]
    mistakes: Sequence[Mistake] | None
    answers: Sequence[Answer]
    review_below: float
    submission: Submission | None
    quarantine: Sequence[tuple[str, str, str]]
    notes: Sequence[str]
    results: Sequence[tuple[str, str]] = ()


def write_page(path: Path, content: PageContent) -> None:
    """Write the page, atomically. All text in it is escaped."""
    from jinja2 import Environment, StrictUndefined  # late: the checks that come first need none of this

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(TEMPLATE).render(_context(content))
    with atomic_file(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(page)


def _context(content: PageContent) -> dict[str, Any]:
    evaluation = content.evaluation
    test, validation = evaluation["test"], evaluation["validation"]
    shown = test if test["available"] else validation
    multilabel = evaluation.get("task") == "multilabel"
    return {
        "policy": POLICY,
        "style": STYLE,
        "multilabel": multilabel,
        "evaluation": evaluation,
        "test": test,
        "validation": validation,
        "shown": shown,
        "shown_part": "test" if test["available"] else "validation",
        "confidence": f"{evaluation['bootstrap']['confidence']:.0%}",
        "phase_names": PHASE_NAMES,
        "metric_names": LABEL_METRIC_NAMES if multilabel else METRIC_NAMES,
        "baseline_names": LABEL_BASELINE_NAMES if multilabel else BASELINE_NAMES,
        "notes": list(content.notes),
        "results": list(content.results),
        "figures": _figures(shown, evaluation["classes"]),
        "numbered": _numbered(shown, evaluation["classes"]),
        "curves": [(name, _encoded(_curves(name, rows))) for name, rows in content.histories],
        "mistakes": _mistakes(content.mistakes),
        "answers": _answer_counts(content.answers, content.review_below),
        "submission": content.submission,
        "problems": _problems(content),
    }


def _figures(shown: dict[str, Any], classes: Sequence[str]) -> dict[str, str]:
    figures = {
        "classes": class_figure(shown["per_class"]),
        "reliability": reliability_figure(shown["calibration"]["reliability"]),
    }
    if shown["confusion_matrix"]:
        figures["confusion"] = confusion_figure(shown["confusion_matrix"], classes)
    else:
        figures["average_precisions"] = average_precision_figure(shown["per_class"])
    if shown["per_site"]:
        figures["sites"] = site_figure(shown["per_site"], shown["log_loss"])
    return {name: _encoded(figure) for name, figure in figures.items()}


def _numbered(shown: dict[str, Any], classes: Sequence[str]) -> str:
    """Which names the figures show by a number, and why; empty where none."""
    sites = [row[SITE] for row in shown["per_site"] or []]
    return why(drawn(classes, CLASS).replaced | drawn(sites, SITE).replaced)


def _curves(name: str, rows: History) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "curves.png"
        write_curves(rows, path, title=name)
        return path.read_bytes()


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _mistakes(mistakes: Sequence[Mistake] | None) -> list[dict[str, Any]] | None:
    if mistakes is None:
        return None
    return [{**asdict(mistake), "picture": _encoded(mistake.jpeg)} for mistake in mistakes]


def _answer_counts(answers: Sequence[Answer], review_below: float) -> dict[str, Any]:
    status = Counter(answer.status for answer in answers)
    given = [
        (answer.label,) if answer.labels is None else answer.labels
        for answer in answers
        if answer.status == OK
    ]
    labels = Counter(name for names in given for name in names)
    return {
        "inputs": len(answers),
        "ok": status[OK],
        "failed": status[FAILED],
        "review": sum(answer.needs_review(review_below) for answer in answers),
        "review_below": review_below,
        "labels": labels.most_common(),
        "without_label": sum(not names for names in given),
    }


def _problems(content: PageContent) -> list[tuple[str, list[tuple[str, str, str]], int]]:
    """Tables of what could not be used: heading, rows to show, number of all rows."""
    failed = [
        (answer.id, answer.reason, answer.detail) for answer in content.answers if answer.status == FAILED
    ]
    quarantined = list(content.quarantine)
    return [
        ("Inputs that failed", failed[:MAX_PROBLEMS], len(failed)),
        ("Images in quarantine", quarantined[:MAX_PROBLEMS], len(quarantined)),
    ]
