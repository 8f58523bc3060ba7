"""What is decided of a pipeline, as plain data: its recipe, its parameters, and all else, its design.

The recipe is what the two training phases run with, made from an experiment of launch/. A parameter without
a default must be given at the start: where the data lie, where results go, the role and the image are an
account's own, so a definition that is to be shared need not hold them.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from trapline.augmentation import AUTO_VIEWS, VIEW_SETS, read_views
from trapline.config import TrainingConfig, check_pseudo_share, make_config, parse_value
from trapline.errors import UsageError, refuse_any
from trapline.launching.aws.options import AwsOptions
from trapline.launching.checkout import Experiment, experiment_names, find_experiment
from trapline.launching.flags import PACKED_SIDE
from trapline.launching.given_options import (
    PIPELINE_FILES,
    own_prepare_options,
    read_pairs,
    refuse_flags_as_values,
)
from trapline.launching.plan import PHASE1
from trapline.learning import LOSSES
from trapline.preparation.archives import raw_place
from trapline.s3 import as_folder, is_s3

SMALL = "small"
DEFAULT = "resnet18_baseline"
# Experiments whose second phase is an experiment itself.
STAGE_2 = {"swin_stage1": "swin_stage2", "enhanced_resnet18": "enhanced_resnet18_phase2"}
# Of other experiments: on from Phase 1 for half as long at a fifth of its rate, with every fourth image of a
# batch pseudo-labelled and counting half.
SECOND_PHASE: dict[str, object] = {"weights": PHASE1, "pseudo_share": 0.25, "pseudo_weight": 0.5}
RATE_SHARE, EPOCHS_SHARE = 0.2, 0.5


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of both phases, options of prepare.py by flag, and the test-time views."""

    name: str
    phase1: TrainingConfig
    phase2: TrainingConfig
    prepare: dict[str, str] = field(default_factory=dict)
    views: str = AUTO_VIEWS

    @property
    def phases(self) -> tuple[TrainingConfig, TrainingConfig]:
        """The configurations of both phases."""
        return self.phase1, self.phase2


SMALL_EXPERIMENT = Experiment(
    name=SMALL,
    description="ResNet-18 at 96 px from scratch: minutes on two cores, for the demo and for trial runs.",
    hyperparameters={
        "arch": "resnet18",
        "weights": "none",
        "image_size": 96,
        "batch_size": 32,
        "epochs": 6,
        "optimizer": "adamw",
        "schedule": "onecycle",
        "lr": 2e-3,
        "augment": "crops",
        "best_metric": "val_loss",
    },
    prepare={"crop_bottom": 0.07},
)
SMALL_PHASE_2 = {"epochs": 2, "lr": 4e-4}


def read_recipe(name: str, both: list[str], second: list[str]) -> Recipe:
    """The recipe of an experiment, or `small`; `both` and `second` are KEY=VALUE changes of the phases.

    Raises UsageError for an unknown experiment or a wrong hyperparameter.
    """
    experiment = _experiment(name)
    changes, own = _changes("--set", both), _changes("--set-phase2", second)
    phase1 = make_config({**experiment.hyperparameters, **changes})
    refuse_any(
        [
            (
                phase1.weights == PHASE1,
                f"--recipe {name}: goes on from an earlier phase; name the experiment of Phase 1",
            ),
            (
                LOSSES[phase1.loss].task == "multilabel",
                f"--recipe {name}: Phase 2 learns from pseudo-labels, which are of one label an image, and "
                f"the loss {phase1.loss} is of several; train with launch/ instead",
            ),
        ]
    )
    # Where Phase 2 starts from, its schedule and its rate are its own.
    shared = {key: value for key, value in changes.items() if key not in ("weights", "epochs", "lr")}
    phase2 = make_config({**_second_phase(name, phase1), **shared, **own})
    for config in (phase1, phase2):
        refuse_flags_as_values(config.record())
    check_pseudo_share(phase2)
    if phase2.weights == PHASE1 and phase2.arch != phase1.arch:
        raise UsageError(
            f"--set-phase2 arch={phase2.arch}: Phase 2 goes on from Phase 1, whose arch is {phase1.arch}; "
            "--set-phase2 weights=imagenet starts anew"
        )
    prepare = own_prepare_options(experiment.prepare)
    if phase1.image_size > PACKED_SIDE:
        prepare.setdefault("short-side", str(phase1.image_size))
    return Recipe(name, phase1, phase2, prepare, experiment.views)


