"""The aws backend: the same jobs as SageMaker processing and training jobs in your account."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import TraplineError, UsageError
from common.s3 import is_s3, split_uri
from launch.aws import image as aws_image
from launch.aws.checkpoint_prefix import checkpoint_key, checkpoint_uri
from launch.aws.errors import explained
from launch.aws.options import DEFAULTS_FILE, check_isolation
from launch.aws.requirements import missing_from_aws_image
from launch.aws.sources import WITHOUT_ACCOUNT as WITHOUT_ACCOUNT
from launch.aws.sources import as_data, as_folder, check_sources
from launch.aws.waiting import Interrupted, follow_command, interruptible, wait_for_job
from launch.flags import Plan
from launch.jobs import PREPARED, WEIGHTS, Image, Machines, PrepareJob, TrainingJob, prepare_job_name
from launch.staging import stage_code

if TYPE_CHECKING:
    import boto3
    from sagemaker.pytorch import PyTorch
    from sagemaker.session import Session

RETRIES = {"mode": "adaptive", "max_attempts": 8}  # throttling is waited for
PREFIX = "trapline"  # in the SDK's default bucket


@dataclass(frozen=True)
class Account:
    """Where a launch goes: the session, the role, the prefix of everything that it writes, the image."""

    session: "Session"
    role: str | None  # None: the SDK's defaults file names it
    output: str
    image: Image

    def upload(self, folder: Path, target: str) -> None:
        """Copy a folder of code to the S3 URI `target`."""
        bucket, prefix = split_uri(target)
        with explained(f"copying the code to {target}", WITHOUT_ACCOUNT):
            self.session.upload_data(str(folder), bucket=bucket, key_prefix=prefix)


Start = Callable[[Plan, Account, "PyTorch", TrainingJob], None]


def launch(plan: Plan, start: Start | None = None, *, goes_on: bool = False) -> None:
    """Send the plan's requests and wait for the jobs. Raises TraplineError, one message, where one fails.

    `start` sends what comes after the prepare job, where that is not the training job itself. `goes_on`: the
    same command finds the prepared set again, so that an error need not name it.
    """
    with explained(f"launching {plan.job_name}", WITHOUT_ACCOUNT):
        check_plan(plan)
        if plan.dry_run:
            from launch.dry_run import print_aws_requests

            print_aws_requests(plan, start)
            return
        boto_session = signed_in()
        check_sources(boto_session, plan)
        account = open_account(boto_session, plan)
        with explained(f"looking for the image {account.image.uri}", WITHOUT_ACCOUNT):
            aws_image.require_image(boto_session, account.image.uri)
        from launch.checking.rehearsal import require_sound_launch

        require_sound_launch(plan, account, start)
        send(plan, account, start, goes_on=goes_on)


def check_plan(plan: Plan) -> None:
    """Raise UsageError for what jobs on AWS cannot read, without asking AWS."""
    sites = plan.prepare_options.get("site-csv")
    if sites and not is_s3(sites):
        raise UsageError(f"--prepare site-csv={sites}: must be an s3:// URI for a job on AWS")


def make_session() -> "boto3.Session":
    """A boto3 session whose clients wait where AWS throttles. Raises UsageError without a region.

    AWS_REGION counts as it does for AWS's other tools; boto3 alone reads AWS_DEFAULT_REGION only.
    """
    import boto3
    import botocore.session
    from botocore.config import Config

    core = botocore.session.get_session()
    core.set_default_client_config(Config(retries=RETRIES))
    region = os.environ.get("AWS_REGION") or None
    session = boto3.Session(botocore_session=core, region_name=region)
    if session.region_name is None:
        raise UsageError("no AWS region: set AWS_REGION or AWS_DEFAULT_REGION, as in eu-west-1")
    _check_region(session)
    return session


def _check_region(session: "boto3.Session") -> None:
    from botocore.exceptions import UnknownRegionError

    try:
        session.get_partition_for_region(session.region_name)
    except UnknownRegionError:
        raise UsageError(
            f"AWS has no region {session.region_name}; check AWS_REGION and AWS_DEFAULT_REGION"
        ) from None


def signed_in() -> "boto3.Session":
    """A session with credentials and a region. Raises UsageError where one of them is missing."""
    session = make_session()
    if session.get_credentials() is None:
        raise UsageError(
            "no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY;\n"
            + WITHOUT_ACCOUNT
        )
    return session


def open_account(boto_session: "boto3.Session", plan: Plan) -> Account:
    """Session, role, output prefix and image of a launch. Raises TraplineError where one cannot be had."""
    from launch.sdk import objects as sdk

    sdk.import_sdk()
    session = sdk.open_session(boto_session)
    if sdk.isolated_by_default(session.sagemaker_config):
        check_isolation(plan.config.weights, staged=WEIGHTS in plan.channels, flag=DEFAULTS_FILE)
    role = _role(session, plan)
    with explained("the account's own image (--image-uri names another)", WITHOUT_ACCOUNT):
        image = aws_image.settled(plan.image, role, boto_session)
    if plan.output:
        return Account(session, role, plan.output.rstrip("/"), image)
    with explained("the SDK's default bucket (--output names another)", WITHOUT_ACCOUNT):
        return Account(session, role, f"s3://{session.default_bucket()}/{PREFIX}", image)


def _role(session: "Session", plan: Plan) -> str | None:
    """The role's ARN, looked up where only its name was given; None where the SDK's defaults file has one."""
    from botocore.exceptions import ClientError

    from launch.sdk import objects as sdk

    role = plan.role or os.environ.get("SAGEMAKER_ROLE")
    if not role:
        if sdk.defaults_name_role(session, training_only=plan.prepared is not None):
            return None
        raise UsageError("no role: give --role NAME or ARN, the jobs' execution role, or set SAGEMAKER_ROLE")
    with explained(f"--role {role}", WITHOUT_ACCOUNT):
        try:
            return str(session.expand_role(role))
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchEntity":
                raise
    raise UsageError(f"--role {role}: the account has no such role; `aws iam list-roles` lists them")


def send(plan: Plan, account: Account, start: Start | None = None, *, goes_on: bool = False) -> None:
    """Stage the code, run the prepare job where raw images were given, then the training job, or `start`."""
    start = start or _train
    requirements = missing_from_aws_image() if account.image.of_aws else None
    with tempfile.TemporaryDirectory(prefix="trapline-code-") as folder:
        code = stage_code(Path(folder) / "code", requirements)
        job = training_job(plan, account, code)
        estimator = estimator_of(job, account)  # what it refuses must not come after a paid job
        if plan.prepared:
            start(plan, account, estimator, job)
            return
        _prepare(plan, account, code, installs=bool(requirements))
        with contextlib.nullcontext() if goes_on else _keeping(plan, job):
            start(plan, account, estimator, job)


@contextlib.contextmanager
def _keeping(plan: Plan, job: TrainingJob) -> Iterator[None]:
    """Say in every error of the block that the data set is there: nothing need be paid twice."""
    given = f"--prepared {job.prepared} --checkpoints {job.checkpoints}"
    hint = f"the prepared set is kept: give {given} in place of --data {plan.data}"
    try:
        yield
    except TraplineError as error:
        raise type(error)(f"{error}\n{hint}") from error
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted\n{hint}") from None


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
        channels={name: _channel_uri(uri) for name, uri in plan.channels.items()},
    )


def _checkpoint_key(plan: Plan, code: Path) -> str:
    """What makes the same command find its checkpoint; a prepare job's output has a name of each launch."""
    data = {"prepared": plan.prepared, "data": plan.data, **plan.prepare_options}
    only_for = plan.job_name if plan.fresh else None
    return checkpoint_key(code, plan.config, data, plan.channels, only_for=only_for)


