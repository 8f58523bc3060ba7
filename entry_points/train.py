"""Train a classifier on a prepared data set and write the model artefact.

In SageMaker the toolkit's variables say where data and results lie and `SM_HPS` holds the hyperparameters;
elsewhere `--prepared`, `--output` and one flag for each hyperparameter do.
"""

import os
import sys
from pathlib import Path

from trapline.config import TITLE, TrainingConfig, read_config
from trapline.console import ArgumentParser, run
from trapline.errors import UsageError
from trapline.job_contract import failure_file, training_paths
from trapline.job_options import TrainOptions
from trapline.options import add_options, given_options, hyphenated, make_options
from trapline.s3 import is_s3


def read_command_line(words: list[str]) -> tuple[TrainingConfig, TrainOptions]:
    """Hyperparameters, and where to read and write. Raises UsageError for an impossible value."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, TrainOptions)
    add_options(parser, TrainingConfig, TITLE)
    flags = parser.parse_args(hyphenated(words))
    options = make_options(TrainOptions, given_options(flags, TrainOptions))
    if options.output and is_s3(options.output) and os.environ.get("WORLD_SIZE", "1") != "1":
        raise UsageError(f"--output {options.output}: several processes write to one folder; give a folder")
    return read_config(flags, os.environ), options


def main() -> None:
    """Parse, check, train."""
    config, options = read_command_line(sys.argv[1:])
    from trapline.s3_copies import local_places

    with local_places(options) as local:
        paths = training_paths(
            local.prepared,
            local.output,
            os.environ,
            pseudo=local.pseudo,
            phase1=local.phase1,
            weights=local.staged_weights,
        )
        # Threads that spin while they wait make training many times slower where they must share a core, and
        # gain nothing where not. Read when torch loads, which comes late: --help needs no torch.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        from trapline.training.job import run_training

        run_training(config, paths, Path(__file__).resolve().parent, fresh=local.fresh)
        if os.environ.get("RANK", "0") == "0":
            from trapline.reports.curves import write_curves

            write_curves(
                paths.output / "metrics.csv", paths.output / "curves.png", best_metric=config.best_metric
            )


if __name__ == "__main__":
    run(main, failure=failure_file)
