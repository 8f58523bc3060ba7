"""The checkout that a command belongs to: its root, the code that jobs get of it and its needs, experiments.

A job runs entry_points/ with the library beside it: here are the digest of that, and a clean copy.
Each experiment is one file in launch/, which commands find by name.
"""

import difflib
import os
import re
import runpy
import shutil
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from trapline.errors import TraplineError, UsageError
from trapline.job_contract import LIBRARY, code_and_versions, shipped_files
from trapline.learning import LOSSES
from trapline.trusted_code import digest_of

MARK = "entry_points/train.py"  # what only a checkout has
CONSTRAINTS = "constraints.txt"
IN_AWS_IMAGE = {"torch", "torchvision"}  # the image's own fit its CUDA; they must not be replaced


def root() -> Path:
    """The root of the checkout of the script that runs, else of the one that the package lies in.

    Raises UsageError where there is none.
    """
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    for folder in (*([Path(script).resolve().parents[1]] if script else []), LIBRARY.parents[2]):
        if (folder / MARK).is_file():
            return folder
    raise UsageError(
        f"no checkout of Trapline: {MARK} and what lies beside it are not installed with the package; run a "
        "script of a checkout's launch/ or pipelines/"
    )


def entry_points() -> Path:
    """The folder of the scripts that jobs run. Raises as `root` does."""
    return root() / "entry_points"


# --- the code of jobs ---------------------------------------------------------------------------------------


def sources() -> list[tuple[str, Path]]:
    """(name, file) of all that jobs are given. Raises UsageError where there is no checkout."""
    return shipped_files(entry_points())


def jobs_digest(image: Sequence[str] = ()) -> str:
    """The digest of all code that jobs are given and of what runs it, as `code_and_versions` has them."""
    return code_and_versions(sources(), image)


def model_code_digest() -> str:
    """The digest of the code/ in the models that jobs with this code leave, for `trapline.trusted_code`."""
    return digest_of(sources())


def stage_code(target: Path, requirements: list[str] | None = None) -> Path:
    """Copy the sources into the new folder `target` and return it; never `__pycache__`, which changes hashes.

    `requirements` become a requirements.txt, which AWS's training toolkit installs at job start: for
    deep-learning images, that lack some of what the code needs. Raises UsageError without sources.
    """
    for name, path in sources():
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        os.utime(copy, (0, 0))
    if requirements:
        (target / "requirements.txt").write_text("\n".join(requirements) + "\n", encoding="utf-8")
    return target


def missing_from_aws_image() -> list[str]:
    """Requirement lines, name and version, for Trapline's own dependencies without torch and torchvision.

    They are of the checkout's own lists: what an installed distribution says of itself is as old as its
    installation. Raises TraplineError where pyproject.toml or constraints.txt is not there, or a version is
    not in it.
    """
    folder = root()
    declared = tomllib.loads(_text(folder / "pyproject.toml"))["project"]["dependencies"]
    pinned = pins(_text(folder / CONSTRAINTS))
    names = sorted({package_name(line) for line in declared} - IN_AWS_IMAGE)
    if unpinned := [name for name in names if name not in pinned]:
        raise TraplineError(
            f"{folder / CONSTRAINTS}: no version of {', '.join(unpinned)}; add it, or leave out --dlc"
        )
    return [f"{name}=={pinned[name]}" for name in names]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise TraplineError(
            f"{path}: {error.strerror}; run the launcher from a checkout of Trapline, or leave out --dlc"
        ) from None


def package_name(requirement: str) -> str:
    """The normalized name of the package that a requirement line begins with."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    return re.sub(r"[-_.]+", "-", match.group()).lower()


def pins(text: str) -> dict[str, str]:
    """The versions in a constraints.txt, by the packages' names."""
    pairs = (line.split("==") for line in text.splitlines() if "==" in line)
    return {package_name(name): version.strip() for name, version in pairs}


# --- experiments --------------------------------------------------------------------------------------------


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


def experiment_names() -> list[str]:
    """The names of the scripts in launch/ that are experiments, sorted."""
    return list(_scripts())


def recipe_names() -> list[str]:
    """Those of them that can be a pipeline's recipe.

    Not those that go on from another job's results, nor those of several labels an image: the pipeline's
    second phase learns from pseudo-labels, which are of one.
    """
    experiments = {name: _read(script) for name, script in _scripts().items()}
    return [
        name
        for name, experiment in experiments.items()
        if not experiment.channels
        and LOSSES[str(experiment.hyperparameters.get("loss", "cross_entropy"))].task == "multiclass"
    ]


def find_experiment(name: str) -> Experiment:
    """The experiment of a script, by its name or path. Raises UsageError with the names that there are."""
    known = _scripts()
    stem = Path(name).name.removesuffix(".py").replace("-", "_")
    if stem not in known:
        close = difflib.get_close_matches(stem, known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError(f"{name}: no such experiment; {hint}there are {', '.join(known)}")
    return _read(known[stem])


def _scripts() -> dict[str, Path]:
    """Name -> script of each experiment in launch/, sorted."""
    return {
        path.stem: path
        for path in sorted((root() / "launch").glob("*.py"))
        if "\nEXPERIMENT = Experiment(" in path.read_text(encoding="utf-8")
    }


def _read(script: Path) -> Experiment:
    return cast(Experiment, runpy.run_path(str(script), run_name=script.stem)["EXPERIMENT"])
