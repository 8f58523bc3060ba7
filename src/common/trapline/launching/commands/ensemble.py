"""Average trained models: one artefact that answers with the mean of its members."""

from pathlib import Path

from trapline.console import ArgumentParser
from trapline.launching.fetching import add_runs_argument, average, ensure_free

EPILOG = """examples:
  python launch/ensemble.py runs/resnet-run runs/swin-run --to models/both
  python entry_points/evaluate.py --prepared SET --phase1 models/both --output evaluation

RUN is a folder, a model.tar.gz, an s3:// URI, a run in runs/, or the name of a SageMaker job. The models must
be of one prepared set, with the same classes, image size, normalisation and crop; architectures may differ.
Each takes part at its own temperature. evaluate.py then fits temperature, views and thresholds of the whole;
where a member was trained on validation images, as those of folds are, only its test part can be believed."""


def parser() -> ArgumentParser:
    """The command line."""
    arguments = ArgumentParser(description=__doc__, epilog=EPILOG)
    arguments.add_argument("models", metavar="RUN", nargs="+", help="two models or more")
    arguments.add_argument(
        "--to", metavar="DIR", type=Path, required=True, help="gets the model; must be new or empty"
    )
    add_runs_argument(arguments)
    return arguments


def main() -> None:
    """Fetch the models, check that they go together, and write their average."""
    flags = parser().parse_args()
    ensure_free(flags.to)
    print(average(flags.models, flags.runs, flags.to))
