"""The roof of launching: from an experiment's command line to the backend that runs it.

Only what `--help` needs is imported at the top: a launcher answers a typing error before any SDK is loaded.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from trapline.launching.experiment import Experiment as Experiment
from trapline.launching.experiments import find_experiment as find_experiment

if TYPE_CHECKING:
    from trapline.launching.many.job_list import Runner
    from trapline.launching.plan import Plan
    from trapline.launching.search_space import Search


@dataclass(frozen=True)
class Backend:
    """What is done with plans where they are to run; what begins with `show` starts nothing."""

    launch: "Callable[[Plan], None]"
    show_requests: "Callable[[Plan], None]"
    many: "Runner"
    search: "Callable[[Search, Plan], None]"
    show_search: "Callable[[Search, Plan], None]"


def backend_of(plan: "Plan") -> Backend:
    """The backend that a plan names."""
    if plan.backend == "aws":
        return _aws()
    from trapline.launching.dry_run import print_requests
    from trapline.launching.local.sources import check_sources
    from trapline.launching.many.one_by_one import OneByOne
    from trapline.launching.tuning.local_search import run_search, show_points

    if plan.backend == "process":
        from trapline.launching.local.processes import launch, requests_of
    else:
        from trapline.launching.local.containers import launch, requests_of
    runner = OneByOne(launch, check_sources, requests_of)

    def show_requests(plan: "Plan") -> None:
        check_sources(plan)
        print_requests(requests_of(plan))

    return Backend(launch, show_requests, runner, partial(run_search, runner=runner), show_points)


def _aws() -> Backend:
    from trapline.launching.aws.recording import show_requests
    from trapline.launching.aws.sending import launch
    from trapline.launching.many.fleet import InParallel
    from trapline.launching.tuning.aws_search import tuning_job

    return Backend(
        launch,
        show_requests,
        InParallel(),
        search=lambda search, plan: launch(plan, partial(tuning_job, search)),
        show_search=lambda search, plan: show_requests(plan, partial(tuning_job, search)),
    )


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
        (backend.show_requests if plan.dry_run else backend.launch)(plan)
        return
    from trapline.launching.many.folds import cross_validate, fold_jobs

    many = fold_jobs(plan)
    if plan.dry_run:
        backend.many.show_requests(many)
    else:
        cross_validate(many, backend.many)


def run_search(search: "Search", plan: "Plan") -> None:
    """Search for hyperparameters, or show what would be searched. Raises as `run_plan` does."""
    backend = backend_of(plan)
    (backend.show_search if plan.dry_run else backend.search)(search, plan)
