"""Evaluation: choices on validation, then one look at the locked test part.

`evaluation.json`, in which every number is finite or null:

format_version   1
task             multiclass, or multilabel: images may have several labels
classes          in the order of the model's outputs
data             fingerprint, split (site or random), unseen_sites (as the data set says, and as was found),
                 shared_sites (in several parts, though it says none is), drawn, images of val and test
champion         phase (phase1 or phase2), reason, training_job, architecture, temperature, views, averaging,
                 thresholds (of several labels, else null), seen_validation: whether it was trained on images
                 of validation too, as models of folds are
comparison       log_loss_difference (Phase 2 minus Phase 1, validation), interval {low, high}, unit, clusters
phases           phase1 and phase2 (null without one): training_job, architecture, image_size, averaging,
                 temperature, temperature_at_bound, thresholds, views, view_selection, cross_fitted_log_loss
bootstrap        resamples, seed, confidence, method
test             what the champion does on the test part; where there is none, `available` is false, `reason`
                 says why and the numbers are null:
                 log_loss, accuracy, macro_f1, weighted_f1, top3_accuracy, site_balanced_log_loss,
                 site_balanced_accuracy, uniform_log_loss, prior_log_loss, gain_over_prior, prior_accuracy,
                 calibration {bins, binning, before, after, reliability}: the expected calibration error,
                 intervals {metric: {low, high}}, interval_unit, interval_reason, images, sites,
                 per_class [{class, precision, recall, f1, support, predicted}],
                 per_site [{site, images, accuracy, log_loss}], confusion_matrix (rows: the true class)
                 For several labels an image see `evaluation.measured_labels`: log_loss is then the mean
                 binary one, accuracy that of whole images, and there are micro_f1, macro_f1 and map
validation       the same on validation. Temperature, views and champion were chosen there, which flatters it
int8             what dynamic quantisation costs, where it was asked for: see `evaluation.int8`; else null
claimed, not_claimed   sentences on what the numbers say, and what they do not

Beside it lies `results.json`, what views, phases, batches and precision gain: see `evaluation.results`.
"""

import contextlib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from trapline.channels import ensure_writable
from trapline.data.prepared import DatasetDescription, PackedPart, PreparedSet, open_prepared
from trapline.errors import TraplineError
from trapline.evaluation.bootstrap import Resampling
from trapline.evaluation.champion import (
    described,
    with_choices,
    write_champion,
)
from trapline.evaluation.choices import (
    PHASE_1,
    PHASE_2,
    ChampionChoice,
    Choice,
    choose,
    choose_champion,
    choose_thresholds,
)
from trapline.evaluation.claims import with_claims
from trapline.evaluation.clusters import Clusters, clusters_of, merged_sites
from trapline.evaluation.int8 import compare_logits, int8_section
from trapline.evaluation.measured import class_prior, measure, unmeasured
from trapline.evaluation.measured_labels import label_frequencies, measure_labels, unmeasured_labels
from trapline.evaluation.outputs import truth, view_logits
from trapline.evaluation.result_lines import RESULTS, result_lines
from trapline.evaluation.result_tables import (
    EVALUATION,
    TEST_PREDICTIONS,
    remove_stale,
    write_test_labels,
    write_test_predictions,
)
from trapline.evaluation.results import measure_both, measure_results
from trapline.evaluation.unseen import shared_sites
from trapline.inference.predictor import Predictor, ServingPrecision, check_int8, load_predictor
from trapline.job_options import EvaluateOptions
from trapline.models.artefact import ModelDescription
from trapline.models.phase1 import ARCHIVE, opened_artefact
from trapline.names import Kind, told
from trapline.scoring.label_scores import labels_scored
from trapline.scoring.temperature import log_probabilities
from trapline.storage import write_json
from trapline.training.speed import Speed
from trapline.typed import prepare_option
from trapline.views import VIEWS, read_views

CHAMPION = "champion"
AUTO = "auto"
CANDIDATES = tuple(VIEWS)  # the plain one first


@dataclass(frozen=True)
class Evaluation:
    """What is evaluated. phase1, phase2: folders with a model, or a model.tar.gz."""

    prepared: Path
    phase1: Path
    phase2: Path | None
    output: Path
    views: str = AUTO  # or a set of views, or a list with commas
    precision: ServingPrecision = "auto"
    resampling: Resampling = field(default_factory=Resampling)
    int8: bool = False  # whether int8 is measured beside `precision`


def from_options(options: EvaluateOptions) -> Evaluation:
    """The evaluation that evaluate.py's options ask for."""
    return Evaluation(
        prepared=Path(options.prepared),
        phase1=Path(options.phase1),
        phase2=Path(options.phase2) if options.phase2 else None,
        output=Path(options.output),
        views=options.views,
        precision=options.precision,
        int8=options.int8,
        resampling=Resampling(resamples=options.resamples, seed=options.seed),
    )


