"""A training job from a prepared data set to a model artefact, in one readable sequence."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import common
from common import metrics
from common.channels import Channel, TrainingPaths, ensure_writable
from common.config import TrainingConfig
from common.console import peak_resident_mb, progress
from common.data.loader import Loader, default_workers, make_loader
from common.data.mixed import MixedPart
from common.data.prepared import PARTS, PackedPart, PreparedSet, fetch_prepared, open_prepared
from common.data.pseudo import PseudoLabels, fetch_pseudo_labels, read_pseudo_labels
from common.errors import TraplineError, UsageError
from common.models.artefact import ModelDescription, write_artefact
from common.models.build import (
    Normalisation,
    build_model,
    check_image_size,
    count_parameters,
    head_parameters,
    normalisation_for,
)
from common.models.phase1 import PHASE1, fetch_artefact, load_phase1, opened_artefact, read_phase1
from common.models.staged import fetch_staged
from common.models.weights import IMAGENET, WeightsReport, load_weights
from common.storage import folder_digest
from common.training.checkpoint import Checkpoints, job_key
from common.training.distributed import (
    Ranks,
    average_running_statistics,
    from_first,
    gather_rows,
    joined,
    parallel,
    ranks_from,
    same_weights,
    seed_dropout,
    wait_for_all,
)
from common.training.evaluation import Predictions, classification_metrics, predict
from common.training.execution import (
    Execution,
    choose_execution,
    log_memory,
    peak_gpu_mb,
    seed_everything,
)
from common.training.loop import Learner, divergence, train_epoch
from common.training.optimisation import make_loss, make_optimizer, make_schedule
from common.training.progress import Progress, copy_weights
from common.training.resuming import random_states, resume_or_start, snapshot
from common.versions import versions

TRAINED_PARTS = ("train", "val")
NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
START_LEFT = 0.01  # share of a running statistic's first value that is still worth a word at the end
JOB_VARIABLE = "TRAINING_JOB_NAME"  # set in SageMaker's training containers, and by the local backends


@dataclass(frozen=True)
class Data:
    """The prepared set, its loaders, and the pseudo-labels that were given, accepted ones or none."""

    prepared: PreparedSet
    train: Loader
    val: Loader
    pseudo: PseudoLabels | None = None

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the logits."""
        return self.prepared.description.classes


def run_training(config: TrainingConfig, paths: TrainingPaths, entry_points: Path, *, fresh: bool) -> None:
    """Train, choose the best epoch on validation, and write the artefact to `paths.model`.

    `entry_points` is the folder of the scripts that go into the artefact beside `common`. An unfinished job
    with the same code, data and configuration goes on from its last checkpoint unless `fresh`. Started by
    torchrun, its processes train the one model together, and the first of them writes. Raises UsageError for
    a configuration that does not fit the data or the machine, TraplineError for a failed run.
    """
    ranks = ranks_from(os.environ)
    with joined(ranks):
        _train(config, paths, entry_points, ranks, fresh=fresh)


def _train(
    config: TrainingConfig, paths: TrainingPaths, entry_points: Path, ranks: Ranks, *, fresh: bool
) -> None:
    seed_everything(config.seed, config.deterministic)
    execution = choose_execution(config, ranks)
    if ranks.first:
        for folder in (paths.model, paths.output, paths.checkpoints):
            ensure_writable(folder)
    log_memory("start", execution.device)
    _check_phase1(config, paths.phase1)
    if paths.weights is not None and config.weights != IMAGENET:
        print(f"staged weights: not used, for weights is {config.weights}", flush=True)
    _fetch_data(config, paths, ranks)
    data = _setup_data(config, paths, execution, ranks)
    log_memory("data_loaded", execution.device)
    learner, report = _setup_learner(config, data, paths, execution, ranks)
    _print_profile(config, data, learner)
    _note_few_steps(learner, data, report)
    checkpoints = _setup_checkpoints(config, paths, data, entry_points, report, ranks)
    state = resume_or_start(learner, checkpoints, fresh=fresh)
    while not state.finished(config):
        _run_epoch(learner, data, state)
        random = random_states(execution.device, ranks)
        if ranks.first:
            state.write_csv(paths.output / "metrics.csv")
            checkpoints.save(state.epoch, snapshot(learner, state, random))
    if state.out_of_patience(config):
        print(f"stopped: no better {config.best_metric} in {config.patience} epochs", flush=True)
    if ranks.count > 1:
        digest = same_weights(learner.model, ranks, state.epoch)
        print(f"ranks: all {ranks.count} hold the same weights, sha256 {digest}", flush=True)
    if ranks.first:
        state.write_csv(paths.output / "metrics.csv")
        _write_model(learner, data, state, paths.model, entry_points, report)
        checkpoints.clear()