def _channel_uri(uri: str) -> str:
    return uri if uri.endswith(".tar.gz") else as_folder(uri)


@contextlib.contextmanager
def _refusals_of_the_sdk(flags: str) -> Iterator[None]:
    """The SDK checks image and machine itself, and raises errors of Python's."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise UsageError(f"{flags}: {said[:300]}{'...' if len(said) > 300 else ''}") from error


def estimator_of(job: TrainingJob, account: Account) -> "PyTorch":
    """The SDK's object for a job. Raises UsageError where the SDK refuses its image or machine."""
    from launch.sdk import objects as sdk

    with _refusals_of_the_sdk("--instance-type, --instance-count, --framework-version or --py-version"):
        estimator = sdk.make_estimator(job, account.session)
        estimator.training_image_uri()
    return estimator


def _prepare(plan: Plan, account: Account, code: Path, *, installs: bool) -> None:
    from launch.sdk import objects as sdk

    name = prepare_job_name(plan.job_name)
    job = PrepareJob(
        name=name,
        code=f"{plan.aws.code_output or account.output}/{name}/input/code",
        installs=installs,
        arguments=plan.prepare_arguments(),
        source_name=plan.data or "",
        input=None if plan.data == "demo" else as_data(plan.data or ""),
        site_csv=plan.prepare_options.get("site-csv"),
        output=_output_of_prepare(plan, account),
        machines=Machines(plan.prepare_instance_type, volume_gb=plan.aws.volume_gb),
        image=account.image,
        role=account.role,
        options=plan.aws,
    )
    with _refusals_of_the_sdk("--prepare-instance-type, --framework-version or --py-version"):
        processor = sdk.make_processor(job, account.session)
    account.upload(code, job.code)
    with interruptible("processing", job.name) as sending:
        with explained(f"processing job {job.name}", WITHOUT_ACCOUNT):
            sdk.start_processing(processor, job)
        if processor.latest_job is None:
            raise KeyboardInterrupt  # the SDK's telemetry swallows it
        sending.sent = True
        if not plan.dry_run:
            print(f"processing job: {job.name}", flush=True)
            wait_for_job(account.session, "processing", job.name)
            print(f"prepared data: {job.output} (--prepared takes it)", flush=True)


def submit(estimator: "PyTorch", job: TrainingJob) -> None:
    """Send a training job without waiting for it. Raises TraplineError where AWS refuses."""
    from launch.sdk import objects as sdk

    with explained(f"training job {job.name}", WITHOUT_ACCOUNT):
        estimator.fit(sdk.training_inputs(job), wait=False, job_name=job.name)
    if estimator.latest_training_job is None:
        raise KeyboardInterrupt  # the SDK's telemetry swallows it


def _train(plan: Plan, account: Account, estimator: "PyTorch", job: TrainingJob) -> None:
    with interruptible("training", job.name) as sending:
        submit(estimator, job)
        sending.sent = True
        if plan.dry_run:
            return
        print(f"training job: {job.name}", flush=True)
        if plan.wait:
            wait_for_job(account.session, "training", job.name)
        else:
            print(f"follow it: {follow_command(job.name)}", flush=True)
    print(f"model: {account.output}/{job.name}/output/model.tar.gz", flush=True)
    print(f"fetch it: python launch/artifacts.py {job.name} --to DIR", flush=True)
