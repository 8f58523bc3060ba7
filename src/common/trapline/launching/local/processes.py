"""The process backend: a plan's jobs as processes of this machine."""

from typing import Any

from trapline.launching.local.recording import recorded_requests
from trapline.launching.local.running import run_jobs
from trapline.launching.local.runtime import PROCESSES
from trapline.launching.local.sources import check_sources
from trapline.launching.plan import Plan


def launch(plan: Plan) -> None:
    """Run the plan's jobs. Raises TraplineError where one fails, KeyboardInterrupt on Ctrl-C."""
    check_sources(plan)
    run_jobs(plan, PROCESSES)


def requests_of(plan: Plan) -> list[dict[str, Any]]:
    """The requests that the plan's jobs would be."""
    return recorded_requests(plan, PROCESSES)
