"""Search for hyperparameters of an experiment: on AWS by SageMaker's tuner, here one job after another."""

from trapline.console import run
from trapline.launching.commands.tune import main

if __name__ == "__main__":
    run(main)
