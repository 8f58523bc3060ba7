"""Train a classifier on a prepared data set and write the model artefact.

In SageMaker the toolkit's variables say where data and results lie and `SM_HPS` holds the hyperparameters;
elsewhere `--prepared`, `--output` and one flag for each hyperparameter do.
"""

import os
import sys
from pathlib import Path

from common.channels import TrainingPaths, failure_file, training_paths
from common.console import ArgumentParser, run
from common.hyperparameters import add_arguments, hyphenated, read_config


def parser() -> ArgumentParser:
    """The command line."""
    arguments = ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument(
        "--prepared", metavar="DIR|s3://...", help="prepared data set (default: SM_CHANNEL_PREPARED)"
    )
    arguments.add_argument(
        "--pseudo",
        metavar="DIR|s3://...",
        help="pseudo-labels of pseudo_label.py (default: SM_CHANNEL_PSEUDO)",
    )
    arguments.add_argument(
        "--phase1",
        metavar="DIR|model.tar.gz|s3://...",
        help="the model that --weights phase1 starts from (default: SM_CHANNEL_PHASE1)",
    )
    arguments.add_argument(
        "--staged-weights",
        metavar="DIR|s3://...",
        help="weights of launch/stage_weights.py that --weights imagenet reads in place of a download "
        "(default: SM_CHANNEL_WEIGHTS)",
    )
    arguments.add_argument("--output", metavar="DIR", help="gets model/, output/ and checkpoints/")
    arguments.add_argument("--fresh", action="store_true", help="do not resume from an earlier checkpoint")
    add_arguments(arguments)
    return arguments


def main() -> None:
    """Parse, check, train."""
    flags = parser().parse_args(hyphenated(sys.argv[1:]))
    config = read_config(flags, os.environ)
    paths: TrainingPaths = training_paths(
        flags.prepared,
        flags.output,
        os.environ,
        pseudo=flags.pseudo,
        phase1=flags.phase1,
        weights=flags.staged_weights,
    )
    # Threads that spin while they wait make training many times slower where they must share a core, and gain
    # nothing where not. Read when torch loads, which comes late: --help and a typing error need no torch.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from common.training.job import run_training

    run_training(config, paths, Path(__file__).resolve().parent, fresh=flags.fresh)
    if os.environ.get("RANK", "0") == "0":
        from common.reports.curves import write_curves

        write_curves(
            paths.output / "metrics.csv", paths.output / "curves.png", best_metric=config.best_metric
        )


if __name__ == "__main__":
    run(main, failure=lambda: failure_file(os.environ))
