"""The training configuration: one frozen, typed object for every hyperparameter.

The same object is checked on the launching machine and again in the container; it makes the SageMaker
hyperparameters, the command line (`common.hyperparameters`) and the record inside the model artefact.
"""

import difflib
import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from common.errors import UsageError

# Older training toolkits join the command line through a shell without quoting it.
ShellSafe = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_./:@+,=-]+$", max_length=2000)]

DEFAULT_THRESHOLD = 0.85  # the confidence from which a pseudo-label is accepted, unless told otherwise

BestMetric = Literal["val_loss", "val_acc", "val_macro_f1"]


def field(default: Any, description: str, *, digest: bool = True, **constraints: Any) -> Any:
    """A hyperparameter; `digest=False` marks one that cannot change the trained weights."""
    return Field(default, description=description, json_schema_extra={"digest": digest}, **constraints)


class TrainingConfig(BaseModel):
    """Hyperparameters of a training job. Units: pixels, epochs, images; see each description."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # model
    arch: ShellSafe = field("resnet18", "torchvision classification architecture")
    weights: ShellSafe = field(
        "imagenet", "imagenet, none, phase1 (of --phase1), or a .safetensors/.pth file (path or s3:// URI)"
    )
    image_size: int = field(224, "side of the square input, pixels", ge=16, le=2048)
    dropout: float | None = field(None, "dropout before the head; None: the architecture's own", ge=0, lt=1)
    stochastic_depth: float | None = field(None, "rate of the deepest block; None: own", ge=0, lt=1)

    # data
    augment: Literal["none", "flip", "crops", "heavy"] = field("flip", "augmentation chain of the train part")
    mixup: float = field(0.0, "mixup: alpha of the share's Beta distribution; 0: off", ge=0, le=1000)
    batch_size: int = field(64, "images per micro-batch and process", ge=1, le=65536)
    pseudo_share: float = field(0.25, "share of pseudo-labelled images in a batch, with --pseudo", gt=0, lt=1)
    pseudo_weight: float = field(0.5, "weight of a pseudo-labelled image in the loss", gt=0, le=10)
    num_workers: int | None = field(
        None, "loader processes; None: chosen for the machine", digest=False, ge=0, le=256
    )

    # optimisation
    epochs: int = field(5, "passes over the train part", ge=1, le=100_000)
    optimizer: Literal["adamw", "sgd"] = field("adamw", "optimizer")
    lr: float = field(1e-3, "peak learning rate", gt=0, le=100)
    head_lr_multiplier: float = field(1.0, "the new head's learning rate over lr", gt=0, le=1000)
    momentum: float = field(0.9, "momentum of sgd", ge=0, lt=1)
    weight_decay: float = field(1e-2, "decoupled for adamw; never on norms and biases", ge=0, le=10)
    schedule: Literal["constant", "cosine", "onecycle"] = field("constant", "learning-rate schedule")
    warmup_epochs: float = field(0.0, "linear warm-up of constant and cosine, epochs", ge=0)
    accumulation: int = field(1, "micro-batches per optimizer step", ge=1, le=4096)
    clip_norm: float | None = field(None, "largest gradient norm; None: no clipping", gt=0)
    label_smoothing: float = field(0.0, "label smoothing of the training loss", ge=0, lt=1)
    class_weights: Literal["none", "balanced"] = field("none", "balanced: in inverse proportion to count")

    # choosing and stopping
    best_metric: BestMetric = field("val_loss", "validation metric that chooses the best epoch")
    patience: int | None = field(None, "epochs without a better best_metric before stopping; None: off", ge=1)
    min_delta: float = field(0.0, "how much better counts as better for patience", ge=0)

    # execution
    precision: Literal["auto", "fp32", "bf16", "fp16"] = field("auto", "auto: bf16 or fp16 where faster")
    channels_last: bool | None = field(None, "memory format; None: where it is faster for the architecture")
    seed: int = field(0, "seed of initialisation, order, augmentation and dropout", ge=0, lt=2**32)
    deterministic: bool = field(False, "deterministic kernels only")
    export_pth: bool = field(False, "also write the state dicts as .pth", digest=False)

    @model_validator(mode="after")
    def _fields_agree(self) -> "TrainingConfig":
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs ({self.warmup_epochs:g}) must be below epochs ({self.epochs})")
        if self.warmup_epochs and self.schedule == "onecycle":
            raise ValueError("warmup_epochs: the onecycle schedule has a warm-up of its own; set it to 0")
        if self.min_delta and self.patience is None:
            raise ValueError("min_delta has no effect without patience")
        return self

    def record(self) -> dict[str, Any]:
        """Every field as plain JSON values: what model.json stores, and an Estimator's `hyperparameters`."""
        return self.model_dump(mode="json")

    def digest(self) -> str:
        """SHA-256 of the fields that can change the trained weights."""
        fields = type(self).model_fields
        relevant = {key: value for key, value in self.record().items() if _in_digest(fields[key])}
        return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def _in_digest(info: Any) -> bool:
    return bool(info.json_schema_extra["digest"])


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


def make_config(values: Mapping[str, Any]) -> TrainingConfig:
    """Check `values` and build the configuration.

    Raises UsageError with a line for each wrong hyperparameter: its name, what is wrong, what it got.
    """
    try:
        return TrainingConfig.model_validate(dict(values))
    except ValidationError as error:
        raise UsageError("\n".join(_explain(item) for item in error.errors())) from None


def _explain(item: Any) -> str:
    message = item["msg"].removeprefix("Value error, ")
    if not item["loc"]:
        return f"hyperparameters: {message}"
    name = str(item["loc"][0])
    if item["type"] == "extra_forbidden":
        close = difflib.get_close_matches(name, TrainingConfig.model_fields, n=1)
        hint = f"did you mean {close[0]}?" if close else "train.py --help lists them"
        return f"hyperparameter {name}: unknown; {hint}"
    if item["type"] == "string_pattern_mismatch":
        message = "only letters, digits and _./:@+,=- survive the way to the container"
    return f"hyperparameter {name}: {message[0].lower()}{message[1:]} (got {item['input']!r})"
