"""Where a training job finds its data and leaves its results: SageMaker's folders, or a folder of yours.

With `--output DIR` the layout below DIR is that of `/opt/ml`: `model/`, `output/data/`, `checkpoints/`.
Without it the training toolkit's variables say where, and `SAGEMAKER_BASE_DIR` (default `/opt/ml`) holds what
has no variable of its own.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trapline.errors import TraplineError, UsageError
from trapline.s3 import is_s3, split_uri

PREPARED_CHANNEL = "prepared"
PSEUDO_CHANNEL = "pseudo"
PHASE1_CHANNEL = "phase1"
WEIGHTS_CHANNEL = "weights"
MADE_BY = {
    PREPARED_CHANNEL: "entry_points/prepare.py makes one",
    PSEUDO_CHANNEL: "entry_points/pseudo_label.py makes one",
    PHASE1_CHANNEL: "give the folder or the model.tar.gz of a training job",
    WEIGHTS_CHANNEL: "launch/stage_weights.py makes one",
}
# Flags of train.py whose names are not the channel's: --weights is a hyperparameter already.
FLAGS = {WEIGHTS_CHANNEL: "staged-weights"}


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
    model = base / "model" if output else Path(environment["SM_MODEL_DIR"])
    results = base / "output" / "data" if output else Path(environment["SM_OUTPUT_DATA_DIR"])
    source = _channel(PREPARED_CHANNEL, prepared, environment, base)
    if source is None:
        raise UsageError(f"--prepared: say where the prepared data set lies; {MADE_BY[PREPARED_CHANNEL]}")
    return TrainingPaths(
        prepared=source.path,
        model=model,
        output=results,
        checkpoints=base / "checkpoints",
        prepared_uri=source.uri,
        pseudo=_channel(PSEUDO_CHANNEL, pseudo, environment, base),
        phase1=_channel(PHASE1_CHANNEL, phase1, environment, base),
        weights=_channel(WEIGHTS_CHANNEL, weights, environment, base),
    )


def failure_file(environment: Mapping[str, str]) -> Path | None:
    """Where a job in SageMaker leaves the message that becomes FailureReason; None outside SageMaker."""
    if "SM_MODEL_DIR" not in environment:
        return None
    return Path(environment.get("SAGEMAKER_BASE_DIR", "/opt/ml")) / "output" / "failure"


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


def message_file(environment: Mapping[str, str]) -> Path | None:
    """Where a processing job leaves the message that becomes ExitMessage; None outside a processing job."""
    base = Path(environment.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
    inside = (base / "config" / "processingjobconfig.json").is_file()
    return base / "output" / "message" if inside else None


def _channel(name: str, flag: str | None, environment: Mapping[str, str], base: Path) -> Channel | None:
    source = flag or environment.get(f"SM_CHANNEL_{name.upper()}")
    if source is None:
        return None
    if is_s3(source):
        return Channel(copy_folder(source, base), source)
    path = Path(source)
    if not (path.exists() if name == PHASE1_CHANNEL else path.is_dir()):
        raise UsageError(f"--{FLAGS.get(name, name)} {source}: no such folder; {MADE_BY[name]}")
    return Channel(path)


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