def with_schedule(recipe: Recipe, epochs: tuple[int, int], rates: tuple[float, float]) -> Recipe:
    """The recipe with other epochs and learning rates of its phases, checked: what parameters change."""
    first, second = (
        make_config({**config.record(), "epochs": count, "lr": rate})
        for config, count, rate in zip(recipe.phases, epochs, rates, strict=True)
    )
    return replace(recipe, phase1=first, phase2=second)


def _experiment(name: str) -> Experiment:
    if name == SMALL:
        return SMALL_EXPERIMENT
    known = experiment_names()
    if name not in known:
        raise UsageError(f"--recipe {name}: no such experiment; known: {SMALL}, {', '.join(known)}")
    return find_experiment(name)


def _second_phase(name: str, phase1: TrainingConfig) -> dict[str, Any]:
    if name in STAGE_2:
        return dict(_experiment(STAGE_2[name]).hyperparameters)
    shorter = {"epochs": max(1, round(phase1.epochs * EPOCHS_SHARE)), "lr": phase1.lr * RATE_SHARE}
    return {**phase1.record(), **SECOND_PHASE, **(SMALL_PHASE_2 if name == SMALL else shorter)}


def _changes(flag: str, texts: list[str]) -> dict[str, Any]:
    return {name: parse_value(name, text) for name, text in read_pairs(flag, texts).items()}


Value = str | int | float
APPROVALS = ("PendingManualApproval", "Approved", "Rejected")
UNIFORM_GUESS_OF_EIGHT = 2.0794  # log loss: ln 8
INPUT_DATA, OUTPUT_PREFIX = "InputData", "OutputPrefix"
WEIGHTS_URI = "WeightsUri"
FILE_PARAMETERS = {option.parameter: option for option in PIPELINE_FILES.values()}
# Of what a step's cache and a schedule look at; they change no result.
DATA_VERSION, SCHEDULED = "DataVersion", "Scheduled"
NOT_GIVEN, YES, NO = "not-given", "yes", "no"
ABOUT_REUSE = (DATA_VERSION, SCHEDULED)
NOTHING_NEW = "NothingNew"  # the condition that looks at them
COMPLETED = "completed"  # the folder below OutputPrefix of all pipelines' records of completed executions
PREFIX = "trapline"
DIGEST_LENGTH = 16


@dataclass(frozen=True)
class Parameter:
    """A pipeline parameter; `default` None: to be given at the start. Bounds count for numbers."""

    name: str
    kind: Literal["String", "Integer", "Float"]
    default: Value | None
    help: str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()


# Parameters that a pipeline has only where they are given, perhaps without a default.
OPTIONAL = {
    **{name: option.about for name, option in FILE_PARAMETERS.items()},
    WEIGHTS_URI: "ImageNet weights of stage_weights.py",
}


