"""The experiments of launch/ by name, for commands that take one."""

import difflib
import importlib.util
from pathlib import Path
from typing import cast

from trapline.errors import UsageError
from trapline.launching import checkout
from trapline.launching.experiment import Experiment
from trapline.losses import LOSSES

MARK = "\nEXPERIMENT = Experiment("


def experiment_names() -> list[str]:
    """The names of the scripts in launch/ that are experiments, sorted."""
    return [path.stem for path in sorted(_folder().glob("*.py")) if MARK in path.read_text(encoding="utf-8")]


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
    return _read(_folder() / f"{stem}.py")


def _read(script: Path) -> Experiment:
    specification = importlib.util.spec_from_file_location(f"experiment_{script.stem}", script)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return cast(Experiment, module.EXPERIMENT)


def _folder() -> Path:
    return checkout.root() / "launch"
