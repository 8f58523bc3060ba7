"""The training configuration: one frozen, typed object for every hyperparameter.

The same object is checked on the launching machine and again in the container; it makes the SageMaker
hyperparameters, the command line and the record inside the model artefact.

SageMaker hands hyperparameters over in the variable `SM_HPS`, or on a command line in two dialects. The
training toolkit (sagemaker-training) decodes each value from JSON, puts all of them into `SM_HPS` and repeats
them on the command line as Python prints them: `True`, an empty argument for None, `['a', 'b']`. Version 3 of
the SDK writes `true`, `null` and JSON lists instead. Other environment variables are never read.
"""

import argparse
import ast
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    StringConstraints,
    field_validator,
)

from trapline.augmentation import CHAINS, EVAL_CROPS, VIEWS, read_views
from trapline.errors import UsageError
from trapline.learning import LOSSES, SCHEDULES, Outputs
from trapline.metrics import BY_NAME
from trapline.options import Options, given_options, make_options, option
from trapline.storage import parse_json

# Older training toolkits join the command line through a shell without quoting it.
ShellSafe = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_./:@+,=-]+$", max_length=2000)]

MAX_BATCH_SIZE = 65536
DEVICES = ("cuda", "cpu", "mps")
DEFAULT_THRESHOLD = 0.85  # the confidence from which a pseudo-label is accepted, unless told otherwise
TITLE = "hyperparameters (ignored where SM_HPS is set)"
PLATFORM = ("sagemaker_", "_tuning_objective_metric")  # how names begin that SageMaker adds

if TYPE_CHECKING:  # the names are those of registries, which a type checker does not run
    Augment: TypeAlias = str
    EvalCrop: TypeAlias = str
    LossName: TypeAlias = str
    ScheduleName: TypeAlias = str
else:
    Augment = Literal[tuple(CHAINS)]
    EvalCrop = Literal[tuple(EVAL_CROPS)]
    LossName = Literal[tuple(LOSSES)]
    ScheduleName = Literal[tuple(SCHEDULES)]


def _word(value: object) -> object:
    """true and false as words, however they came: a job gets them as JSON, a command line in two dialects."""
    return str(value).lower() if isinstance(value, bool | str) else value


def read_batch_sizes(text: str) -> dict[str, int]:
    """The images per batch by type of device, of a text such as `cuda:128,cpu:16`.

    Raises ValueError where it is none.
    """
    pairs = [part.partition(":") for part in text.split(",")]
    sizes = {device: int(size) for device, _, size in pairs if device in DEVICES and size.isdecimal()}
    if len(sizes) < len(pairs) or not all(1 <= size <= MAX_BATCH_SIZE for size in sizes.values()):
        raise ValueError(f"must be auto, or a number for each type of device ({', '.join(DEVICES)})")
    return sizes


def _batch_sizes(text: str) -> str:
    if text != "auto":
        read_batch_sizes(text)
    return text


def known_views(text: str) -> tuple[str, ...]:
    """`read_views` as the type of an option has it: raises ValueError where there are no such views."""
    try:
        return read_views(text)
    except UsageError as error:
        raise ValueError(str(error).removeprefix("views: ")) from None


BatchSizes = Annotated[str, AfterValidator(_batch_sizes)]
Switch = Annotated[Literal["auto", "true", "false"], BeforeValidator(_word)]


