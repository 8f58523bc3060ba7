"""A plan's jobs sent to AWS, one after the other, each waited for; and how a launch is checked before."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from trapline.errors import TraplineError
from trapline.launching.aws.account import Account, open_account, signed_in
from trapline.launching.aws.backend import MODEL, Variation, check_plan, planned_jobs
from trapline.launching.aws.errors import WITHOUT_ACCOUNT, explained
from trapline.launching.aws.recording import requests_of
from trapline.launching.aws.sources import check_sources
from trapline.launching.aws.waiting import Interrupted, follow_command, interruptible, wait_for_job
from trapline.launching.checking.soundness import require_sound
from trapline.launching.job_requests import Job, PrepareJob, TrainingJob, TuningJob
from trapline.launching.plan import Plan

Send = Callable[[Plan, Account, Sequence[Job]], None]


def launch(plan: Plan, vary: Variation | None = None, send: "Send | None" = None) -> None:
    """Check the plan's jobs as AWS would, then send them and wait. Raises TraplineError where one fails.

    `send`: what sends them, where that is not one after the other.
    """
    with explained(f"launching {plan.job_name}", WITHOUT_ACCOUNT):
        check_plan(plan)
        session = signed_in()
        check_sources(session, plan)
        account = open_account(session, plan).with_digest()
        with planned_jobs(plan, account, vary) as jobs:
            require_sound(requests_of(jobs, account), account.region, of_aws=account.image.of_aws)
            (send or _one_after_another)(plan, account, jobs)


def _one_after_another(plan: Plan, account: Account, jobs: Sequence[Job]) -> None:
    *first, last = jobs
    for job in first:
        run_job(job, account)
    with _keeping(plan, last) if first else contextlib.nullcontext():
        run_job(last, account, wait=plan.wait)


@contextlib.contextmanager
def _keeping(plan: Plan, job: Job) -> Iterator[None]:
    """Say in every error of the block that the data set is there: nothing need be paid twice."""
    training = job.training if isinstance(job, TuningJob) else job
    assert isinstance(training, TrainingJob)
    given = f"--prepared {training.prepared}"
    given += f" --checkpoints {training.checkpoints}" if training.checkpoints else ""
    hint = f"the prepared set is kept: give {given} in place of --data {plan.data}"
    try:
        yield
    except TraplineError as error:
        raise type(error)(f"{error}\n{hint}") from error
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted\n{hint}") from None


def run_job(job: Job, account: Account, *, wait: bool = True) -> None:
    """Send a job, wait for its end, and say what it leaves. Raises TraplineError unless it has completed."""
    with interruptible(job.kind, job.name) as sending:
        account.start(job)
        sending.sent = True
        print(f"{job.kind} job: {job.name}{_size(job)}", flush=True)
        if wait:
            wait_for_job(account.boto_session, job.kind, job.name)
        else:
            print(f"follow it: {follow_command(job.name)}", flush=True)
    _say_result(job, account, ended=wait)


def _size(job: Job) -> str:
    if not isinstance(job, TuningJob):
        return ""
    return f" ({job.search.max_jobs} jobs, {job.search.parallel} at a time)"


def _say_result(job: Job, account: Account, *, ended: bool) -> None:
    if isinstance(job, PrepareJob):
        print(f"prepared data: {job.output} (--prepared takes it)", flush=True)
    elif isinstance(job, TrainingJob):
        print(f"model: {account.output}/{job.name}/output/{MODEL}")
        print(f"fetch it: python launch/artifacts.py {job.name} --to DIR", flush=True)
    elif ended:
        _say_best(job, account)


def _say_best(job: TuningJob, account: Account) -> None:
    with explained(f"tuning job {job.name}", WITHOUT_ACCOUNT):
        client: Any = account.boto_session.client("sagemaker")
        answer = client.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=job.name)
    best = answer.get("BestTrainingJob", {}).get("TrainingJobName")
    if not best:
        raise TraplineError(
            f"tuning job {job.name}: no job has reported {job.search.objective}; look at their logs"
        )
    print(f"best job: {best}\nfetch it: python launch/artifacts.py {best} --to DIR", flush=True)
