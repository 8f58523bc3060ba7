"""What is chosen on validation, and on nothing else: views, temperature, thresholds and the champion.

Where an image may have several labels, labels are 0 or 1, (images, classes), and the log loss is the mean
binary one. The thresholds of the labels come last, on the logits averaged over the views and at the
temperature: calibrating alone changes no decision, for the thresholds go along with the probabilities.

At the end stands the champion's artefact: the model.tar.gz of its phase, with what was chosen in its
model.json.
"""

import gzip
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, logit

from trapline.console import progress
from trapline.data.prepared import DatasetDescription, PackedPart
from trapline.errors import TraplineError, refuse_any
from trapline.evaluation.measured import MIN_CLUSTERS, Clusters, Interval, Resampling, paired_difference
from trapline.inference.predictor import (
    DEFAULT_LABEL_THRESHOLD,
    Averaging,
    Predictor,
    average_views,
    thresholds_of,
)
from trapline.learning import Task
from trapline.models.artefact import DESCRIPTION, ModelDescription, read_description
from trapline.scoring.predictions import (
    Predictions,
    cross_fitted_temperatures,
    finite_rows,
    fit_temperature,
    image_losses,
    is_at_bound,
    tuned_thresholds,
)
from trapline.storage import STORED, atomic_file
from trapline.unpacking import FILE_MODE

BATCH = 64  # images
MARGIN = 0.002  # of log loss: what a further view must gain, for it makes every answer dearer
PHASE_1, PHASE_2 = "phase1", "phase2"


# --- a model's outputs, view by view, and the truth ---------------------------------------------------------


@dataclass(frozen=True)
class ViewLogits:
    """logits: float32 (images, views, classes); averaging: of "logits" or of "probabilities"."""

    logits: np.ndarray
    views: tuple[str, ...]
    averaging: Averaging
    task: Task = "multiclass"

    def averaged(self, views: Sequence[str]) -> np.ndarray:
        """The logits over some of the views, float32 (images, classes), as the model will average them."""
        chosen = [self.views.index(view) for view in views]
        return average_views(self.logits[:, chosen], self.averaging, self.task)


def truth(part: PackedPart, data: DatasetDescription) -> np.ndarray:
    """The labels of a part: class indices, (images,); for several labels 0 and 1, (images, classes)."""
    return part.label_matrix(len(data.classes)) if data.task == "multilabel" else part.labels


