"""The data that a job trains on, in batches that fit into memory, which the machine may choose.

With `batch_size auto` an epoch in which memory runs out begins again, from the state before it, with half the
images in a micro-batch and twice the micro-batches in a step. What is learned is then what a job with that
setting learns: without batch normalisation the same as before up to rounding, for a step has the same images.
"""

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from trapline.config import TrainingConfig, pseudo_rows, read_batch_sizes
from trapline.data.loader import (
    Loader,
    LoaderSettings,
    images_of,
    make_loader,
    make_memory_loader,
)
from trapline.data.parts import (
    LabelledPart,
    MixedPart,
    PseudoLabels,
    fetch_pseudo_labels,
    read_pseudo_labels,
    training_parts,
)
from trapline.data.prepared import PARTS, PreparedSet, fetch_prepared, open_prepared
from trapline.errors import TraplineError, UsageError, refuse_any
from trapline.job_contract import TrainingPaths, in_job, prepare_option
from trapline.learning import LOSSES
from trapline.models.artefact import PHASE1, fetch_artefact
from trapline.models.build import (
    trains_on_one,
)
from trapline.models.staged import fetch_staged
from trapline.models.weights import IMAGENET, name_some
from trapline.training.distributed import (
    Ranks,
    from_all,
    once_per_machine,
)
from trapline.training.execution import (
    BatchPlan,
    automatic_batch_size,
    choose_resources,
    out_of_memory,
)
from trapline.training.loop import Learner
from trapline.training.optimisation import make_schedule
from trapline.workers import available_cores

TRAINED_PARTS = ("train", "val")
AUTO = "auto"


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
    def classes(self) -> list[str]:
        """Class names in the order of the logits."""
        return self.prepared.description.classes


def labels_of(prepared: PreparedSet, part: LabelledPart) -> np.ndarray:
    """The labels of a part of `prepared`: int64 (images,), or where an image may have several float32
    (images, classes) of 0 and 1."""
    several = num_labels_of(prepared)
    return part.labels if several is None else part.label_matrix(several)


def num_labels_of(prepared: PreparedSet) -> int | None:
    """The number of classes where an image may have several labels, else None."""
    return len(prepared.description.classes) if prepared.description.task == "multilabel" else None


def fetch_data(config: TrainingConfig, paths: TrainingPaths, ranks: Ranks) -> None:
    """Copy what lies in S3 to this machine, and wait until every rank has it."""

    def fetch() -> None:
        if paths.prepared_uri is not None:
            fetch_prepared(paths.prepared_uri, paths.prepared, read_parts(config, paths))
        for channel, is_used, copy in (
            (paths.pseudo, True, fetch_pseudo_labels),
            (paths.phase1, config.weights == PHASE1, fetch_artefact),
            (paths.weights, config.weights == IMAGENET, partial(fetch_staged, arch=config.arch)),
        ):
            if is_used and channel is not None and channel.uri is not None:
                copy(channel.uri, channel.path)

    once_per_machine(fetch, ranks)


def read_parts(config: TrainingConfig, paths: TrainingPaths) -> tuple[str, ...]:
    """The parts of the prepared set that a job reads; the unlabelled one is for pseudo-labels."""
    if paths.pseudo is not None:
        return PARTS
    return (*TRAINED_PARTS, "test") if config.score_test else TRAINED_PARTS


def setup_data(config: TrainingConfig, paths: TrainingPaths, device: torch.device, ranks: Ranks) -> Data:
    """Open the prepared set and make the loaders of train and val.

    Raises UsageError where `image_size` does not fit it, TraplineError for an empty or damaged part.
    """
    folder, parts = paths.prepared, read_parts(config, paths)
    # A mounted stream (FastFile) cannot be mapped and is copied: the ranks of a machine share the copies.
    copies = once_per_machine(lambda: open_prepared(folder, parts).copies, ranks)
    prepared = open_prepared(folder, parts, copies)
    _check_prepared(config, prepared, pseudo=paths.pseudo is not None)
    pseudo = read_pseudo_labels(paths.pseudo.path, prepared) if paths.pseudo else None
    return with_loaders(config, prepared, pseudo, device, ranks)