@dataclass(frozen=True)
class Predicted:
    """The champion's logits (images, classes) on a part."""

    part: PackedPart
    logits: np.ndarray


@dataclass(frozen=True)
class Phase:
    """A phase's model, open, and what validation chose for it."""

    artefact: Path
    description: ModelDescription
    choice: Choice
    speed: Speed | None


def evaluate(options: Evaluation) -> dict[str, Any]:
    """Choose, measure, and write evaluation.json, champion/ and test_predictions.csv; return the first.

    Raises TraplineError for a damaged model or data set, a model of other data, or no validation images,
    UsageError for what this machine cannot do.
    """
    if options.int8:
        check_int8()
    ensure_writable(options.output)
    remove_stale(options.output, [EVALUATION, CHAMPION, TEST_PREDICTIONS, RESULTS])
    prepared = open_prepared(options.prepared, parts=("val",))
    validation = _usable(prepared)
    _say_merged(validation)
    clusters = clusters_of(validation)
    with contextlib.ExitStack() as stack:
        phases: dict[str, Phase] = {}
        for name, path in ((PHASE_1, options.phase1), (PHASE_2, options.phase2)):
            if path is not None:
                artefact = stack.enter_context(opened_artefact(path))
                speed = next((phase.speed for phase in phases.values()), None)
                phases[name] = _choose(name, artefact, path, options, prepared, clusters, speed)
        second = phases[PHASE_2].choice if PHASE_2 in phases else None
        verdict = choose_champion(phases[PHASE_1].choice, second, clusters, options.resampling)
        print(f"champion: {verdict.phase}; {verdict.reason}", flush=True)
        report = _report(options, prepared, clusters, phases, verdict)
        _write_results(options, prepared, phases, verdict, report["int8"])
        return report


def _usable(prepared: PreparedSet) -> PackedPart:
    validation = prepared.part("val")
    if not len(validation):
        raise TraplineError(
            f"{prepared.folder / 'val'}: holds no image; prepare the data with other "
            f"{prepare_option('shares')}"
        )
    return validation


def _say_merged(part: PackedPart) -> None:
    for sentence in told(Kind.SITE, merged_sites(part).spellings):
        print(f"note: {sentence}", flush=True)


def _choose(
    name: str,
    artefact: Path,
    path: Path,
    options: Evaluation,
    prepared: PreparedSet,
    clusters: Clusters,
    speed: Speed | None,
) -> Phase:
    """A phase's model with its choices. `speed`: that of a phase before it, with which it is compared."""
    data = prepared.description
    description = described(artefact, path, data.classes, data.fingerprint, data.task)
    greedy = options.views == AUTO
    views = CANDIDATES if greedy else read_views(options.views)
    images = len(prepared.part("val"))
    predictor = load_predictor(artefact, precision=options.precision, views=views, images=images, speed=speed)
    labels = truth(prepared.part("val"), data)
    outputs = view_logits(predictor, prepared.part("val"), f"{name} on validation")
    choice = choose(outputs, labels, clusters, greedy)
    thresholds = choose_thresholds(choice.logits, labels, choice.temperature, description)
    choice = replace(choice, thresholds=thresholds)
    print(
        f"{name}: views {', '.join(choice.views)}; temperature {choice.temperature:.3f}; "
        f"log loss on validation {choice.losses.mean():.4f} (temperature of other {clusters.unit}s)",
        flush=True,
    )
    return Phase(artefact, description, choice, predictor.speed)


def _report(
    options: Evaluation,
    prepared: PreparedSet,
    clusters: Clusters,
    phases: dict[str, Phase],
    verdict: ChampionChoice,
) -> dict[str, Any]:
    champion = phases[verdict.phase]
    choice, data = champion.choice, prepared.description
    final = with_choices(
        champion.description,
        temperature=choice.temperature,
        views=choice.views,
        thresholds=choice.thresholds,
    )
    write_champion(champion.artefact, final, options.output / CHAMPION / ARCHIVE)
    part = prepared.part("val")
    validation = _measure(choice.logits, truth(part, data), clusters, choice, data, options)
    # The test part is opened here and not before: every choice has been made.
    test, tested = _test_section(options, champion, data)
    measured = {"validation": Predicted(part, choice.logits), **tested}
    report = {
        "format_version": 1,
        "task": data.task,
        "classes": data.classes,
        "data": _data_record(data),
        "champion": _champion_record(verdict, final),
        "comparison": _comparison_record(verdict, clusters),
        "phases": {name: _phase_record(phases.get(name)) for name in (PHASE_1, PHASE_2)},
        "bootstrap": {**asdict(options.resampling), "method": "percentile, clusters drawn with replacement"},
        "test": test,
        "validation": validation,
        "int8": _int8_section(options, champion, measured, data) if options.int8 else None,
    }
    report = with_claims(report, shared_sites(options.prepared))
    write_json(options.output / EVALUATION, report)
    return report


