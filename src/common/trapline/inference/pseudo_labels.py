"""Pseudo-labels: a trained model's guesses about the unlabelled images, the sure ones to be trained on.

Lee, Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks, 2013.
The model looks at the plain image, without augmentation or test-time views, at a temperature fitted on the
validation part. Nothing here reads the labels of the test part.

Which guesses are sure enough is decided by class: a threshold on the calibrated confidence, given or found on
validation for a precision, and a cap, so that the easy classes do not crowd out the others (class-balanced
self-training: Zou et al., Unsupervised Domain Adaptation for Semantic Segmentation via Class-Balanced
Self-Training, 2018).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trapline.augmentation import PLAIN
from trapline.config import DEFAULT_THRESHOLD
from trapline.console import progress, table
from trapline.data.parts import COLUMNS, LABELS, SUMMARY, conflicts
from trapline.data.prepared import PackedPart, PreparedSet, open_prepared
from trapline.data.quarantine import INDEX, TRANSFORM_FOLDER
from trapline.errors import TraplineError, UsageError
from trapline.inference.predictor import Predictor, load_predictor
from trapline.job_contract import ensure_writable, prepare_option
from trapline.job_options import PseudoLabelOptions
from trapline.models.artefact import WEIGHTS, opened_artefact, read_description
from trapline.scoring.predictions import calibrated, finite_rows, fit_temperature, image_losses
from trapline.storage import file_digest, write_json, write_table
from trapline.tables import read_strings

NOT_A_NUMBER = "no_finite_output"  # the model's outputs for this image are no numbers


@dataclass(frozen=True)
class Guesses:
    """The likeliest class of each image and its probability: int64 (images,) and float64 (images,)."""

    labels: np.ndarray
    confidences: np.ndarray


@dataclass(frozen=True)
class Made:
    """The outcome: thresholds (classes,), validation precision by class, guesses about the unlabelled images.

    `threshold` is that of all classes; None where each has its own, for a precision. `precision`: how many
    guesses there are from the threshold on, and how many of them are right. `reasons` (unlabelled images,)
    says why a guess is not accepted, or nothing.
    """

    temperature: float
    log_loss: float  # on validation, at the temperature
    log_loss_before: float
    threshold: float | None
    thresholds: np.ndarray
    precision: list[tuple[int, int]]
    guesses: Guesses
    reasons: list[str]


def make_pseudo_labels(options: PseudoLabelOptions) -> None:
    """Write pseudo_labels.csv and pseudo_labels.json to the output folder and print a table of counts.

    The model is an artefact's folder or archive. Raises UsageError for images or a model of several labels,
    TraplineError when the model and the set do not go together, there is no validation image, or a file is
    missing or damaged.
    """
    model, output = Path(options.model), Path(options.output)
    ensure_writable(output)
    prepared = open_prepared(Path(options.prepared))
    _check_task(prepared.description.task, prepared.folder, "its images have")
    with opened_artefact(model) as folder:
        _check_task(read_description(folder).task, model, "it gives an image")
        predictor = load_predictor(
            folder, views=[PLAIN], images=sum(len(prepared.part(name)) for name in ("val", "unlabeled"))
        )
        digest = file_digest(folder / WEIGHTS)
    _check_model(predictor, prepared)
    made = _make(predictor, prepared, options)
    rows = _rows(prepared, made)
    (output / SUMMARY).unlink(missing_ok=True)  # what is there while the table is written is no whole pair
    write_table(output / LABELS, COLUMNS, rows)
    summary = _summary(predictor, prepared, options, made, rows, digest)
    write_json(output / SUMMARY, summary)
    _report(output, summary)


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
    if model.other_line(described.split.line):
        print(
            "note: the model was trained under another division of the cameras, and may have seen cameras of "
            "this set's validation and test; prepare the data with its division "
            f"({prepare_option('division', 'DIR')})",
            flush=True,
        )
    if model.data_fingerprint != described.fingerprint:
        print(
            "note: the model was trained on another prepared set; where it has seen validation images of "
            "this one, temperature and precision say too much",
            flush=True,
        )


def _make(predictor: Predictor, prepared: PreparedSet, options: PseudoLabelOptions) -> Made:
    val = prepared.part("val")
    logits = part_logits(predictor, val, "validation")
    temperature = fit_temperature(logits, val.labels)
    on_val = make_guesses(calibrated(logits, temperature))
    classes, target = len(predictor.classes), options.target_precision
    threshold = DEFAULT_THRESHOLD if options.threshold is None else options.threshold
    thresholds = (
        np.full(classes, threshold)
        if target is None
        else precision_thresholds(on_val, val.labels, classes, target, options.min_guesses)
    )
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
        threshold=threshold if target is None else None,
        thresholds=thresholds,
        precision=measured_precision(on_val, val.labels, thresholds),
        guesses=guesses,
        reasons=choose(guesses, thresholds, options.cap_per_class, forbidden),
    )


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
    if sorted(name for name, reason in inputs if not reason) != sorted(names):
        raise TraplineError(f"{path}: names other images than the part unlabeled; prepare the data again")
    classes, none = prepared.description.classes, ["", "", "", "false"]
    guesses = zip(
        names, made.guesses.labels.tolist(), made.guesses.confidences.tolist(), made.reasons, strict=True
    )
    guessed = {
        name: [*none, reason]
        if reason == NOT_A_NUMBER
        else [classes[label], label, confidence, "false" if reason else "true", reason]
        for name, label, confidence, reason in guesses
    }
    return [[name, *([*none, reason] if reason else guessed[name])] for name, reason in inputs]


def _summary(
    predictor: Predictor,
    prepared: PreparedSet,
    options: PseudoLabelOptions,
    made: Made,
    rows: list[list[Any]],
    digest: str,
) -> dict[str, Any]:
    """What pseudo_labels.json holds; a threshold of null accepts nothing."""
    model, cap = predictor.description, options.cap_per_class
    guessed = Counter(row[1] for row in rows)
    accepted = Counter(row[1] for row in rows if row[4] == "true")
    classes = {
        name: {
            "threshold": float(made.thresholds[label]) if np.isfinite(made.thresholds[label]) else None,
            "guessed": guessed[name],
            "accepted": accepted[name],
            "validation": precision_record(*made.precision[label]),
        }
        for label, name in enumerate(predictor.classes)
    }
    return {
        "format_version": 1,
        "temperature": made.temperature,
        "threshold": made.threshold,
        "target_precision": options.target_precision,
        "min_guesses": None if options.target_precision is None else options.min_guesses,
        "cap_per_class": {
            "images": None if isinstance(cap, float) else cap,
            "share": cap if isinstance(cap, float) else None,
        },
        "classes": classes,
        "counts": {
            "images": len(rows),
            "accepted": accepted.total(),
            "reasons": dict(Counter(row[5] for row in rows if row[5]).most_common()),
        },
        "validation": {
            "images": len(prepared.part("val")),
            "log_loss": made.log_loss,
            "log_loss_before_temperature": made.log_loss_before,
            **precision_record(*map(sum, zip(*made.precision, strict=True))),
        },
        "labels_sha256": file_digest(Path(options.output) / LABELS),
        "data_fingerprint": prepared.description.fingerprint,
        "model": {
            "sha256": digest,
            "data_fingerprint": model.data_fingerprint,
            "training_job": model.training_job,
            "architecture": model.architecture,
            "views": list(predictor.views),
        },
        "note": "The unlabelled images are seen in training: predictions about these same images are "
        "transductive, and no measure of what the model does with new ones.",
    }


def _report(output: Path, summary: dict[str, Any]) -> None:
    lines = [
        [
            name,
            "none" if facts["threshold"] is None else f"{facts['threshold']:.3f}",
            str(facts["guessed"]),
            str(facts["accepted"]),
            "{right} of {accepted}".format(**facts["validation"]),
        ]
        for name, facts in summary["classes"].items()
    ]
    print(table(["class", "threshold", "guessed", "accepted", "precision on validation"], lines))
    counts, validation = summary["counts"], summary["validation"]
    print(
        f"temperature {summary['temperature']:.3f}: log loss on validation "
        f"{validation['log_loss_before_temperature']:.4f} -> {validation['log_loss']:.4f}"
    )
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts["reasons"].items())
    print(
        f"{counts['images']} unlabelled images, {counts['accepted']} accepted"
        + (f" (not: {reasons})" if reasons else "")
    )
    print(f"pseudo-labels: {output / LABELS}", flush=True)


def make_guesses(probabilities: np.ndarray) -> Guesses:
    """From float (images, classes); the first of equal probabilities wins."""
    # Confidences are compared as they are written.
    return Guesses(probabilities.argmax(axis=1), probabilities.max(axis=1).round(6))


def precision_thresholds(
    guesses: Guesses, truth: np.ndarray, classes: int, target: float, min_guesses: int
) -> np.ndarray:
    """For each class the lowest confidence from which its guesses are right often enough, float64 (classes,).

    `truth` are the classes of the validation images, int64 (images,). Often enough: a share `target` of at
    least `min_guesses` guesses; infinity where no threshold brings that.
    """
    thresholds = np.full(classes, np.inf)
    for label in range(classes):
        own = guesses.labels == label
        order = np.argsort(-guesses.confidences[own], kind="stable")
        confidences = guesses.confidences[own][order]
        right = np.cumsum(truth[own][order] == label)
        counts = np.arange(1, len(confidences) + 1)
        # Equal confidences are accepted together: only the last of them is a possible threshold.
        last = np.append(confidences[1:] < confidences[:-1], True)[: len(confidences)]
        good = np.flatnonzero(last & (counts >= min_guesses) & (right >= target * counts))
        if len(good):
            thresholds[label] = confidences[good[-1]]
    return thresholds


def measured_precision(guesses: Guesses, truth: np.ndarray, thresholds: np.ndarray) -> list[tuple[int, int]]:
    """For each class its guesses at or above its threshold, and how many of them are right."""
    accepted = guesses.confidences >= thresholds[guesses.labels]
    right = accepted & (guesses.labels == truth)
    counts, hits = (
        np.bincount(guesses.labels[rows], minlength=len(thresholds)).tolist() for rows in (accepted, right)
    )
    return list(zip(counts, hits, strict=True))


def precision_record(accepted: int, right: int) -> dict[str, Any]:
    """As pseudo_labels.json has it; the precision is None where there is no such guess."""
    return {"accepted": accepted, "right": right, "precision": right / accepted if accepted else None}


def within_cap(guesses: int, cap: int | float | None) -> int:
    """How many of `guesses` of one class may be accepted under a `cap`: so many, or such a share of them."""
    if isinstance(cap, float):
        return int(cap * guesses + 1e-9)
    return guesses if cap is None else min(cap, guesses)


def choose(
    guesses: Guesses, thresholds: np.ndarray, cap: int | float | None, forbidden: Sequence[str]
) -> list[str]:
    """For each image why its guess is not accepted; an empty text where it is, (images,).

    `thresholds` (classes,): infinity accepts nothing. `forbidden` (images,): a reason that no confidence
    outweighs, or an empty text. Under the cap (`within_cap`) the surest stay; of equally sure ones the first.
    """
    given = np.array(forbidden, dtype=object)
    limits = thresholds[guesses.labels]
    below = np.where(np.isfinite(limits), "below_threshold", "precision_not_reached").astype(object)
    reasons = np.where((given == "") & (guesses.confidences < limits), below, given)
    for label in range(len(thresholds)):
        own = guesses.labels == label
        passing = np.flatnonzero(own & (reasons == ""))
        surest = passing[np.argsort(-guesses.confidences[passing], kind="stable")]
        reasons[surest[within_cap(int(own.sum()), cap) :]] = "over_cap"
    return reasons.tolist()
