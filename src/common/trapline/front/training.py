"""A prepared data set into a model, from a program."""

import os
from os import PathLike
from pathlib import Path

from trapline.channels import training_paths
from trapline.config import TrainingConfig
from trapline.shipped import LIBRARY

Place = str | PathLike[str]


def train(
    config: TrainingConfig,
    prepared: Place,
    output: Place,
    *,
    phase1: Place | None = None,
    pseudo: Place | None = None,
    staged_weights: Place | None = None,
    fresh: bool = False,
) -> Path:
    """Train on a prepared set, write `output`/model, `output`/output/data and return the model's folder.

    `prepared`, `phase1` (the model that weights=phase1 starts from), `pseudo` (what pseudo_label.py wrote)
    and `staged_weights` may be folders or s3:// URIs. The same call goes on from its last checkpoint unless
    `fresh`. Where no checkout is at hand, the model gets no code/, and a line says so.

    Raises UsageError for a configuration that does not fit the data or the machine, TraplineError for a run
    that failed.
    """
    paths = training_paths(
        str(prepared),
        str(output),
        {},
        pseudo=_text(pseudo),
        phase1=_text(phase1),
        weights=_text(staged_weights),
    )
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as entry_points/train.py; read when torch loads
    from trapline.training.job import run_training

    entry_points = entry_points_here()
    if entry_points is None:
        print("model: it gets no code/, for no checkout of Trapline is here; trapline itself serves it")
    run_training(config, paths, entry_points, fresh=fresh)
    if os.environ.get("RANK", "0") == "0":
        from trapline.reports.curves import write_curves

        write_curves(
            paths.output / "metrics.csv", paths.output / "curves.png", best_metric=config.best_metric
        )
    return paths.model


def entry_points_here() -> Path | None:
    """The entry points of the checkout that the package lies in; None where it is installed without one."""
    folder = LIBRARY.parent.parent.parent / "entry_points"
    return folder if (folder / "train.py").is_file() else None


def _text(place: Place | None) -> str | None:
    return None if place is None else str(place)
