"""Evaluation: choices on validation, then one look at the locked test part.

`evaluation.json`, in which every number is finite or null:

format_version   1
classes          in the order of the model's outputs
data             fingerprint, split (site or random), unseen_sites, drawn, images of val and test
champion         phase (phase1 or phase2), reason, training_job, architecture, temperature, views, averaging
comparison       log_loss_difference (Phase 2 minus Phase 1, validation), interval {low, high}, unit, clusters
phases           phase1 and phase2 (null without one): training_job, architecture, image_size, averaging,
                 temperature, temperature_at_bound, views, view_selection, cross_fitted_log_loss
bootstrap        resamples, seed, confidence, method
test             what the champion does on the test part; where there is none, `available` is false, `reason`
                 says why and the numbers are null:
                 log_loss, accuracy, macro_f1, weighted_f1, top3_accuracy, site_balanced_log_loss,
                 site_balanced_accuracy, uniform_log_loss, prior_log_loss, gain_over_prior, prior_accuracy,
                 calibration {bins, binning, before, after, reliability}: the expected calibration error,
                 intervals {metric: {low, high}}, interval_unit, interval_reason, images, sites,
                 per_class [{class, precision, recall, f1, support, predicted}],
                 per_site [{site, images, accuracy, log_loss}], confusion_matrix (rows: the true class)
validation       the same on validation. Temperature, views and champion were chosen there, which flatters it
claimed, not_claimed   sentences on what the numbers say, and what they do not

Beside it lies `results.json`, what views, phases, batches and precision gain: see `common.reports.results`.
"""

import contextlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common.channels import ensure_writable
from common.data.prepared import DatasetDescription, PackedPart, PreparedSet, open_prepared
from common.errors import TraplineError, UsageError
from common.inference.predictor import Precision, load_predictor
from common.inference.temperature import log_probabilities
from common.inference.views import VIEW_SETS, read_views
from common.models.artefact import ModelDescription
from common.models.phase1 import ARCHIVE, opened_artefact
from common.reports.bootstrap import Resampling
from common.reports.champion import (
    described,
    with_choices,
    write_champion,
)
from common.reports.choices import PHASE_1, PHASE_2, Choice, Verdict, choose, choose_champion
from common.reports.claims import claimed, not_claimed
from common.reports.clusters import Clusters, clusters_of
from common.reports.measured import class_prior, measure, unmeasured
from common.reports.outputs import view_logits
from common.reports.results import RESULTS, measure_results, result_lines
from common.reports.tables import EVALUATION, TEST_PREDICTIONS, remove_stale, write_test_predictions
from common.storage import write_json

CHAMPION = "champion"
AUTO = "auto"
CANDIDATES = VIEW_SETS["enhanced"]  # all there are, the plain one first


@dataclass(frozen=True)
class Evaluation:
    """What is evaluated. phase1, phase2: folders with a model, or a model.tar.gz."""

    prepared: Path
    phase1: Path
    phase2: Path | None
    output: Path
    views: str = AUTO  # or a set of views, or a list with commas
    precision: Precision = "auto"
    resampling: Resampling = field(default_factory=Resampling)


@dataclass(frozen=True)
class Phase:
    """A phase's model, open, and what validation chose for it."""

    artefact: Path
    description: ModelDescription
    choice: Choice


def evaluate(options: Evaluation) -> dict[str, Any]:
    """Choose, measure, and write evaluation.json, champion/ and test_predictions.csv; return the first.

    Raises TraplineError for a damaged model or data set, a model of other data, or no validation images.
    """
    ensure_writable(options.output)
    remove_stale(options.output, [EVALUATION, CHAMPION, TEST_PREDICTIONS, RESULTS])
    prepared = open_prepared(options.prepared, parts=("val",))
    validation = _usable(prepared)
    clusters = clusters_of(validation)
    with contextlib.ExitStack() as stack:
        phases = {
            name: _choose(name, stack.enter_context(opened_artefact(path)), path, options, prepared, clusters)
            for name, path in ((PHASE_1, options.phase1), (PHASE_2, options.phase2))
            if path is not None
        }
        second = phases[PHASE_2].choice if PHASE_2 in phases else None
        verdict = choose_champion(phases[PHASE_1].choice, second, clusters, options.resampling)
        print(f"champion: {verdict.phase}; {verdict.reason}", flush=True)
        report = _report(options, prepared, clusters, phases, verdict)
        _write_results(options, validation, phases, verdict)
        return report


def _usable(prepared: PreparedSet) -> PackedPart:
    description, validation = prepared.description, prepared.part("val")
    if description.task != "multiclass":
        raise UsageError(
            f"{prepared.folder}: its images have several labels; one label an image is evaluated"
        )
    if not len(validation):
        raise TraplineError(
            f"{prepared.folder / 'val'}: holds no image; prepare the data with other --shares"
        )
    return validation


