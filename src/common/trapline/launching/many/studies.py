"""What many jobs are run for: a search for hyperparameters, also its command line, and a cross-validation.

A search is on AWS a tuning job, here one job after another, resumed where it was left. Its folder here holds
tuning.json, what is searched; tuning.csv, the runs so far, best first; and a folder for each run, with all
that a launch leaves.

--folds: a job for each fold, the mean and spread of what they report, and the mean of their models. folds.csv
has a row for each fold, at the epoch whose weights are kept, and after them their mean and their standard
deviation (of a sample: divided by one less than the folds). The test part is not read.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trapline.config import TrainingConfig, fits_task, make_config
from trapline.console import table
from trapline.errors import TraplineError, UsageError, refuse_any
from trapline.launching.aws.account import Account
from trapline.launching.checkout import Experiment
from trapline.launching.fetching import COMPLETED, DESCRIPTION, METRICS, average
from trapline.launching.flags import positive, read_beside, read_plan
from trapline.launching.given_options import whole
from trapline.launching.many.jobs import (
    RUNS,
    LabelledPlan,
    Many,
    OneByOne,
    Outcome,
    Runner,
    is_complete,
    launch_record,
    one_after_another,
    open_folder,
    read_outcome,
    require_all,
    run_many,
)
from trapline.launching.plan import (
    NAME_PATTERN,
    Between,
    Plan,
    Range,
    Search,
    TrainingJob,
    TuningJob,
    config_at,
    read_ranges,
    shared_hyperparameters,
)
from trapline.launching.results import at_best_epoch, cell, finite
from trapline.metrics import BY_NAME, REGISTRY, format_value
from trapline.reports.run_logs import kept_row, read_history
from trapline.storage import write_table

OBJECTIVES = [  # never the test part, which is read when nothing is to be chosen any more
    metric.name
    for metric in REGISTRY
    if metric.greater_is_better is not None and not metric.name.startswith("test_")
]
STRATEGIES = ("Bayesian", "Random", "Hyperband", "Grid")
OWN_STRATEGIES = ("Random", "Grid")  # without SageMaker's tuner
MAX_NAME_LENGTH = 32  # of a tuning job: shorter than that of other jobs
DEFAULT_MAX_JOBS = 20
STATE, TABLE = "tuning.json", "tuning.csv"
WHAT = "cross-validation"
FOLDS_TABLE, ENSEMBLE = "folds.csv", "ensemble"
SHOWN = "val_"  # begins the names of what is shown: the metrics of validation


# --- the command line of a search ---------------------------------------------------------------------------


def _add_search(arguments: argparse.ArgumentParser) -> None:
    add = arguments.add_argument_group("search").add_argument
    add("--range", nargs="+", action="extend", required=True, metavar="KEY=LOW:HIGH[:log]|V,V,...",
        help="what is searched, as in lr=1e-5:1e-3:log batch_size=16,32,64")  # fmt: skip
    add(
        "--max-jobs",
        type=positive,
        metavar="N",
        help=f"default: {DEFAULT_MAX_JOBS}; a grid: all combinations",
    )
    add("--parallel", type=positive, default=1, metavar="N", help="aws: jobs at a time; default: 1")
    add("--objective", choices=OBJECTIVES, metavar="METRIC",
        help=f"default: the experiment's best_metric; one of {', '.join(OBJECTIVES)}")  # fmt: skip
    add("--strategy", choices=STRATEGIES, help="default: Bayesian, on this machine Random")
    add("--early-stopping", action="store_true", help="aws: stop jobs that will not become the best")
    add("--search-seed", type=whole(0, 2**31 - 1, f"whole number from 0 to {2**31 - 1}"), default=0,
        metavar="N", help="of the search's own choices; default: 0")  # fmt: skip


def read_search(experiment: Experiment, words: Sequence[str]) -> tuple[Search, Plan]:
    """Search and plan of a command line. Raises UsageError naming the flag or the hyperparameter."""
    usage = f"tune.py {experiment.name.replace('-', '_')} --range KEY=... [flags of the launcher]"
    flags, rest = read_beside(experiment, _add_search, words, usage)
    plan = read_plan(experiment, rest)
    if plan.folds:
        raise UsageError("--folds: a search looks at one split; leave it out, or --set folds=K fold=1")
    ranges = tuple(read_ranges(flags.range, plan.config))
    strategy = flags.strategy or ("Bayesian" if plan.backend == "aws" else "Random")
    search = Search(
        ranges=ranges,
        objective=flags.objective or plan.config.best_metric,
        strategy=strategy,
        max_jobs=_max_jobs(flags.max_jobs, strategy, ranges),
        parallel=flags.parallel,
        early_stopping=flags.early_stopping,
        seed=flags.search_seed,
        epochs=plan.config.epochs,
    )
    _check(search, plan)
    return search, _named(plan, given=any(word.partition("=")[0] == "--job-name" for word in rest))


def _max_jobs(given: int | None, strategy: str, ranges: Sequence[Range]) -> int:
    if strategy != "Grid":
        return given or DEFAULT_MAX_JOBS
    numbers = [item.name for item in ranges if isinstance(item, Between)]
    if numbers:
        raise UsageError(
            f"--strategy Grid: {numbers[0]} is a range without end; list its values, as in "
            f"{numbers[0]}=V,V,V, or use --strategy Random"
        )
    size = math.prod(len(item.ends) for item in ranges)
    if given and given < size:
        raise UsageError(f"--max-jobs {given}: the grid has {size} combinations; leave the flag out")
    return size


def _check(search: Search, plan: Plan) -> None:
    """Raise UsageError for what does not suit the objective, the place of the search or its strategy."""
    here, hyperband = plan.backend != "aws", search.strategy == "Hyperband"
    refuse_any((
        (not fits_task(search.objective, plan.config.loss),
         f"--objective {search.objective}: jobs with the loss {plan.config.loss} have none"),
        (not here and plan.aws.keep_alive,
         "--keep-alive: a tuner's jobs have no warm pool; leave the flag out"),
        (here and search.strategy not in OWN_STRATEGIES,
         f"--strategy {search.strategy}: only with --backend aws; here {' or '.join(OWN_STRATEGIES)}"),
        (here and search.parallel > 1,
         "--parallel: only with --backend aws; here one job runs after the other"),
        (here and search.early_stopping,
         "--early-stopping: only with --backend aws; here --set patience=N ends a job early"),
        (search.parallel > search.max_jobs,
         f"--parallel {search.parallel}: is more than --max-jobs {search.max_jobs}"),
        (hyperband and search.early_stopping,
         "--early-stopping: Hyperband stops jobs itself; leave the flag out"),
        (hyperband and any(item.name == "epochs" for item in search.ranges),
         "--range epochs: Hyperband decides it; --set epochs=N says the most"),
        (hyperband and search.epochs < 2,
         "--strategy Hyperband: decides how many epochs a job gets; --set epochs=N above 1"),
    ))  # fmt: skip


def _named(plan: Plan, *, given: bool) -> Plan:
    """The plan with a name that a tuning job can have."""
    name = plan.job_name
    if not given:
        stamp = time.strftime("-%y%m%d-%H%M%S", time.gmtime(time.time()))
        name = plan.experiment.name[: MAX_NAME_LENGTH - len(stamp)].rstrip("-") + stamp
    if len(name) > MAX_NAME_LENGTH or not NAME_PATTERN.fullmatch(name):
        raise UsageError(
            f"--job-name {name}: a search's name has at most {MAX_NAME_LENGTH} letters, digits and hyphens"
        )
    return replace(plan, job_name=name)


# --- a search -----------------------------------------------------------------------------------------------


def tuning_job(search: Search, plan: Plan, _account: Account, job: TrainingJob) -> Sequence[TuningJob]:
    """The one job of a search, in the place of the training `job`.

    Spot jobs keep checkpoints below the search's prefix, where train.py gives each configuration a folder;
    others keep none: every job would first fetch those of all the others.
    """
    training = replace(
        job,
        hyperparameters=shared_hyperparameters(plan.config, search.ranges),
        checkpoints=f"{job.output}/{job.name}/checkpoints" if plan.aws.spot else None,
    )
    return [TuningJob(training, search)]


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


def show_points(search: Search, plan: Plan) -> None:
    """The dry run: print the points of the search, as one JSON object."""
    shared = shared_hyperparameters(plan.config, search.ranges)
    print(json.dumps({"search": search.record(), "shared": shared, "jobs": search.points()}, indent=2))


def run_search(search: Search, plan: Plan, runner: OneByOne) -> None:
    """Run the search to its end. Raises TraplineError where every run failed, KeyboardInterrupt on Ctrl-C."""
    runner.check_plan(plan)
    folder = Path(plan.output or RUNS) / plan.job_name
    said = {
        **search.record(),
        **launch_record(plan),
        "hyperparameters": shared_hyperparameters(plan.config, search.ranges),
    }
    open_folder(folder / STATE, said, "search", f"{search.max_jobs} runs at most")
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
    try:
        ended = one_after_another(jobs, folder, runner.launch)
        for point, (job, own) in zip(points, ended, strict=True):
            trials.append(_read_trial(search, own, point, job.plan.config))
            write_table(folder / TABLE, *_rows(search, trials), line_end="\n")
    except KeyboardInterrupt:
        print(f"go on: the same command with --job-name {plan.job_name}", flush=True)
        raise
    _say_best(search, folder, trials)


def _read_trial(search: Search, folder: Path, point: Mapping[str, Any], config: TrainingConfig) -> Trial:
    """A run at the epoch that training has kept, which model.json names, or without it the history."""
    if not is_complete(folder):
        return Trial(folder.name, point, "Failed")
    rows = read_history(folder / METRICS)
    best = at_best_epoch(read_outcome(folder.name, folder).description, rows)
    kept = kept_row(rows, config.best_metric)
    if not best and kept is not None:
        best = rows[kept]
    epoch = best.get("epoch")
    return Trial(
        folder.name,
        point,
        COMPLETED,
        objective=finite(best.get(search.objective)),
        best_epoch=None if epoch is None else int(epoch),
        epochs=int(rows[-1]["epoch"]),
    )


def ranked(search: Search, trials: Sequence[Trial]) -> list[Trial]:
    """The trials, best first; then those without an objective, for they have failed or it is not finite."""
    sign = -1.0 if search.maximise else 1.0
    return sorted(trials, key=lambda trial: (trial.objective is None, sign * (trial.objective or 0.0)))


def _rows(search: Search, trials: Sequence[Trial]) -> tuple[list[str], list[list[str]]]:
    names = [item.name for item in search.ranges]
    return ["run", search.objective, "best_epoch", "epochs_run", *names, "status"], [
        [trial.name, *map(cell, (trial.objective, trial.best_epoch, trial.epochs))]
        + [str(trial.point[name]) for name in names]
        + [trial.status]
        for trial in ranked(search, trials)
    ]


def _say_best(search: Search, folder: Path, trials: Sequence[Trial]) -> None:
    print(f"\n{table(*_rows(search, trials))}", flush=True)
    best = ranked(search, trials)[0]
    if best.objective is None:
        raise TraplineError(
            f"{folder}: every run of the search failed, or has no finite {search.objective}; the log.txt of "
            "each says why"
        )
    print(f"table: {folder / TABLE}")
    print(f"best: {folder / best.name} ({search.objective} {format_value(best.objective)})")
    print(f"fetch it: python launch/artifacts.py {folder / best.name} --to DIR", flush=True)


# --- cross-validation ---------------------------------------------------------------------------------------


def cross_validate(many: Many, runner: Runner) -> None:
    """Train on all folds but one in turn, and say what validation on that one gave.

    `many`: as `fold_jobs` makes them. Raises TraplineError where a fold has failed, KeyboardInterrupt on
    Ctrl-C.
    """
    path = many.folder / FOLDS_TABLE
    outcomes = run_many(many, runner, lambda outcomes: write_folds(path, outcomes))
    require_all(outcomes, WHAT, many.folder)
    print(f"\n{table(*_folds(outcomes))}\ntable: {path}", flush=True)
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


def _folds(outcomes: Sequence[Outcome]) -> tuple[list[str], list[list[str]]]:
    complete = [outcome for outcome in outcomes if outcome.complete]
    names = [name for name in BY_NAME if name.startswith(SHOWN) and any(name in one.best for one in complete)]
    rows = [
        [one.label, *(cell(one.best.get(name)) for name in names), cell(one.best.get("epoch")), one.status]
        for one in outcomes
    ]
    columns = [[one.best[name] for one in complete if name in one.best] for name in names]
    for title, statistic, least in (("mean", statistics.mean, 1), ("std", statistics.stdev, 2)):
        values = [  # none for fewer than `least`, or where one is not finite
            cell(statistic(column)) if len(column) >= least and None not in map(finite, column) else ""
            for column in columns
        ]
        rows.append([title, *values, "", f"{len(complete)} of {len(outcomes)}"])
    return ["fold", *names, "best_epoch", "status"], rows


def write_folds(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write folds.csv."""
    write_table(path, *_folds(outcomes), line_end="\n")


def _average(many: Many, outcomes: Sequence[Outcome]) -> None:
    """Write the model that answers with the mean of the folds' models, unless it is there."""
    target = many.folder / ENSEMBLE
    if not (target / DESCRIPTION).is_file():
        names = [
            str(one.record["job_name"]) if many.lead.backend == "aws" else str(many.folder / one.label)
            for one in outcomes
        ]
        print(average(names, Path(RUNS), target), flush=True)
    print(
        f"ensemble: {target}/; all images of train and val were trained on by some of its members: only the "
        "test part says how good it is (entry_points/evaluate.py)",
        flush=True,
    )
