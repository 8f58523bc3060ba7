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

from common.errors import TraplineError, UsageError
from common.s3 import is_s3, split_uri

PREPARED_CHANNEL = "prepared"


@dataclass(frozen=True)
class TrainingPaths:
    """The folders of one training job."""

    prepared: Path  # a prepared data set: dataset.json, train/, val/
    model: Path  # becomes model.tar.gz
    output: Path  # metrics.csv; becomes output.tar.gz
    checkpoints: Path  # kept by SageMaker when an instance goes
    prepared_uri: str | None = None  # where in S3 the data set lies, of which `prepared` is to be the copy


def training_paths(prepared: str | None, output: str | None, environment: Mapping[str, str]) -> TrainingPaths:
    """The folders from the two flags and the toolkit's variables; flags win.

    Raises UsageError when neither says where the data are or where results go, or results would go to S3.
    """
    ensure_local("--output", output)
    base = Path(output or environment.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
    if output is None and "SM_MODEL_DIR" not in environment:
        raise UsageError("--output: say in which folder the model and its checkpoints shall lie")
    model = base / "model" if output else Path(environment["SM_MODEL_DIR"])
    results = base / "output" / "data" if output else Path(environment["SM_OUTPUT_DATA_DIR"])
    source = _prepared_source(prepared, environment)
    return TrainingPaths(
        prepared=copy_folder(source, base) if is_s3(source) else Path(source),
        model=model,
        output=results,
        checkpoints=base / "checkpoints",
        prepared_uri=source if is_s3(source) else None,
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


def _prepared_source(flag: str | None, environment: Mapping[str, str]) -> str:
    variable = f"SM_CHANNEL_{PREPARED_CHANNEL.upper()}"
    folder = flag or environment.get(variable)
    if folder is None:
        raise UsageError(
            "--prepared: say where the prepared data set lies; entry_points/prepare.py makes one"
        )
    if not is_s3(folder) and not Path(folder).is_dir():
        raise UsageError(f"--prepared {folder}: no such folder; entry_points/prepare.py makes one")
    return folder


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
