"""What a training job begins with: the first weights, the learner, its checkpoints, and how it calculates."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn

from trapline.augmentation import CHAINS
from trapline.config import TrainingConfig
from trapline.data.leakage import summarised_gap
from trapline.data.loader import (
    LoaderSettings,
    PackedImages,
    decoded,
)
from trapline.data.parts import LabelledPart
from trapline.errors import TraplineError, UsageError
from trapline.job_contract import TrainingPaths, code_and_versions, prepare_option, shipped_files
from trapline.models.artefact import PHASE1, load_phase1, opened_artefact, read_phase1
from trapline.models.build import (
    BATCH_NORMS,
    NAMED_NORMALISATIONS,
    Normalisation,
    build_model,
    check_image_size,
    head_parameters,
    in_auxiliary_head,
    normalisation_for,
)
from trapline.models.own import OWN
from trapline.models.weights import IMAGENET, WeightsReport, load_weights
from trapline.names import shown
from trapline.storage import write_json
from trapline.training.checkpoint import Checkpoints, job_key
from trapline.training.data import Data, check_batches, labels_of, plan_of
from trapline.training.distributed import (
    Ranks,
    from_first,
    parallel,
    seed_dropout,
)
from trapline.training.execution import (
    Execution,
    compiled,
    log_memory,
    possible_executions,
    training_device,
)
from trapline.training.loop import Learner
from trapline.training.optimisation import make_loss, make_optimizer, make_schedule, start_lookahead
from trapline.training.speed import Speed, Work, choose_speed, read_speed

MAX_IMAGES = 5000  # that first weights are made from
VALIDATING = 1 / 3  # what an image costs in validation, of what it costs in training
LARGE_GAP = 0.05  # of accuracy, that a quick guess gains on a random split


def check_sources(config: TrainingConfig, paths: TrainingPaths) -> None:
    """Say which channels of weights are not used. Raises UsageError where phase 1's is missing."""
    if config.weights == PHASE1 and paths.phase1 is None:
        raise UsageError("weights phase1: say where the model lies with --phase1 DIR|model.tar.gz|s3://...")
    if config.weights != PHASE1 and paths.phase1 is not None:
        print(f"phase1: not used, for weights is {config.weights}", flush=True)
    if config.weights != IMAGENET and paths.weights is not None:
        print(f"staged weights: not used, for weights is {config.weights}", flush=True)


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
    if config.weights == "none":
        start_from_data(model, config, data.labelled, normalisation)
    print(report, flush=True)
    log_memory("model_built")
    return Start(model, report, normalisation)


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
        description = read_phase1(folder, config.arch, data.classes)
        if description.other_line(data.prepared.description.split.line):
            raise TraplineError(
                f"{phase1.path}: was trained under another division of the cameras, and may have seen this "
                "set's validation and test; train a new model, or prepare the data with its division "
                f"({prepare_option('division', 'DIR')})"
            )
        if description.data_fingerprint != data.prepared.description.fingerprint:
            print(
                "note: phase 1 was trained on another prepared set; where it has seen validation images of "
                "this one, their scores say too much",
                flush=True,
            )
        return load_phase1(model, folder, description), description.normalisation


def head_of(config: TrainingConfig) -> frozenset[str]:
    """The head's tensors in the model that is trained."""
    return head_parameters(config.arch, config.image_size, auxiliary=config.aux_weight > 0)


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


