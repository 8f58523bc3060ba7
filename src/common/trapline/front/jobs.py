"""The jobs of a program: raw images into a prepared set, that into a model, and models measured on it.

What a job is made of is imported when it is called: training settles threads before torch is loaded.
"""

import os
from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeVar

from trapline.config import TrainingConfig
from trapline.data.prepared import PreparedSet, open_prepared
from trapline.job_contract import LIBRARY, ensure_local, training_paths
from trapline.job_options import EvaluateOptions, PrepareOptions
from trapline.options import Options, make_options
from trapline.s3_copies import local_places

Place = str | PathLike[str]
Made = TypeVar("Made", bound=Options)


def prepare(input: Place | Sequence[Place], output: Place, **options: Any) -> PreparedSet:
    """Write the prepared set of the images in `input` to the folder `output`, and open it.

    `input` is a folder, an archive, a table or JSON that names the images, an s3:// URI of any, or `demo`,
    which draws some; several of them, in a list, become one set. `options` are those of
    entry_points/prepare.py, such as split="site", site_csv="sites.csv" or limit_per_class=50. Images are
    decoded in processes of their own, which import the program that calls this: it needs
    `if __name__ == "__main__":`.

    Raises UsageError for options that cannot be, TraplineError when the input cannot be read or more than
    `max_quarantine` of it is unusable.
    """
    from trapline.preparation import preparing

    with local_places(_checked(PrepareOptions, input=input, output=output, **options)) as local:
        preparing.prepare(local)
    return open_prepared(Path(output))


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
    given = {"pseudo": pseudo, "phase1": phase1, "weights": staged_weights}
    named = {name: str(place) for name, place in given.items() if place is not None}
    paths = training_paths(str(prepared), str(output), {}, **named)
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


def evaluate(prepared: Place, model: Place, output: Place, **options: Any) -> dict[str, Any]:
    """Choose on validation, measure on test, write `output`/evaluation.json and return its content.

    `model` is a folder with a model or a model.tar.gz. `options` are those of entry_points/evaluate.py: with
    `phase2` another model, which is the champion only where it is better beyond chance, `views`, `precision`,
    ... `output`/champion/model.tar.gz has the temperature and the views that were chosen.
    `trapline.evaluation.evaluating` describes the content.

    Raises UsageError for options that cannot be and for what this machine cannot do, TraplineError for a
    damaged model or data set, or a model of other data.
    """
    from trapline.evaluation import evaluating

    given = _checked(EvaluateOptions, prepared=prepared, phase1=model, output=output, **options)
    with local_places(given) as local:
        return evaluating.evaluate(local)


def entry_points_here() -> Path | None:
    """The entry points of the checkout that the package lies in; None where it is installed without one."""
    folder = LIBRARY.parent.parent.parent / "entry_points"
    return folder if (folder / "train.py").is_file() else None


def _checked(model: type[Made], **values: Any) -> Made:
    """The options; paths may be `Path` objects. Raises UsageError for what is wrong, `output` in S3 too."""
    plain = {key: _plain(value) for key, value in values.items()}
    options = make_options(model, plain, str, listed="docs/options.md lists them")
    ensure_local("output", plain["output"])
    return options


def _plain(value: Any) -> Any:
    """A path as text, in a list too; anything else as it is."""
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    return fspath(value) if isinstance(value, PathLike) else value
