"""Evaluation: choices on validation, then one look at the locked test part.

`evaluation.json`, in which every number is finite or null:

format_version   1
options          what evaluate.py was told that can change a result
task             multiclass, or multilabel: images may have several labels
classes          in the order of the model's outputs
data             fingerprint, split (site or random), unseen_sites (as the data set says, and as was found),
                 division and line (digests of the division of cameras, and of the one with which it began),
                 shared_sites (in several parts, though it says none is), drawn, images of val and test
champion         phase (phase1 or phase2), reason, training_job, architecture, temperature, views, averaging,
                 thresholds (of several labels, else null), pool_sequences: whether predictions are pooled
                 over sequences, seen_validation: whether it was trained on images of validation too, as
                 models of folds are
comparison       log_loss_difference (Phase 2 minus Phase 1, validation), interval {low, high}, unit, clusters
phases           phase1 and phase2 (null without one): training_job, architecture, image_size, averaging,
                 temperature, temperature_at_bound, thresholds, views, view_selection, cross_fitted_log_loss
pooling          whether predictions are pooled over sequences, chosen on validation, and why: see
                 `evaluation.sequences`. Where they are, `test` and `validation` measure every image with its
                 sequence's pooled prediction
bootstrap        resamples, seed, confidence, method
test             what the champion does on the test part; where there is none, `available` is false, `reason`
                 says why and the numbers are null:
                 log_loss, accuracy, macro_f1, weighted_f1, top3_accuracy, site_balanced_log_loss,
                 site_balanced_accuracy, uniform_log_loss, prior_log_loss, gain_over_prior, prior_accuracy,
                 calibration {bins, binning, before, after, reliability}: the expected calibration error,
                 intervals {metric: {low, high}}, interval_unit, interval_reason, images, sites,
                 per_class [{class, precision, recall, f1, support, predicted}],
                 per_site [{site, images, accuracy, log_loss}], confusion_matrix (rows: the true class)
                 For several labels an image see `evaluation.measured`: log_loss is then the mean binary
                 one, accuracy that of whole images, and there are micro_f1, macro_f1 and map
                 by_sequence: metrics in which each sequence counts as one: see `evaluation.sequences`
validation       the same on validation. Temperature, views and champion were chosen there, which flatters it
int8             what dynamic quantisation costs, where it was asked for: see `evaluation.results`; else null
claimed, not_claimed   sentences on what the numbers say, and what they do not

Beside it lies `results.json`, what views, phases, batches and precision gain: see `evaluation.results`.
"""

import contextlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from trapline.augmentation import AUTO_VIEWS, VIEWS, read_views
from trapline.data.prepared import DatasetDescription, PackedPart, PreparedSet, open_prepared
from trapline.errors import TraplineError
from trapline.evaluation.choices import (
    PHASE_1,
    PHASE_2,
    ChampionChoice,
    Choice,
    choose,
    choose_champion,
    choose_thresholds,
    described,
    truth,
    view_logits,
    with_choices,
    write_champion,
)
from trapline.evaluation.measured import (
    Clusters,
    Resampling,
    class_prior,
    clusters_of,
    label_frequencies,
    measure,
    measure_labels,
    merged_sites,
    unmeasured,
)
from trapline.evaluation.result_files import (
    EVALUATION,
    RESULTS,
    TEST_PREDICTIONS,
    remove_stale,
    result_lines,
    shared_sites,
    with_claims,
    write_test_labels,
    write_test_predictions,
)
from trapline.evaluation.results import int8_section, measure_both, measure_results
from trapline.evaluation.sequences import (
    Pooling,
    by_sequence,
    choose_pooling,
    pooling_sentence,
    sequences_of,
    without_sequences,
)
from trapline.inference.predictor import Predictor, ServingPrecision, check_int8, load_predictor
from trapline.job_contract import ensure_writable, prepare_option
from trapline.job_options import EvaluateOptions
from trapline.models.artefact import ARCHIVE, WEIGHTS, ModelDescription, opened_artefact
from trapline.names import Kind, told
from trapline.scoring.predictions import log_probabilities
from trapline.scoring.scores import labels_scored
from trapline.storage import file_digest, write_json
from trapline.training.speed import Speed

