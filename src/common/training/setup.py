"""What a training job begins with: its data, the learner with its first weights, and its checkpoints."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

import common
from common.channels import Channel, TrainingPaths
from common.config import TrainingConfig
from common.data.folds import LabelledPart, training_parts
from common.data.loader import Loader, make_loader
from common.data.memory import make_memory_loader
from common.data.mixed import MixedPart
from common.data.prepared import PARTS, PreparedSet, fetch_prepared, open_prepared
from common.data.pseudo import PseudoLabels, fetch_pseudo_labels, read_pseudo_labels
from common.errors import TraplineError, UsageError
from common.losses import LOSSES
from common.models.build import (
    BATCH_NORMS,
    NAMED_NORMALISATIONS,
    Normalisation,
    build_model,
    check_image_size,
    head_parameters,
    in_auxiliary_head,
    normalisation_for,
)
from common.models.phase1 import PHASE1, fetch_artefact, load_phase1, opened_artefact, read_phase1
from common.models.staged import fetch_staged
from common.models.weights import IMAGENET, WeightsReport, load_weights, name_some
from common.processes import available_cores
from common.storage import folder_digest
from common.training.checkpoint import Checkpoints, job_key
from common.training.compiling import compiled
from common.training.data_start import start_from_data
from common.training.distributed import (
    Ranks,
    parallel,
    seed_dropout,
    wait_for_all,
)
from common.training.execution import (
    Execution,
    log_memory,
)
from common.training.fitting import with_batches
from common.training.lookahead import start_lookahead
from common.training.loop import Learner
from common.training.optimisation import make_loss, make_optimizer, make_schedule
from common.training.resources import BatchPlan, choose_resources

NO_WEIGHTS = "none"
TRAINED_PARTS = ("train", "val")
START_LEFT = 0.01  # share of a running statistic's first value that is still worth a word at the end


@dataclass(frozen=True)
class Data:
    """The prepared set, its loaders, and the pseudo-labels that were given, accepted ones or none.

    `labelled`: the images with true labels that are trained on; `validation`: those that validate.
    """

    prepared: PreparedSet
    labelled: LabelledPart
    validation: LabelledPart
    train: Loader
    val: Loader
    pseudo: PseudoLabels | None = None
    test: Loader | None = None  # with score_test

    @property
    def mixed(self) -> bool:
        """Whether batches hold pseudo-labelled images."""
        return self.pseudo is not None and len(self.pseudo.rows) > 0

    @property
    def classes(self) -> list[str]:
        """Class names in the order of the logits."""
        return self.prepared.description.classes

    @property
    def labels(self) -> np.ndarray:
        """The labels of `labelled`: int64 (images,), or where an image may have several float32 (images,
        classes) of 0 and 1."""
        return labels_of(self.prepared, self.labelled)


def labels_of(prepared: PreparedSet, part: LabelledPart) -> np.ndarray:
    """The labels of a part of `prepared`, in the form that `Data.labels` has."""
    several = several_of(prepared)
    return part.labels if several is None else part.label_matrix(several)


def several_of(prepared: PreparedSet) -> int | None:
    """The number of classes where an image may have several labels, else None."""
    return len(prepared.description.classes) if prepared.description.task == "multilabel" else None


def check_phase1(config: TrainingConfig, phase1: Channel | None) -> None:
    """Say where a channel `phase1` is not used. Raises UsageError where it is missing."""
    if config.weights == PHASE1 and phase1 is None:
        raise UsageError("weights phase1: say where the model lies with --phase1 DIR|model.tar.gz|s3://...")
    if config.weights != PHASE1 and phase1 is not None:
        print(f"phase1: not used, for weights is {config.weights}", flush=True)


def fetch_data(config: TrainingConfig, paths: TrainingPaths, ranks: Ranks) -> None:
    """Copy what lies in S3 to this machine, and wait until every rank has it."""
    if ranks.local_rank == 0:  # the ranks of a machine share the copies
        if paths.prepared_uri is not None:
            parts = read_parts(config, pseudo=paths.pseudo is not None)
            fetch_prepared(paths.prepared_uri, paths.prepared, parts)
        if paths.pseudo is not None and paths.pseudo.uri is not None:
            fetch_pseudo_labels(paths.pseudo.uri, paths.pseudo.path)
        if config.weights == PHASE1 and paths.phase1 is not None and paths.phase1.uri is not None:
            fetch_artefact(paths.phase1.uri, paths.phase1.path)
        if config.weights == IMAGENET and paths.weights is not None and paths.weights.uri is not None:
            fetch_staged(paths.weights.uri, paths.weights.path, config.arch)
    wait_for_all(ranks)


def setup_data(config: TrainingConfig, paths: TrainingPaths, execution: Execution, ranks: Ranks) -> Data:
    """Open the prepared set and make the loaders of train and val.

    Raises UsageError where `image_size` does not fit it, TraplineError for an empty or damaged part.
    """
    folder = paths.prepared
    pseudo_given = paths.pseudo is not None
    prepared = open_prepared(folder, parts=read_parts(config, pseudo=pseudo_given))
    check_task(config, prepared, pseudo=pseudo_given)
    _check_prepared(config, prepared)
    if paths.pseudo and config.folds:
        raise UsageError(
            "hyperparameter folds: not with pseudo-labels, for their teacher has seen images of every fold; "
            "leave one of them out"
        )
    pseudo = read_pseudo_labels(paths.pseudo.path, prepared) if paths.pseudo else None
    return with_loaders(config, prepared, pseudo, execution, ranks)


def with_loaders(
    config: TrainingConfig,
    prepared: PreparedSet,
    pseudo: PseudoLabels | None,
    execution: Execution,
    ranks: Ranks,
) -> Data:
    """The data with loaders for the batches of `config`."""
    workers = config.num_workers
    if workers is None:
        workers = choose_resources(execution.device.type, available_cores(), ranks.local_count).workers
    shared: dict[str, Any] = {
        "size": config.image_size,
        "batch_size": config.batch_size,
        "seed": config.seed,
        "rank": ranks.rank,
        "ranks": ranks.count,
        "eval_crop": config.eval_crop,
        "several": several_of(prepared),
    }
    where: dict[str, Any] = {"workers": workers, "pin": execution.device.type == "cuda"}
    make: Callable[..., Loader] = partial(make_loader, **where)
    if config.in_memory:
        make = partial(make_memory_loader, device=execution.device)
    labelled, validation = training_parts(prepared, config.folds, config.fold)
    part = _training_part(config, prepared, labelled, pseudo)
    train = make(part, chain=config.augment, shuffle=True, pseudo_share=config.pseudo_share, **shared)
    val = make(validation, chain="none", shuffle=False, **shared)
    test = None
    if config.score_test:
        test = make(prepared.part("test"), chain="none", shuffle=False, **shared)
    return Data(prepared, labelled, validation, train, val, pseudo, test)


def rebatched(learner: Learner, data: Data, plan: BatchPlan) -> Data:
    """The data in other batches, and `learner` set to them; restore a checkpoint into it afterwards.

    The schedule is built anew, for the number of steps may differ; a checkpoint puts it where it was.
    """
    learner.config = with_batches(learner.config, plan)
    data = with_loaders(learner.config, data.prepared, data.pseudo, learner.execution, learner.ranks)
    steps_per_epoch = -(-len(data.train.batches) // plan.accumulation)
    learner.schedule = make_schedule(learner.config, learner.optimizer, steps_per_epoch)
    return data


def _training_part(
    config: TrainingConfig, prepared: PreparedSet, labelled: LabelledPart, pseudo: PseudoLabels | None
) -> LabelledPart | MixedPart:
    if pseudo is None:
        return labelled
    if not len(pseudo.rows):
        print("pseudo-labels: none was accepted; training on the labelled images alone", flush=True)
        return labelled
    return MixedPart(labelled, prepared.part("unlabeled"), pseudo.rows, pseudo.labels, config.pseudo_weight)


def check_task(config: TrainingConfig, prepared: PreparedSet, *, pseudo: bool = False) -> None:
    """Raise UsageError where the loss, or pseudo-labels, do not go with how many labels an image may have."""
    task, loss = prepared.description.task, LOSSES[config.loss]
    if loss.task != task:
        fitting = ", ".join(name for name, other in LOSSES.items() if other.task == task)
        raise UsageError(
            f"hyperparameter loss: {config.loss} is for {loss.task} data, and {prepared.folder} is {task}; "
            f"set loss to one of: {fitting}"
        )
    if pseudo and task == "multilabel":
        raise UsageError(f"pseudo-labels are of one label an image, and {prepared.folder} is multilabel")
    if config.score_test and not len(prepared.part("test")):
        raise UsageError(
            f"hyperparameter score_test: {prepared.folder} has no test part; prepare it with other --shares, "
            "or leave score_test out"
        )


def read_parts(config: TrainingConfig, *, pseudo: bool = False) -> tuple[str, ...]:
    """The parts of the prepared set that a job reads; the unlabelled one is for pseudo-labels."""
    if pseudo:
        return PARTS
    return (*TRAINED_PARTS, "test") if config.score_test else TRAINED_PARTS


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


def setup_learner(
    config: TrainingConfig, data: Data, paths: TrainingPaths, execution: Execution, ranks: Ranks
) -> tuple[Learner, WeightsReport]:
    """The model with its first weights on the device, all that trains it, and where the weights are from."""
    model, report, normalisation = _setup_model(config, data, paths, execution)
    shared = parallel(model, ranks)
    optimizer = make_optimizer(config, model, head_of(config))
    steps_per_epoch = -(-len(data.train.batches) // config.accumulation)
    steps = config.epochs * steps_per_epoch
    learner = Learner(
        model=model,
        optimizer=optimizer,
        schedule=make_schedule(config, optimizer, steps_per_epoch),
        scaler=execution.scaler(),
        loss=make_loss(config, data.labels, data.classes, execution.device),
        config=config,
        execution=execution,
        normalisation=normalisation,
        ranks=ranks,
        parallel=shared,
        compiled=compiled(config, model if shared is None else shared, execution, steps),
        lookahead=start_lookahead(model, steps) if config.lookahead else None,
    )
    seed_dropout(config.seed, ranks)
    return learner, report


def _setup_model(
    config: TrainingConfig, data: Data, paths: TrainingPaths, execution: Execution
) -> tuple[nn.Module, WeightsReport, Normalisation]:
    auxiliary = config.aux_weight > 0
    check_image_size(config.arch, config.image_size, len(data.classes), auxiliary=auxiliary)
    model = build_model(
        config.arch,
        len(data.classes),
        image_size=config.image_size,
        dropout=config.dropout,
        stochastic_depth=config.stochastic_depth,
        output=config.model_output,
        auxiliary=auxiliary,
    )
    report, normalisation = _load_start(model, config, data, paths)
    normalisation = NAMED_NORMALISATIONS.get(config.normalisation, normalisation)
    if config.weights == NO_WEIGHTS:
        start_from_data(model, config, data.labelled, normalisation)
    print(report, flush=True)
    log_memory("model_built", execution.device)
    model = execution.place(model)
    log_memory("model_on_device", execution.device)
    return model, report, normalisation


def head_of(config: TrainingConfig) -> frozenset[str]:
    """The head's tensors in the model that is trained."""
    return head_parameters(config.arch, config.image_size, auxiliary=config.aux_weight > 0)