def _check_phase1(config: TrainingConfig, phase1: Channel | None) -> None:
    if config.weights == PHASE1 and phase1 is None:
        raise UsageError("weights phase1: say where the model lies with --phase1 DIR|model.tar.gz|s3://...")
    if config.weights != PHASE1 and phase1 is not None:
        print(f"phase1: not used, for weights is {config.weights}", flush=True)


def _fetch_data(config: TrainingConfig, paths: TrainingPaths, ranks: Ranks) -> None:
    if ranks.local_rank == 0:  # the ranks of a machine share the copies
        if paths.prepared_uri is not None:
            fetch_prepared(paths.prepared_uri, paths.prepared, PARTS if paths.pseudo else TRAINED_PARTS)
        if paths.pseudo is not None and paths.pseudo.uri is not None:
            fetch_pseudo_labels(paths.pseudo.uri, paths.pseudo.path)
        if config.weights == PHASE1 and paths.phase1 is not None and paths.phase1.uri is not None:
            fetch_artefact(paths.phase1.uri, paths.phase1.path)
        if config.weights == IMAGENET and paths.weights is not None and paths.weights.uri is not None:
            fetch_staged(paths.weights.uri, paths.weights.path, config.arch)
    wait_for_all(ranks)


def _setup_data(config: TrainingConfig, paths: TrainingPaths, execution: Execution, ranks: Ranks) -> Data:
    folder = paths.prepared
    prepared = open_prepared(folder, parts=PARTS if paths.pseudo else TRAINED_PARTS)
    _check_prepared(config, prepared)
    pseudo = read_pseudo_labels(paths.pseudo.path, prepared) if paths.pseudo else None
    workers = config.num_workers
    if workers is None:
        workers = default_workers(execution.device.type, ranks.local_count)
    shared: dict[str, Any] = {
        "size": config.image_size,
        "batch_size": config.batch_size,
        "seed": config.seed,
        "workers": workers,
        "pin": execution.device.type == "cuda",
        "rank": ranks.rank,
        "ranks": ranks.count,
    }
    part = _training_part(config, prepared, pseudo)
    train = make_loader(part, chain=config.augment, shuffle=True, pseudo_share=config.pseudo_share, **shared)
    val = make_loader(prepared.part("val"), chain="none", shuffle=False, **shared)
    return Data(prepared, train, val, pseudo)


def _training_part(
    config: TrainingConfig, prepared: PreparedSet, pseudo: PseudoLabels | None
) -> PackedPart | MixedPart:
    train = prepared.part("train")
    if pseudo is None:
        return train
    if not len(pseudo.rows):
        print("pseudo-labels: none was accepted; training on the labelled images alone", flush=True)
        return train
    return MixedPart(train, prepared.part("unlabeled"), pseudo.rows, pseudo.labels, config.pseudo_weight)


def _check_prepared(config: TrainingConfig, prepared: PreparedSet) -> None:
    folder, description = prepared.folder, prepared.description
    packed = description.pixels["short_side"]
    if config.image_size > packed:
        raise UsageError(
            f"image_size {config.image_size} is above the packed short side {packed}: prepare again with\n"
            f"python entry_points/prepare.py --input {description.source} --output {folder} "
            f"--short-side {config.image_size}"
        )
    for part in TRAINED_PARTS:
        if not len(prepared.part(part)):
            raise TraplineError(f"{folder / part}: holds no image; prepare the data with other --shares")


