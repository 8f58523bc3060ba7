"""--folds: a job for each fold, the mean and spread of what they report, and the mean of their models.

folds.csv has a row for each fold, at the epoch whose weights are kept, and after them their mean and their
standard deviation (of a sample: divided by one less than the folds). The test part is not read.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from trapline.cells import write_table
from trapline.config import make_config
from trapline.console import table
from trapline.launching.fetching import DESCRIPTION
from trapline.launching.many.job_list import RUNS, LabelledPlan, Many, Runner
from trapline.launching.many.outcomes import Outcome, require_all
from trapline.launching.many.running import run_many
from trapline.launching.plan import Plan
from trapline.launching.results import cell, finite
from trapline.metrics import BY_NAME

WHAT = "cross-validation"
TABLE, ENSEMBLE = "folds.csv", "ensemble"
SHOWN = "val_"  # begins the names of what is shown: the metrics of validation


def cross_validate(many: Many, runner: Runner) -> None:
    """Train on all folds but one in turn, and say what validation on that one gave.

    `many`: as `fold_jobs` makes them. Raises TraplineError where a fold has failed, KeyboardInterrupt on
    Ctrl-C.
    """
    path = many.folder / TABLE
    outcomes = run_many(many, runner, lambda outcomes: _write_table(path, outcomes))
    require_all(outcomes, WHAT, many.folder)
    print(f"\n{table(*_rows(outcomes))}\ntable: {path}", flush=True)
    if many.lead.ensemble:
        _average(many, outcomes)


def fold_jobs(plan: Plan) -> Many:
    """The jobs of a plan with folds. The test part is not theirs to read."""
    settings = {**plan.config.record(), "folds": plan.folds, "score_test": False}
    jobs = [
        LabelledPlan(
            f"fold-{fold}", replace(plan, config=make_config({**settings, "fold": fold})), f"fold={fold}"
        )
        for fold in range(1, plan.folds + 1)
    ]
    return Many(plan.job_name, WHAT, plan, jobs)


def _rows(outcomes: Sequence[Outcome]) -> tuple[list[str], list[list[str]]]:
    complete = [outcome for outcome in outcomes if outcome.complete]
    names = [name for name in BY_NAME if name.startswith(SHOWN) and any(name in one.best for one in complete)]
    rows = [
        [one.label, *(cell(one.best.get(name)) for name in names), cell(one.best.get("epoch")), one.status]
        for one in outcomes
    ]
    columns = [[one.best[name] for one in complete if name in one.best] for name in names]
    for title, statistic, least in (("mean", statistics.mean, 1), ("std", statistics.stdev, 2)):
        values = [cell(_of_all(statistic, column, least)) for column in columns]
        rows.append([title, *values, "", f"{len(complete)} of {len(outcomes)}"])
    return ["fold", *names, "best_epoch", "status"], rows


def _of_all(statistic: Callable[[list[float]], float], column: list[float], least: int) -> float | None:
    """The statistic of a column; None for fewer than `least` values, or where one is not finite."""
    known = len(column) >= least and all(finite(value) is not None for value in column)
    return statistic(column) if known else None


def _write_table(path: Path, outcomes: Sequence[Outcome]) -> None:
    header, rows = _rows(outcomes)
    write_table(path, header, rows, line_end="\n")


def _average(many: Many, outcomes: Sequence[Outcome]) -> None:
    """Write the model that answers with the mean of the folds' models, unless it is there."""
    target = many.folder / ENSEMBLE
    if not (target / DESCRIPTION).is_file():
        from trapline.launching.fetched_models import average

        in_account = many.lead.backend == "aws"
        names = [
            str(one.record["job_name"]) if in_account else str(many.folder / one.label) for one in outcomes
        ]
        print(average(names, Path(RUNS), target), flush=True)
    print(
        f"ensemble: {target}/; all images of train and val were trained on by some of its members: only the "
        "test part says how good it is (entry_points/evaluate.py)",
        flush=True,
    )
