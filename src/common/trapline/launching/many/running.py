"""Many jobs run to their end by whatever runs them, and what has become of them."""

from collections.abc import Callable

from trapline.errors import UsageError
from trapline.launching.many.job_list import STATE, Many, Runner, open_folder
from trapline.launching.many.outcomes import Outcome, read_outcome

Watch = Callable[[list[Outcome]], None]


def run_many(many: Many, runner: Runner, watch: Watch) -> list[Outcome]:
    """Run the jobs and return an outcome for each, in order. What is complete is not run again.

    `watch` gets the outcomes of all jobs, those that have not run too, whenever one has ended. A job that
    fails ends itself alone. Raises UsageError where the folder holds other jobs, KeyboardInterrupt or
    Interrupted on Ctrl-C, TraplineError where AWS refuses.
    """
    outcomes = {job.label: Outcome(job.label, "NotRun") for job in many.jobs}

    def ended(label: str) -> None:
        outcomes[label] = read_outcome(label, many.folder / label)
        watch(list(outcomes.values()))

    runner.check(many)
    _open(many)
    runner.run(many, ended)
    return list(outcomes.values())


def _open(many: Many) -> None:
    if many.lead.fresh and many.folder.exists():
        raise UsageError(
            f"--fresh: {many.folder} is there already; remove it, or begin another by --job-name"
        )
    open_folder(many.folder / STATE, many.record(), many.what, f"{len(many.jobs)} jobs")