def _setup_learner(
    config: TrainingConfig, data: Data, paths: TrainingPaths, execution: Execution, ranks: Ranks
) -> tuple[Learner, WeightsReport]:
    check_image_size(config.arch, config.image_size, len(data.classes))
    model = build_model(
        config.arch,
        len(data.classes),
        image_size=config.image_size,
        dropout=config.dropout,
        stochastic_depth=config.stochastic_depth,
    )
    head = head_parameters(config.arch, config.image_size)
    report, normalisation = _load_start(model, config, data, paths)
    print(report, flush=True)
    log_memory("model_built", execution.device)
    model = execution.place(model)
    log_memory("model_on_device", execution.device)
    optimizer = make_optimizer(config, model, head)
    steps_per_epoch = -(-len(data.train.batches) // config.accumulation)
    learner = Learner(
        model=model,
        optimizer=optimizer,
        schedule=make_schedule(config, optimizer, steps_per_epoch),
        scaler=execution.scaler(),
        loss=make_loss(config, data.prepared.part("train").labels, data.classes, execution.device),
        config=config,
        execution=execution,
        normalisation=normalisation,
        ranks=ranks,
        parallel=parallel(model, ranks),
    )
    seed_dropout(config.seed, ranks)
    return learner, report


def _load_start(
    model: nn.Module, config: TrainingConfig, data: Data, paths: TrainingPaths
) -> tuple[WeightsReport, Normalisation]:
    """Fill `model` with the weights to start from; they come with a normalisation."""
    phase1, staged = paths.phase1, paths.weights.path if paths.weights else None
    if config.weights != PHASE1 or phase1 is None:
        head = head_parameters(config.arch, config.image_size)
        report = load_weights(model, config.weights, arch=config.arch, head=head, cache=None, staged=staged)
        return report, normalisation_for(config.arch, config.weights)
    with opened_artefact(phase1.path) as folder:
        start = read_phase1(folder, config.arch, data.classes)
        if start.description.data_fingerprint != data.prepared.description.fingerprint:
            print(
                "note: phase 1 was trained on another prepared set; where it has seen validation images of "
                "this one, their scores say too much",
                flush=True,
            )
        return load_phase1(model, start), start.description.normalisation


def _note_few_steps(learner: Learner, data: Data, report: WeightsReport) -> None:
    """Say where running statistics that began anew would still be far from the data's at the end."""
    if not learner.ranks.first or not any(name.endswith("running_mean") for name in report.new):
        return
    steps = learner.config.epochs * len(data.train.batches)
    layers = [layer for layer in learner.model.modules() if isinstance(layer, NORMALISATIONS)]
    share = max(((1 - (layer.momentum or 1.0)) ** steps for layer in layers), default=0.0)
    if share > START_LEFT:
        print(
            f"note: {steps} steps leave the running statistics of batch normalisation to {share:.0%} what "
            "they began with, so validation shows the model worse than it is; take more epochs or a smaller "
            "batch_size",
            flush=True,
        )


def _print_profile(config: TrainingConfig, data: Data, learner: Learner) -> None:
    execution, train = learner.execution, data.train
    guessed = f"pseudo_images={len(data.pseudo.rows)} " if data.pseudo else ""
    settings = " ".join(f"{name}={value}" for name, value in config.record().items())
    print(f"[PROFILE] {settings}")
    print(
        f"[PROFILE] device={execution.device} runs_in={execution.precision} "
        f"channels_last={execution.channels_last} ranks={learner.ranks.count} "
        f"threads={torch.get_num_threads()} "
        f"workers={train.loader.num_workers} parameters={count_parameters(learner.model)} "
        f"classes={len(data.classes)} train_images={train.batches.rows} val_images={data.val.batches.rows} "
        f"{guessed}split={data.prepared.description.split.kind} drawn={data.prepared.description.drawn}",
        flush=True,
    )


def _setup_checkpoints(
    config: TrainingConfig,
    paths: TrainingPaths,
    data: Data,
    entry_points: Path,
    report: WeightsReport,
    ranks: Ranks,
) -> Checkpoints:
    code = folder_digest([entry_points, Path(common.__file__).parent])
    digests = [code, data.prepared.description.fingerprint, config.digest(), report.identity]
    if ranks.count > 1:
        digests.append(f"ranks={ranks.count}")
    if data.pseudo is not None:
        digests.append(f"pseudo={data.pseudo.identity}")
    return Checkpoints(paths.checkpoints, job_key(*digests))


def _run_epoch(learner: Learner, data: Data, state: Progress) -> None:
    device, epoch = learner.execution.device, state.epoch + 1
    log_memory(f"epoch_{epoch}_start", device)
    started = time.perf_counter()
    sizes = data.train.batches.sizes
    batches = data.train.epoch(epoch)
    if learner.ranks.first:
        batches = progress(batches, f"epoch {epoch}/{learner.config.epochs}", len(sizes), "batches")
    tally = train_epoch(learner, batches, sizes, epoch)
    average_running_statistics(learner.model, learner.ranks)
    if learner.ranks.count > 1:
        same_weights(learner.model, learner.ranks, epoch)
    seconds = time.perf_counter() - started
    predictions = _predict_val(learner, data.val, epoch)
    row: dict[str, float] = {
        "epoch": epoch,
        **tally.metrics(),
        **classification_metrics(predictions),
        "lr": tally.learning_rate,
        "images_per_s": tally.images / seconds,
        "data_wait": tally.waited / seconds,
        "epoch_s": time.perf_counter() - started,
        "rss_mb": peak_resident_mb(),
        "gpu_mb": peak_gpu_mb(device),
    }
    row = from_first(row, learner.ranks)  # what is decided by it must be decided alike
    state.add(row, learner.model, learner.config)
    metrics.emit(row)
    log_memory(f"epoch_{epoch}_end", device)


def _predict_val(learner: Learner, val: Loader, epoch: int) -> Predictions:
    own = predict(learner.model, val.epoch(epoch), learner.execution, learner.normalisation)
    logits, labels = (
        gather_rows(torch.from_numpy(rows), val.batches.shares, val.batches.sizes, learner.ranks).numpy()
        for rows in (own.logits, own.labels)
    )
    if not np.isfinite(logits).all():  # the last step can ruin the weights after its loss was seen
        raise divergence(f"the model's outputs are no numbers after epoch {epoch}", learner.config)
    return Predictions(logits, labels)


def _write_model(
    learner: Learner,
    data: Data,
    state: Progress,
    model_dir: Path,
    entry_points: Path,
    report: WeightsReport,
) -> None:
    config, described = learner.config, data.prepared.description
    description = ModelDescription(
        architecture=config.arch,
        classes=data.classes,
        image_size=config.image_size,
        normalisation=learner.normalisation,
        pixels=described.pixels,
        task=described.task,
        split=described.split.kind,
        training_job=os.environ.get(JOB_VARIABLE),
        pseudo_labels=data.pseudo.identity if data.pseudo else None,
        configuration=config.record(),
        data_fingerprint=described.fingerprint,
        versions=versions("torch", "torchvision", "albumentations", "safetensors"),
        metrics={"best": state.history[state.best_epoch - 1], "last": state.history[-1]},
        best_epoch=state.best_epoch,
        epochs=state.epoch,
        parameters=count_parameters(learner.model),
        weights=report.summary(),
    )
    code = [(entry_points, ""), (Path(common.__file__).parent, "common")]
    write_artefact(
        model_dir,
        description,
        best=state.best_weights,
        last=copy_weights(learner.model),
        code=code,
        pth=config.export_pth,
    )
    best = state.history[state.best_epoch - 1]
    numbers = " ".join(f"{name}={best[name]:.4f}" for name in ("val_loss", "val_acc", "val_macro_f1"))
    print(f"model: {model_dir} (best epoch {state.best_epoch} of {state.epoch}: {numbers})", flush=True)