def _choose(
    name: str, artefact: Path, path: Path, options: Evaluation, prepared: PreparedSet, clusters: Clusters
) -> Phase:
    data = prepared.description
    description = described(artefact, path, data.classes, data.fingerprint)
    greedy = options.views == AUTO
    views = CANDIDATES if greedy else read_views(options.views)
    predictor = load_predictor(artefact, precision=options.precision, views=views)
    validation = prepared.part("val")
    outputs = view_logits(predictor, validation, f"{name} on validation")
    choice = choose(outputs, validation.labels, clusters, greedy)
    print(
        f"{name}: views {', '.join(choice.views)}; temperature {choice.temperature:.3f}; "
        f"log loss on validation {choice.losses.mean():.4f} (temperature of other {clusters.unit}s)",
        flush=True,
    )
    return Phase(artefact, description, choice)


def _report(
    options: Evaluation,
    prepared: PreparedSet,
    clusters: Clusters,
    phases: dict[str, Phase],
    verdict: Verdict,
) -> dict[str, Any]:
    champion = phases[verdict.phase]
    choice, data = champion.choice, prepared.description
    final = with_choices(champion.description, temperature=choice.temperature, views=choice.views)
    write_champion(champion.artefact, final, options.output / CHAMPION / ARCHIVE)
    labels = prepared.part("val").labels
    validation = _measure(choice.logits, labels, clusters, choice, data, options)
    # The test part is opened here and not before: every choice has been made.
    test = _test_section(options, champion, data)
    report = {
        "format_version": 1,
        "classes": data.classes,
        "data": _data_record(data),
        "champion": _champion_record(verdict, final),
        "comparison": _comparison_record(verdict, clusters),
        "phases": {name: _phase_record(phases.get(name)) for name in (PHASE_1, PHASE_2)},
        "bootstrap": {**asdict(options.resampling), "method": "percentile, clusters drawn with replacement"},
        "test": test,
        "validation": validation,
    }
    report |= {"claimed": claimed(report), "not_claimed": not_claimed(report)}
    write_json(options.output / EVALUATION, report)
    return report


def _write_results(
    options: Evaluation, validation: PackedPart, phases: dict[str, Phase], verdict: Verdict
) -> None:
    champion = phases[verdict.phase]
    predictor = load_predictor(champion.artefact, precision=options.precision, views=champion.choice.views)
    choices = [phase.choice for phase in phases.values()]
    results = measure_results(champion.choice, choices, validation.labels, predictor, validation)
    write_json(options.output / RESULTS, results)
    for name, text in result_lines(results):
        print(f"{name}: {text}", flush=True)


def _measure(
    logits: np.ndarray,
    labels: np.ndarray,
    clusters: Clusters,
    choice: Choice,
    data: DatasetDescription,
    options: Evaluation,
) -> dict[str, Any]:
    prior = class_prior(data)
    return measure(logits, labels, clusters, choice.temperature, data.classes, prior, options.resampling)


def _test_section(options: Evaluation, champion: Phase, data: DatasetDescription) -> dict[str, Any]:
    part = open_prepared(options.prepared, parts=("test",)).part("test")
    if not len(part):
        return unmeasured(
            f"the data set has no test part ({data.split.kind} split): validation numbers stand under "
            "their own name, and are no test"
        )
    choice = champion.choice
    predictor = load_predictor(champion.artefact, precision=options.precision, views=choice.views)
    logits = view_logits(predictor, part, "champion on test").averaged(choice.views)
    write_test_predictions(
        options.output / TEST_PREDICTIONS,
        {name: part.table[name].to_pylist() for name in ("id", "site")},
        part.labels,
        np.exp(log_probabilities(logits, choice.temperature)),
        data.classes,
    )
    return _measure(logits, part.labels, clusters_of(part), choice, data, options)


def _data_record(data: DatasetDescription) -> dict[str, Any]:
    return {
        "fingerprint": data.fingerprint,
        "split": data.split.kind,
        "unseen_sites": data.split.unseen_sites,
        "drawn": data.drawn,
        "images": {name: data.parts[name].images for name in ("val", "test") if name in data.parts},
    }


def _champion_record(verdict: Verdict, final: ModelDescription) -> dict[str, Any]:
    chosen = final.model_dump(
        mode="json", include={"training_job", "architecture", "temperature", "views", "averaging"}
    )
    return {"phase": verdict.phase, "reason": verdict.reason, **chosen}


def _comparison_record(verdict: Verdict, clusters: Clusters) -> dict[str, Any]:
    return {
        "log_loss_difference": verdict.difference,
        "interval": asdict(verdict.interval) if verdict.interval else None,
        "unit": clusters.unit,
        "clusters": clusters.count,
    }


def _phase_record(phase: Phase | None) -> dict[str, Any] | None:
    if phase is None:
        return None
    kept = {"training_job", "architecture", "image_size", "averaging"}
    return {**phase.description.model_dump(mode="json", include=kept), **phase.choice.record()}
