"""A search on this machine: one job after another by the process or local backend, resumed where it was left.

The search's folder holds tuning.json, what is searched; tuning.csv, the runs so far, best first; and a folder
for each run, with all that a launch leaves.
"""

import csv
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.config import TrainingConfig
from common.console import table
from common.errors import TraplineError, UsageError
from common.metrics import format_value, is_better
from common.reports.history import read_history
from common.storage import atomic_file, read_json, write_json
from launch.flags import Plan
from launch.tuning.ranges import config_at
from launch.tuning.search import Search, searched

STATE, TABLE, RECORD = "tuning.json", "tuning.csv", "job.json"
COMPLETED, FAILED = "Completed", "Failed"
Backend = Callable[[Plan], None]


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
    backend, folder = _backend(plan), Path(plan.output or "runs") / plan.job_name
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


def _backend(plan: Plan) -> Backend:
    from launch.local import containers as local_backend
    from launch.local import processes as process_backend

    process_backend.check_sources(plan)
    return local_backend.launch if plan.backend == "local" else process_backend.launch


def _open(folder: Path, search: Search, plan: Plan) -> None:
    """Make the folder, or check that the search in it is this one."""
    said = {
        **search.record(),
        "experiment": plan.experiment.name,
        "hyperparameters": searched(plan.config, search.ranges),
        "data": plan.data,
        "prepared": plan.prepared,
        "prepare_options": plan.prepare_options,
        "channels": plan.channels,
        "instance_count": plan.instance_count,
    }
    path = folder / STATE
    if not path.is_file():
        if folder.exists():
            raise UsageError(f"--job-name {plan.job_name}: {folder} exists and is no search; choose another")
        write_json(path, said)
        print(f"search: {folder}/ ({search.max_jobs} runs at most)", flush=True)
        return
    before = read_json(path)
    changed = [name for name in said if before.get(name) != json.loads(json.dumps(said[name]))]
    if changed:
        raise UsageError(
            f"--job-name {plan.job_name}: the search in {folder} has other {', '.join(changed)}; give the "
            "same flags to go on with it, or another name"
        )
    print(f"search: {folder}/ is there; going on with it", flush=True)


def _run_all(
    search: Search, plan: Plan, folder: Path, points: Sequence[Mapping[str, Any]], backend: Backend
) -> list[Trial]:
    trials: list[Trial] = []
    for number, point in enumerate(points, 1):
        name = f"trial-{number:03d}"
        config = config_at(plan.config, point)
        if not _completed(folder / name):
            shown = " ".join(f"{key}={value}" for key, value in point.items())
            print(f"\n{name} of {len(points)}: {shown}", flush=True)
            _run_one(_with_prepared(plan, folder, name, config), folder / name, backend)
        trials.append(_read_trial(search, folder / name, point, config))
        _write_table(search, folder, trials)
    return trials


def _completed(folder: Path) -> bool:
    record = folder / RECORD
    return record.is_file() and read_json(record)["status"] == COMPLETED


def _with_prepared(plan: Plan, folder: Path, name: str, config: TrainingConfig) -> Plan:
    """The plan of one run; from the second on with the set that the first has prepared."""
    own = replace(plan, config=config, output=str(folder), job_name=name)
    if plan.prepared:
        return own
    for record in sorted(folder.glob(f"*/{RECORD}")):
        prepared = read_json(record).get("prepared")
        if prepared and (Path(prepared) / "dataset.json").is_file():
            return replace(own, prepared=prepared, data=None, prepare_options={}, trial_s3=None)
    return own


def _run_one(plan: Plan, folder: Path, backend: Backend) -> None:
    """Run a job; one that fails ends its run, not the search. Its checkpoint lies outside of its folder."""
    if folder.exists():  # left by an interruption
        shutil.rmtree(folder)
    try:
        backend(plan)
    except UsageError:
        raise
    except TraplineError as error:
        if getattr(error, "exit_code", 1) == 130:
            raise
        print(f"{folder.name} failed: {error}", flush=True)


def _read_trial(search: Search, folder: Path, point: Mapping[str, Any], config: TrainingConfig) -> Trial:
    if not _completed(folder):
        return Trial(folder.name, point, FAILED)
    rows = read_history(folder / "metrics.csv")
    best = rows[0]
    for row in rows[1:]:
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
    with atomic_file(folder / TABLE, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _say_best(search: Search, folder: Path, trials: Sequence[Trial]) -> None:
    header, rows = _rows(search, trials)
    print(f"\n{table(header, rows)}", flush=True)
    best = ranked(search, trials)[0]
    if best.objective is None:
        raise TraplineError(f"{folder}: every run of the search failed; the log.txt of each says why")
    print(f"table: {folder / TABLE}")
    print(f"best: {folder / best.name} ({search.objective} {format_value(best.objective)})")
    print(f"fetch it: python launch/artifacts.py {folder / best.name} --to DIR", flush=True)
