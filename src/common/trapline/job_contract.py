"""The contract of a job, SageMaker's wherever it runs: folders, channels, names of options, the code it gets.

With `--output DIR` the layout below DIR is that of `/opt/ml`: `model/`, `output/data/`, `checkpoints/`.
Without it the training toolkit's variables say where, and `SAGEMAKER_BASE_DIR` (default `/opt/ml`) holds what
has no variable of its own.

What a job says of an option reaches who started it. By hand that was an entry point; in SageMaker's contract,
which every backend keeps, a launcher or the pipeline, where the same options have other names.

What jobs are given are the entry points and, beside them, the rooms of the library that they use: one list
for all who copy it or make a digest of it: the staged folder of a job, the keys of checkpoints and prepared
sets, the image, a model's code/. An edit of what starts jobs changes none of them. With the versions of the
libraries that run the code, that digest keeps results apart.
"""

import hashlib
import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import trapline
from trapline.errors import TraplineError, UsageError
from trapline.s3 import is_s3, split_uri
from trapline.storage import json_digest, source_files
from trapline.trusted_code import digest_of

# How much batch transform sends in one request, which is one image as it came. An object above the limit of
# the job fails the whole job, so preparation keeps such images from it.
PAYLOAD_MB = 20  # of the job; SageMaker takes at most 100 for all requests at a time together
# Of a file. AWS says MB and not whether they are 10^6 or 2^20 bytes: the smaller is right either way.
MAX_FILE_BYTES = PAYLOAD_MB * 10**6
MADE_BY = {  # channel of a training job -> where what it holds comes from
    "prepared": "entry_points/prepare.py makes one",
    "pseudo": "entry_points/pseudo_label.py makes one",
    "phase1": "give the folder or the model.tar.gz of a training job",
    "weights": "launch/stage_weights.py makes one",
}


# --- folders and channels -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Channel:
    """Something that a job reads: where it lies here, and the S3 URI of which that is to be the copy."""

    path: Path
    uri: str | None = None


@dataclass(frozen=True)
class TrainingPaths:
    """The folders of one training job."""

    prepared: Path  # a prepared data set: dataset.json, train/, val/
    model: Path  # becomes model.tar.gz
    output: Path  # metrics.csv; becomes output.tar.gz
    checkpoints: Path  # kept by SageMaker when an instance goes
    prepared_uri: str | None = None  # where in S3 the data set lies, of which `prepared` is to be the copy
    pseudo: Channel | None = None  # a folder of pseudo-labels
    phase1: Channel | None = None  # the model artefact to start from: a folder or a model.tar.gz
    weights: Channel | None = None  # a folder of staged ImageNet weights


