"""What is chosen on validation, and on nothing else: the views, the temperature and the champion."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.inference.temperature import (
    cross_fitted_temperatures,
    fit_temperature,
    image_losses,
    is_at_bound,
)
from common.reports.bootstrap import FEWEST_CLUSTERS, Interval, Resampling, paired_difference
from common.reports.clusters import Clusters
from common.reports.outputs import ViewLogits

MARGIN = 0.002  # of log loss: what a further view must gain, for it makes every answer dearer
PHASE_1, PHASE_2 = "phase1", "phase2"


@dataclass(frozen=True)
class Choice:
    """What one model is used with, and how it does on validation.

    steps: for the record, the views tried and their log loss. losses: of each validation image, (images,), at
    temperatures that were fitted on other sites than its own. first_view_logits, first_view_losses: the same
    with the first view alone, the plain one where it is among them.
    """

    views: list[str]
    temperature: float
    logits: np.ndarray
    losses: np.ndarray
    steps: list[dict[str, Any]]
    first_view_logits: np.ndarray
    first_view_losses: np.ndarray

    def record(self) -> dict[str, Any]:
        """What evaluation.json says of it."""
        return {
            "views": self.views,
            "temperature": self.temperature,
            "temperature_at_bound": is_at_bound(self.temperature),
            "view_selection": self.steps,
            "cross_fitted_log_loss": float(self.losses.mean()),
        }


def choose(outputs: ViewLogits, labels: np.ndarray, clusters: Clusters, greedy: bool) -> Choice:
    """Choose views and temperature for the outputs on validation, labels (images,).

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


def _cross_fitted_losses(
    outputs: ViewLogits, views: Sequence[str], labels: np.ndarray, clusters: Clusters
) -> np.ndarray:
    logits = outputs.averaged(views)
    return image_losses(logits, labels, cross_fitted_temperatures(logits, labels, clusters.numbers))


def _step(views: list[str], losses: np.ndarray) -> dict[str, Any]:
    return {"views": views, "log_loss": float(losses.mean())}


@dataclass(frozen=True)
class Verdict:
    """Which phase is the champion, and why. difference: Phase 2's log loss minus Phase 1's, on validation."""

    phase: str
    reason: str
    difference: float | None = None
    interval: Interval | None = None


def choose_champion(
    first: Choice, second: Choice | None, clusters: Clusters, resampling: Resampling
) -> Verdict:
    """Phase 2 only where it is better on validation beyond chance, by a paired bootstrap; else Phase 1."""
    if second is None:
        return Verdict(PHASE_1, "there is no Phase 2 to compare with")
    difference = float((second.losses - first.losses).mean())
    interval = paired_difference(first.losses, second.losses, clusters.numbers, resampling)
    if interval is None:
        reason = (
            f"validation has {clusters.counted}, fewer than {FEWEST_CLUSTERS}: no interval can be "
            "given, and without one Phase 1 stays"
        )
        return Verdict(PHASE_1, reason, difference)
    shown = (
        f"Phase 2's log loss on validation differs by {difference:+.4f} "
        f"({resampling.confidence:.0%} interval over {clusters.counted}: "
        f"{interval.low:+.4f} to {interval.high:+.4f})"
    )
    if interval.high < 0:
        return Verdict(PHASE_2, f"{shown}: better beyond chance", difference, interval)
    verdict = "worse beyond chance" if interval.low > 0 else "no difference beyond chance"
    return Verdict(PHASE_1, f"{shown}: {verdict}, Phase 1 stays", difference, interval)
