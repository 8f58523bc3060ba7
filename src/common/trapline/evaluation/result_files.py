"""The files of an evaluation: the claims in evaluation.json, test_predictions.csv, `results.json` in words.

The claims say what the numbers say, and what they do not. Whether train, validation and test share no camera,
as their data set says, is looked up in the images: a set that an older version prepared may hold one camera
in two spellings, and so in two parts.

test_predictions.csv has a row for each image and a probability column for each class, as the tables of
collection have them.
"""

import shutil
from collections.abc import Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trapline.data.prepared import open_prepared
from trapline.names import Kind, ascii_quoted, keys
from trapline.scoring.scores import LabelsScored
from trapline.storage import joined, write_table

EVALUATION, RESULTS = "evaluation.json", "results.json"
TEST_PREDICTIONS = "test_predictions.csv"
TEST_COLUMNS = ("id", "site", "label", "predicted", "confidence")
UNSEEN = "Nothing can be claimed about unseen cameras: the parts may share cameras."
SHARED = "Cameras in more than one of train, validation and test: {count} ({some}). Prepare the data again."
DRAWN = "The images are drawn, not photographs: the numbers show that all works, not what it reaches."
ALONE = "The intervals take every image for itself: where some are alike, as in a burst, they are too narrow."
FOLDS = (
    "The champion, or a model in it, was trained on a fold and has seen validation images: temperature, "
    "views and thresholds, which were chosen there, may be too sure. The test part alone counts."
)
POOLED = (
    "Predictions are pooled over sequences: where an image is predicted without the others of its sequence, "
    "as the server does it, worse is to be expected."
)
ALWAYS = (
    "Temperature, views and champion were chosen on validation: its numbers are flattered by that.",
    "The test speaks of cameras like those in it, not of another region, season or make of camera.",
)


# --- evaluation.json: claims --------------------------------------------------------------------------------


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
    images = f"{test['images']} images{', pooled over their sequences' if _is_pooled(report) else ''}"
    if report.get("task") == "multilabel":
        return [
            f"The champion's micro F1 is {test['micro_f1']:.3f}{_interval(test, 'micro_f1')}, its macro F1 "
            f"{test['macro_f1']:.3f}{_interval(test, 'macro_f1')} and its mean binary log loss "
            f"{test['log_loss']:.3f}{_interval(test, 'log_loss')} {where} ({images})."
        ]
    return [
        f"The champion's log loss is {test['log_loss']:.3f}{_interval(test, 'log_loss')} and its accuracy "
        f"{test['accuracy']:.3f}{_interval(test, 'accuracy')} {where} ({images})."
    ]


def _is_pooled(report: dict[str, Any]) -> bool:
    return bool(report["champion"].get("pool_sequences", False))


def _interval(section: dict[str, Any], metric: str) -> str:
    found = section["intervals"][metric]
    return f" ({found['low']:.3f} to {found['high']:.3f})" if found else ""


def not_claimed(report: dict[str, Any]) -> list[str]:
    """The sentences on what must not be read into it."""
    data, test, validation = report["data"], report["test"], report["validation"]
    absent = [row["class"] for row in test["per_class"] or [] if not row["support"]]
    shared = [ascii_quoted(site) for site in data.get("shared_sites", [])]
    sentences = {
        SHARED.format(count=len(shared), some=some(shared)): shared,
        f"Nothing is known of a test: {test['reason']}.": not test["available"],
        UNSEEN: not data["unseen_sites"],
        DRAWN: data["drawn"],
        FOLDS: report["champion"].get("seen_validation", False),
        POOLED: _is_pooled(report),
        f"The test has no intervals: {test['interval_reason']}.": (
            test["available"] and test["interval_reason"]
        ),
        ALONE: "image" in (test["interval_unit"], validation["interval_unit"]),
        f"Nothing is known of {', '.join(absent)}: no test image shows it.": absent,
    }
    chosen = {
        "views": True,
        "thresholds": report.get("task") == "multilabel",
        "pooling": _is_pooled(report),
    }
    named = ", ".join(name for name, holds in chosen.items() if holds)
    return [
        *(sentence for sentence, holds in sentences.items() if holds),
        *(sentence.replace("views and", f"{named} and") for sentence in ALWAYS),
    ]


def shared_sites(folder: Path, parts: Sequence[str] = ("train", "val", "test")) -> list[str]:
    """The sites that more than one of the `parts` has, each as it is first spelt, sorted.

    None where the data set does not say that its parts share none. A part whose files are not in `folder`
    is passed over: an evaluation needs no train. Raises TraplineError where one is damaged.
    """
    description = open_prepared(folder, parts=()).description
    if not description.split.unseen_sites:
        return []
    present = [
        part
        for part in parts
        if part in description.parts
        and all((folder / file).is_file() for file in description.parts[part].files)
    ]
    prepared = open_prepared(folder, parts=present)
    found = pd.DataFrame(
        [(part, site) for part in present for site in prepared.part(part).table["site"].unique().to_pylist()],
        columns=["part", "site"],
        dtype=object,
    )
    by_key = found.assign(key=pd.Series(keys(found["site"], Kind.SITE), dtype=object)).groupby("key")
    return sorted(by_key["site"].first()[by_key["part"].nunique() > 1])


