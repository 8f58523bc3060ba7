"""Fetch the model of a run and unpack it, checked: from this machine, from S3, or from a SageMaker job."""

from pathlib import Path
from typing import TYPE_CHECKING

from trapline.console import ArgumentParser
from trapline.launching.checkout import model_code_digest
from trapline.launching.fetching import (
    FoundRun,
    add_runs_argument,
    ensure_free,
    fetch_model,
    find_run,
    require_finished,
)
from trapline.trusted_code import code_digest

if TYPE_CHECKING:  # needs torch, which takes seconds
    from trapline.models.artefact import ModelDescription

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
    flags = parser().parse_args()
    ensure_free(flags.to)
    found = require_finished(find_run(flags.run, flags.runs))
    files, description = fetch_model(found, flags.to)
    print(report(found, description, flags.to, files))


def report(source: FoundRun, description: "ModelDescription", target: Path, files: int) -> str:
    """What was fetched, one fact a line."""
    best = description.metrics.get("best")
    numbers = [
        f"{label} {best[name]:.4f}"
        for name, label in SHOWN_METRICS.items()
        if isinstance(best, dict) and isinstance(best.get(name), float)
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
        "code": _said_of_code(target / "code"),
        **({"code of the job": source.code} if source.code else {}),
    }
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {fact}" for name, fact in facts.items())


def _said_of_code(code: Path) -> str:
    """Where the model's code lies, and whether it is known: it is of whoever made the archive."""
    if not code.is_dir():
        return "none in the archive"
    if code_digest(code) == model_code_digest():
        return f"{code}, that of this checkout"
    return f"{code}, not that of this checkout: look at it before you run it"
