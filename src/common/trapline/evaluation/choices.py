"""What is chosen on validation, and on nothing else: views, temperature, thresholds and the champion.

Where an image may have several labels, labels are 0 or 1, (images, classes), and the log loss is the mean
binary one. The thresholds of the labels come last, on the logits averaged over the views and at the
temperature: calibrating alone changes no decision, for the thresholds go along with the probabilities.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit

from trapline.evaluation.bootstrap import MIN_CLUSTERS, Interval, Resampling, paired_difference
from trapline.evaluation.clusters import Clusters
from trapline.evaluation.outputs import ViewLogits
from trapline.inference.predictor import DEFAULT_LABEL_THRESHOLD, thresholds_of
from trapline.models.artefact import ModelDescription
from trapline.scoring.multilabel import tuned_thresholds
from trapline.scoring.predictions import Predictions
from trapline.scoring.temperature import (
    cross_fitted_temperatures,
    fit_temperature,
    image_losses,
    is_at_bound,
)

MARGIN = 0.002  # of log loss: what a further view must gain, for it makes every answer dearer
PHASE_1, PHASE_2 = "phase1", "phase2"


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
    views = list(outputs.views[:1] if greedy else outputs.views)
    losses = _cross_fitted_losses(outputs, views, labels, clusters)
    steps = [_step(views, losses)]
    while greedy and len(views) < len(outputs.views):
        trials = {
            view: _cross_fitted_losses(outputs, [*views, view], labels, clusters)
            for view in outputs.views
            if view not in views
        }
        steps += [_step([*views, view], tried) for view, tried in trials.items()]
        best = min(trials, key=lambda view: trials[view].mean())
        if losses.mean() - trials[best].mean() <= MARGIN:
            break
        views, losses = [*views, best], trials[best]
    logits, first = outputs.averaged(views), outputs.views[:1]
    alone = _cross_fitted_losses(outputs, first, labels, clusters)
    temperature = fit_temperature(logits, labels)
    return Choice(views, temperature, logits, losses, steps, outputs.averaged(first), alone)


def choose_thresholds(
    logits: np.ndarray, labels: np.ndarray, temperature: float, description: ModelDescription
) -> list[float] | None:
    """The threshold of each class at `temperature` for logits and labels, both (images, classes).

    Those with the best F1 score of their class here; where the model was trained with fixed ones
    (`tune_thresholds` false), these, moved along with the temperature. None for one label an image.
    """
    own = thresholds_of(description)
    if own is None:
        return None
    settings = description.configuration
    if not settings.get("tune_thresholds", True):
        return [float(each) for each in moved(own, description.temperature, temperature)]
    usual = moved(settings.get("threshold", DEFAULT_LABEL_THRESHOLD), 1.0, temperature)
    tuned = tuned_thresholds(Predictions(logits / temperature, labels), float(usual))
    return [float(each) for each in tuned]


def moved(thresholds: float | np.ndarray, before: float, after: float) -> np.ndarray:
    """The thresholds at the temperature `after` that decide as `thresholds` do at `before`."""
    return np.asarray(expit(logit(thresholds) * before / after))


def _cross_fitted_losses(
    outputs: ViewLogits, views: Sequence[str], labels: np.ndarray, clusters: Clusters
) -> np.ndarray:
    logits = outputs.averaged(views)
    return image_losses(logits, labels, cross_fitted_temperatures(logits, labels, clusters.numbers))


def _step(views: list[str], losses: np.ndarray) -> dict[str, Any]:
    return {"views": views, "log_loss": float(losses.mean())}


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
        reason = (
            f"validation has {clusters.counted}, fewer than {MIN_CLUSTERS}: no interval can be "
            "given, and without one Phase 1 stays"
        )
        return ChampionChoice(PHASE_1, reason, difference)
    shown = (
        f"Phase 2's log loss on validation differs by {difference:+.4f} "
        f"({resampling.confidence:.0%} interval over {clusters.counted}: "
        f"{interval.low:+.4f} to {interval.high:+.4f})"
    )
    if interval.high < 0:
        return ChampionChoice(PHASE_2, f"{shown}: better beyond chance", difference, interval)
    verdict = "worse beyond chance" if interval.low > 0 else "no difference beyond chance"
    return ChampionChoice(PHASE_1, f"{shown}: {verdict}, Phase 1 stays", difference, interval)