def _int8_section(
    options: Evaluation, champion: Phase, measured: dict[str, Predicted], data: DatasetDescription
) -> dict[str, Any]:
    normal, int8 = _both_precisions(options, champion)
    choice = champion.choice
    parts = {
        name: compare_logits(
            each.logits,
            view_logits(int8, each.part, f"int8 on {name}").averaged(choice.views),
            truth(each.part, data),
            choice.temperature,
            choice.thresholds,
        )
        for name, each in measured.items()
    }
    return int8_section(normal, int8, parts)


def _predictor(options: Evaluation, champion: Phase) -> Predictor:
    """The champion with its views, as fast as validation has found it to be."""
    return load_predictor(
        champion.artefact, precision=options.precision, views=champion.choice.views, speed=champion.speed
    )


def _both_precisions(options: Evaluation, champion: Phase) -> tuple[Predictor, Predictor]:
    views = champion.choice.views
    return (
        _predictor(options, champion),
        load_predictor(champion.artefact, precision="int8", views=views),
    )


def _write_results(
    options: Evaluation,
    prepared: PreparedSet,
    phases: dict[str, Phase],
    verdict: ChampionChoice,
    int8: dict[str, Any] | None,
) -> None:
    champion, validation = phases[verdict.phase], prepared.part("val")
    # A model in int8 cannot be trained, and training's memory is among the results.
    trained = replace(options, precision="fp32") if options.precision == "int8" else options
    predictor = _predictor(trained, champion)
    choices = [phase.choice for phase in phases.values()]
    labels = truth(validation, prepared.description)
    results = measure_results(champion.choice, choices, labels, predictor, validation)
    if int8:
        speeds = measure_both(*_both_precisions(options, champion), validation)
        results["int8"] = {**int8, "images_per_s": speeds}
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
    shared = (clusters, choice.temperature)
    if choice.thresholds is not None:
        frequencies = label_frequencies(data)
        return measure_labels(
            logits, labels, *shared, choice.thresholds, data.classes, frequencies, options.resampling
        )
    return measure(logits, labels, *shared, data.classes, class_prior(data), options.resampling)


def _test_section(
    options: Evaluation, champion: Phase, data: DatasetDescription
) -> tuple[dict[str, Any], dict[str, Predicted]]:
    """The section, and under the name `test` the part with its logits, where there is one."""
    part = open_prepared(options.prepared, parts=("test",)).part("test")
    if not len(part):
        empty = unmeasured_labels if data.task == "multilabel" else unmeasured
        reason = (
            f"the data set has no test part ({data.split.kind} split): validation numbers stand under "
            "their own name, and are no test"
        )
        return empty(reason), {}
    _say_merged(part)
    choice = champion.choice
    predictor = _predictor(options, champion)
    logits = view_logits(predictor, part, "champion on test").averaged(choice.views)
    _write_test_table(options.output / TEST_PREDICTIONS, part, logits, choice, data)
    section = _measure(logits, truth(part, data), clusters_of(part), choice, data, options)
    return section, {"test": Predicted(part, logits)}


def _write_test_table(
    path: Path, part: PackedPart, logits: np.ndarray, choice: Choice, data: DatasetDescription
) -> None:
    facts = {"id": part.table["id"].to_pylist(), "site": merged_sites(part).names}
    labels, temperature = truth(part, data), choice.temperature
    if choice.thresholds is None:
        probabilities = np.exp(log_probabilities(logits, temperature))
        write_test_predictions(path, facts, labels, probabilities, data.classes)
        return
    alone = np.arange(len(part))
    predictions = labels_scored(logits, labels, alone, temperature, choice.thresholds)
    write_test_labels(path, facts, predictions, data.classes)


def _data_record(data: DatasetDescription) -> dict[str, Any]:
    return {
        "fingerprint": data.fingerprint,
        "split": data.split.kind,
        "unseen_sites": data.split.unseen_sites,
        "drawn": data.drawn,
        "images": {name: data.parts[name].images for name in ("val", "test") if name in data.parts},
    }


def _champion_record(verdict: ChampionChoice, final: ModelDescription) -> dict[str, Any]:
    kept = {"training_job", "architecture", "temperature", "views", "averaging", "thresholds"}
    return {
        "phase": verdict.phase,
        "reason": verdict.reason,
        **final.model_dump(mode="json", include=kept),
        "seen_validation": _has_seen_validation(final),
    }


def _has_seen_validation(description: ModelDescription) -> bool:
    """Whether it, or a member of it, was trained on one of several folds of train and validation."""
    configurations = [description.configuration, *(each.configuration for each in description.members)]
    return any(configuration.get("fold") for configuration in configurations)


def _comparison_record(verdict: ChampionChoice, clusters: Clusters) -> dict[str, Any]:
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
