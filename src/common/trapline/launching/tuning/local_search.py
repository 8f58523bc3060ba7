"""A search on this machine: one job after another by the process or local backend, resumed where it was left.

The search's folder holds tuning.json, what is searched; tuning.csv, the runs so far, best first; and a folder
for each run, with all that a launch leaves.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trapline.cells import write_table
from trapline.config import TrainingConfig
from trapline.console import table
from trapline.errors import TraplineError
from trapline.launching.fetching import COMPLETED, METRICS
from trapline.launching.many.job_list import LabelledPlan, launch_record, open_folder
from trapline.launching.many.one_by_one import OneByOne, is_complete, one_after_another
from trapline.launching.many.outcomes import read_outcome
from trapline.launching.plan import Plan
from trapline.launching.results import at_best_epoch, cell, finite
from trapline.launching.search_space import Search, config_at, shared_hyperparameters
from trapline.metrics import format_value
from trapline.reports.history import History, kept_row, read_history

STATE, TABLE = "tuning.json", "tuning.csv"
FAILED = "Failed"


@dataclass(frozen=True)
class Trial:
    """One run of a search; objective, best_epoch and epochs are None where it failed.

    objective: at the best epoch; None also where it is not finite.
    """

    name: str
    point: Mapping[str, Any]
    status: str
    objective: float | None = None
    best_epoch: int | None = None
    epochs: int | None = None


def run_search(search: Search, plan: Plan, runner: OneByOne) -> None:
    """Run the search to its end. Raises TraplineError where every run failed, KeyboardInterrupt on Ctrl-C."""
    runner.check_plan(plan)
    folder = Path(plan.output or "runs") / plan.job_name
    _open(folder, search, plan)
    try:
        trials = _run_all(search, plan, folder, runner)
    except KeyboardInterrupt:
        print(f"go on: the same command with --job-name {plan.job_name}", flush=True)
        raise
    _say_best(search, folder, trials)


def show_points(search: Search, plan: Plan) -> None:
    """The dry run: print the points of the search, as one JSON object."""
    shared = shared_hyperparameters(plan.config, search.ranges)
    print(json.dumps({"search": search.record(), "shared": shared, "jobs": search.points()}, indent=2))


def _open(folder: Path, search: Search, plan: Plan) -> None:
    """Make the folder, or check that the search in it is this one."""
    shared = shared_hyperparameters(plan.config, search.ranges)
    said = {**search.record(), **launch_record(plan), "hyperparameters": shared}
    open_folder(folder / STATE, said, "search", f"{search.max_jobs} runs at most")


def _run_all(search: Search, plan: Plan, folder: Path, runner: OneByOne) -> list[Trial]:
    points = search.points()
    jobs = [
        LabelledPlan(
            label=f"trial-{number:03d}",
            plan=replace(plan, config=config_at(plan.config, point)),
            shown=" ".join(f"{key}={value}" for key, value in point.items()),
        )
        for number, point in enumerate(points, 1)
    ]
    trials: list[Trial] = []
    ended = one_after_another(jobs, folder, runner.launch)
    for point, (job, own) in zip(points, ended, strict=True):
        trials.append(_read_trial(search, own, point, job.plan.config))
        _write_table(search, folder, trials)
    return trials


def _read_trial(search: Search, folder: Path, point: Mapping[str, Any], config: TrainingConfig) -> Trial:
    if not is_complete(folder):
        return Trial(folder.name, point, FAILED)
    rows = read_history(folder / METRICS)
    best = _best_of(folder, rows, config)
    epoch = best.get("epoch")
    return Trial(
        folder.name,
        point,
        COMPLETED,
        objective=finite(best.get(search.objective)),
        best_epoch=None if epoch is None else int(epoch),
        epochs=int(rows[-1]["epoch"]),
    )


def _best_of(folder: Path, rows: History, config: TrainingConfig) -> Mapping[str, Any]:
    """The metrics of the epoch that training has kept, which model.json names, or without it the history."""
    found = at_best_epoch(read_outcome(folder.name, folder).description, rows)
    kept = kept_row(rows, config.best_metric)
    return found or (rows[kept] if kept is not None else {})


def ranked(search: Search, trials: Sequence[Trial]) -> list[Trial]:
    """The trials, best first; then those without an objective, for they have failed or it is not finite."""
    sign = -1.0 if search.maximise else 1.0
    known = [trial for trial in trials if trial.objective is not None]
    others = [trial for trial in trials if trial.objective is None]
    return sorted(known, key=lambda trial: sign * (trial.objective or 0.0)) + others


def _rows(search: Search, trials: Sequence[Trial]) -> tuple[list[str], list[list[str]]]:
    names = [item.name for item in search.ranges]
    header = ["run", search.objective, "best_epoch", "epochs_run", *names, "status"]
    rows = [
        [trial.name, *map(cell, (trial.objective, trial.best_epoch, trial.epochs))]
        + [str(trial.point[name]) for name in names]
        + [trial.status]
        for trial in ranked(search, trials)
    ]
    return header, rows


def _write_table(search: Search, folder: Path, trials: Sequence[Trial]) -> None:
    header, rows = _rows(search, trials)
    write_table(folder / TABLE, header, rows, line_end="\n")


def _say_best(search: Search, folder: Path, trials: Sequence[Trial]) -> None:
    header, rows = _rows(search, trials)
    print(f"\n{table(header, rows)}", flush=True)
    best = ranked(search, trials)[0]
    if best.objective is None:
        raise TraplineError(
            f"{folder}: every run of the search failed, or has no finite {search.objective}; the log.txt of "
            "each says why"
        )
    print(f"table: {folder / TABLE}")
    print(f"best: {folder / best.name} ({search.objective} {format_value(best.objective)})")
    print(f"fetch it: python launch/artifacts.py {folder / best.name} --to DIR", flush=True)
