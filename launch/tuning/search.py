"""A search for hyperparameters as plain data, and the flags that say what it is."""

import argparse
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from common.config import TrainingConfig, fits_task
from common.console import ArgumentParser
from common.errors import UsageError
from common.metrics import BY_NAME, REGISTRY
from launch.experiment import Experiment
from launch.flags import Plan, parser, read_plan
from launch.jobs import NAME_PATTERN, job_name
from launch.tuning.ranges import Between, Range, grid, random_points, read_ranges

OBJECTIVES = [  # never the test part, which is read when nothing is to be chosen any more
    metric.name
    for metric in REGISTRY
    if metric.greater_is_better is not None and not metric.name.startswith("test_")
]
STRATEGIES = ("Bayesian", "Random", "Hyperband", "Grid")
HERE = ("Random", "Grid")  # what this machine searches by itself
NAME_LENGTH = 32  # of a tuning job: shorter than that of other jobs
DEFAULT_JOBS = 20


@dataclass(frozen=True)
class Search:
    """What to look for, where, and how."""

    ranges: tuple[Range, ...]
    objective: str  # a metric of common.metrics
    strategy: str
    max_jobs: int
    parallel: int
    early_stopping: bool
    seed: int
    epochs: int  # of a job, for Hyperband: what it may give one at most

    @property
    def maximise(self) -> bool:
        """Whether a greater objective is better."""
        return bool(BY_NAME[self.objective].greater_is_better)

    def points(self) -> list[dict[str, Any]]:
        """The points of a search on this machine, in order; the first of a longer search are the same."""
        found = grid(self.ranges) if self.strategy == "Grid" else random_points(self.ranges, self.seed)
        return list(itertools.islice(found, self.max_jobs))

    def record(self) -> dict[str, Any]:
        """What two searches must have in common to be the same one."""
        return {
            "ranges": [str(item) for item in self.ranges],
            "objective": self.objective,
            "strategy": self.strategy,
            "seed": self.seed,
        }


def tuning_parser(experiment: Experiment) -> ArgumentParser:
    """The command line: the launcher's, and the search's."""
    arguments = parser(experiment)
    arguments.usage = f"tune.py {experiment.name.replace('-', '_')} --range KEY=... [flags of the launcher]"
    arguments.conflict_handler = "resolve"  # the launcher's --parallel is that of --folds
    _add_search(arguments)
    return arguments


def _add_search(arguments: argparse.ArgumentParser) -> None:
    add = arguments.add_argument_group("search").add_argument
    add("--range", nargs="+", action="extend", required=True, metavar="KEY=LOW:HIGH[:log]|V,V,...",
        help="what is searched, as in lr=1e-5:1e-3:log batch_size=16,32,64")  # fmt: skip
    add("--max-jobs", type=_count, metavar="N", help=f"default: {DEFAULT_JOBS}; a grid: all combinations")
    add("--parallel", type=_count, default=1, metavar="N", help="aws: jobs at a time; default: 1")
    add("--objective", choices=OBJECTIVES, metavar="METRIC",
        help=f"default: the experiment's best_metric; one of {', '.join(OBJECTIVES)}")  # fmt: skip
    add("--strategy", choices=STRATEGIES, help="default: Bayesian, on this machine Random")
    add("--early-stopping", action="store_true", help="aws: stop jobs that will not become the best")
    add("--search-seed", type=_seed, default=0, metavar="N", help="of the search's own choices; default: 0")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**31 - 1}")
    return int(text)


def read_search(experiment: Experiment, words: Sequence[str]) -> tuple[Search, Plan]:
    """Search and plan of a command line. Raises UsageError naming the flag or the hyperparameter."""
    tuning_parser(experiment).parse_args(words)  # --help, and what neither of the two below would know
    own = ArgumentParser(add_help=False)
    _add_search(own)
    flags, rest = own.parse_known_args(words)
    plan = read_plan(experiment, rest)
    if plan.folds:
        raise UsageError("--folds: a search looks at one split; leave it out, or --set folds=K fold=1")
    ranges = tuple(read_ranges(flags.range, plan.config))
    if flags.objective and not fits_task(flags.objective, plan.config.loss):
        raise UsageError(f"--objective {flags.objective}: jobs with the loss {plan.config.loss} have none")
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
    _check_place(search, plan)
    _check_strategy(search)
    return search, _named(plan, given="--job-name" in _flags(rest))


def _flags(words: Sequence[str]) -> set[str]:
    return {word.partition("=")[0] for word in words}


def _max_jobs(given: int | None, strategy: str, ranges: Sequence[Range]) -> int:
    if strategy != "Grid":
        return given or DEFAULT_JOBS
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


def _check_place(search: Search, plan: Plan) -> None:
    if plan.backend == "aws":
        if plan.aws.keep_alive:
            raise UsageError("--keep-alive: a tuner's jobs have no warm pool; leave the flag out")
        return
    if search.strategy not in HERE:
        raise UsageError(f"--strategy {search.strategy}: only with --backend aws; here {' or '.join(HERE)}")
    if search.parallel > 1:
        raise UsageError("--parallel: only with --backend aws; here one job runs after the other")
    if search.early_stopping:
        raise UsageError("--early-stopping: only with --backend aws; here --set patience=N ends a job early")


def _check_strategy(search: Search) -> None:
    if search.parallel > search.max_jobs:
        raise UsageError(f"--parallel {search.parallel}: is more than --max-jobs {search.max_jobs}")
    if search.strategy != "Hyperband":
        return
    if search.early_stopping:
        raise UsageError("--early-stopping: Hyperband stops jobs itself; leave the flag out")
    if any(item.name == "epochs" for item in search.ranges):
        raise UsageError("--range epochs: Hyperband decides it; --set epochs=N says the most")
    if search.epochs < 2:
        raise UsageError("--strategy Hyperband: decides how many epochs a job gets; --set epochs=N above 1")


def _named(plan: Plan, *, given: bool) -> Plan:
    """The plan with a name that a tuning job can have."""
    name = plan.job_name
    if not given:
        base = plan.experiment.name[: NAME_LENGTH - len("-260101-000000")].rstrip("-")
        stamp = job_name("x")[len("x-20") :]  # yy-mm-dd-HH-MM-SS-mmm
        date, clock = stamp.replace("-", "")[:6], stamp.replace("-", "")[6:12]
        name = f"{base}-{date}-{clock}"
    if len(name) > NAME_LENGTH or not NAME_PATTERN.fullmatch(name):
        raise UsageError(
            f"--job-name {name}: a search's name has at most {NAME_LENGTH} letters, digits and hyphens"
        )
    return replace(plan, job_name=name)


def searched(config: TrainingConfig, ranges: Sequence[Range]) -> dict[str, Any]:
    """The hyperparameters that all jobs of a search share."""
    names = {item.name for item in ranges}
    return {name: value for name, value in config.record().items() if name not in names}
