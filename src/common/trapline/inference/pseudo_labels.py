"""Pseudo-labels: a trained model's guesses about the unlabelled images, the sure ones to be trained on.

Lee, Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks, 2013.
The model looks at the plain image, without augmentation or test-time views, at a temperature fitted on the
validation part. Nothing here reads the labels of the test part.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trapline.cells import write_table
from trapline.channels import ensure_writable
from trapline.config import DEFAULT_THRESHOLD
from trapline.console import progress, table
from trapline.data.prepared import PackedPart, PreparedSet, open_prepared
from trapline.data.pseudo import COLUMNS, LABELS, SUMMARY, conflicts
from trapline.data.transform_input import INDEX, TRANSFORM_FOLDER
from trapline.errors import TraplineError, UsageError
from trapline.inference.predictor import Predictor, load_predictor
from trapline.inference.pseudo_choice import (
    Cap,
    Guesses,
    PrecisionCount,
    choose,
    make_guesses,
    measured_precision,
    precision_thresholds,
)
from trapline.job_options import PseudoLabelOptions
from trapline.models.artefact import read_description
from trapline.models.phase1 import WEIGHTS, opened_artefact
from trapline.scoring.predictions import calibrated, finite_rows
from trapline.scoring.temperature import fit_temperature, image_losses
from trapline.storage import file_digest, write_json
from trapline.tables import read_strings
from trapline.views import PLAIN

NOT_A_NUMBER = "no_finite_output"  # the model's outputs for this image are no numbers
TRANSDUCTIVE = (
    "The unlabelled images are seen in training: predictions about these same images are transductive, "
    "and no measure of what the model does with new ones."
)


@dataclass(frozen=True)
class Policy:
    """What is accepted: from a `threshold` on, or from where validation shows the `target_precision`.

    `at_least`: validation guesses of a class that a threshold for the target must rest on.
    """

    threshold: float = DEFAULT_THRESHOLD
    target_precision: float | None = None
    at_least: int = 20
    cap: Cap = field(default_factory=Cap)

    @classmethod
    def from_options(cls, options: PseudoLabelOptions) -> "Policy":
        """The policy that pseudo_label.py's options ask for."""
        cap = options.cap_per_class
        return cls(
            threshold=DEFAULT_THRESHOLD if options.threshold is None else options.threshold,
            target_precision=options.target_precision,
            at_least=options.at_least,
            cap=Cap(share=cap) if isinstance(cap, float) else Cap(images=cap),
        )


@dataclass(frozen=True)
class Made:
    """The outcome: thresholds (classes,), validation precision by class, guesses about the unlabelled images.

    `reasons` (unlabelled images,) says why a guess is not accepted, or nothing.
    """

    temperature: float
    log_loss: float  # on validation, at the temperature
    log_loss_before: float
    thresholds: np.ndarray
    precision: list[PrecisionCount]
    guesses: Guesses
    reasons: list[str]


def make_pseudo_labels(prepared_folder: Path, model: Path, output: Path, policy: Policy) -> None:
    """Write pseudo_labels.csv and pseudo_labels.json to `output` and print a table of counts.

    `model` is an artefact's folder or archive. Raises UsageError for images or a model of several labels,
    TraplineError when the model and the set do not go
    together, there is no validation image, or a file is missing or damaged.
    """
    ensure_writable(output)
    prepared = open_prepared(prepared_folder)
    _check_task(prepared.description.task, prepared_folder, "its images have")
    with opened_artefact(model) as folder:
        _check_task(read_description(folder).task, model, "it gives an image")
        images = sum(len(prepared.part(name)) for name in ("val", "unlabeled"))
        predictor = load_predictor(folder, views=[PLAIN], images=images)
        digest = file_digest(folder / WEIGHTS)
    _check_model(predictor, prepared)
    made = _make(predictor, prepared, policy)
    rows = _rows(prepared, made)
    (output / SUMMARY).unlink(missing_ok=True)  # what is there while the table is written is no whole pair
    _write_table(output / LABELS, rows)
    write_json(output / SUMMARY, _summary(output, prepared, predictor, digest, policy, made, rows))
    _report(output, prepared, made, rows)