def _check_prepared(config: TrainingConfig, prepared: PreparedSet, *, pseudo: bool) -> None:
    """Raise UsageError where the prepared set is not for this configuration, TraplineError where it is empty.

    The loss, and pseudo-labels, must go with how many labels an image may have.
    """
    folder, description, loss = prepared.folder, prepared.description, LOSSES[config.loss]
    fitting = ", ".join(name for name, other in LOSSES.items() if other.task == description.task)
    packed = description.pixels["short_side"]
    command = f"python entry_points/prepare.py --input {description.source} --output {folder} "
    refuse_any([
        (
            loss.task != description.task,
            f"hyperparameter loss: {config.loss} is for {loss.task} data, and {folder} is "
            f"{description.task}; set loss to one of: {fitting}",
        ),
        (
            pseudo and description.task == "multilabel",
            f"pseudo-labels are of one label an image, and {folder} is multilabel",
        ),
        (
            config.score_test and not len(prepared.part("test")),
            f"hyperparameter score_test: {folder} has no test part; prepare it with other "
            f"{prepare_option('shares')}, or leave score_test out",
        ),
        (
            config.image_size > packed,
            f"image_size {config.image_size} is above the packed short side {packed}: prepare again with\n"
            f"{'' if in_job() else command}{prepare_option('short-side', config.image_size)}",
        ),
    ])  # fmt: skip
    for part in TRAINED_PARTS:
        if not len(prepared.part(part)):
            raise TraplineError(
                f"{folder / part}: holds no image; prepare the data with other {prepare_option('shares')}"
            )
    if pseudo and config.folds:
        raise UsageError(
            "hyperparameter folds: not with pseudo-labels, for their teacher has seen images of every fold; "
            "leave one of them out"
        )


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
    part: LabelledPart | MixedPart = labelled
    if pseudo is not None and len(pseudo.rows):
        part = MixedPart(
            labelled, prepared.part("unlabeled"), pseudo.rows, pseudo.labels, config.pseudo_weight
        )
    elif pseudo is not None:
        print("pseudo-labels: none was accepted; training on the labelled images alone", flush=True)
    return Data(
        prepared,
        labelled,
        validation,
        train=make(part, trained, before.train if before else None),
        val=make(validation, evaluated, before.val if before else None),
        pseudo=pseudo,
        test=(
            make(prepared.part("test"), evaluated, before.test if before else None)
            if config.score_test
            else None
        ),
    )


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


def check_batches(config: TrainingConfig, data: Data) -> None:
    """Raise UsageError where a batch of training has one image, and the model cannot be trained on one."""
    batches, auxiliary = data.train.batches, config.aux_weight > 0
    if min(batches.shares) > 1 or trains_on_one(config.arch, config.image_size, auxiliary=auxiliary):
        return
    advice = (
        "prepare data with more images in train, or raise image_size"
        if batches.rows == 1
        else "set batch_size to 2 or more (it counts the images of each process), or raise image_size"
    )
    raise UsageError(
        f"batch_size: {config.batch_size} leaves a batch of one image, on which {config.arch} cannot be "
        f"trained at image_size {config.image_size}: its batch normalisation gets a single value of each "
        f"channel; {advice}"
    )


def note_unseen_labels(config: TrainingConfig, data: Data) -> None:
    """Say which labels of several an image have no image in train or val.

    Raises TraplineError where a part has no label at all.
    """
    if num_labels_of(data.prepared) is None:
        return
    for part, rows, effect in (
        ("train", data.labelled, "it cannot be learned"),
        ("val", data.validation, f"left out of macro averages and val_map; threshold {config.threshold:g}"),
    ):
        labels = labels_of(data.prepared, rows)
        absent = [name for name, count in zip(data.classes, labels.sum(axis=0), strict=True) if not count]
        if len(absent) == len(data.classes):
            raise TraplineError(
                f"{data.prepared.folder}: no image of {part} has a label; prepare it with other "
                f"{prepare_option('shares')}"
            )
        if absent:
            print(f"note: no image of {part} has {name_some(absent)}: {effect}", flush=True)


