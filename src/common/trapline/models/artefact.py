"""The model artefact: what a training job leaves for evaluation, serving and the next phase.

model.safetensors   the best epoch's tensors
last.safetensors    the last epoch's; not for an ensemble, whose members' best epochs are averaged
model.json          all that is needed to use them (ModelDescription)
code/               what serves them; not where a program outside a checkout has trained
model.pth, last.pth the same tensors as state dicts, when asked for

A later job may start from it: phase 2 from the model of phase 1, with its head and its normalisation.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import (
    BaseModel,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from trapline.config import EvalCrop
from trapline.errors import TraplineError, UsageError, refuse_any
from trapline.learning import Outputs
from trapline.models.build import Averaged, Normalisation, build_on_meta, set_output
from trapline.models.weights import (
    WeightsReport,
    copied_state,
    copy_tensors,
    match_tensors,
    name_some,
    read_tensors,
)
from trapline.names import check_class_names
from trapline.s3 import fetch, place_of
from trapline.s3_copies import fetch_folder
from trapline.storage import file_digest, read_json, write_json
from trapline.unpacking import unpack

DESCRIPTION = "model.json"
STEMS = {"best": "model", "last": "last"}
STAGING = ".artefact-"
PHASE1 = "phase1"  # the value of `weights`
ARCHIVE = "model.tar.gz"
WEIGHTS = f"{STEMS['best']}.safetensors"


class Member(BaseModel, frozen=True, extra="forbid"):
    """One of the models that an ensemble averages: what builds it, and where it comes from.

    The metrics are its own, of its own validation; nothing follows from them for the ensemble.
    """

    architecture: str
    output: Outputs = Field(description="what it ends in")
    temperature: float = Field(gt=0, allow_inf_nan=False, description="divides its logits before the average")
    training_job: str | None
    pseudo_labels: str | None
    configuration: dict[str, Any]
    metrics: dict[str, Any]
    best_epoch: int = Field(ge=0)
    epochs: int = Field(ge=0)
    parameters: int = Field(ge=0)


NEWER = ("pool_sequences", "division", "line")


class ModelDescription(BaseModel, frozen=True, extra="forbid"):
    """The contents of model.json; unknown keys and impossible values are refused."""

    format_version: Literal[1] = 1
    architecture: str
    classes: list[str] = Field(min_length=1, description="in the order of the model's outputs")
    image_size: int = Field(gt=0, description="side of the square input, in pixels")
    normalisation: Normalisation
    pixels: dict[str, Any] = Field(description="how pixels are made from an image file")
    eval_crop: EvalCrop = Field(default="none", description="what of the frame validation has seen")
    task: Literal["multiclass", "multilabel"]
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False, description="divides the logits")
    views: list[str] = Field(default=["plain"], min_length=1, description="test-time views, by name")
    averaging: Literal["logits", "probabilities"] = Field(default="logits", description="what views average")
    thresholds: list[Annotated[float, Field(ge=0, le=1)]] | None = Field(
        default=None, description="from which probability each class is a label; multi-label models only"
    )
    pool_sequences: bool = Field(
        default=False, description="whether predictions are to be pooled over the images of a sequence"
    )
    split: str | None = Field(default=None, description="how train and val were divided: site or random")
    division: str | None = Field(
        default=None, description="digest of the division of cameras into train, val and test"
    )
    line: str | None = Field(
        default=None, description="digest of the division that it began with; no camera moves in a line"
    )
    training_job: str | None = Field(default=None, description="the SageMaker or local job that trained it")
    pseudo_labels: str | None = Field(default=None, description="SHA-256 of pseudo_labels.csv, where used")
    configuration: dict[str, Any]
    batches: dict[str, int] = Field(
        default_factory=dict, description="batch_size and accumulation it ended with, where the machine chose"
    )
    speed: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="precision and memory format, by kind of work; trapline.training.speed",
    )
    data_fingerprint: str
    versions: dict[str, str]
    metrics: dict[str, Any]
    best_epoch: int = Field(ge=0)
    epochs: int = Field(ge=0)
    parameters: int = Field(ge=0)
    size: int | None = Field(default=None, ge=0, description="of model.safetensors, bytes; write_artefact's")
    weights: dict[str, Any] = Field(description="what the training started from")
    members: list[Member] = Field(
        default_factory=list, description="of an ensemble; see trapline.models.ensemble"
    )

    @field_validator("classes")
    @classmethod
    def _check_names(cls, names: list[str]) -> list[str]:
        check_class_names(names)
        return names

    @model_validator(mode="after")
    def _check_thresholds(self) -> Self:
        if self.thresholds is not None and self.task == "multiclass":
            raise ValueError("thresholds are for several labels an image; this model gives one")
        if self.thresholds is not None and len(self.thresholds) != len(self.classes):
            raise ValueError(f"{len(self.thresholds)} thresholds for {len(self.classes)} classes")
        return self

    @model_serializer(mode="wrap")
    def _leave_out_what_is_not(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """All fields but those of NEWER that say nothing, which code of before them would refuse to read."""
        fields: dict[str, Any] = serialise(self)
        return {name: value for name, value in fields.items() if name not in NEWER or value}

    @property
    def deterministic(self) -> bool:
        """Whether a training asked for the same bytes each time, that of a member of an ensemble counted."""
        trainings = [self.configuration, *(member.configuration for member in self.members)]
        return any(bool(configuration.get("deterministic", False)) for configuration in trainings)

    def other_line(self, line: str | None) -> bool:
        """Whether it was trained under a division of another line: it may have seen what is test in this one.

        False where either is not known.
        """
        return self.line is not None and line is not None and self.line != line


def write_artefact(
    model_dir: Path,
    description: ModelDescription,
    best: Mapping[str, Tensor],
    last: Mapping[str, Tensor] | None,
    code: Sequence[tuple[str, Path]],
    pth: bool,
) -> None:
    """Write the artefact into `model_dir`, in place of an earlier one.

    `best` and `last`, which may be None, are state dicts on any device. `code`: (name inside code/, file)
    pairs; where there are none, there is no code/. `pth` adds the state dicts in torch's own format.

    All is written to a hidden folder first and moved at the end, model.json last: who sees it sees the whole
    artefact. NaN and infinity become null in model.json: an undefined metric must not cost the model.

    Raises TraplineError when the folder cannot be written, the disk is full, the code is missing, or
    `description` holds something that JSON cannot.
    """
    try:
        with _staging_folder(model_dir) as staging:
            for which, state in (("best", best), ("last", last)):
                if state is None:
                    continue
                # Copies: safetensors refuses tensors that share memory, and torch.save writes a view's whole
                # storage.
                tensors = copied_state(state)
                save_file(tensors, staging / f"{STEMS[which]}.safetensors", metadata={"format": "pt"})
                if pth:
                    torch.save(tensors, staging / f"{STEMS[which]}.pth")
            if code:
                _copy_code(code, staging / "code")
            size = (staging / f"{STEMS['best']}.safetensors").stat().st_size
            write_json(staging / DESCRIPTION, {**description.model_dump(mode="json"), "size": size})
            _move_in_place(staging, model_dir)
    # What a full disk raises depends on the writer: Python, safetensors, or torch's zip writer.
    except (OSError, SafetensorError, RuntimeError) as error:
        raise TraplineError(
            f"{model_dir}: the model cannot be written ({error}); check its permissions and the free space"
        ) from error
    except ValueError as error:
        raise TraplineError(
            f"{model_dir / DESCRIPTION}: {error}; metrics and settings must be plain values"
        ) from error


@contextlib.contextmanager
def _staging_folder(model_dir: Path) -> Iterator[Path]:
    model_dir.mkdir(parents=True, exist_ok=True)
    for leftover in model_dir.glob(f"{STAGING}*"):
        shutil.rmtree(leftover)  # of a run that was killed: it would be packed with the model
    with tempfile.TemporaryDirectory(prefix=STAGING, dir=model_dir) as folder:
        yield Path(folder)


def _copy_code(code: Sequence[tuple[str, Path]], target: Path) -> None:
    target.mkdir()
    for name, source in code:
        if not source.is_file():
            raise TraplineError(f"{source}: no such file of code; the model could not be served")
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        # The contents alone: with its mode, a read-only source would make files that no one can replace.
        shutil.copyfile(source, copy)


def _move_in_place(staging: Path, model_dir: Path) -> None:
    stale = [f"{stem}.{suffix}" for stem in STEMS.values() for suffix in ("safetensors", "pth")]
    # model.json first, so that nobody reads it beside tensors that it does not describe.
    for name in (DESCRIPTION, *stale):
        (model_dir / name).unlink(missing_ok=True)
    if (model_dir / "code").exists():
        shutil.rmtree(model_dir / "code")
    for path in sorted(staging.iterdir(), key=lambda path: path.name == DESCRIPTION):
        path.rename(model_dir / path.name)


def read_description(model_dir: Path) -> ModelDescription:
    """Read model.json. Raises TraplineError when it is missing, damaged, or of another format."""
    path = model_dir / DESCRIPTION
    if not path.is_file():
        raise TraplineError(f"{path}: no such file; {model_dir} does not hold a whole model artefact")
    content = read_json(path)
    version = content.get("format_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > 1:
        raise TraplineError(f"{path}: written in format {version} by a newer Trapline; update this one")
    try:
        return ModelDescription.model_validate(content)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, item['loc'])) or 'all of it'}: {item['msg']}" for item in error.errors()
        ]
        raise TraplineError(f"{path}: not a model description ({name_some(problems)})") from None


def load_model(
    model_dir: Path, *, which: Literal["best", "last"] = "best"
) -> tuple[nn.Module, ModelDescription]:
    """The model of an artefact on the CPU in evaluation mode, and its description.

    An ensemble is one model that averages its members, and has no `last`.

    Raises TraplineError when a file is missing or damaged, or when model.json and the tensors disagree.
    """
    description = read_description(model_dir)
    path = model_dir / f"{STEMS[which]}.safetensors"
    tensors = read_tensors(path)
    try:
        model = _build(description)
    except UsageError as error:
        raise TraplineError(f"{model_dir / DESCRIPTION}: {error}") from None
    match = match_tensors(model.state_dict(), tensors)
    different = tuple(match.different.values())
    problems = {"missing": match.missing, "of another shape": different, "unknown": match.unused}
    found = [f"{len(names)} tensors {what} ({name_some(names)})" for what, names in problems.items() if names]
    if found:
        raise TraplineError(
            f"{path}: does not agree with {DESCRIPTION}: {'; '.join(found)};"
            " the two come from different runs, or the classes were edited"
        )
    model = model.to_empty(device="cpu")
    copy_tensors(model, tensors)
    return model.eval(), description


def _build(description: ModelDescription) -> nn.Module:
    """The model on the meta device: to initialise a transformer would take seconds, and be overwritten."""

    def built(architecture: str, output: Outputs) -> nn.Module:
        model = build_on_meta(architecture, len(description.classes), image_size=description.image_size)
        set_output(model, output)
        return model

    if not description.members:
        return built(description.architecture, description.configuration.get("model_output", "logits"))
    members = [built(member.architecture, member.output) for member in description.members]
    return Averaged(members, [member.temperature for member in description.members], description.task)


def fetch_artefact(uri: str, target: Path) -> None:
    """Copy the artefact at `uri` in S3, an archive or a folder with one, to the folder `target`.

    Raises TraplineError as `fetch` and `fetch_folder` do.
    """
    if place_of(uri).kind == "object":
        target.mkdir(parents=True, exist_ok=True)
        fetch(uri, target / ARCHIVE)
        return
    fetch_folder(uri, target, only=(ARCHIVE, DESCRIPTION, WEIGHTS))


@contextlib.contextmanager
def opened_artefact(source: Path) -> Iterator[Path]:
    """The artefact's folder, for the length of the block.

    `source` is that folder, an archive of it (model.tar.gz), or a folder with such an archive, as SageMaker's
    channels are. Raises TraplineError when it is none of these, or the archive is damaged.
    """
    archive = source / ARCHIVE if source.is_dir() else source
    if (source / DESCRIPTION).is_file():
        yield source
        return
    if not archive.is_file():
        raise TraplineError(
            f"{source}: holds neither {DESCRIPTION} nor {ARCHIVE}; give a job's model folder or archive"
        )
    with tempfile.TemporaryDirectory(prefix="trapline-model-") as folder:
        with archive.open("rb") as stream:
            unpack(stream, str(archive), Path(folder))
        yield Path(folder)


def read_phase1(folder: Path, arch: str, classes: Sequence[str]) -> ModelDescription:
    """What describes the artefact in `folder`, the start for a model of `arch` with `classes`, in that order.

    Raises UsageError where it is another architecture, TraplineError for other classes or a damaged artefact.
    """
    description = read_description(folder)
    refuse_any([
        (
            description.members,
            f"weights phase1: that model is an ensemble of {len(description.members)}; start from one of "
            "them",
        ),
        (
            description.architecture != arch,
            f"weights phase1: that model is a {description.architecture}, and this one a {arch}; "
            f"set arch={description.architecture}",
        ),
    ])  # fmt: skip
    if description.classes != list(classes):
        raise TraplineError(
            f"weights phase1: its classes are {name_some(description.classes)}, those of the prepared set "
            f"{name_some(classes)}; names and order must be the same"
        )
    return description


def load_phase1(model: nn.Module, folder: Path, description: ModelDescription) -> WeightsReport:
    """Fill all of `model` in place, the head too, and report it; `identity` is the file's SHA-256.

    The tensors are those of the artefact in `folder`, which `description` is of.

    Raises TraplineError when the tensors cannot be read or one does not fit.
    """
    path = folder / WEIGHTS
    tensors = read_tensors(path)
    match = match_tensors(model.state_dict(), tensors)
    misfits = [*match.missing, *match.different.values(), *match.unused]
    if misfits:
        raise TraplineError(
            f"weights phase1 do not fit: {len(misfits)} tensors are missing, of another shape or unknown "
            f"({name_some(misfits)}); train with its image_size, {description.image_size}"
        )
    copy_tensors(model, tensors)
    return WeightsReport(PHASE1, file_digest(path), len(match.fitting), (), ())
