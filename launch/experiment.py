"""An experiment: a name, an instance and hyperparameters, and the command line that starts it.

Only what `--help` needs is imported here: a launcher answers a typing error before any SDK is loaded.
"""

import sys
from dataclasses import dataclass, field
from typing import NoReturn


@dataclass(frozen=True)
class Experiment:
    """What one file in launch/ says. `hyperparameters` are fields of TrainingConfig."""

    name: str  # of the job, before the time
    description: str  # the file's docstring: command, data, result to expect
    hyperparameters: dict[str, object]
    instance_type: str = "ml.g4dn.xlarge"
    prepare: dict[str, object] = field(default_factory=dict)  # options of prepare.py
    channels: tuple[str, ...] = ()  # inputs beside the prepared set that must be given: pseudo, phase1
    views: str = "auto"  # test-time views of a pipeline with this recipe, unless told otherwise


def run_experiment(experiment: Experiment) -> NoReturn:
    """Read the command line, run the experiment, end the process: 0 done, 1 failed, 2 usage, 130 Ctrl-C."""
    try:
        from common.console import run
        from launch.flags import read_plan

        def main() -> None:
            plan = read_plan(experiment, sys.argv[1:])
            if plan.folds:
                from launch.many.folds import cross_validate

                cross_validate(plan)
                return
            if plan.backend == "process":
                from launch.local.processes import launch
            elif plan.backend == "local":
                from launch.local.containers import launch
            else:
                from launch.aws.backend import launch
            launch(plan)

        run(main)
    except KeyboardInterrupt:  # while Python was still loading
        sys.exit(130)
