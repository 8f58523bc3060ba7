"""Average trained models: one artefact that answers with the mean of its members."""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from common.console import ArgumentParser, run
from common.errors import UsageError
from launch.artifacts import fetch_model
from launch.fetching import add_runs_argument, find_run, require_finished
from launch.staging import COMMON, ENTRY_POINTS
from launch.unpacked_folder import ensure_free, staging_folder

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
    flags = parser().parse_args(sys.argv[1:])
    ensure_free(flags.to)
    print(average(flags.models, flags.runs, flags.to))


def average(names: Sequence[str], runs: Path, target: Path) -> str:
    """Write the ensemble of the runs that `names` name to the folder `target`, and return what it is.

    Raises UsageError where they do not go together or one is named twice, TraplineError where one cannot be
    had.
    """
    if len(set(names)) < len(names):
        raise UsageError("a model is named twice, which would give it two votes; name each once")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    found = {name: require_finished(find_run(name, runs)) for name in names}
    with tempfile.TemporaryDirectory(prefix="trapline-members-") as folder, staging_folder(target) as staging:
        members = {name: Path(folder) / str(number) for number, name in enumerate(found)}
        for name, source in found.items():
            fetch_model(source, members[name])
        from common.models.ensemble import write_ensemble  # late: --help and a typing error need no torch
        from common.versions import versions

        code = [(ENTRY_POINTS, ""), (COMMON, "common")]
        described = write_ensemble(members, staging, code, versions("torch", "torchvision", "safetensors"))
    kinds = ", ".join(member.architecture for member in described.members)
    return f"model: {target} ({len(members)} members: {kinds}; {described.parameters:,} parameters)"


if __name__ == "__main__":
    run(main)
