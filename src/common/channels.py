"""Where a training job finds its data and leaves its results: SageMaker's folders, or a folder of yours.

With `--output DIR` the layout below DIR is that of `/opt/ml`: `model/`, `output/data/`, `checkpoints/`.
Without it the training toolkit's variables say where, and `SAGEMAKER_BASE_DIR` (default `/opt/ml`) holds what
has no variable of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.errors import TraplineError, UsageError

PREPARED_CHANNEL = "prepared"


@dataclass(frozen=True)
class TrainingPaths:
    """The folders of one training job."""

    prepared: Path  # a prepared data set: dataset.json, train/, val/
    model: Path  # becomes model.tar.gz
    output: Path  # metrics.csv; becomes output.tar.gz
    checkpoints: Path  # kept by SageMaker when an instance goes


def training_paths(prepared: str | None, output: str | None, environment: Mapping[str, str]) -> TrainingPaths:
    """The folders from the two flags and the toolkit's variables; flags win.

    Raises UsageError when neither says where the data are or where results go.
    """
    base = Path(output or environment.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
    if output is None and "SM_MODEL_DIR" not in environment:
        raise UsageError("--output: say in which folder the model and its checkpoints shall lie")
    model = base / "model" if output else Path(environment["SM_MODEL_DIR"])
    results = base / "output" / "data" if output else Path(environment["SM_OUTPUT_DATA_DIR"])
    return TrainingPaths(
        prepared=_prepared_folder(prepared, environment),
        model=model,
        output=results,
        checkpoints=base / "checkpoints",
    )


def failure_file(environment: Mapping[str, str]) -> Path | None:
    """Where a job in SageMaker leaves the message that becomes FailureReason; None outside SageMaker."""
    if "SM_MODEL_DIR" not in environment:
        return None
    return Path(environment.get("SAGEMAKER_BASE_DIR", "/opt/ml")) / "output" / "failure"


def _prepared_folder(flag: str | None, environment: Mapping[str, str]) -> Path:
    variable = f"SM_CHANNEL_{PREPARED_CHANNEL.upper()}"
    folder = flag or environment.get(variable)
    if folder is None:
        raise UsageError(
            "--prepared: say where the prepared data set lies; entry_points/prepare.py makes one"
        )
    if not Path(folder).is_dir():
        raise UsageError(f"--prepared {folder}: no such folder; entry_points/prepare.py makes one")
    return Path(folder)


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
