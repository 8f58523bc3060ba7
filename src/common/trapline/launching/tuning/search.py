"""The flags that say what a search for hyperparameters is."""

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace

from trapline.config import fits_task
from trapline.console import ArgumentParser
from trapline.errors import UsageError
from trapline.launching.experiment import Experiment
from trapline.launching.flags import parser, positive, read_plan
from trapline.launching.job_requests import NAME_PATTERN, job_name
from trapline.launching.plan import Plan
from trapline.launching.search_space import Between, Range, Search, read_ranges
from trapline.metrics import REGISTRY

OBJECTIVES = [  # never the test part, which is read when nothing is to be chosen any more
    metric.name
    for metric in REGISTRY
    if metric.greater_is_better is not None and not metric.name.startswith("test_")
]
STRATEGIES = ("Bayesian", "Random", "Hyperband", "Grid")
OWN_STRATEGIES = ("Random", "Grid")  # without SageMaker's tuner
MAX_NAME_LENGTH = 32  # of a tuning job: shorter than that of other jobs
DEFAULT_MAX_JOBS = 20


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
    add("--search-seed", type=_seed, default=0, metavar="N", help="of the search's own choices; default: 0")


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


def _check_place(search: Search, plan: Plan) -> None:
    if plan.backend == "aws":
        if plan.aws.keep_alive:
            raise UsageError("--keep-alive: a tuner's jobs have no warm pool; leave the flag out")
        return
    if search.strategy not in OWN_STRATEGIES:
        raise UsageError(
            f"--strategy {search.strategy}: only with --backend aws; here {' or '.join(OWN_STRATEGIES)}"
        )
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
        base = plan.experiment.name[: MAX_NAME_LENGTH - len("-260101-000000")].rstrip("-")
        stamp = job_name("x")[len("x-20") :]  # yy-mm-dd-HH-MM-SS-mmm
        date, clock = stamp.replace("-", "")[:6], stamp.replace("-", "")[6:12]
        name = f"{base}-{date}-{clock}"
    if len(name) > MAX_NAME_LENGTH or not NAME_PATTERN.fullmatch(name):
        raise UsageError(
            f"--job-name {name}: a search's name has at most {MAX_NAME_LENGTH} letters, digits and hyphens"
        )
    return replace(plan, job_name=name)