def _check_task(task: str, place: Path, who: str) -> None:
    if task == "multilabel":
        raise UsageError(
            f"{place}: {who} several labels; pseudo-labels are made of one label an image. Train once, "
            "without --pseudo; or serve the unlabelled images, check the labels, and prepare them as labelled"
        )


def _check_model(predictor: Predictor, prepared: PreparedSet) -> None:
    model, described = predictor.description, prepared.description
    if model.classes != described.classes:
        raise TraplineError(
            f"{prepared.folder}: its classes are {', '.join(described.classes[:4])}, ..., those of the model "
            f"{', '.join(model.classes[:4])}, ...; names and order must be the same"
        )
    different = [
        name
        for name in described.pixels
        if name != "short_side" and model.pixels.get(name) != described.pixels[name]
    ]
    if different:
        raise TraplineError(
            f"{prepared.folder}: made with another {', '.join(different)} than the images that the model "
            "was trained on; prepare the data with the same options"
        )
    if model.data_fingerprint != described.fingerprint:
        print(
            "note: the model was trained on another prepared set; where it has seen validation images of "
            "this one, temperature and precision say too much",
            flush=True,
        )


def _make(predictor: Predictor, prepared: PreparedSet, policy: Policy) -> Made:
    val = prepared.part("val")
    logits = part_logits(predictor, val, "validation")
    temperature = fit_temperature(logits, val.labels)
    on_val = make_guesses(calibrated(logits, temperature))
    thresholds = _thresholds(policy, on_val, val.labels, len(predictor.classes))
    unlabeled = part_logits(predictor, prepared.part("unlabeled"), "unlabelled")
    finite = finite_rows(unlabeled)
    forbidden = [
        reason if known else NOT_A_NUMBER for reason, known in zip(conflicts(prepared), finite, strict=True)
    ]
    guesses = make_guesses(calibrated(np.where(finite[:, None], unlabeled, 0), temperature))
    return Made(
        temperature=temperature,
        log_loss=float(image_losses(logits, val.labels, temperature).mean()),
        log_loss_before=float(image_losses(logits, val.labels).mean()),
        thresholds=thresholds,
        precision=measured_precision(on_val, val.labels, thresholds),
        guesses=guesses,
        reasons=choose(guesses, thresholds, policy.cap, forbidden),
    )


def _thresholds(policy: Policy, guesses: Guesses, truth: np.ndarray, classes: int) -> np.ndarray:
    if policy.target_precision is None:
        return np.full(classes, policy.threshold)
    return precision_thresholds(guesses, truth, classes, policy.target_precision, policy.at_least)


def part_logits(predictor: Predictor, part: PackedPart, name: str) -> np.ndarray:
    """The model's logits for the images of a part in their order, float32 (images, classes).

    Raises TraplineError for an image that cannot be decoded.
    """
    pixels = (part.pixels(row) for row in range(len(part)))
    return predictor.logits(progress(pixels, f"predicting {name}", len(part)))


def _rows(prepared: PreparedSet, made: Made) -> list[list[Any]]:
    """The rows of the table: one for each row of the index of unlabelled images, in its order."""
    path = prepared.folder / TRANSFORM_FOLDER / INDEX
    index = read_strings(path, ["id", "reason"], exact=None)
    inputs = list(zip(index["id"], index["reason"], strict=True))
    names = prepared.part("unlabeled").table["id"].to_pylist()
    packed = [name for name, reason in inputs if not reason]
    if sorted(packed) != sorted(names):
        raise TraplineError(f"{path}: names other images than the part unlabeled; prepare the data again")
    places = {name: row for row, name in enumerate(names)}
    classes = prepared.description.classes
    return [
        [name, "", "", "", "false", reason] if reason else _row(name, places[name], classes, made)
        for name, reason in inputs
    ]


