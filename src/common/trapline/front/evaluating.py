"""Models measured on a prepared set, from a program."""

from os import PathLike
from typing import Any

from trapline.evaluation import evaluating
from trapline.front.checking import checked
from trapline.job_options import EvaluateOptions
from trapline.local_places import local_places

Place = str | PathLike[str]


def evaluate(prepared: Place, model: Place, output: Place, **options: Any) -> dict[str, Any]:
    """Choose on validation, measure on test, write `output`/evaluation.json and return its content.

    `model` is a folder with a model or a model.tar.gz. `options` are those of entry_points/evaluate.py: with
    `phase2` another model, which is the champion only where it is better beyond chance, `views`, `precision`,
    ... `output`/champion/model.tar.gz has the temperature and the views that were chosen.
    `trapline.evaluation.evaluating` describes the content.

    Raises UsageError for options that cannot be and for what this machine cannot do, TraplineError for a
    damaged model or data set, or a model of other data.
    """
    given = checked(EvaluateOptions, prepared=prepared, phase1=model, output=output, **options)
    with local_places(given) as local:
        return evaluating.evaluate(evaluating.from_options(local))