def start_from_data(
    model: nn.Module, config: TrainingConfig, labelled: LabelledPart, normalisation: Normalisation
) -> None:
    """Set what `model` begins with from images of `labelled`; most architectures need none.

    They are taken evenly from all rows, which may be sorted by class. Nothing is drawn at random, so that the
    other weights stay those of the seed.
    """
    start = OWN[config.arch].start_from_data if config.arch in OWN else None
    if start is None:
        return
    settings = LoaderSettings(config.image_size, batch_size=1, eval_crop=config.eval_crop)
    packed = PackedImages(labelled, settings)
    here = Execution(torch.device("cpu"), "fp32", channels_last=False)
    rows = range(0, len(packed), max(1, -(-len(packed) // MAX_IMAGES)))
    start(model, here.inputs(decoded(packed, rows), normalisation))


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
        loss=make_loss(config, labels_of(data.prepared, data.labelled), data.classes, execution.device),
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


def setup_checkpoints(
    config: TrainingConfig,
    paths: TrainingPaths,
    data: Data,
    entry_points: Path | None,
    report: WeightsReport,
    ranks: Ranks,
) -> Checkpoints:
    """The job's checkpoints, under a key of all that can change the trained weights."""
    digests = [
        code_and_versions(shipped_files(entry_points)),
        data.prepared.description.fingerprint,
        config.digest(),
        report.identity,
    ]
    if ranks.world_size > 1:
        digests.append(f"ranks={ranks.world_size}")
    if data.pseudo is not None:
        digests.append(f"pseudo={data.pseudo.identity}")
    return Checkpoints(paths.checkpoints, job_key(*digests))


def settled_speed(
    config: TrainingConfig, start: Start, data: Data, checkpoints: Checkpoints, ranks: Ranks, *, anew: bool
) -> Speed:
    """The choice of the job's first start, on every rank; at the first start it is made and written.

    Precisions round differently: a job that is killed and goes on ends with the same bytes only in the one
    that it began in. `anew`: nothing counts that an earlier job has measured.
    """
    device = training_device(ranks)
    ways = possible_executions(device, config.precision, config.channels_last)
    chosen: Speed | None = None
    if ranks.is_main:
        path = checkpoints.folder / "speed.json"
        chosen = _earlier_speed(path, ways) or _chosen_speed(ways, config, start, data, ranks, anew=anew)
        write_json(path, asdict(chosen))
    speed = from_first(chosen, ranks)
    assert speed is not None
    print(speed, flush=True)
    return speed


def _earlier_speed(path: Path, ways: list[Execution]) -> Speed | None:
    """What an earlier start wrote; what it was on cannot be had where the device is of another kind."""
    written = read_speed(path)
    possible = {(way.precision, way.channels_last) for way in ways}
    if written is None or (written.precision, written.channels_last) in possible:
        return written
    print(
        f"note: the job began in {written.precision} on {written.device}, which this machine cannot do: what "
        "it ends with is not what it would have been there",
        flush=True,
    )
    return None


def _chosen_speed(
    ways: list[Execution], config: TrainingConfig, start: Start, data: Data, ranks: Ranks, *, anew: bool
) -> Speed:
    # With those of the validations at what they cost.
    validated = -(-config.epochs // config.validate_every) * data.val.batches.rows
    images = config.epochs * data.train.batches.rows + VALIDATING * validated
    work = Work(
        kind="training",
        architecture=config.arch,
        size=config.image_size,
        batch=plan_of(config).size,
        images=images / ranks.world_size,
        ranks=ranks.local_world_size,
    )
    return choose_speed(
        ways, work, start.model, start.normalisation, deterministic=config.deterministic, anew=anew
    )


def note_few_steps(learner: Learner, data: Data, report: WeightsReport) -> None:
    """Say where running statistics that began anew would still be far from the data's at the end."""
    if not learner.ranks.is_main or not any(name.endswith("running_mean") for name in report.new):
        return
    steps = learner.config.epochs * len(data.train.batches)
    layers = [layer for layer in learner.model.modules() if isinstance(layer, BATCH_NORMS)]
    share = max(((1 - (layer.momentum or 1.0)) ** steps for layer in layers), default=0.0)
    if share > 0.01:  # less is not worth a word
        print(
            f"note: {steps} steps leave the running statistics of batch normalisation to {share:.0%} what "
            "they began with, so validation shows the model worse than it is; take more epochs or a smaller "
            "batch_size",
            flush=True,
        )


def note_known_cameras(data: Data, ranks: Ranks) -> None:
    """Say where the parts share cameras, as on a random split, and quick guesses gain much by that."""
    prepared, split = data.prepared, data.prepared.description.split
    if not ranks.is_main or split.unseen_sites:
        return
    gap = prepared.description.leakage or summarised_gap(prepared.folder)
    if gap is None or round(gap.widest.accuracy_gap, 6) < LARGE_GAP:
        return
    kinds = {"random": "random", "given": "the data set's own"}
    kind = kinds.get(split.kind, f"by {shown(split.group_by)}")
    print(
        f"note: the split is {kind}: its parts share cameras, and scores say too much of new ones. "
        f"{gap.widest.explanation} For scores that hold at new cameras prepare the data with "
        f"{prepare_option('split', 'site')}",
        flush=True,
    )
