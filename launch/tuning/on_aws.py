"""A search as SageMaker's own tuning job."""

from dataclasses import replace
from typing import TYPE_CHECKING

from common.errors import TraplineError
from launch.aws import backend as aws_backend
from launch.aws.backend import WITHOUT_ACCOUNT, Account
from launch.aws.errors import explained
from launch.aws.waiting import interruptible, wait_for_job
from launch.flags import Plan
from launch.jobs import TrainingJob
from launch.tuning.search import Search, searched

if TYPE_CHECKING:
    from sagemaker.pytorch import PyTorch


def search_on_aws(search: Search, plan: Plan) -> None:
    """Send the search and wait for its end. Raises TraplineError, one message, where it fails."""

    def start(plan: Plan, account: Account, estimator: "PyTorch", job: TrainingJob) -> None:
        del estimator  # of a job with every hyperparameter: it has shown that image and machine are possible
        _tune(search, plan, account, shared_job(search, plan, job))

    aws_backend.launch(plan, start)


def shared_job(search: Search, plan: Plan, job: TrainingJob) -> TrainingJob:
    """What the jobs of a search have in common.

    Spot jobs keep checkpoints below the search's prefix, where train.py gives each configuration a folder;
    others keep none: every job would first fetch those of all the others.
    """
    kept = f"{job.output}/{job.name}/checkpoints" if plan.aws.spot else None
    return replace(job, hyperparameters=searched(plan.config, search.ranges), checkpoints=kept)


def _tune(search: Search, plan: Plan, account: Account, job: TrainingJob) -> None:
    from launch.sdk import objects as sdk
    from launch.sdk.tuning import make_tuner

    tuner = make_tuner(job, search, account.session)
    with interruptible("tuning", job.name) as sending:
        with explained(f"tuning job {job.name}", WITHOUT_ACCOUNT):
            tuner.fit(sdk.training_inputs(job), job_name=job.name, wait=False)
        if tuner.latest_tuning_job is None:
            raise KeyboardInterrupt  # the SDK's telemetry swallows it
        sending.sent = True
        if plan.dry_run:
            return
        print(f"tuning job: {job.name} ({search.max_jobs} jobs, {search.parallel} at a time)", flush=True)
        if not plan.wait:
            return
        wait_for_job(account.session, "tuning", job.name)
    _say_best(account, job.name, search)


def _say_best(account: Account, name: str, search: Search) -> None:
    with explained(f"tuning job {name}", WITHOUT_ACCOUNT):
        answer = account.session.sagemaker_client.describe_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=name
        )
    best = answer.get("BestTrainingJob", {}).get("TrainingJobName")
    if not best:
        raise TraplineError(f"tuning job {name}: no job has reported {search.objective}; look at their logs")
    print(f"best job: {best}", flush=True)
    print(f"fetch it: python launch/artifacts.py {best} --to DIR", flush=True)
