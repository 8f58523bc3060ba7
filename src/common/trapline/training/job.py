"""A training job from a prepared data set to a model artefact, in one readable sequence."""

import copy
import os
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from trapline import metrics
from trapline.augmentation import read_views
from trapline.config import TrainingConfig
from trapline.console import peak_resident_mb, progress
from trapline.errors import TraplineError
from trapline.job_contract import TrainingPaths, ensure_writable, shipped_files, versions
from trapline.learning import SCHEDULES, lower, on_plateau
from trapline.machine import kind_of_place
from trapline.models.artefact import ModelDescription, write_artefact
from trapline.models.build import count_parameters, in_auxiliary_head
from trapline.models.weights import WeightsReport, copied_state
from trapline.training.checkpoint import (
    Checkpoints,
    TrainingState,
    Weights,
    find_checkpoint,
    random_states,
    restore,
    snapshot,
)
from trapline.training.data import (
    AUTO,
    Data,
    fetch_data,
    first_plan,
    lack_of_memory,
    note_unseen_labels,
    plan_of,
    rebatched,
    setup_data,
    smaller_plan,
    with_batches,
)
from trapline.training.distributed import (
    Ranks,
    average_running_statistics,
    check_same_weights,
    from_first,
    joined,
    ranks_from,
)
from trapline.training.execution import (
    BatchPlan,
    choose_resources,
    limit_gpu_memory,
    log_memory,
    peak_gpu_mb,
    possible_executions,
    seed_everything,
    training_device,
    use_threads,
)
from trapline.training.loop import BatchReport, Learner, train_epoch
from trapline.training.setup import (
    check_sources,
    note_few_steps,
    note_known_cameras,
    settled_speed,
    setup_checkpoints,
    setup_learner,
    setup_model,
)
from trapline.training.speed import Speed
from trapline.training.validation import (
    MAX_PRINTED,
    class_report,
    is_due,
    label_report,
    say_target,
    score_test,
    target_epoch,
    thresholds_of,
    validate,
)
from trapline.workers import available_cores


def run_training(
    config: TrainingConfig, paths: TrainingPaths, entry_points: Path | None, *, fresh: bool
) -> None:
    """Train, choose the best epoch on validation, and write the artefact to `paths.model`.

    `entry_points` is the folder of the scripts that go into the artefact beside `trapline`; None: there is no
    such folder here, and the artefact gets no code/. An unfinished job with the same code, data and
    configuration goes on from its last checkpoint unless `fresh`. Started by torchrun, its processes train
    the one model together, and the first of them writes. Raises UsageError for a configuration that does not
    fit the data or the machine, TraplineError for a failed run.
    """
    ranks = ranks_from(os.environ)
    with joined(ranks):
        _train(config, paths, entry_points, ranks, fresh=fresh)


def _train(
    config: TrainingConfig, paths: TrainingPaths, entry_points: Path | None, ranks: Ranks, *, fresh: bool
) -> None:
    seed_everything(config.seed, config.deterministic, config.cudnn_benchmark)
    device = training_device(ranks)
    possible_executions(device, config.precision)  # before anything is fetched
    limit_gpu_memory(device, config.gpu_memory_fraction)
    if ranks.is_main:
        for folder in (paths.model, paths.output, paths.checkpoints):
            ensure_writable(folder)
    log_memory("start", device)
    check_sources(config, paths)
    fetch_data(config, paths, ranks)
    cores = available_cores()
    use_threads(choose_resources(device.type, cores, ranks.local_world_size).threads)
    sized = with_batches(config, first_plan(config, device, cores, ranks))
    data = setup_data(sized, paths, device, ranks)
    log_memory("data_loaded", device)
    start = setup_model(sized, data, paths)
    checkpoints = setup_checkpoints(config, paths, data, entry_points, start.report, ranks)
    if fresh and ranks.is_main:
        checkpoints.clear()
    speed = settled_speed(sized, start, data, checkpoints, ranks, anew=fresh)
    learner = setup_learner(sized, data, start, speed.execution(device), ranks)
    _print_profile(config, data, learner)
    note_few_steps(learner, data, start.report)
    note_unseen_labels(config, data)
    note_known_cameras(data, ranks)
    data, state = _begin(config, learner, data, checkpoints)
    while not state.finished(config):
        lack = lack_of_memory(partial(_run_epoch, learner, data, state))
        if lack is not None:
            data, state = _begin_epoch_again(config, learner, data, checkpoints, lack)
            continue
        _heed_plateau(learner, state)
        random = random_states(learner)
        if ranks.is_main:
            state.write_csv(paths.output / "metrics.csv")
            checkpoints.save(state.epoch, snapshot(learner, state, random))
    if state.out_of_patience(config):
        print(f"stopped: no better {config.best_metric} in {config.patience} validations", flush=True)
    say_target(config, state, ended=True)
    if ranks.is_main:  # a job that resumed after its last epoch may find another folder of results
        state.write_csv(paths.output / "metrics.csv")
    state.require_best(config, paths.output)
    last = copied_state(learner.model.state_dict())
    tested = score_test(learner, data.test, state, paths.output) if data.test else None
    if ranks.is_main:
        _write_class_report(config, state, data, paths.output)
        described = _described(config, learner, data, state, start.report, speed, tested)
        _write_model(config, described, state, last, paths.model, entry_points)
        checkpoints.clear()