def declare(recipe: Recipe, given: Mapping[str, str | None]) -> list[Parameter]:
    """The parameters of a pipeline, in the order of its definition.

    `given`: the defaults of those that have none of their own, by name, and which of OPTIONAL there are.
    Without a DataVersion, as in the console, Prepare takes what it made for the same URIs before.
    """
    cpu, gpu = "ml.m5.2xlarge", "ml.g4dn.xlarge"
    phases = list(enumerate(recipe.phases, start=1))
    return [
        Parameter(INPUT_DATA, "String", given.get(INPUT_DATA), "raw images"),
        *(Parameter(name, "String", given[name], text) for name, text in OPTIONAL.items() if name in given),
        Parameter(OUTPUT_PREFIX, "String", given.get(OUTPUT_PREFIX), "gets a folder for each execution"),
        Parameter("RoleArn", "String", given.get("RoleArn"), "execution role of the jobs"),
        Parameter("ImageUri", "String", given.get("ImageUri"), "container image of all jobs"),
        Parameter("PrepareInstanceType", "String", cpu, "of Prepare and Collect"),
        Parameter("ScoringInstanceType", "String", gpu, "of PseudoLabel and Evaluate"),
        Parameter("TrainingInstanceType", "String", gpu, "of both phases"),
        Parameter("TrainingInstanceCount", "Integer", 1, "of both phases; above 1: torchrun", low=1),
        Parameter("TransformInstanceType", "String", gpu, "of batch transform"),
        Parameter("TransformInstanceCount", "Integer", 1, "of batch transform", low=1),
        *(
            Parameter(f"EpochsPhase{number}", "Integer", config.epochs, f"epochs of Phase {number}", low=1)
            for number, config in phases
        ),
        *(
            Parameter(f"LearningRatePhase{number}", "Float", config.lr, f"learning rate of Phase {number}")
            for number, config in phases
        ),
        Parameter("ConfidenceThreshold", "Float", 0.85, "lowest confidence of a pseudo-label", 1e-9, 1),
        Parameter(
            "Views",
            "String",
            recipe.views,
            f"test-time views: {', '.join((AUTO_VIEWS, *VIEW_SETS))}, or a list with commas",
        ),
        Parameter("QualityGate", "Float", UNIFORM_GUESS_OF_EIGHT, "largest log loss that is let through", 0),
        Parameter("QualityGateAccuracy", "Float", 0.0, "lowest accuracy that is let through", 0, 1),
        Parameter(
            "ApprovalStatus", "String", APPROVALS[0], "of the registered model (aws)", choices=APPROVALS
        ),
        Parameter(
            DATA_VERSION,
            "String",
            NOT_GIVEN,
            "state of the input data; `start` takes a digest of their listing",
        ),
        Parameter(
            SCHEDULED, "String", NO, "yes: end where nothing is new; `schedule` says it", choices=(NO, YES)
        ),
    ]


def read_values(parameters: Sequence[Parameter], texts: Sequence[str]) -> dict[str, Value]:
    """The values of `--param NAME=VALUE` texts. Raises UsageError naming the parameter and what it takes."""
    known = {parameter.name: parameter for parameter in parameters}
    values: dict[str, Value] = {}
    for name, text in read_pairs("--param", texts).items():
        refuse_any(
            [
                (name not in known, f"--param {name}: no such parameter; known: {', '.join(known)}"),
                (
                    name == SCHEDULED,
                    f"--param {name}: only a schedule sets it; what you start runs to its end",
                ),
            ]
        )
        values[name] = _convert(known[name], text)
    return values


def _convert(parameter: Parameter, text: str) -> Value:
    shown = f"--param {parameter.name}={text}"
    is_text = parameter.kind == "String"
    choices = parameter.choices
    refuse_any(
        [
            (not text, f"{shown}: must not be empty"),
            (
                is_text and text.startswith("-"),
                f"{shown}: must not begin with a dash; the jobs would take it for a flag",
            ),
            (choices and text not in choices, f"{shown}: must be one of {', '.join(choices)}"),
        ]
    )
    if is_text:
        if parameter.name == "Views" and text != AUTO_VIEWS:
            read_views(text)
        return in_s3(parameter.name, text, f"--param {parameter.name}")
    kind: type[int] | type[float] = int if parameter.kind == "Integer" else float
    try:
        value = kind(text)
    except ValueError:
        raise UsageError(f"{shown}: is not a {'whole ' if kind is int else ''}number") from None
    if not parameter.low <= value <= parameter.high or not math.isfinite(value):
        low = f" from {parameter.low:g}" if math.isfinite(parameter.low) else ""
        high = f" to {parameter.high:g}" if math.isfinite(parameter.high) else ""
        raise UsageError(f"{shown}: must be a number{low}{high}")
    return value


