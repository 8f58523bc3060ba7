"""What the numbers of an evaluation say, and what they do not, in sentences."""

from collections.abc import Sequence
from typing import Any

from trapline.evaluation.result_tables import some
from trapline.names import ascii_quoted

UNSEEN = "Nothing can be claimed about unseen cameras: the parts may share cameras."
SHARED = "Cameras in more than one of train, validation and test: {count} ({some}). Prepare the data again."
DRAWN = "The images are drawn, not photographs: the numbers show that all works, not what it reaches."
ALONE = "The intervals take every image for itself: where some are alike, as in a burst, they are too narrow."
FOLDS = (
    "The champion, or a model in it, was trained on a fold and has seen validation images: temperature, "
    "views and thresholds, which were chosen there, may be too sure. The test part alone counts."
)
ALWAYS = (
    "Temperature, views and champion were chosen on validation: its numbers are flattered by that.",
    "The test speaks of cameras like those in it, not of another region, season or make of camera.",
)


def with_claims(report: dict[str, Any], shared_sites: Sequence[str]) -> dict[str, Any]:
    """evaluation.json with its claims; `shared_sites` are those that parts share though they should not.

    With any, nothing is claimed about unseen cameras, whatever the data set says of itself.
    """
    unseen = report["data"]["unseen_sites"] and not shared_sites
    data = {**report["data"], "unseen_sites": unseen, "shared_sites": list(shared_sites)}
    checked = {**report, "data": data}
    return checked | {"claimed": claimed(checked), "not_claimed": not_claimed(checked)}


def claimed(report: dict[str, Any]) -> list[str]:
    """The sentences that evaluation.json, without its claims, bears out; possibly none."""
    test = report["test"]
    if not test["available"]:
        return []
    where = "on images that it was not trained on and that no choice was made on"
    if report["data"]["unseen_sites"]:
        where = f"at {test['sites']} cameras that it was not trained on and that no choice was made on"
    if report.get("task") == "multilabel":
        return [
            f"The champion's micro F1 is {test['micro_f1']:.3f}{_interval(test, 'micro_f1')}, its macro F1 "
            f"{test['macro_f1']:.3f}{_interval(test, 'macro_f1')} and its mean binary log loss "
            f"{test['log_loss']:.3f}{_interval(test, 'log_loss')} {where} ({test['images']} images)."
        ]
    return [
        f"The champion's log loss is {test['log_loss']:.3f}{_interval(test, 'log_loss')} and its accuracy "
        f"{test['accuracy']:.3f}{_interval(test, 'accuracy')} {where} ({test['images']} images)."
    ]


def _interval(section: dict[str, Any], metric: str) -> str:
    found = section["intervals"][metric]
    return f" ({found['low']:.3f} to {found['high']:.3f})" if found else ""


def not_claimed(report: dict[str, Any]) -> list[str]:
    """The sentences on what must not be read into it."""
    data, test, validation = report["data"], report["test"], report["validation"]
    missing_interval = test["available"] and test["interval_reason"]
    absent = [row["class"] for row in test["per_class"] or [] if not row["support"]]
    shared = [ascii_quoted(site) for site in data.get("shared_sites", [])]
    sentences = {
        SHARED.format(count=len(shared), some=some(shared)): shared,
        f"Nothing is known of a test: {test['reason']}.": not test["available"],
        UNSEEN: not data["unseen_sites"],
        DRAWN: data["drawn"],
        FOLDS: report["champion"].get("seen_validation", False),
        f"The test has no intervals: {test['interval_reason']}.": missing_interval,
        ALONE: "image" in (test["interval_unit"], validation["interval_unit"]),
        f"Nothing is known of {', '.join(absent)}: no test image shows it.": absent,
    }
    return [sentence for sentence, holds in sentences.items() if holds] + _always(report)


def _always(report: dict[str, Any]) -> list[str]:
    if report.get("task") != "multilabel":
        return list(ALWAYS)
    return [sentence.replace("views and", "views, thresholds and") for sentence in ALWAYS]