def _begin(
    config: TrainingConfig, learner: Learner, data: Data, checkpoints: Checkpoints
) -> tuple[Data, TrainingState]:
    """Go on from the newest checkpoint, with the batches of then, or be at the beginning."""
    ranks = learner.ranks
    saved = find_checkpoint(checkpoints, ranks)
    if saved is None:
        state = TrainingState()
        if config.batch_size == AUTO and ranks.world_size == 1:
            # From where smaller batches would begin again.
            checkpoints.save(state.epoch, snapshot(learner, state, random_states(learner)))
        return data, state
    plan = BatchPlan(*saved["batch"])
    if plan != plan_of(learner.config):
        data = rebatched(learner, data, plan)
    state = restore(learner, saved)
    print(f"resumed after epoch {state.epoch} from {checkpoints.folder}", flush=True)
    return data, state


def _begin_epoch_again(
    config: TrainingConfig, learner: Learner, data: Data, checkpoints: Checkpoints, lack: str
) -> tuple[Data, TrainingState]:
    """Go back to before the epoch in which memory ran out, to smaller batches."""
    plan = plan_of(learner.config)
    smaller = smaller_plan(config, plan, lack, ranks=learner.ranks, pseudo=data.train.batches.pseudo > 0)
    saved = find_checkpoint(checkpoints, learner.ranks)
    if saved is None:
        raise TraplineError(
            f"{checkpoints.folder}: no checkpoint is left to begin the epoch again from ({lack})"
        )
    learner.optimizer.zero_grad(set_to_none=True)  # forget what a step has left that did not end
    learner.scaler = learner.execution.scaler()
    data = rebatched(learner, data, smaller)
    state = restore(learner, saved)
    print(
        f"batch_size auto: memory has run out with {plan} images a step in epoch {state.epoch + 1}; "
        f"it begins again with {smaller} ({lack})",
        flush=True,
    )
    return data, state


def _write_class_report(config: TrainingConfig, state: TrainingState, data: Data, folder: Path) -> None:
    outcome = {name: tensor.numpy() for name, tensor in state.best_outcome.items()}
    report = (
        label_report(outcome, data.classes, config.threshold)
        if "thresholds" in outcome
        else class_report(outcome["counts"], data.classes)
    )
    text = report.write(state.best_epoch, folder)
    if len(data.classes) <= MAX_PRINTED:
        print(text, end="", flush=True)


def _print_profile(config: TrainingConfig, data: Data, learner: Learner) -> None:
    execution, train, plan = learner.execution, data.train, plan_of(learner.config)
    guessed = f"pseudo_images={len(data.pseudo.rows)} " if data.pseudo else ""
    settings = " ".join(f"{name}={value}" for name, value in config.record().items())
    print(f"[PROFILE] {settings}")
    print(
        f"[PROFILE] device={execution.device} runs_in={execution.precision} "
        f"channels_last={execution.channels_last} ranks={learner.ranks.world_size} "
        f"threads={torch.get_num_threads()} batch={plan.size} steps_of={plan.size * plan.accumulation} "
        f"place={kind_of_place(os.environ)} "
        f"workers={train.num_workers} parameters={count_parameters(learner.model)} "
        f"classes={len(data.classes)} train_images={train.batches.rows} val_images={data.val.batches.rows} "
        f"{guessed}split={data.prepared.description.split.kind} drawn={data.prepared.description.drawn}",
        flush=True,
    )


