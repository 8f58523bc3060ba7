"""Many jobs run to their end where they are to run, and what has become of them."""

from collections.abc import Callable

from common.errors import UsageError
from launch.many.here import backend_of, one_after_another, requests_here
from launch.many.jobs import STATE, Many, open_folder
from launch.many.outcomes import Outcome, read_outcome

Watch = Callable[[list[Outcome]], None]


def run_many(many: Many, watch: Watch) -> list[Outcome]:
    """Run the jobs and return an outcome for each, in order. What is complete is not run again.

    `watch` gets the outcomes of all jobs, those that have not run too, whenever one has ended. A job that
    fails ends itself alone. Raises UsageError where the folder holds other jobs, KeyboardInterrupt or
    Interrupted on Ctrl-C, TraplineError where AWS refuses.
    """
    outcomes = {job.label: Outcome(job.label, "NotRun") for job in many.jobs}

    def ended(label: str) -> None:
        outcomes[label] = read_outcome(label, many.folder / label)
        watch(list(outcomes.values()))

    if many.lead.backend == "aws":
        from launch.many.on_aws import check_names, run_on_aws

        check_names(many)
        _open(many)
        run_on_aws(many, ended)
    else:
        backend = backend_of(many.lead)
        _open(many)
        try:
            for job, _ in one_after_another(many.jobs, many.folder, backend):
                ended(job.label)
        except KeyboardInterrupt:
            print(f"go on: the same command (the {many.what} lies in {many.folder}/)", flush=True)
            raise
    return list(outcomes.values())


def _open(many: Many) -> None:
    if many.lead.fresh and many.folder.exists():
        raise UsageError(
            f"--fresh: {many.folder} is there already; remove it, or begin another by --job-name"
        )
    if open_folder(many.folder / STATE, many.record(), many.what):
        print(f"{many.what}: {many.folder}/ is there; going on with it", flush=True)
    else:
        print(f"{many.what}: {many.folder}/ ({len(many.jobs)} jobs)", flush=True)


def print_requests(many: Many) -> None:
    """The dry run: the requests of all jobs, as one JSON object."""
    if many.lead.backend == "aws":
        from launch.aws import backend as aws_backend
        from launch.many.on_aws import check_names, starter

        check_names(many)
        aws_backend.launch(many.lead, starter(many))
    else:
        from launch.dry_run import show

        show(requests_here(many.jobs, many.folder), [])