CHAMPION = "champion"
CANDIDATES = tuple(VIEWS)  # the plain one first


@dataclass(frozen=True)
class Phase:
    """A phase's model, open, and what validation chose for it."""

    artefact: Path
    description: ModelDescription
    choice: Choice
    speed: Speed | None

    def predictor(self, precision: ServingPrecision) -> Predictor:
        """The model with its views, as fast as validation has found it to be."""
        return load_predictor(self.artefact, precision=precision, views=self.choice.views, speed=self.speed)

    def record(self) -> dict[str, Any]:
        """What evaluation.json says of it."""
        kept = {"training_job", "architecture", "image_size", "averaging"}
        return {**self.description.model_dump(mode="json", include=kept), **self.choice.record()}

    def int8_predictor(self) -> Predictor:
        """The same in int8, in the memory format that is fastest for that."""
        return load_predictor(self.artefact, precision="int8", views=self.choice.views)


def evaluate(options: EvaluateOptions) -> dict[str, Any]:
    """Choose, measure, and write evaluation.json, champion/ and test_predictions.csv; return the first.

    The places are folders here; those of models may be a model.tar.gz. Raises TraplineError for a damaged
    model or data set, a model of other data, or no validation images, UsageError for what this machine
    cannot do.
    """
    if options.int8:
        check_int8()
    output = Path(options.output)
    ensure_writable(output)
    remove_stale(output, [EVALUATION, CHAMPION, TEST_PREDICTIONS, RESULTS])
    prepared = open_prepared(options.prepared, parts=("val",))
    validation = prepared.part("val")
    if not len(validation):
        raise TraplineError(
            f"{prepared.folder / 'val'}: holds no image; prepare the data with other "
            f"{prepare_option('shares')}"
        )
    _say_merged(validation)
    clusters = clusters_of(validation)
    with contextlib.ExitStack() as stack:
        phases: dict[str, Phase] = {}
        for name, place in ((PHASE_1, options.phase1), (PHASE_2, options.phase2)):
            if place:
                path = Path(place)
                artefact = stack.enter_context(opened_artefact(path))
                speed = next((phase.speed for phase in phases.values()), None)
                phases[name] = _choose(name, artefact, path, options, prepared, clusters, speed)
        verdict = choose_champion(
            phases[PHASE_1].choice,
            phases[PHASE_2].choice if PHASE_2 in phases else None,
            clusters,
            _resampling(options),
        )
        print(f"champion: {verdict.phase}; {verdict.reason}", flush=True)
        report = _report(options, prepared, clusters, phases, verdict)
        write_json(output / EVALUATION, report)
        _write_results(options, prepared, phases, verdict, report["int8"])
        return report


def _say_merged(part: PackedPart) -> None:
    for sentence in told(Kind.SITE, merged_sites(part).spellings):
        print(f"note: {sentence}", flush=True)


def _resampling(options: EvaluateOptions) -> Resampling:
    return Resampling(resamples=options.resamples, seed=options.seed)


def _choose(
    name: str,
    artefact: Path,
    path: Path,
    options: EvaluateOptions,
    prepared: PreparedSet,
    clusters: Clusters,
    speed: Speed | None,
) -> Phase:
    """A phase's model with its choices. `speed`: that of a phase before it, with which it is compared."""
    data, validation = prepared.description, prepared.part("val")
    description = described(artefact, path, data.classes, data.fingerprint, data.task)
    greedy = options.views == AUTO_VIEWS
    views = CANDIDATES if greedy else read_views(options.views)
    predictor = load_predictor(
        artefact, precision=options.precision, views=views, images=len(validation), speed=speed
    )
    labels = truth(validation, data)
    choice = choose(view_logits(predictor, validation, f"{name} on validation"), labels, clusters, greedy)
    thresholds = choose_thresholds(choice.logits, labels, choice.temperature, description)
    choice = replace(choice, thresholds=thresholds)
    print(
        f"{name}: views {', '.join(choice.views)}; temperature {choice.temperature:.3f}; "
        f"log loss on validation {choice.losses.mean():.4f} (temperature of other {clusters.unit}s)",
        flush=True,
    )
    return Phase(artefact, description, choice, predictor.speed)