def _run_epoch(learner: Learner, data: Data, state: TrainingState) -> None:
    device, epoch = learner.execution.device, state.epoch + 1
    log_memory(f"epoch_{epoch}_start", device)
    started = time.perf_counter()
    sizes = data.train.batches.sizes
    batches = data.train.epoch(epoch)
    report = BatchReport(epoch, len(sizes), learner.config.log_every if learner.ranks.is_main else 0)
    if learner.ranks.is_main:
        batches = progress(
            batches, f"epoch {epoch}/{learner.config.epochs}", len(sizes), "batches", report.status
        )
    tally = train_epoch(learner, batches, sizes, epoch, report.watch)
    average_running_statistics(learner.model, learner.ranks)
    check_same_weights(learner.model, learner.ranks, epoch)
    seconds = time.perf_counter() - started
    validated, outcome = validate(learner, data.val, epoch) if is_due(learner.config, epoch) else ({}, {})
    row: dict[str, float] = {
        "epoch": epoch,
        **tally.metrics(),
        **validated,
        "lr": tally.learning_rate,
        "images_per_s": tally.images / seconds,
        "data_wait": tally.waited / seconds,
        "epoch_s": time.perf_counter() - started,
        "rss_mb": peak_resident_mb(),
        "gpu_mb": peak_gpu_mb(device),
    }
    row = from_first(row, learner.ranks)  # what is decided by it must be decided alike
    state.add(row, learner.model, learner.config, outcome)
    row["best_epoch"] = state.best_epoch  # said here, so that nobody has to choose it again
    metrics.emit(row)
    say_target(learner.config, state)
    log_memory(f"epoch_{epoch}_end", device)


def _heed_plateau(learner: Learner, state: TrainingState) -> None:
    config = learner.config
    losses = [row["val_loss"] for row in state.history if "val_loss" in row]
    heeds = SCHEDULES[config.schedule].plateau and is_due(config, state.epoch)
    if heeds and on_plateau(losses, config.plateau_patience):
        lower(learner.schedule, config.plateau_factor)
        print(
            f"plateau: no better val_loss in {config.plateau_patience} validations; the learning rate is "
            f"multiplied by {config.plateau_factor:g}",
            flush=True,
        )


def _described(
    config: TrainingConfig,
    learner: Learner,
    data: Data,
    state: TrainingState,
    report: WeightsReport,
    speed: Speed,
    tested: dict[str, float] | None,
) -> ModelDescription:
    described, plan = data.prepared.description, plan_of(learner.config)
    found: dict[str, Any] = {"best": state.history[state.best_epoch - 1], "last": state.history[-1]}
    if tested is not None:
        found["test"] = tested
    if config.target_accuracy is not None:
        found["target_epoch"] = target_epoch(state, config.target_accuracy)
    return ModelDescription(
        architecture=config.arch,
        classes=data.classes,
        image_size=config.image_size,
        normalisation=learner.normalisation,
        pixels=described.pixels,
        eval_crop=config.eval_crop,
        views=list(read_views(config.test_views)),
        task=described.task,
        thresholds=thresholds_of(state),
        split=described.split.kind,
        division=described.split.division,
        line=described.split.line,
        training_job=os.environ.get("TRAINING_JOB_NAME"),  # of SageMaker's containers, and the local backends
        pseudo_labels=data.pseudo.identity if data.pseudo else None,
        configuration=config.record(),
        batches={"batch_size": plan.size, "accumulation": plan.accumulation},
        speed={"training": asdict(speed)},
        data_fingerprint=described.fingerprint,
        versions=versions("torch", "torchvision", "albumentations", "safetensors"),
        metrics=found,
        best_epoch=state.best_epoch,
        epochs=state.epoch,
        parameters=count_parameters(learner.model, config.arch),
        weights=report.summary(),
    )


def _served(config: TrainingConfig, weights: Weights) -> Weights:
    """The tensors without those of auxiliary heads, which have done their work."""
    served = copy.copy(weights)  # with the attribute in which torch keeps the versions of a state dict
    for name in weights:
        if in_auxiliary_head(config.arch, name):
            del served[name]
    return served


def _write_model(
    config: TrainingConfig,
    description: ModelDescription,
    state: TrainingState,
    last: Weights,
    model_dir: Path,
    entry_points: Path | None,
) -> None:
    write_artefact(
        model_dir,
        description,
        best=_served(config, state.best_weights),
        last=_served(config, last),
        code=shipped_files(entry_points) if entry_points else [],
        pth=config.export_pth,
    )
    best = state.history[state.best_epoch - 1]
    numbers = " ".join(f"{name}={best[name]:.4f}" for name in ("val_loss", "val_acc", "val_macro_f1"))
    print(f"model: {model_dir} (best epoch {state.best_epoch} of {state.epoch}: {numbers})", flush=True)
