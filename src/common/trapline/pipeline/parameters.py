"""What can be chosen when a pipeline starts: its parameters, as plain data.

A parameter without a default must be given at the start: where the data lie, where results go, the role and
the image are an account's own, so a definition that is to be shared need not hold them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from trapline.errors import UsageError
from trapline.launching.pairs import read_pairs
from trapline.pipeline.recipes import Recipe
from trapline.preparation.raw_places import raw_place
from trapline.s3 import is_s3
from trapline.s3_places import as_file, as_folder
from trapline.views import AUTO_VIEWS, VIEW_SETS, read_views

Value = str | int | float
APPROVALS = ("PendingManualApproval", "Approved", "Rejected")
UNIFORM_GUESS_OF_EIGHT = 2.0794  # log loss: ln 8
VIEWS = (AUTO_VIEWS, *VIEW_SETS)
DEMO = "demo"
INPUT_DATA, OUTPUT_PREFIX = "InputData", "OutputPrefix"
# Of parameters that not every pipeline has.
SITE_CSV, LABEL_NAMES, WEIGHTS_URI = "SiteCsv", "LabelNames", "WeightsUri"
# Of what a step's cache and a schedule look at; they change no result.
DATA_VERSION, SCHEDULED = "DataVersion", "Scheduled"
NOT_GIVEN, YES, NO = "not-given", "yes", "no"
ABOUT_REUSE = (DATA_VERSION, SCHEDULED)
NOTHING_NEW = "NothingNew"  # the condition that looks at them


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


@dataclass(frozen=True)
class Defaults:
    """What a command line says of the parameters that have no default of their own."""

    data: str | None = None
    site_csv: str | None = None
    weights: str | None = None
    output: str | None = None
    role: str | None = None
    image: str | None = None


def declare(
    recipe: Recipe, defaults: Defaults, *, sites: bool, weights: bool = False, labels: bool = False
) -> list[Parameter]:
    """The parameters of a pipeline, in the order of its definition.

    `sites`: a CSV of sites is read. `weights`: staged ImageNet weights are. `labels`: a CSV of this machine
    that names the labels is.
    """
    csv = [Parameter(SITE_CSV, "String", defaults.site_csv, "CSV with filepath and site")]
    names = [Parameter(LABEL_NAMES, "String", None, "CSV with Label and Name")]
    staged = [Parameter(WEIGHTS_URI, "String", defaults.weights, "ImageNet weights of stage_weights.py")]
    return [
        Parameter(INPUT_DATA, "String", defaults.data, "raw images"),
        *(csv if sites else []),
        *(names if labels else []),
        *(staged if weights else []),
        Parameter(OUTPUT_PREFIX, "String", defaults.output, "gets a folder for each execution"),
        Parameter("RoleArn", "String", defaults.role, "execution role of the jobs"),
        Parameter("ImageUri", "String", defaults.image, "container image of all jobs"),
        *_machines(),
        *_training(recipe),
        *_decisions(recipe),
        *_reuse(),
    ]


def _machines() -> list[Parameter]:
    cpu, gpu = "ml.m5.2xlarge", "ml.g4dn.xlarge"
    return [
        Parameter("PrepareInstanceType", "String", cpu, "of Prepare and Collect"),
        Parameter("ScoringInstanceType", "String", gpu, "of PseudoLabel and Evaluate"),
        Parameter("TrainingInstanceType", "String", gpu, "of both phases"),
        Parameter("TrainingInstanceCount", "Integer", 1, "of both phases; above 1: torchrun", low=1),
        Parameter("TransformInstanceType", "String", gpu, "of batch transform"),
        Parameter("TransformInstanceCount", "Integer", 1, "of batch transform", low=1),
    ]


def _training(recipe: Recipe) -> list[Parameter]:
    phases = ((1, recipe.phase1), (2, recipe.phase2))
    epochs = [
        Parameter(f"EpochsPhase{number}", "Integer", config.epochs, f"epochs of Phase {number}", low=1)
        for number, config in phases
    ]
    rates = [
        Parameter(f"LearningRatePhase{number}", "Float", config.lr, f"learning rate of Phase {number}")
        for number, config in phases
    ]
    return [*epochs, *rates]


def _decisions(recipe: Recipe) -> list[Parameter]:
    return [
        Parameter("ConfidenceThreshold", "Float", 0.85, "lowest confidence of a pseudo-label", 1e-9, 1),
        Parameter(
            "Views", "String", recipe.views, f"test-time views: {', '.join(VIEWS)}, or a list with commas"
        ),
        Parameter("QualityGate", "Float", UNIFORM_GUESS_OF_EIGHT, "largest log loss that is let through", 0),
        Parameter("QualityGateAccuracy", "Float", 0.0, "lowest accuracy that is let through", 0, 1),
        Parameter(
            "ApprovalStatus", "String", APPROVALS[0], "of the registered model (aws)", choices=APPROVALS
        ),
    ]


def _reuse() -> list[Parameter]:
    """Without a DataVersion, as in the console, Prepare takes what it made for the same URIs before."""
    version = "state of the input data; `start` takes a digest of their listing"
    ends = "yes: end where nothing is new; `schedule` says it"
    return [
        Parameter(DATA_VERSION, "String", NOT_GIVEN, version),
        Parameter(SCHEDULED, "String", NO, ends, choices=(NO, YES)),
    ]


def read_values(parameters: Sequence[Parameter], texts: Sequence[str]) -> dict[str, Value]:
    """The values of `--param NAME=VALUE` texts. Raises UsageError naming the parameter and what it takes."""
    known = {parameter.name: parameter for parameter in parameters}
    values: dict[str, Value] = {}
    for name, text in read_pairs("--param", texts).items():
        if name not in known:
            raise UsageError(f"--param {name}: no such parameter; known: {', '.join(known)}")
        if name == SCHEDULED:
            raise UsageError(f"--param {name}: only a schedule sets it; what you start runs to its end")
        values[name] = _convert(known[name], text)
    return values


def _convert(parameter: Parameter, text: str) -> Value:
    shown = f"--param {parameter.name}={text}"
    if not text:
        raise UsageError(f"{shown}: must not be empty")
    if parameter.kind == "String" and text.startswith("-"):
        raise UsageError(f"{shown}: must not begin with a dash; the jobs would take it for a flag")
    if parameter.choices and text not in parameter.choices:
        raise UsageError(f"{shown}: must be one of {', '.join(parameter.choices)}")
    if parameter.kind == "String":
        _check_views(parameter, text)
        return in_s3(parameter.name, text, f"--param {parameter.name}")
    kind: type[int] | type[float] = int if parameter.kind == "Integer" else float
    try:
        value = kind(text)
    except ValueError:
        raise UsageError(f"{shown}: is not a {'whole ' if kind is int else ''}number") from None
    if not parameter.low <= value <= parameter.high or not math.isfinite(value):
        raise UsageError(f"{shown}: must be a number{_bounds(parameter)}")
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
    if name in (SITE_CSV, LABEL_NAMES):
        return as_file(text, flag).uri
    return as_folder(text) if name == WEIGHTS_URI else text


def _check_views(parameter: Parameter, text: str) -> None:
    if parameter.name == "Views" and text != AUTO_VIEWS:
        read_views(text)


def _bounds(parameter: Parameter) -> str:
    low = f" from {parameter.low:g}" if math.isfinite(parameter.low) else ""
    return low + (f" to {parameter.high:g}" if math.isfinite(parameter.high) else "")


def settled(parameters: Sequence[Parameter], values: Mapping[str, Value]) -> dict[str, Value]:
    """The value of every parameter that has one: as given, or by default."""
    defaults = {item.name: item.default for item in parameters if item.default is not None}
    return {**defaults, **values}


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