def _report(
    options: EvaluateOptions,
    prepared: PreparedSet,
    clusters: Clusters,
    phases: dict[str, Phase],
    verdict: ChampionChoice,
) -> dict[str, Any]:
    """The content of evaluation.json; writes champion/ and test_predictions.csv on the way."""
    champion, data = phases[verdict.phase], prepared.description
    choice, part = champion.choice, prepared.part("val")
    pooling = _choose_pooling(options, prepared, clusters, champion)
    final = with_choices(
        champion.description,
        temperature=choice.temperature,
        views=choice.views,
        thresholds=choice.thresholds,
        pool_sequences=pooling.chosen,
    )
    write_champion(champion.artefact, final, Path(options.output) / CHAMPION / ARCHIVE)
    validation = _measure("validation", part, choice.logits, choice, pooling, data, options)
    # The test part is opened here and not before: every choice has been made.
    test, tested = _test_section(options, champion, pooling, data)
    int8 = None
    if options.int8:
        int8 = int8_section(
            champion.predictor(options.precision),
            champion.int8_predictor(),
            choice,
            {"validation": (part, choice.logits), **tested},
            data,
        )
    report = {
        "format_version": 1,
        "options": options.result_settings(),
        "task": data.task,
        "classes": data.classes,
        "data": {
            "fingerprint": data.fingerprint,
            "split": data.split.kind,
            "unseen_sites": data.split.unseen_sites,
            "division": data.split.division,
            "line": data.split.line,
            "drawn": data.drawn,
            "images": {name: data.parts[name].images for name in ("val", "test") if name in data.parts},
        },
        "champion": _champion_record(verdict, champion, final),
        "comparison": _comparison_record(verdict, clusters),
        "phases": {name: phases[name].record() if name in phases else None for name in (PHASE_1, PHASE_2)},
        "pooling": pooling.record(clusters),
        "bootstrap": {
            **asdict(_resampling(options)),
            "method": "percentile, clusters drawn with replacement",
        },
        "test": test,
        "validation": validation,
        "int8": int8,
    }
    return with_claims(report, shared_sites(Path(options.prepared)))


def _comparison_record(verdict: ChampionChoice, clusters: Clusters) -> dict[str, Any]:
    return {
        "log_loss_difference": verdict.difference,
        "interval": asdict(verdict.interval) if verdict.interval else None,
        "unit": clusters.unit,
        "clusters": clusters.count,
    }


def _champion_record(verdict: ChampionChoice, champion: Phase, final: ModelDescription) -> dict[str, Any]:
    kept = {"training_job", "architecture", "temperature", "views", "averaging", "thresholds"}
    return {
        "phase": verdict.phase,
        "reason": verdict.reason,
        **final.model_dump(mode="json", include=kept),
        "weights": file_digest(champion.artefact / WEIGHTS),
        "pool_sequences": final.pool_sequences,
        "seen_validation": _has_seen_validation(final),
    }


def _choose_pooling(
    options: EvaluateOptions, prepared: PreparedSet, clusters: Clusters, champion: Phase
) -> Pooling:
    data, part = prepared.description, prepared.part("val")
    unseen = data.split.unseen_sites and not shared_sites(Path(options.prepared), ("train", "val"))
    pooling = choose_pooling(
        champion.choice,
        truth(part, data),
        sequences_of(part, data),
        clusters,
        _resampling(options),
        unseen_sites=unseen,
        seen_validation=_has_seen_validation(champion.description),
    )
    print(pooling_sentence(pooling.chosen, pooling.reason), flush=True)
    return pooling


