"""The experiments of launch/ by name, for commands that take one."""

import difflib
import importlib
from pathlib import Path

from common.errors import UsageError
from common.losses import LOSSES
from launch.experiment import Experiment

FOLDER = Path(__file__).parent
MARK = "\nEXPERIMENT = Experiment("


def experiment_names() -> list[str]:
    """The names of the scripts in launch/ that are experiments, sorted."""
    return [path.stem for path in sorted(FOLDER.glob("*.py")) if MARK in path.read_text(encoding="utf-8")]


def recipe_names() -> list[str]:
    """Those of them that can be a pipeline's recipe.

    Not those that go on from another job's results, nor those of several labels an image: the pipeline's
    second phase learns from pseudo-labels, which are of one.
    """
    experiments = {name: find_experiment(name) for name in experiment_names()}
    return [
        name
        for name, experiment in experiments.items()
        if not experiment.channels
        and LOSSES[str(experiment.hyperparameters.get("loss", "cross_entropy"))].task == "multiclass"
    ]


def find_experiment(name: str) -> Experiment:
    """The experiment of a script, by its name or path. Raises UsageError with the names that there are."""
    known = experiment_names()
    stem = Path(name).name.removesuffix(".py").replace("-", "_")
    if stem not in known:
        close = difflib.get_close_matches(stem, known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError(f"{name}: no such experiment; {hint}there are {', '.join(known)}")
    experiment: Experiment = importlib.import_module(f"launch.{stem}").EXPERIMENT
    return experiment