def first_plan(config: TrainingConfig, device: torch.device, cores: int, ranks: Ranks) -> BatchPlan:
    """The batches that `config` asks for; with `auto` the most that every rank's machine takes.

    Raises UsageError where it names other types of device than the one that trains.
    """
    if isinstance(config.batch_size, int):
        return BatchPlan(config.batch_size, config.accumulation)
    if config.batch_size != AUTO:
        sizes = read_batch_sizes(config.batch_size)
        if device.type not in sizes:
            raise UsageError(
                f"hyperparameter batch_size: {config.batch_size} says nothing of {device.type}, which this "
                f"job trains on; add {device.type}:NUMBER"
            )
        return BatchPlan(sizes[device.type], config.accumulation)
    own = automatic_batch_size(
        device, max(1, cores // ranks.local_world_size), config.gpu_memory_fraction or 1.0
    )
    return BatchPlan(min(from_all(own, ranks)), config.accumulation)


def with_batches(config: TrainingConfig, plan: BatchPlan) -> TrainingConfig:
    """`config` with the numbers of `plan` in place of what was asked for."""
    return config.model_copy(update={"batch_size": plan.size, "accumulation": plan.accumulation})


def plan_of(config: TrainingConfig) -> BatchPlan:
    """The batches of a configuration that `with_batches` has made."""
    assert isinstance(config.batch_size, int)
    return BatchPlan(config.batch_size, config.accumulation)


def lack_of_memory(work: Callable[[], None]) -> str | None:
    """Do the work; return what was said if memory ran out in it, else None. Other errors pass through.

    On return the tensors of the failed step are free: the error, whose traceback holds them, is gone.
    """
    try:
        work()
    except (RuntimeError, MemoryError) as error:
        lack = out_of_memory(error)
        if lack is None:
            raise
    else:
        return None
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return lack


def smaller_plan(
    config: TrainingConfig, plan: BatchPlan, lack: str, *, ranks: Ranks, pseudo: bool
) -> BatchPlan:
    """The batches to go on with after memory has run out with `plan`.

    `config` is the configuration as it was asked for, `lack` what was said, `pseudo` whether pseudo-labelled
    images are mixed in. Raises TraplineError where there is nothing to go on with, saying what to do.
    """
    refuse_any([
        (
            config.batch_size != AUTO,
            f"memory has run out with batch_size {plan.size} ({lack}): lower it, and raise accumulation for "
            "as many images a step, or set batch_size=auto",
        ),
        (
            ranks.world_size > 1,  # the others wait in the middle of a step, for ever
            f"memory has run out with {plan.size} images a batch, of batch_size auto ({lack}); with several "
            f"processes it cannot be halved on the way: set batch_size={max(1, plan.size // 2)} "
            f"accumulation={2 * plan.accumulation}",
        ),
    ], TraplineError)  # fmt: skip
    smaller = plan.smaller()
    if smaller is None:
        raise TraplineError(
            f"memory has run out with a single image ({lack}): lower image_size, or take a smaller arch"
        )
    if smaller.size == 1 and not trains_on_one(
        config.arch, config.image_size, auxiliary=config.aux_weight > 0
    ):
        raise TraplineError(
            f"memory has run out with {plan.size} images a batch ({lack}), and {config.arch} cannot be "
            f"trained on one at image_size {config.image_size}, where its batch normalisation gets a single "
            "value of each channel: take a smaller arch, or a machine with more memory"
        )
    rows = round(config.pseudo_share * smaller.size)
    in_a_step = rows * (plan.size // smaller.size)
    if pseudo and not (0 < rows < smaller.size and in_a_step == pseudo_rows(config.pseudo_share, plan.size)):
        raise TraplineError(
            f"memory has run out with {plan.size} images a batch ({lack}), and {smaller.size} cannot hold "
            "the same share of pseudo-labelled images: lower image_size, or change pseudo_share"
        )
    return smaller