# --- tables -------------------------------------------------------------------------------------------------


def write_test_predictions(
    path: Path,
    facts: Mapping[str, Sequence[str | None]],
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
) -> None:
    """Write test_predictions.csv; `facts`: id and site, labels (images,), probabilities (images, classes)."""
    rows = (
        [
            identifier or "",
            site or "",
            classes[label],
            classes[int(values.argmax())],
            number(values.max()),
            *map(number, values),
        ]
        for identifier, site, label, values in zip(
            facts["id"], facts["site"], labels, probabilities, strict=True
        )
    )
    write_table(path, [*TEST_COLUMNS, *probability_columns(classes, TEST_COLUMNS)], rows)


def write_test_labels(
    path: Path,
    facts: Mapping[str, Sequence[str | None]],
    predictions: LabelsScored,
    classes: Sequence[str],
) -> None:
    """Write test_predictions.csv of images with several labels: `label` and `predicted` hold them all.

    A decision about a label is as sure as the probability of what was decided. `confidence` is the sureness
    of the surest wrong decision about an image, and where all are right, of the least sure one.
    """
    sureness = np.where(predictions.decided, predictions.probabilities, 1 - predictions.probabilities)
    wrong = predictions.decided != predictions.labels
    surest = np.where(wrong, sureness, 0).max(axis=1)
    confidences = np.where(wrong.any(axis=1), surest, sureness.min(axis=1))
    rows = (
        [
            identifier or "",
            site or "",
            joined(list(compress(classes, true))),
            joined(list(compress(classes, decided))),
            number(confidence),
            *map(number, values),
        ]
        for identifier, site, true, decided, confidence, values in zip(
            facts["id"], facts["site"], predictions.labels, predictions.decided, confidences,
            predictions.probabilities, strict=True,
        )
    )  # fmt: skip
    write_table(path, [*TEST_COLUMNS, *probability_columns(classes, TEST_COLUMNS)], rows)


def probability_columns(classes: Sequence[str], fixed: Sequence[str]) -> list[str]:
    """Names of the probability columns: the classes, with `class_` before one that a `fixed` column has.

    As often as makes it the name of no other column.
    """
    taken, names = {*fixed, *classes}, []
    for name in classes:
        own = name
        if name in fixed:
            while own in taken:
                own = f"class_{own}"
            taken.add(own)
        names.append(own)
    return names


def number(value: float) -> str:
    """A probability for a CSV file: nine significant digits, so that eight classes sum to 1 within 1e-8."""
    return f"{value:.9g}"


def some(names: Sequence[str], limit: int = 3) -> str:
    """The first few of `names`, for a message."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown}, and {len(names) - limit} more"


def remove_stale(folder: Path, names: Sequence[str]) -> None:
    """Remove what an earlier run left in `folder`, so that nothing of it is taken for this one's."""
    for name in names:
        place = folder / name
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)


# --- results.json -------------------------------------------------------------------------------------------


def result_lines(results: dict[str, Any]) -> list[tuple[str, str]]:
    """The results in words: name and text of each, for the log and the report."""
    speed, memory = results["speed"], results["memory"]
    saved = 1 - memory["after"] / memory["before"] if memory["before"] else 0.0
    return [
        ("views' gain", _gain(results["views"])),
        *([("phase gain", _gain(results["phases"]))] if results["phases"] else []),
        (
            "speed-up",
            f"{speed['after'] / speed['before']:.2f} times: {speed['before']:.1f} to {speed['after']:.1f} "
            f"images/s with {speed['views']} views, {speed['precision']} on {speed['device']}, against one "
            "view at a time in fp32",
        ),
        (
            "memory saved",
            f"{saved:.0%}: {memory['before']:.2f} to {memory['after']:.2f} MB kept of each image for the "
            f"backward pass, {memory['precision']} against fp32",
        ),
        *([("int8", int8_sentence(results["int8"]))] if results.get("int8") else []),
    ]


def _gain(pair: dict[str, dict[str, float]]) -> str:
    before, after = pair["before"], pair["after"]
    parts = [
        f"{words} {before[name]:.4f} to {after[name]:.4f} ({after[name] - before[name]:+.4f})"
        for name, words in (("log_loss", "log loss"), ("accuracy", "accuracy"), ("map", "mAP"))
        if name in before
    ]
    return f"{', '.join(parts)} on validation"


def int8_sentence(section: Mapping[str, Any]) -> str:
    """What int8 costs and brings in one sentence; `section` is that of results.json."""
    part = "test" if section["test"] else "validation"
    name, words = ("micro_f1", "micro F1") if "micro_f1" in section[part] else ("accuracy", "accuracy")
    quality, size, speed = section[part][name], section["megabytes"], section["images_per_s"]
    return (
        f"{words} {quality['int8']:.3f} instead of {quality['normal']:.3f} on {part}, "
        f"{size['int8']:.0f} MB instead of {size['normal']:.0f}, "
        f"{speed['int8'] / speed['normal']:.1f} times the images/s of {section['precision']}"
    )
