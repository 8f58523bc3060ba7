"""The roof of launching: from an experiment's command line to the backend that runs it.

Only what `--help` needs is imported at the top: a launcher answers a typing error before any SDK is loaded.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from trapline.launching.checkout import Experiment as Experiment
from trapline.launching.checkout import find_experiment as find_experiment

if TYPE_CHECKING:
    from trapline.launching.many.jobs import Runner
    from trapline.launching.plan import Plan, Search


@dataclass(frozen=True)
class Backend:
    """What is done with plans where they are to run, or, in a dry run, shown without starting anything."""

    run: "Callable[[Plan], None]"
    many: "Runner"
    search: "Callable[[Search, Plan], None]"


def backend_of(plan: "Plan") -> Backend:
    """The backend that a plan names."""
    if plan.backend == "aws":
        from trapline.launching.aws.backend import launch, show_requests
        from trapline.launching.many.fleet import InParallel
        from trapline.launching.many.studies import tuning_job

        run = show_requests if plan.dry_run else launch
        return Backend(run, InParallel(), lambda search, plan: run(plan, partial(tuning_job, search)))
    from trapline.launching.local.backend import requests_of
    from trapline.launching.local.running import launch as launch_here
    from trapline.launching.local.sources import check_sources
    from trapline.launching.many.jobs import OneByOne
    from trapline.launching.many.studies import run_search, show_points
    from trapline.launching.pricing.cost import print_requests

    def show(plan: "Plan") -> None:
        check_sources(plan)
        print_requests(requests_of(plan))

    runner = OneByOne(launch_here, check_sources, requests_of)
    if plan.dry_run:
        return Backend(show, runner, show_points)
    return Backend(launch_here, runner, partial(run_search, runner=runner))


def run_experiment(experiment: Experiment) -> NoReturn:
    """Read the command line, run the experiment, end the process: 0 done, 1 failed, 2 usage, 130 Ctrl-C."""
    try:
        from trapline.console import run
        from trapline.launching.flags import read_plan

        run(lambda: run_plan(read_plan(experiment, sys.argv[1:])))
    except KeyboardInterrupt:  # while Python was still loading
        sys.exit(130)


def run_plan(plan: "Plan") -> None:
    """Let a plan's backend run its jobs, or show their requests. Raises TraplineError where one fails."""
    backend = backend_of(plan)
    if not plan.folds:
        backend.run(plan)
        return
    from trapline.launching.many.studies import cross_validate, fold_jobs

    many = fold_jobs(plan)
    if plan.dry_run:
        backend.many.show_requests(many)
    else:
        cross_validate(many, backend.many)


def run_search(search: "Search", plan: "Plan") -> None:
    """Search for hyperparameters, or show what would be searched. Raises as `run_plan` does."""
    backend_of(plan).search(search, plan)
