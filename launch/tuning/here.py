"""A search on this machine: one job after another by the process or local backend, resumed where it was left.

The search's folder holds tuning.json, what is searched; tuning.csv, the runs so far, best first; and a folder
for each run, with all that a launch leaves.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.cells import write_table
from common.config import TrainingConfig
from common.console import table
from common.errors import TraplineError
from common.metrics import format_value, is_better
from common.reports.history import read_history
from launch.fetching import COMPLETED, METRICS
from launch.flags import Plan
from launch.many.here import Backend, backend_of, is_complete, one_after_another
from launch.many.jobs import Job, launch_record, open_folder
from launch.tuning.ranges import config_at
from launch.tuning.search import Search, searched

STATE, TABLE = "tuning.json", "tuning.csv"
FAILED = "Failed"


@dataclass(frozen=True)
class Trial:
    """One run of a search; objective, best_epoch and epochs are None where it failed."""

    name: str
    point: Mapping[str, Any]
    status: str
    objective: float | None = None
    best_epoch: int | None = None
    epochs: int | None = None


def search_here(search: Search, plan: Plan) -> None:
    """Run the search to its end. Raises TraplineError where every run failed, KeyboardInterrupt on Ctrl-C."""
    points = search.points()
    if plan.dry_run:
        _print_points(search, plan, points)
        return
    backend, folder = backend_of(plan), Path(plan.output or "runs") / plan.job_name
    _open(folder, search, plan)
    try:
        trials = _run_all(search, plan, folder, points, backend)
    except KeyboardInterrupt:
        print(f"go on: the same command with --job-name {plan.job_name}", flush=True)
        raise
    _say_best(search, folder, trials)


def _print_points(search: Search, plan: Plan, points: Sequence[Mapping[str, Any]]) -> None:
    shared = searched(plan.config, search.ranges)
    print(json.dumps({"search": search.record(), "shared": shared, "jobs": points}, indent=2))


def _open(folder: Path, search: Search, plan: Plan) -> None:
    """Make the folder, or check that the search in it is this one."""
    shared = searched(plan.config, search.ranges)
    said = {**search.record(), **launch_record(plan), "hyperparameters": shared}
    if open_folder(folder / STATE, said, "search"):
        print(f"search: {folder}/ is there; going on with it", flush=True)
    else:
        print(f"search: {folder}/ ({search.max_jobs} runs at most)", flush=True)


def _run_all(
    search: Search, plan: Plan, folder: Path, points: Sequence[Mapping[str, Any]], backend: Backend
) -> list[Trial]:
    jobs = [
        Job(
            label=f"trial-{number:03d}",
            plan=replace(plan, config=config_at(plan.config, point)),
            shown=" ".join(f"{key}={value}" for key, value in point.items()),
        )
        for number, point in enumerate(points, 1)
    ]
    trials: list[Trial] = []
    ended = one_after_another(jobs, folder, backend)
    for point, (job, own) in zip(points, ended, strict=True):
        trials.append(_read_trial(search, own, point, job.plan.config))
        _write_table(search, folder, trials)
    return trials


def _read_trial(search: Search, folder: Path, point: Mapping[str, Any], config: TrainingConfig) -> Trial:
    if not is_complete(folder):
        return Trial(folder.name, point, FAILED)
    rows = read_history(folder / METRICS)
    validated = [row for row in rows if config.best_metric in row]
    best = validated[0]
    for row in validated[1:]:
        if is_better(config.best_metric, row[config.best_metric], best[config.best_metric], config.min_delta):
            best = row
    return Trial(
        folder.name, point, COMPLETED, best[search.objective], int(best["epoch"]), int(rows[-1]["epoch"])
    )


def ranked(search: Search, trials: Sequence[Trial]) -> list[Trial]:
    """The trials, best first, then those that failed."""
    sign = -1.0 if search.maximise else 1.0
    completed = [trial for trial in trials if trial.objective is not None]
    failed = [trial for trial in trials if trial.objective is None]
    return sorted(completed, key=lambda trial: sign * (trial.objective or 0.0)) + failed


def _rows(search: Search, trials: Sequence[Trial]) -> tuple[list[str], list[list[str]]]:
    names = [item.name for item in search.ranges]
    header = ["run", search.objective, "best_epoch", "epochs_run", *names, "status"]
    rows = [
        [trial.name, *map(_cell, (trial.objective, trial.best_epoch, trial.epochs))]
        + [str(trial.point[name]) for name in names]
        + [trial.status]
        for trial in ranked(search, trials)
    ]
    return header, rows


def _cell(value: float | None) -> str:
    return "" if value is None else format_value(value)


def _write_table(search: Search, folder: Path, trials: Sequence[Trial]) -> None:
    header, rows = _rows(search, trials)
    write_table(folder / TABLE, header, rows, line_end="\n")


def _say_best(search: Search, folder: Path, trials: Sequence[Trial]) -> None:
    header, rows = _rows(search, trials)
    print(f"\n{table(header, rows)}", flush=True)
    best = ranked(search, trials)[0]
    if best.objective is None:
        raise TraplineError(f"{folder}: every run of the search failed; the log.txt of each says why")
    print(f"table: {folder / TABLE}")
    print(f"best: {folder / best.name} ({search.objective} {format_value(best.objective)})")
    print(f"fetch it: python launch/artifacts.py {folder / best.name} --to DIR", flush=True)