def view_logits(predictor: Predictor, part: PackedPart, doing: str) -> ViewLogits:
    """The outputs over a part, in its order, in the predictor's views; `doing` names it in the progress.

    Raises TraplineError naming the image that is damaged, or whose outputs are not finite.
    """
    blocks = []
    for start in progress(range(0, len(part), BATCH), doing, -(-len(part) // BATCH), "batches"):
        rows = range(start, min(start + BATCH, len(part)))
        block = predictor.view_logits([part.pixels(row) for row in rows])
        bad = np.flatnonzero(~finite_rows(block.reshape(len(block), -1)))
        if len(bad):
            raise TraplineError(
                f"{part.name(start + int(bad[0]))}: the model's outputs are no finite numbers; "
                "train it anew, in fp32"
            )
        blocks.append(block)
    described = predictor.description
    return ViewLogits(np.concatenate(blocks), predictor.views, described.averaging, described.task)


# --- the choices --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """What one model is used with, and how it does on validation.

    steps: for the record, the views tried and their log loss. losses: of each validation image, (images,), at
    temperatures that were fitted on other sites than its own. first_view_logits, first_view_losses: the same
    with the first view alone, the plain one where it is among them. thresholds: from which probability each
    class is a label, where an image may have several.
    """

    views: list[str]
    temperature: float
    logits: np.ndarray
    losses: np.ndarray
    steps: list[dict[str, Any]]
    first_view_logits: np.ndarray
    first_view_losses: np.ndarray
    thresholds: list[float] | None = None

    def record(self) -> dict[str, Any]:
        """What evaluation.json says of it."""
        return {
            "views": self.views,
            "temperature": self.temperature,
            "temperature_at_bound": is_at_bound(self.temperature),
            "thresholds": self.thresholds,
            "view_selection": self.steps,
            "cross_fitted_log_loss": float(self.losses.mean()),
        }


def choose(outputs: ViewLogits, labels: np.ndarray, clusters: Clusters, greedy: bool) -> Choice:
    """Choose views and temperature for the outputs on validation, labels of either kind.

    `greedy`: begin with the first view and add, one at a time, the one that lowers the log loss most, as long
    as it gains more than MARGIN; otherwise all views are taken. Losses are compared at temperatures fitted on
    other sites, so that neither the temperature nor a single site decides.
    """
    first = outputs.views[:1]
    views = first if greedy else outputs.views
    tried = {views: _cross_fitted_losses(outputs, views, labels, clusters)}
    while greedy and len(views) < len(outputs.views):
        trials = {
            (*views, view): _cross_fitted_losses(outputs, (*views, view), labels, clusters)
            for view in outputs.views
            if view not in views
        }
        tried |= trials
        best = min(trials, key=lambda trial: trials[trial].mean())
        if tried[views].mean() - trials[best].mean() <= MARGIN:
            break
        views = best
    logits = outputs.averaged(views)
    return Choice(
        views=list(views),
        temperature=fit_temperature(logits, labels),
        logits=logits,
        losses=tried[views],
        steps=[{"views": list(each), "log_loss": float(losses.mean())} for each, losses in tried.items()],
        first_view_logits=outputs.averaged(first),
        first_view_losses=_cross_fitted_losses(outputs, first, labels, clusters),
    )


def _cross_fitted_losses(
    outputs: ViewLogits, views: Sequence[str], labels: np.ndarray, clusters: Clusters
) -> np.ndarray:
    logits = outputs.averaged(views)
    return image_losses(logits, labels, cross_fitted_temperatures(logits, labels, clusters.numbers))


def choose_thresholds(
    logits: np.ndarray, labels: np.ndarray, temperature: float, description: ModelDescription
) -> list[float] | None:
    """The threshold of each class at `temperature` for logits and labels, both (images, classes).

    Those with the best F1 score of their class here; where the model was trained with fixed ones
    (`tune_thresholds` false), these, moved along with the temperature. None for one label an image.
    """
    own, settings = thresholds_of(description), description.configuration
    if own is None:
        return None
    if settings.get("tune_thresholds", True):
        usual = moved(settings.get("threshold", DEFAULT_LABEL_THRESHOLD), 1.0, temperature)
        found = tuned_thresholds(Predictions(logits / temperature, labels), float(usual))
    else:
        found = moved(own, description.temperature, temperature)
    return [float(each) for each in found]


def moved(thresholds: float | np.ndarray, before: float, after: float) -> np.ndarray:
    """The thresholds at the temperature `after` that decide as `thresholds` do at `before`."""
    return np.asarray(expit(logit(thresholds) * before / after))


@dataclass(frozen=True)
class ChampionChoice:
    """Which phase is the champion, and why. difference: Phase 2's log loss minus Phase 1's, on validation."""

    phase: str
    reason: str
    difference: float | None = None
    interval: Interval | None = None


def choose_champion(
    first: Choice, second: Choice | None, clusters: Clusters, resampling: Resampling
) -> ChampionChoice:
    """Phase 2 only where it is better on validation beyond chance, by a paired bootstrap; else Phase 1."""
    if second is None:
        return ChampionChoice(PHASE_1, "there is no Phase 2 to compare with")
    difference = float((second.losses - first.losses).mean())
    interval = paired_difference(first.losses, second.losses, clusters.numbers, resampling)
    if interval is None:
        return ChampionChoice(
            PHASE_1,
            f"validation has {clusters.counted}, fewer than {MIN_CLUSTERS}: no interval can be "
            "given, and without one Phase 1 stays",
            difference,
        )
    shown = (
        f"Phase 2's log loss on validation differs by {difference:+.4f} "
        f"({resampling.confidence:.0%} interval over {clusters.counted}: "
        f"{interval.low:+.4f} to {interval.high:+.4f})"
    )
    if interval.high < 0:
        return ChampionChoice(PHASE_2, f"{shown}: better beyond chance", difference, interval)
    verdict = "worse beyond chance" if interval.low > 0 else "no difference beyond chance"
    return ChampionChoice(PHASE_1, f"{shown}: {verdict}, Phase 1 stays", difference, interval)


# --- artefacts ----------------------------------------------------------------------------------------------


def described(
    artefact: Path, shown_as: Path, classes: Sequence[str], fingerprint: str, task: str = "multiclass"
) -> ModelDescription:
    """The description of an artefact that was trained on the data set of `classes` and `fingerprint`.

    Raises TraplineError where it was not: a model that was trained on another division of the images may have
    seen what it is to be measured on.
    """
    if not (artefact / DESCRIPTION).is_file():
        raise TraplineError(f"{shown_as}: holds no {DESCRIPTION}; give the model of a training job")
    description = read_description(artefact)
    refusals = (
        (
            description.classes != list(classes),
            f"{shown_as}: its classes ({', '.join(description.classes)}) are not those of the data set "
            f"({', '.join(classes)}); train it on this one",
        ),
        (
            description.task != task,
            f"{shown_as}: its task is {description.task}, that of the data set {task}; train it on this one",
        ),
        (
            description.data_fingerprint != fingerprint,
            f"{shown_as}: was trained on another data set ({description.data_fingerprint[:12]}, here "
            f"{fingerprint[:12]}); it may have seen what it is to be measured on: train it on this one",
        ),
    )
    refuse_any(refusals, TraplineError)
    return description


def with_choices(
    description: ModelDescription,
    *,
    temperature: float,
    views: Sequence[str],
    thresholds: Sequence[float] | None = None,
    pool_sequences: bool = False,
) -> ModelDescription:
    """The description with other choices, checked as one that is read."""
    return ModelDescription.model_validate(
        {
            **description.model_dump(mode="json"),
            "temperature": temperature,
            "views": list(views),
            "thresholds": thresholds,
            "pool_sequences": pool_sequences,
        }
    )


def write_champion(artefact: Path, description: ModelDescription, target: Path) -> None:
    """Write the files of the folder `artefact` as the tar.gz `target`, with `description` as its model.json.

    All other files go in bit for bit. The archive is the same for the same content, and appears whole or not
    at all; model.json comes first in it, so that it is read without the weights.
    """
    files = [
        path for path in sorted(artefact.rglob("*")) if path.is_file() and path != artefact / DESCRIPTION
    ]
    content = description.model_dump(mode="json")
    encoded = f"{json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)}\n".encode()
    with (
        atomic_file(target) as file,
        gzip.GzipFile(filename="", mode="wb", compresslevel=STORED, fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        archive.addfile(_member(DESCRIPTION, len(encoded)), io.BytesIO(encoded))
        for path in files:
            with path.open("rb") as source:
                archive.addfile(_member(path.relative_to(artefact).as_posix(), path.stat().st_size), source)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, FILE_MODE
    return member
