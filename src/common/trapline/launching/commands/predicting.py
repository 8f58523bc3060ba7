"""Predict images with a trained model, and write the answers in the formats that other tools open."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from trapline.console import ArgumentParser
from trapline.errors import TraplineError
from trapline.launching.fetching import add_runs_argument, downloaded, find_run, path_of, require_finished
from trapline.options import add_options, given_options, hyphenated, make_options
from trapline.predicting.options import PredictOptions
from trapline.s3 import is_s3

EPILOG = """examples:
  python launch/predict.py runs/demo photos --output answers
  python launch/predict.py model.tar.gz card1.zip card2.zip --output answers --formats csv megadetector
  python launch/predict.py runs/demo photos --output answers --formats camtrap-dp --taxonomy taxonomy.csv
      --deployments sheet.csv --project project.json --timezone Europe/Oslo

MODEL is a run (also one of a pipeline, whose champion is taken), a folder, a model.tar.gz, an s3:// URI, the
name of a SageMaker job, or the ARN of a registered model. INPUT may be anything that prepare.py reads, and
images or folders of images without labels. The same command goes on after it was ended."""
POSITIONAL = ("model", "input")
CHAMPION = "Evaluate/champion"  # in the folder of a pipeline that ran here
PACKAGE = ":model-package/"


def parser() -> ArgumentParser:
    """The command line."""
    arguments = ArgumentParser(description=__doc__, epilog=EPILOG)
    arguments.add_argument("model", metavar="MODEL", help="which model answers")
    arguments.add_argument("input", metavar="INPUT", nargs="+", help="images, however they lie")
    add_options(arguments, PredictOptions, "options of predicting", leave_out=POSITIONAL)
    add_runs_argument(arguments)
    return arguments


def read(words: Sequence[str] | None = None) -> tuple[PredictOptions, Path]:
    """The options of a command line, and the folder of runs. Raises UsageError for what is wrong."""
    flags = parser().parse_args(hyphenated(sys.argv[1:] if words is None else words))
    given = {**given_options(flags, PredictOptions), "model": flags.model, "input": tuple(flags.input)}
    return make_options(PredictOptions, given), flags.runs


def main() -> None:
    """Find the model, predict, write, and say what became of the images."""
    options, runs = read()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as train.py; read when torch loads
    from trapline.s3_copies import local_places  # late: --help needs none of this

    with local_places(options) as local, found_model(options.model, runs) as (model, name):
        from trapline.predicting.writing import predict_and_write

        predict_and_write(local, model, name)


@contextlib.contextmanager
def found_model(given: str, runs: Path) -> Iterator[tuple[Path, str]]:
    """The artefact that `given` names, here for the length of the block, and what it is called.

    Raises UsageError for what cannot name a model, TraplineError where there is none.
    """
    if PACKAGE in given:
        given = _of_package(given)
    path = None if is_s3(given) else path_of(given, runs)
    if path and (path / CHAMPION).is_dir():
        yield path / CHAMPION, path.resolve().name
        return
    run = require_finished(find_run(given, runs))
    if run.model is None:
        raise TraplineError(f"{run.name}: the job has left no model; its log may say why")
    if isinstance(run.model, Path):
        yield run.model, run.name
        return
    with tempfile.TemporaryDirectory(prefix="trapline-model-") as folder:
        copy = Path(folder) / "model.tar.gz"
        with downloaded(run.model, Path(folder)) as stream, copy.open("wb") as target:
            while chunk := stream.read(1 << 20):
                target.write(chunk)
        yield copy, run.name


def _of_package(arn: str) -> str:
    """The URI of a registered model's archive."""
    from trapline.launching.aws.account import signed_in
    from trapline.launching.aws.errors import explained

    with explained(f"model {arn}"):
        package = signed_in().client("sagemaker").describe_model_package(ModelPackageName=arn)
    containers = package.get("InferenceSpecification", {}).get("Containers", [])
    uri = next((container.get("ModelDataUrl") for container in containers), None)
    if not uri:
        raise TraplineError(f"model {arn}: names no archive of a model")
    return str(uri)