class TrainingConfig(Options):
    """Hyperparameters of a training job. Units: pixels, epochs, images; see each description."""

    # model
    arch: ShellSafe = option("resnet18", "architecture: torchvision's for classification, or one of our own")
    weights: ShellSafe = option(
        "imagenet", "imagenet, none, phase1 (of --phase1), or a .safetensors/.pth file (path or s3:// URI)"
    )
    image_size: int = option(224, "side of the square input, pixels", ge=16, le=2048)
    dropout: float | None = option(None, "dropout before the head; None: the architecture's own", ge=0, lt=1)
    stochastic_depth: float | None = option(None, "drop path of the deepest block; None: own", ge=0, lt=1)
    model_output: Outputs = option("logits", "what the model ends in; log_softmax: for the loss nll")

    # data
    augment: Augment = option(
        "flip", "augmentation chain of the train part; with grey the model sees grey images ever after"
    )
    eval_crop: EvalCrop = option(
        "none", "what evaluation sees: the whole frame, or (centre) 7/8 of its short side from the centre"
    )
    mixup: float = option(0.0, "mixup: alpha of the share's Beta distribution; 0: off", ge=0, le=1000)
    batch_size: int | BatchSizes = option(
        64,
        "images per micro-batch and process; by device: cuda:128,cpu:16; auto: by the machine, and halved "
        "where memory runs out",
    )
    normalisation: Literal["auto", "imagenet", "cifar10", "cifar10_half"] = option(
        "auto", "mean and std of pixels; auto: those of the weights; cifar10_half: CIFAR-10's mean, std 0.5"
    )
    in_memory: bool = option(
        False,
        "decode all images once, into memory (of the GPU where there is one): for small images",
        digest=False,
    )
    pseudo_share: float = option(
        0.25, "share of pseudo-labelled images in a batch, with --pseudo", gt=0, lt=1
    )
    pseudo_weight: float = option(0.5, "weight of a pseudo-labelled image in the loss", gt=0, le=10)
    num_workers: int | None = option(
        None, "loader processes; None: chosen for the machine", digest=False, ge=0, le=256
    )

    folds: int = option(
        0, "folds that train and val together are divided into, for cross-validation; 0: none", ge=0, le=100
    )
    fold: int | None = option(None, "the fold that validates, from 1; with folds", ge=1, le=100)

    # optimisation
    epochs: int = option(5, "passes over the train part", ge=1, le=100_000)
    optimizer: Literal["adamw", "sgd", "adam", "adadelta"] = option("adamw", "optimizer")
    lr: float = option(1e-3, "peak learning rate", gt=0, le=100)
    head_lr_multiplier: float = option(1.0, "the new head's learning rate over lr", gt=0, le=1000)
    norm_bias_lr_multiplier: float = option(
        1.0, "learning rate of the biases of batch normalisation over lr", gt=0, le=1000
    )
    momentum: float = option(0.9, "momentum of sgd", ge=0, lt=1)
    nesterov: bool = option(False, "Nesterov's momentum, with sgd")
    lookahead: bool = option(
        False, "every 5 steps, average the weights with slowly moving ones, and end with those"
    )
    weight_decay: float = option(
        1e-2, "decoupled for adamw, else added to the gradient; never on norms and biases", ge=0, le=10
    )
    l1: float = option(
        0.0, "factor of the sum of absolute weights in the loss; never of norms and biases", ge=0, le=1
    )
    schedule: ScheduleName = option("constant", "learning-rate schedule")
    warmup_epochs: float = option(0.0, "linear warm-up of constant, cosine and plateau, epochs", ge=0)
    plateau_patience: int = option(
        3, "validations without a better val_loss before the plateau schedules lower the rate", ge=1
    )
    plateau_factor: float = option(0.5, "what the plateau schedules then multiply the rate by", gt=0, lt=1)
    accumulation: int = option(1, "micro-batches per optimizer step", ge=1, le=4096)
    clip_norm: float | None = option(None, "largest gradient norm; None: no clipping", gt=0)
    loss: LossName = option("cross_entropy", "training loss")
    focal_alpha: float = option(0.25, "factor of the focal losses", gt=0, le=1)
    focal_gamma: float = option(2.0, "how much less the focal losses heed easy images", ge=0, le=10)
    label_smoothing: float = option(0.0, "label smoothing of the training loss", ge=0, lt=1)
    class_weights: Literal["none", "balanced", "inverse"] = option(
        "none", "1/count; balanced: mean over images 1; inverse: mean over classes 1"
    )
    positive_weights: Literal["none", "balanced"] = option(
        "none", "of images with a label in the loss bce; balanced: images without it / images with it"
    )
    aux_weight: float = option(
        0.0, "weight of the loss of googlenet's and inception_v3's auxiliary heads; 0: none", ge=0, le=10
    )

    # choosing and stopping
    best_metric: Literal["val_loss", "val_acc", "val_macro_f1", "val_micro_f1", "val_map"] = option(
        "val_loss", "validation metric that chooses the best epoch"
    )
    patience: int | None = option(
        None, "validations without a better best_metric before stopping; None: off", ge=1
    )
    min_delta: float = option(0.0, "how much better counts as better for patience", ge=0)
    validate_every: int = option(1, "epochs from one validation to the next; the last epoch has one", ge=1)
    threshold: float = option(
        0.5, "probability from which an image has a label, with the loss bce", gt=0, lt=1
    )
    tune_thresholds: bool = option(
        True, "with the loss bce, find each label's threshold on validation, for test and serving"
    )
    test_views: ShellSafe = option(
        "none", "test-time views of the test part and of the model: none, flip, shifts, ...", digest=False
    )
    score_test: bool = option(
        False, "read the test part once, after training, with the best weights", digest=False
    )
    target_accuracy: float | None = option(
        None, "say in which epoch val_acc first reached this; None: do not", digest=False, gt=0, le=1
    )

    # execution
    precision: Literal["auto", "fp32", "bf16", "fp16"] = option(
        "auto", "auto: fp32, or faster where measured"
    )
    channels_last: bool | None = option(None, "memory format; None: where it is measured to be faster")
    seed: int = option(0, "seed of initialisation, order, augmentation and dropout", ge=0, lt=2**32)
    deterministic: bool = option(False, "deterministic kernels only")
    cudnn_benchmark: bool | None = option(
        None, "let cuDNN try its kernels and take the fastest; None: unless deterministic"
    )
    compile: Switch = option("false", "torch.compile of the training step; auto: where it should pay")
    gpu_memory_fraction: float | None = option(
        None, "largest share of the GPU's memory to use; None: all of it", digest=False, gt=0, le=1
    )
    export_pth: bool = option(False, "also write the state dicts as .pth", digest=False)
    log_every: int = option(
        0, "print a line with loss, accuracy and lr after every so many batches; 0: off", digest=False, ge=0
    )

    @field_validator("batch_size")
    @classmethod
    def _batch_in_range(cls, value: int | str) -> int | str:
        if isinstance(value, int) and not 1 <= value <= MAX_BATCH_SIZE:
            raise ValueError(f"must be from 1 to {MAX_BATCH_SIZE}")
        return value

    @field_validator("test_views")
    @classmethod
    def _views_of_one_square(cls, value: str) -> str:
        larger = [name for name in known_views(value) if VIEWS[name].margin != 1]
        if larger:
            raise ValueError(
                f"{larger[0]} is cut from a larger picture than training has; evaluate.py takes it"
            )
        return value

    def conflicts(self) -> Iterable[tuple[object, str]]:
        """What has no effect, or none that could be meant, and what would say too much."""
        loss = LOSSES[self.loss]
        multilabel = loss.task == "multilabel"
        in_memory = ", ".join(name for name, chain in CHAINS.items() if chain.in_memory)
        return (
            (
                self.warmup_epochs >= self.epochs,
                f"warmup_epochs ({self.warmup_epochs:g}) must be below epochs ({self.epochs})",
            ),
            (
                self.warmup_epochs and SCHEDULES[self.schedule].own_warmup,
                f"warmup_epochs: the {self.schedule} schedule has a warm-up of its own; set it to 0",
            ),
            (
                loss.needs not in (None, self.model_output),
                f"loss {self.loss}: needs model_output={loss.needs}, and model_output is {self.model_output}",
            ),
            (
                multilabel and self.class_weights != "none",
                f"class_weights: not with loss {self.loss}; take positive_weights=balanced",
            ),
            (
                not multilabel and self.positive_weights != "none",
                f"positive_weights: only with loss=bce, and loss is {self.loss}",
            ),
            (
                not fits_task(self.best_metric, self.loss),
                f"best_metric {self.best_metric}: only with loss=bce, and loss is {self.loss}",
            ),
            (
                self.nesterov and (self.optimizer != "sgd" or not self.momentum),
                "nesterov: only with optimizer=sgd and a momentum above 0",
            ),
            (
                self.lookahead and self.patience is not None,
                "lookahead and patience: exclude each other, for the averaging is planned to the last epoch",
            ),
            (
                self.in_memory and not CHAINS[self.augment].in_memory,
                f"in_memory: the chain {self.augment} takes one image at a time; set augment to one of "
                f"{in_memory}",
            ),
            (
                self.aux_weight and (self.model_output != "logits" or self.weights == "phase1"),
                "aux_weight: only with model_output=logits, and not with weights=phase1",
            ),
            *self._conflicts_of_folds(),
            (
                self.deterministic and self.cudnn_benchmark,
                "cudnn_benchmark and deterministic: exclude each other, for what is fastest changes from run "
                "to run; set one of them",
            ),
            (self.min_delta and self.patience is None, "min_delta has no effect without patience"),
        )

    def _conflicts_of_folds(self) -> tuple[tuple[object, str], ...]:
        """Where they are no folds, or their validation would say too much."""
        return (
            (self.folds == 1, "folds (1): one fold leaves nothing to train on; take 2 or more, or 0"),
            (
                self.folds and self.fold is None,
                f"folds ({self.folds}) needs fold, the one that validates, from 1 to {self.folds}; "
                f"a launcher trains them all with --folds {self.folds}",
            ),
            (
                self.fold is not None and self.fold > self.folds,
                f"fold ({self.fold}) must be at most folds ({self.folds})",
            ),
            (
                self.folds and self.weights == "phase1",
                "folds: not with weights=phase1, for that model has seen images of every fold",
            ),
        )