def _row(name: str, place: int, classes: list[str], made: Made) -> list[Any]:
    reason = made.reasons[place]
    if reason == NOT_A_NUMBER:
        return [name, "", "", "", "false", reason]
    label, confidence = int(made.guesses.labels[place]), float(made.guesses.confidences[place])
    return [name, classes[label], label, confidence, "false" if reason else "true", reason]


def _write_table(path: Path, rows: list[list[Any]]) -> None:
    write_table(path, COLUMNS, rows)


def _summary(
    output: Path,
    prepared: PreparedSet,
    predictor: Predictor,
    digest: str,
    policy: Policy,
    made: Made,
    rows: list[list[Any]],
) -> dict[str, Any]:
    """What pseudo_labels.json holds; a threshold of null accepts nothing."""
    model = predictor.description
    return {
        "format_version": 1,
        "temperature": made.temperature,
        "threshold": policy.threshold if policy.target_precision is None else None,
        "target_precision": policy.target_precision,
        "at_least": policy.at_least if policy.target_precision is not None else None,
        "cap_per_class": {"images": policy.cap.images, "share": policy.cap.share},
        "classes": _by_class(predictor.classes, made, rows),
        "counts": {
            "images": len(rows),
            "accepted": sum(row[4] == "true" for row in rows),
            "reasons": dict(Counter(row[5] for row in rows if row[5]).most_common()),
        },
        "validation": {
            "images": len(prepared.part("val")),
            "log_loss": made.log_loss,
            "log_loss_before_temperature": made.log_loss_before,
            **_as_json(_together(made.precision)),
        },
        "labels_sha256": file_digest(output / LABELS),
        "data_fingerprint": prepared.description.fingerprint,
        "model": {
            "sha256": digest,
            "data_fingerprint": model.data_fingerprint,
            "training_job": model.training_job,
            "architecture": model.architecture,
            "views": list(predictor.views),
        },
        "note": TRANSDUCTIVE,
    }


def _by_class(classes: list[str], made: Made, rows: list[list[Any]]) -> dict[str, dict[str, Any]]:
    guessed = Counter(row[1] for row in rows)
    accepted = Counter(row[1] for row in rows if row[4] == "true")
    return {
        name: {
            "threshold": float(made.thresholds[label]) if np.isfinite(made.thresholds[label]) else None,
            "guessed": guessed[name],
            "accepted": accepted[name],
            "validation": _as_json(made.precision[label]),
        }
        for label, name in enumerate(classes)
    }


def _as_json(precision: PrecisionCount) -> dict[str, Any]:
    return {"accepted": precision.images, "right": precision.right, "precision": precision.value}


def _together(by_class: list[PrecisionCount]) -> PrecisionCount:
    return PrecisionCount(sum(item.images for item in by_class), sum(item.right for item in by_class))


def _report(output: Path, prepared: PreparedSet, made: Made, rows: list[list[Any]]) -> None:
    header = ["class", "threshold", "guessed", "accepted", "precision on validation"]
    lines = [
        [
            name,
            "none" if facts["threshold"] is None else f"{facts['threshold']:.3f}",
            str(facts["guessed"]),
            str(facts["accepted"]),
            "{right} of {accepted}".format(**facts["validation"]),
        ]
        for name, facts in _by_class(prepared.description.classes, made, rows).items()
    ]
    print(table(header, lines))
    reasons = Counter(row[5] for row in rows if row[5]).most_common()
    print(
        f"temperature {made.temperature:.3f}: log loss on validation {made.log_loss_before:.4f} -> "
        f"{made.log_loss:.4f}"
    )
    print(
        f"{len(rows)} unlabelled images, {sum(row[4] == 'true' for row in rows)} accepted"
        + (f" (not: {', '.join(f'{count} {reason}' for reason, count in reasons)})" if reasons else "")
    )
    print(f"pseudo-labels: {output / LABELS}", flush=True)