def _load_start(
    model: nn.Module, config: TrainingConfig, data: Data, paths: TrainingPaths
) -> tuple[WeightsReport, Normalisation]:
    """Fill `model` with the weights to start from; they come with a normalisation."""
    phase1, staged = paths.phase1, paths.weights.path if paths.weights else None
    if config.weights != PHASE1 or phase1 is None:
        head = head_of(config)
        if config.weights != IMAGENET:  # the file of a model that was trained here has no auxiliary heads
            head |= {name for name in model.state_dict() if in_auxiliary_head(config.arch, name)}
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


def note_unseen_labels(config: TrainingConfig, data: Data) -> None:
    """Say which labels of several an image have no image in train or val.

    Raises TraplineError where a part has no label at all.
    """
    if several_of(data.prepared) is None:
        return
    left_out = f"left out of macro averages and val_map; threshold {config.threshold:g}"
    for part, rows, effect in (
        ("train", data.labelled, "it cannot be learned"),
        ("val", data.validation, left_out),
    ):
        labels = labels_of(data.prepared, rows)
        absent = [name for name, count in zip(data.classes, labels.sum(axis=0), strict=True) if not count]
        if len(absent) == len(data.classes):
            raise TraplineError(
                f"{data.prepared.folder}: no image of {part} has a label; prepare it with other --shares"
            )
        if absent:
            print(f"note: no image of {part} has {name_some(absent)}: {effect}", flush=True)


