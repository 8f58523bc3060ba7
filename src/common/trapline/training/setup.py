"""What a training job begins with: its data, the learner with its first weights, and its checkpoints."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from trapline.chains import CHAINS
from trapline.channels import Channel, TrainingPaths
from trapline.config import TrainingConfig
from trapline.data.folds import LabelledPart, training_parts
from trapline.data.loader import Loader, LoaderSettings, make_loader
from trapline.data.memory import images_of, make_memory_loader
from trapline.data.mixed import MixedPart
from trapline.data.prepared import PARTS, PreparedSet, fetch_prepared, open_prepared
from trapline.data.pseudo import PseudoLabels, fetch_pseudo_labels, read_pseudo_labels
from trapline.errors import TraplineError, UsageError
from trapline.losses import LOSSES
from trapline.models.build import (
    NAMED_NORMALISATIONS,
    Normalisation,
    build_model,
    check_image_size,
    head_parameters,
    in_auxiliary_head,
    normalisation_for,
    trains_on_one,
)
from trapline.models.phase1 import PHASE1, fetch_artefact, load_phase1, opened_artefact, read_phase1
from trapline.models.staged import fetch_staged
from trapline.models.weights import IMAGENET, WeightsReport, load_weights
from trapline.processes import available_cores
from trapline.shipped import shipped_files
from trapline.training.checkpoint import Checkpoints, job_key
from trapline.training.compiling import compiled
from trapline.training.data_start import start_from_data
from trapline.training.distributed import (
    Ranks,
    once_per_machine,
    parallel,
    seed_dropout,
)
from trapline.training.execution import (
    Execution,
    log_memory,
)
from trapline.training.fitting import plan_of, with_batches
from trapline.training.lookahead import start_lookahead
from trapline.training.loop import Learner
from trapline.training.optimisation import make_loss, make_optimizer, make_schedule
from trapline.training.resources import BatchPlan, choose_resources
from trapline.typed import in_job, prepare_option
from trapline.versions import code_and_versions

NO_WEIGHTS = "none"
TRAINED_PARTS = ("train", "val")


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
    several = num_labels_of(prepared)
    return part.labels if several is None else part.label_matrix(several)


def num_labels_of(prepared: PreparedSet) -> int | None:
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

    def fetch() -> None:
        if paths.prepared_uri is not None:
            parts = read_parts(config, pseudo=paths.pseudo is not None)
            fetch_prepared(paths.prepared_uri, paths.prepared, parts)
        if paths.pseudo is not None and paths.pseudo.uri is not None:
            fetch_pseudo_labels(paths.pseudo.uri, paths.pseudo.path)
        if config.weights == PHASE1 and paths.phase1 is not None and paths.phase1.uri is not None:
            fetch_artefact(paths.phase1.uri, paths.phase1.path)
        if config.weights == IMAGENET and paths.weights is not None and paths.weights.uri is not None:
            fetch_staged(paths.weights.uri, paths.weights.path, config.arch)

    once_per_machine(fetch, ranks)


def setup_data(config: TrainingConfig, paths: TrainingPaths, device: torch.device, ranks: Ranks) -> Data:
    """Open the prepared set and make the loaders of train and val.

    Raises UsageError where `image_size` does not fit it, TraplineError for an empty or damaged part.
    """
    folder = paths.prepared
    pseudo_given = paths.pseudo is not None
    parts = read_parts(config, pseudo=pseudo_given)
    # A mounted stream (FastFile) cannot be mapped and is copied: the ranks of a machine share the copies.
    copies = once_per_machine(lambda: open_prepared(folder, parts).copies, ranks)
    prepared = open_prepared(folder, parts, copies)
    check_task(config, prepared, pseudo=pseudo_given)
    _check_prepared(config, prepared)
    if paths.pseudo and config.folds:
        raise UsageError(
            "hyperparameter folds: not with pseudo-labels, for their teacher has seen images of every fold; "
            "leave one of them out"
        )
    pseudo = read_pseudo_labels(paths.pseudo.path, prepared) if paths.pseudo else None
    return with_loaders(config, prepared, pseudo, device, ranks)


def with_loaders(
    config: TrainingConfig,
    prepared: PreparedSet,
    pseudo: PseudoLabels | None,
    device: torch.device,
    ranks: Ranks,
    before: Data | None = None,
) -> Data:
    """The data with loaders for the batches of `config`.

    `before`: the same data in other batches; what it holds in memory is used again.
    """
    workers = config.num_workers
    if workers is None:
        workers = choose_resources(device.type, available_cores(), ranks.local_world_size).workers
    evaluated = LoaderSettings(
        size=config.image_size,
        batch_size=plan_of(config).size,
        seed=config.seed,
        rank=ranks.rank,
        world_size=ranks.world_size,
        eval_crop=config.eval_crop,
        num_classes=num_labels_of(prepared),
    )
    trained = replace(evaluated, chain=config.augment, shuffle=True, pseudo_share=config.pseudo_share)

    def make(rows: LabelledPart | MixedPart, settings: LoaderSettings, earlier: Loader | None) -> Loader:
        if config.in_memory:
            return make_memory_loader(rows, settings, device=device, images=images_of(earlier))
        return make_loader(rows, settings, workers=workers, pin=device.type == "cuda")

    labelled, validation = training_parts(prepared, config.folds, config.fold)
    part = _training_part(config, prepared, labelled, pseudo)
    train = make(part, trained, before.train if before else None)
    val = make(validation, evaluated, before.val if before else None)
    test = None
    if config.score_test:
        test = make(prepared.part("test"), evaluated, before.test if before else None)
    return Data(prepared, labelled, validation, train, val, pseudo, test)


def rebatched(learner: Learner, data: Data, plan: BatchPlan) -> Data:
    """The data in other batches, and `learner` set to them; restore a checkpoint into it afterwards.

    The schedule is built anew, for the number of steps may differ; a checkpoint puts it where it was.
    """
    learner.config = with_batches(learner.config, plan)
    device, ranks = learner.execution.device, learner.ranks
    data = with_loaders(learner.config, data.prepared, data.pseudo, device, ranks, before=data)
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
            f"hyperparameter score_test: {prepared.folder} has no test part; prepare it with other "
            f"{prepare_option('shares')}, or leave score_test out"
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
        command = f"python entry_points/prepare.py --input {description.source} --output {folder} "
        raise UsageError(
            f"image_size {config.image_size} is above the packed short side {packed}: prepare again with\n"
            f"{'' if in_job() else command}{prepare_option('short-side', config.image_size)}"
        )
    for part in TRAINED_PARTS:
        if not len(prepared.part(part)):
            shares = prepare_option("shares")
            raise TraplineError(f"{folder / part}: holds no image; prepare the data with other {shares}")


def check_batches(config: TrainingConfig, data: Data) -> None:
    """Raise UsageError where a batch of training has one image, and the model cannot be trained on one."""
    batches, auxiliary = data.train.batches, config.aux_weight > 0
    if min(batches.shares) > 1 or trains_on_one(config.arch, config.image_size, auxiliary=auxiliary):
        return
    advice = "set batch_size to 2 or more (it counts the images of each process), or raise image_size"
    if batches.rows == 1:
        advice = "prepare data with more images in train, or raise image_size"
    raise UsageError(
        f"batch_size: {config.batch_size} leaves a batch of one image, on which {config.arch} cannot be "
        f"trained at image_size {config.image_size}: its batch normalisation gets a single value of each "
        f"channel; {advice}"
    )


@dataclass(frozen=True)
class Start:
    """The model with its first weights, where they come from, and the normalisation that goes with them."""

    model: nn.Module
    report: WeightsReport
    normalisation: Normalisation


def setup_model(config: TrainingConfig, data: Data, paths: TrainingPaths) -> Start:
    """The model as training begins with it, on the CPU."""
    auxiliary = config.aux_weight > 0
    check_image_size(config.arch, config.image_size, len(data.classes), auxiliary=auxiliary)
    check_batches(config, data)
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
    normalisation = _normalisation(config, normalisation)
    if config.weights == NO_WEIGHTS:
        start_from_data(model, config, data.labelled, normalisation)
    print(report, flush=True)
    log_memory("model_built")
    return Start(model, report, normalisation)


def _normalisation(config: TrainingConfig, of_start: Normalisation) -> Normalisation:
    """That of the job, where `of_start` comes with the first weights. Grey is what the chain makes of it."""
    grey = CHAINS[config.augment].grey
    if config.weights == PHASE1 and of_start.grey != grey:
        seen = {True: "in grey", False: "in colour"}
        print(
            f"note: phase 1 saw images {seen[of_start.grey]}, and with augment={config.augment} this job "
            f"sees them {seen[grey]}",
            flush=True,
        )
    return replace(NAMED_NORMALISATIONS.get(config.normalisation, of_start), grey=grey)


def setup_learner(
    config: TrainingConfig, data: Data, start: Start, execution: Execution, ranks: Ranks
) -> Learner:
    """The model on the device, and all that trains it."""
    model = execution.place(start.model)
    log_memory("model_on_device", execution.device)
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
        normalisation=start.normalisation,
        ranks=ranks,
        parallel=shared,
        compiled=compiled(config, model if shared is None else shared, execution, steps),
        lookahead=start_lookahead(model, steps) if config.lookahead else None,
    )
    seed_dropout(config.seed, ranks)
    return learner


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


def setup_checkpoints(
    config: TrainingConfig,
    paths: TrainingPaths,
    data: Data,
    entry_points: Path | None,
    report: WeightsReport,
    ranks: Ranks,
) -> Checkpoints:
    """The job's checkpoints, under a key of all that can change the trained weights."""
    made_by = code_and_versions(shipped_files(entry_points))
    digests = [made_by, data.prepared.description.fingerprint, config.digest(), report.identity]
    if ranks.world_size > 1:
        digests.append(f"ranks={ranks.world_size}")
    if data.pseudo is not None:
        digests.append(f"pseudo={data.pseudo.identity}")
    return Checkpoints(paths.checkpoints, job_key(*digests))