def _has_seen_validation(model: ModelDescription) -> bool:
    """Whether it, or a member of it, was trained on one of several folds of train and validation."""
    configurations = [model.configuration, *(member.configuration for member in model.members)]
    return any(configuration.get("fold") for configuration in configurations)


def _measure(
    name: str,
    part: PackedPart,
    logits: np.ndarray,
    choice: Choice,
    pooling: Pooling,
    data: DatasetDescription,
    options: EvaluateOptions,
) -> dict[str, Any]:
    """The section of the part that is called `name`; `logits` (images, classes) are of single images."""
    labels, clusters, sequences = truth(part, data), clusters_of(part), sequences_of(part, data)
    given = (labels, clusters, choice.temperature)
    used, resampling = pooling.applied(logits, sequences), _resampling(options)
    if choice.thresholds is None:
        section = measure(used, *given, data.classes, class_prior(data), resampling)
    else:
        frequencies = label_frequencies(data)
        section = measure_labels(used, *given, choice.thresholds, data.classes, frequencies, resampling)
    found = by_sequence(
        logits, labels, sequences, clusters, choice.temperature, choice.thresholds, resampling, name
    )
    return {**section, "by_sequence": found}


def _test_section(
    options: EvaluateOptions, champion: Phase, pooling: Pooling, data: DatasetDescription
) -> tuple[dict[str, Any], dict[str, tuple[PackedPart, np.ndarray]]]:
    """The section, and under the name `test` the part with its logits, where there is one."""
    part = open_prepared(options.prepared, parts=("test",)).part("test")
    if not len(part):
        reason = (
            f"the data set has no test part ({data.split.kind} split): validation numbers stand under "
            "their own name, and are no test"
        )
        return {**unmeasured(reason, data.task), "by_sequence": without_sequences(reason, data.task)}, {}
    _say_merged(part)
    choice = champion.choice
    outputs = view_logits(champion.predictor(options.precision), part, "champion on test")
    logits = outputs.averaged(choice.views)
    used = pooling.applied(logits, sequences_of(part, data))
    _write_test_table(Path(options.output) / TEST_PREDICTIONS, part, used, choice, data)
    section = _measure("test", part, logits, choice, pooling, data, options)
    return section, {"test": (part, logits)}


def _write_test_table(
    path: Path, part: PackedPart, logits: np.ndarray, choice: Choice, data: DatasetDescription
) -> None:
    facts = {"id": part.table["id"].to_pylist(), "site": merged_sites(part).names}
    labels, temperature = truth(part, data), choice.temperature
    if choice.thresholds is None:
        probabilities = np.exp(log_probabilities(logits, temperature))
        write_test_predictions(path, facts, labels, probabilities, data.classes)
    else:
        predictions = labels_scored(logits, labels, np.arange(len(part)), temperature, choice.thresholds)
        write_test_labels(path, facts, predictions, data.classes)


def _write_results(
    options: EvaluateOptions,
    prepared: PreparedSet,
    phases: dict[str, Phase],
    verdict: ChampionChoice,
    int8: dict[str, Any] | None,
) -> None:
    champion, validation = phases[verdict.phase], prepared.part("val")
    # A model in int8 cannot be trained, and training's memory is among the results.
    predictor = champion.predictor("fp32" if options.precision == "int8" else options.precision)
    results = measure_results(
        champion.choice,
        [phase.choice for phase in phases.values()],
        truth(validation, prepared.description),
        predictor,
        validation,
    )
    if int8:
        speeds = measure_both(champion.predictor(options.precision), champion.int8_predictor(), validation)
        results["int8"] = {**int8, "images_per_s": speeds}
    write_json(Path(options.output) / RESULTS, results)
    for name, text in result_lines(results):
        print(f"{name}: {text}", flush=True)