def training_paths(
    prepared: str | None,
    output: str | None,
    environment: Mapping[str, str],
    pseudo: str | None = None,
    phase1: str | None = None,
    weights: str | None = None,
) -> TrainingPaths:
    """The folders from the flags and the toolkit's variables; flags win.

    Raises UsageError when neither says where the data are or where results go, when a folder that is named
    does not exist, or results would go to S3.
    """
    ensure_local("--output", output)
    base = Path(output or environment.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
    if output is None and "SM_MODEL_DIR" not in environment:
        raise UsageError("--output: say in which folder the model and its checkpoints shall lie")
    source = _channel("prepared", prepared, environment, base)
    if source is None:
        raise UsageError(f"--prepared: say where the prepared data set lies; {MADE_BY['prepared']}")
    return TrainingPaths(
        prepared=source.path,
        model=base / "model" if output else Path(environment["SM_MODEL_DIR"]),
        output=base / "output" / "data" if output else Path(environment["SM_OUTPUT_DATA_DIR"]),
        checkpoints=base / "checkpoints",
        prepared_uri=source.uri,
        pseudo=_channel("pseudo", pseudo, environment, base),
        phase1=_channel("phase1", phase1, environment, base),
        weights=_channel("weights", weights, environment, base),
    )


def _channel(name: str, given: str | None, environment: Mapping[str, str], base: Path) -> Channel | None:
    source = given or environment.get(f"SM_CHANNEL_{name.upper()}")
    if source is None:
        return None
    if is_s3(source):
        return Channel(copy_folder(source, base), source)
    path = Path(source)
    if not (path.exists() if name == "phase1" else path.is_dir()):
        flag = "staged-weights" if name == "weights" else name  # --weights is a hyperparameter already
        raise UsageError(f"--{flag} {source}: no such folder; {MADE_BY[name]}")
    return Channel(path)


def copy_folder(uri: str, base: Path) -> Path:
    """The folder below `base` for a local copy of what lies at `uri` in S3: its name, and a digest of all."""
    bucket, key = split_uri(uri)
    name = key.rstrip("/").rpartition("/")[2] or bucket
    digest = hashlib.sha256(f"{bucket}/{key.rstrip('/')}".encode()).hexdigest()
    return base / "input" / "s3" / f"{re.sub(r'[^A-Za-z0-9_-]+', '-', name)[:60]}-{digest[:12]}"


def ensure_local(flag: str, value: str | None) -> None:
    """Raise UsageError when the `value` of `flag`, a folder for results, is an S3 URI."""
    if value is not None and is_s3(value):
        raise UsageError(f"{flag} {value}: results are written to a local folder; upload it afterwards")


def ensure_writable(folder: Path) -> None:
    """Make `folder` and try to write in it, so that a job fails before its work and not after.

    Raises TraplineError naming the folder.
    """
    probe = folder / ".write-probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise TraplineError(f"{folder}: cannot be written ({error.strerror}); choose another") from None


def failure_file(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Where a job in SageMaker leaves the message that becomes FailureReason; None outside SageMaker."""
    base = Path(environment.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
    return base / "output" / "failure" if "SM_MODEL_DIR" in environment else None


def message_file(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Where a processing job leaves the message that becomes ExitMessage; None outside a processing job."""
    base = Path(environment.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
    return base / "output" / "message" if (base / "config/processingjobconfig.json").is_file() else None


# --- options as they were typed -----------------------------------------------------------------------------


def in_job() -> bool:
    """Whether a launcher or the pipeline started this process as a job, here or on AWS."""
    return "SM_HPS" in os.environ or message_file() is not None


def hyperparameter(name: str, value: object = "") -> str:
    """A hyperparameter, with its value where one is meant: `--weights none`, or `--set weights=none`."""
    return _typed("--set", name, value)


def prepare_option(name: str, value: object = "") -> str:
    """An option of prepare.py: `--split random`, or `--prepare split=random`."""
    return _typed("--prepare", name.replace("_", "-"), value)


def _typed(flag: str, name: str, value: object) -> str:
    words, between = (f"{flag} {name}", "=") if in_job() else (f"--{name.replace('_', '-')}", " ")
    return f"{words}{between}{value}" if value != "" else words


# --- what jobs are given ------------------------------------------------------------------------------------

LIBRARY = Path(__file__).resolve().parent
# Rooms; docker/Dockerfile.dockerignore names them, too. `front` and `predicting` are for no job.
NOT_SHIPPED = frozenset({"front", "predicting", "launching", "pipeline"})
# Whose version can change a prepared set, a model or a report: not what copies files or shows progress.
RUN_BY = (
    "albumentations", "h11", "jinja2", "matplotlib", "numpy", "opencv-python", "opencv-python-headless",
    "openpyxl", "pandas", "pillow", "pyarrow", "pydantic", "safetensors", "sagemaker",
    "sagemaker-pytorch-training", "sagemaker-training", "scikit-learn", "scipy", "simplejpeg", "starlette",
    "timm", "torch", "torchvision", "uvicorn",
)  # fmt: skip


def shipped_files(entry_points: Path | None) -> list[tuple[str, Path]]:
    """(name beside the entry points, file) of all Python files, by name; None: of the library alone."""
    files = {
        f"trapline/{path.relative_to(LIBRARY).as_posix()}": path
        for path in source_files(LIBRARY)
        if path.relative_to(LIBRARY).parts[0] not in NOT_SHIPPED
    }
    if entry_points is not None:
        beside = {path.relative_to(entry_points).as_posix(): path for path in source_files(entry_points)}
        files = beside | files
    return sorted(files.items())


def versions(*distributions: str) -> dict[str, str]:
    """Versions of Trapline, Python and the named distributions; those not installed are left out."""
    found = {"trapline": trapline.__version__, "python": platform.python_version()}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def code_and_versions(files: Iterable[tuple[str, Path]], image: Sequence[str] = ()) -> str:
    """SHA-256 of code, (name, file) pairs, and of what runs it: part of the name of what is kept for reuse.

    `image`: the digests of the container image where the code runs in one, whose versions they stand for;
    else those installed here count.
    """
    return json_digest([digest_of(files), list(image) or versions(*RUN_BY)])