def fits_task(metric: str, loss: str) -> bool:
    """Whether data that take this loss have this metric of the registry."""
    return BY_NAME[metric].task in (None, LOSSES[loss].task)


def pseudo_rows(share: float, batch_size: int) -> int:
    """How many images of a batch of `batch_size` are pseudo-labelled: `share` of them, rounded.

    Raises UsageError where that would be none or all of them.
    """
    rows = round(share * batch_size)
    if not 0 < rows < batch_size:
        raise UsageError(
            f"hyperparameter pseudo_share: {share:g} of a batch of {batch_size} is {rows} images and leaves "
            f"no {'pseudo-labelled' if rows == 0 else 'labelled'} one; change it or batch_size"
        )
    return rows


def check_pseudo_share(config: TrainingConfig, processes: int = 1) -> None:
    """Raise UsageError where a batch of all `processes` would lack pseudo-labelled or labelled images.

    With batch_size auto the machine decides, so that only the job can tell.
    """
    if isinstance(config.batch_size, int):
        pseudo_rows(config.pseudo_share, config.batch_size * processes)


def make_config(values: Mapping[str, Any]) -> TrainingConfig:
    """Check `values` and build the configuration.

    Raises UsageError with a line for each wrong hyperparameter: its name, what is wrong, what it got.
    """
    return make_options(
        TrainingConfig,
        values,
        lambda name: f"hyperparameter {name}",
        whole="hyperparameters: ",
        listed="train.py --help lists them",
    )