def in_s3(name: str, text: str, flag: str) -> str:
    """A parameter's value as jobs are given it: of a place in S3, with a folder's slash at its end.

    `flag`: what gave it, for messages. Raises UsageError for what cannot be read. Other text stays as it is.
    """
    if not is_s3(text):
        return text
    if name == INPUT_DATA:
        return raw_place(text, flag).uri
    if name == OUTPUT_PREFIX:
        return text.rstrip("/")  # more is joined to it
    if name in FILE_PARAMETERS:
        return FILE_PARAMETERS[name].place(text, flag).uri
    return as_folder(text) if name == WEIGHTS_URI else text


def settled(parameters: Sequence[Parameter], values: Mapping[str, Value]) -> dict[str, Value]:
    """The value of every parameter that has one: as given, or by default."""
    return {item.name: item.default for item in parameters if item.default is not None} | dict(values)


def with_default(parameters: Sequence[Parameter], name: str, value: Value) -> list[Parameter]:
    """The parameters with another default of the one called `name`."""
    return [replace(item, default=value) if item.name == name else item for item in parameters]


def require_all(parameters: Sequence[Parameter], values: Mapping[str, Value]) -> None:
    """Raise UsageError where a parameter without a default is not among `values`."""
    missing = [item for item in parameters if item.default is None and item.name not in values]
    if missing:
        names = " ".join(f"--param {item.name}=VALUE" for item in missing)
        raise UsageError(
            f"the pipeline needs {', '.join(f'{item.name} ({item.help})' for item in missing)}; give {names}"
        )


@dataclass(frozen=True)
class Design:
    """What is decided when a definition is made.

    drawn: prepare.py draws or finds the images itself. files: options of prepare.py and collect.py that are
    inputs of their jobs, with the name of the file in the input; empty where the input is a folder.
    registers: the champion is registered, which a process backend cannot. part: what the quality gate looks
    at. options: of the jobs on AWS; None where the pipeline runs here.
    """

    recipe: Recipe
    parameters: list[Parameter]
    code: str  # digest of the sources
    region: str
    drawn: bool
    registers: bool
    part: Literal["test", "validation"] = "test"
    prepare: dict[str, str] = field(default_factory=dict)  # options of prepare.py
    options: AwsOptions | None = None
    files: dict[str, str] = field(default_factory=dict)
    collect: dict[str, str] = field(default_factory=dict)  # options of collect.py

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return f"{PREFIX}-{self.recipe.name.replace('_', '-')}"

    @property
    def fixed(self) -> str:
        """A digest of what a definition decides beside the code and the parameters."""
        return _digest(
            {
                "phases": [config.record() for config in self.recipe.phases],
                "prepare": self.prepare,
                "files": self.files,
                "drawn": self.drawn,
                "part": self.part,
                "options": {**asdict(self.options), "tags": None} if self.options else None,
                **({"collect": self.collect} if self.collect else {}),
            }
        )

    @property
    def tags(self) -> list[dict[str, str]]:
        """The tags of the pipeline and all its jobs."""
        tags = {"project": PREFIX, "recipe": self.recipe.name}
        if self.options:
            tags |= dict(self.options.tags)
        return [{"Key": key, "Value": value} for key, value in tags.items()]


def configuration_digest(recipe: Recipe) -> str:
    """A digest of both phases' hyperparameters and of the preparation, as the definition has them."""
    return _digest(
        {"phase1": recipe.phase1.record(), "phase2": recipe.phase2.record(), "prepare": recipe.prepare}
    )


def _digest(content: Mapping[str, object]) -> str:
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]
