"""Fetch the model of a run and unpack it, checked: from this machine, from S3, or from a SageMaker job."""

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.console import ArgumentParser, run
from common.errors import TraplineError
from common.unpacking import FILE_MODE, unpack
from launch.fetching import Run, add_runs_argument, downloaded, find_run, require_finished
from launch.local.user_files import printable, walk
from launch.unpacked_folder import ensure_free, staging_folder

if TYPE_CHECKING:  # needs torch, which takes seconds
    from common.models.artefact import ModelDescription

SHOWN_METRICS = {"val_loss": "log loss", "val_acc": "accuracy", "val_macro_f1": "macro F1"}
EXAMPLES = """examples:
  python launch/artifacts.py runs/night-run --to models/night
  python launch/artifacts.py s3://bucket/night-run/output/model.tar.gz --to models/night
  python launch/artifacts.py night-run --to models/night      (a run in runs/, else a SageMaker job)
"""


def parser() -> ArgumentParser:
    """The command line."""
    arguments = ArgumentParser(description=__doc__, epilog=EXAMPLES)
    arguments.add_argument(
        "run",
        metavar="JOB_OR_URI",
        help="a folder, a model.tar.gz, an s3:// URI, or the name of a run or job",
    )
    arguments.add_argument(
        "--to", metavar="DIR", type=Path, required=True, help="gets the model; must be new or empty"
    )
    add_runs_argument(arguments)
    return arguments


def main() -> None:
    """Find the run, fetch its model, check it, and say what it is."""
    flags = parser().parse_args(sys.argv[1:])
    ensure_free(flags.to)
    found = require_finished(find_run(flags.run, flags.runs))
    files, description = fetch_model(found, flags.to)
    print(report(found, description, flags.to, files))


def fetch_model(source: Run, target: Path) -> "tuple[int, ModelDescription]":
    """Put the model of a finished run into `target`; return the number of files, and what model.json says.

    `target` must not exist, or be empty; it gets the whole, checked model or stays as it is. Raises
    TraplineError when the archive is damaged, hostile or no model of this project, or cannot be had.
    """
    if source.model is None:
        raise TraplineError(f"{source.name}: the job has left no model; its log may say why")
    with staging_folder(target) as staging:
        if isinstance(source.model, Path) and source.model.is_dir():
            files = _copy_folder(source.model, staging)
        else:
            with downloaded(source.model, staging.parent) as stream:
                files = unpack(stream, str(source.model), staging)
        description = _checked_model(staging, str(source.model))
    return files, description


def _copy_folder(source: Path, target: Path) -> int:
    """Copy the files of a model folder; links are refused as they are in an archive."""
    entries = list(walk(source, skips=lambda name: False))
    for found in entries:
        if found.link or found.kind != "file":
            raise TraplineError(f"{printable(found.path)}: is no plain file; a model has nothing else")
        copy = target / found.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found.path, copy)
        os.chmod(copy, FILE_MODE)  # noqa: PTH101
    return len(entries)


def _checked_model(folder: Path, shown_as: str) -> "ModelDescription":
    """Load all weights as serving would."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from common.models.artefact import load_model

    try:
        description = load_model(folder, which="best")[1]
        if not description.members:  # an ensemble has no last epoch
            load_model(folder, which="last")
        return description
    except TraplineError as error:
        # The folder is gone when the message is read; what was given is not.
        raise TraplineError(str(error).replace(str(folder), shown_as)) from None


def report(source: Run, description: "ModelDescription", target: Path, files: int) -> str:
    """What was fetched, one fact a line."""
    best = description.metrics.get("best")
    row: dict[str, Any] = best if isinstance(best, dict) else {}
    numbers = [
        f"{label} {row[name]:.4f}"
        for name, label in SHOWN_METRICS.items()
        if isinstance(row.get(name), float)
    ]
    facts = {
        "model": f"{target} ({files} files)",
        "from": str(source.model),
        "job": source.name,
        "architecture": f"{description.architecture}, {description.parameters:,} parameters",
        "image size": f"{description.image_size} px",
        "classes": f"{len(description.classes)}: {', '.join(description.classes)}",
        "best epoch": f"{description.best_epoch} of {description.epochs}",
        "validation": ", ".join(numbers) or "no metrics in model.json",
        "code": str(target / "code") if (target / "code").is_dir() else "none in the archive",
    }
    if source.code:
        facts["code of the job"] = source.code
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {fact}" for name, fact in facts.items())


if __name__ == "__main__":
    run(main)