# --- as the platform hands them over ------------------------------------------------------------------------


def read_config(arguments: argparse.Namespace, environment: Mapping[str, str]) -> TrainingConfig:
    """The configuration from `SM_HPS` when it is set, else from the parsed command line.

    Raises UsageError for unknown names and impossible values.
    """
    if "SM_HPS" in environment:
        return make_config(_from_environment(environment["SM_HPS"]))
    given = given_options(arguments, TrainingConfig)
    return make_config({name: parse_value(name, text) for name, text in given.items()})


def _from_environment(text: str) -> dict[str, Any]:
    try:
        values = parse_json(text)
    except ValueError as error:
        raise UsageError(f"SM_HPS: not valid JSON ({error})") from None
    if not isinstance(values, dict):
        raise UsageError(f"SM_HPS: must be a JSON object, got {type(values).__name__}")
    return {
        name.replace("-", "_"): parse_value(name, value) if isinstance(value, str) else value
        for name, value in values.items()
        if not name.startswith(PLATFORM)
    }


def parse_value(name: str, text: str) -> Any:
    """The Python value of one argument's text, in either dialect; plain text stays text.

    Numbers and booleans stay text too: the configuration knows their types and checks them.
    """
    if text in ("", "None", "null"):
        return None
    if text[0] in "[{":
        for parse in (parse_json, ast.literal_eval):
            try:
                return parse(text)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
        raise UsageError(f"hyperparameter {name}: cannot read the list {text!r}")
    return text
