"""The aws backend: a plan as SageMaker's processing and training jobs in an account, still as plain data."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from trapline.errors import UsageError
from trapline.launching.aws.account import Account
from trapline.launching.aws.checkpoint_prefix import checkpoint_key, checkpoint_uri
from trapline.launching.aws.requirements import missing_from_aws_image
from trapline.launching.job_requests import (
    PHASE1,
    PREPARED,
    Job,
    Machines,
    PrepareJob,
    TrainingJob,
    prepare_job_name,
)
from trapline.launching.plan import Plan
from trapline.launching.staging import stage_code
from trapline.preparation.raw_places import raw_place
from trapline.s3 import is_s3
from trapline.s3_places import as_folder, place_of

MODEL = "model.tar.gz"  # what a training job leaves, and Phase 2 looks for in its channel
# What is sent in the place of a plan's one training job.
Variation = Callable[[Plan, Account, TrainingJob], Sequence[Job]]


def check_plan(plan: Plan) -> None:
    """Raise UsageError for what jobs on AWS cannot read, without asking AWS."""
    sites = plan.prepare_options.get("site-csv")
    if sites and not is_s3(sites):
        raise UsageError(f"--prepare site-csv={sites}: must be an s3:// URI for a job on AWS")
    phase1 = plan.channels.get(PHASE1)
    if phase1 and place_of(phase1).kind == "object" and place_of(phase1).name != MODEL:
        raise UsageError(f"--{PHASE1} {phase1}: jobs look for {MODEL}; give one, or the folder that holds it")


@contextlib.contextmanager
def planned_jobs(plan: Plan, account: Account, vary: Variation | None = None) -> Iterator[list[Job]]:
    """The jobs of a plan in their order; their code lies in a temporary folder while the block runs."""
    requirements = missing_from_aws_image() if account.image.of_aws else None
    with tempfile.TemporaryDirectory(prefix="trapline-code-") as folder:
        code = stage_code(Path(folder) / "code", requirements)
        training = training_job(plan, account, code)
        first = [] if plan.prepared else [_prepare_job(plan, account, code, installs=bool(requirements))]
        yield [*first, *(vary(plan, account, training) if vary else [training])]


def _prepare_job(plan: Plan, account: Account, code: Path, *, installs: bool) -> PrepareJob:
    name = prepare_job_name(plan.job_name)
    return PrepareJob(
        name=name,
        code=f"{plan.aws.code_output or account.output}/{name}/input/code",
        staged=code,
        installs=installs,
        arguments=plan.prepare_arguments(),
        source_name=plan.data or "",
        input=None if plan.data == "demo" else raw_place(plan.data or "", "--data").uri,
        site_csv=plan.prepare_options.get("site-csv"),
        output=_output_of_prepare(plan, account),
        machines=Machines(plan.prepare_instance_type, volume_gb=plan.aws.volume_gb),
        image=account.image,
        role=account.role,
        options=plan.aws,
    )


def _output_of_prepare(plan: Plan, account: Account) -> str:
    return f"{account.output}/{prepare_job_name(plan.job_name)}/{PREPARED}"


def training_job(plan: Plan, account: Account, code: Path) -> TrainingJob:
    """The training job of a plan, with the staged `code`."""
    return TrainingJob(
        name=plan.job_name,
        code=code,
        hyperparameters=plan.config.record(),
        prepared=as_folder(plan.prepared or _output_of_prepare(plan, account)),
        output=account.output,
        machines=Machines(plan.instance_type, plan.instance_count, plan.aws.volume_gb),
        image=account.image,
        role=account.role,
        options=plan.aws,
        checkpoints=plan.checkpoints or checkpoint_uri(account.output, _checkpoint_key(plan, code)),
        channels={name: _channel_uri(name, uri) for name, uri in plan.channels.items()},
    )


def _checkpoint_key(plan: Plan, code: Path) -> str:
    """What makes the same command find its checkpoint; a prepare job's output has a name of each launch."""
    data = {"prepared": plan.prepared, "data": plan.data, **plan.prepare_options}
    only_for = plan.job_name if plan.fresh else None
    return checkpoint_key(code, plan.config, data, plan.channels, only_for=only_for)


def _channel_uri(name: str, uri: str) -> str:
    return place_of(uri).uri if name == PHASE1 else as_folder(uri)