def note_few_steps(learner: Learner, data: Data, report: WeightsReport) -> None:
    """Say where running statistics that began anew would still be far from the data's at the end."""
    if not learner.ranks.first or not any(name.endswith("running_mean") for name in report.new):
        return
    steps = learner.config.epochs * len(data.train.batches)
    layers = [layer for layer in learner.model.modules() if isinstance(layer, BATCH_NORMS)]
    share = max(((1 - (layer.momentum or 1.0)) ** steps for layer in layers), default=0.0)
    if share > START_LEFT:
        print(
            f"note: {steps} steps leave the running statistics of batch normalisation to {share:.0%} what "
            "they began with, so validation shows the model worse than it is; take more epochs or a smaller "
            "batch_size",
            flush=True,
        )


def setup_checkpoints(
    config: TrainingConfig,
    paths: TrainingPaths,
    data: Data,
    entry_points: Path,
    report: WeightsReport,
    ranks: Ranks,
) -> Checkpoints:
    """The job's checkpoints, under a key of all that can change the trained weights."""
    code = folder_digest([entry_points, Path(common.__file__).parent])
    digests = [code, data.prepared.description.fingerprint, config.digest(), report.identity]
    if ranks.count > 1:
        digests.append(f"ranks={ranks.count}")
    if data.pseudo is not None:
        digests.append(f"pseudo={data.pseudo.identity}")
    return Checkpoints(paths.checkpoints, job_key(*digests))
