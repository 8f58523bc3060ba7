"""A search as SageMaker's own tuning job."""

from collections.abc import Sequence
from dataclasses import replace

from trapline.launching.aws.account import Account
from trapline.launching.job_requests import TrainingJob, TuningJob
from trapline.launching.plan import Plan
from trapline.launching.search_space import Search, shared_hyperparameters


def tuning_job(search: Search, plan: Plan, account: Account, job: TrainingJob) -> Sequence[TuningJob]:
    """The one job of a search, in the place of the training `job`.

    Spot jobs keep checkpoints below the search's prefix, where train.py gives each configuration a folder;
    others keep none: every job would first fetch those of all the others.
    """
    del account
    kept = f"{job.output}/{job.name}/checkpoints" if plan.aws.spot else None
    shared = shared_hyperparameters(plan.config, search.ranges)
    return [TuningJob(replace(job, hyperparameters=shared, checkpoints=kept), search)]
