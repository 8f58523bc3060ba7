"""The aws backend: the same jobs as SageMaker processing and training jobs in your account."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import TraplineError, UsageError
from common.s3 import is_s3, split_uri
from launch.aws_errors import explained
from launch.aws_waiting import Interrupted, interruptible, wait_for_job
from launch.flags import Plan
from launch.jobs import PREPARED, Machines, PrepareJob, TrainingJob, prepare_job_name
from launch.requirements import missing_from_aws_image
from launch.staging import stage_code

if TYPE_CHECKING:
    import boto3
    from sagemaker.pytorch import PyTorch
    from sagemaker.session import Session

WITHOUT_ACCOUNT = "--backend process runs the same job here, without an account"
RETRIES = {"mode": "adaptive", "max_attempts": 8}  # throttling is waited for
PREFIX = "trapline"  # in the SDK's default bucket


@dataclass(frozen=True)
class Account:
    """Where a launch goes: the session, the role, and the prefix of everything that it writes."""

    session: "Session"
    role: str | None  # None: the SDK's defaults file names it
    output: str

    def upload(self, folder: Path, target: str) -> None:
        """Copy a folder of code to the S3 URI `target`."""
        bucket, prefix = split_uri(target)
        with explained(f"copying the code to {target}", WITHOUT_ACCOUNT):
            self.session.upload_data(str(folder), bucket=bucket, key_prefix=prefix)


def launch(plan: Plan) -> None:
    """Send the plan's requests and wait for the jobs. Raises TraplineError, one message, where one fails."""
    with explained(f"launching {plan.job_name}", WITHOUT_ACCOUNT):
        check_plan(plan)
        if plan.dry_run:
            from launch.dry_run import print_aws_requests

            print_aws_requests(plan)
            return
        boto_session = _signed_in()
        check_sources(boto_session, plan)
        send(plan, open_account(boto_session, plan))


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
    return session


def _signed_in() -> "boto3.Session":
    session = make_session()
    if session.get_credentials() is None:
        raise UsageError(
            "no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY;\n"
            + WITHOUT_ACCOUNT
        )
    return session


def check_sources(boto_session: "boto3.Session", plan: Plan) -> None:
    """Raise TraplineError where a bucket is not there, or nothing lies where a flag says so."""
    s3 = boto_session.client("s3")
    sites = plan.prepare_options.get("site-csv", "")
    flags = {
        "--output": plan.output,
        "--data": None if plan.data == "demo" else plan.data,
        "--prepared": plan.prepared,
        "--prepare site-csv": sites,
        **{f"--{name}": uri for name, uri in plan.channels.items()},
    }
    for flag, uri in flags.items():
        if uri:
            with explained(f"{flag} {uri}", WITHOUT_ACCOUNT):
                _check_bucket(s3, flag, uri, boto_session.region_name)
                _check_content(s3, flag, uri)


def _check_bucket(s3: Any, flag: str, uri: str, region: str) -> None:
    """SageMaker reads and writes in its own region alone."""
    lies_in = s3.head_bucket(Bucket=split_uri(uri)[0]).get("BucketRegion") or region
    if lies_in != region:
        raise UsageError(
            f"{flag} {uri}: the bucket lies in {lies_in}, the jobs would run in {region}, and SageMaker "
            f"does not reach across; set AWS_REGION={lies_in} or use a bucket in {region}"
        )


def _check_content(s3: Any, flag: str, uri: str) -> None:
    if flag == "--output":
        return
    bucket, _ = split_uri(uri)
    name = {"--data": "", "--prepared": "dataset.json", "--pseudo": "pseudo_labels.csv"}.get(flag)
    if flag == "--phase1" and not uri.endswith(".tar.gz"):
        name = ""
    wanted = split_uri(uri if name is None else as_folder(uri) + name)[1]
    found = s3.list_objects_v2(Bucket=bucket, Prefix=wanted, MaxKeys=1).get("Contents", [])
    if not found or (name != "" and found[0]["Key"] != wanted):
        missing = {"--data": "nothing there", "--prepared": "no dataset.json there"}.get(flag, "no such file")
        raise UsageError(f"{flag} {uri}: {missing}; look with: aws s3 ls {uri}")


def as_folder(uri: str) -> str:
    """`uri` with one slash at its end: without it, s3://b/set would be read with s3://b/set-2 as well."""
    return f"{uri.rstrip('/')}/"


def open_account(boto_session: "boto3.Session", plan: Plan) -> Account:
    """The session, role and output prefix of a launch. Raises TraplineError where one cannot be had."""
    from launch import sdk

    sdk.import_sdk()
    session = sdk.open_session(boto_session)
    role = _role(session, plan)
    if plan.output:
        return Account(session, role, plan.output.rstrip("/"))
    with explained("the SDK's default bucket (--output names another)", WITHOUT_ACCOUNT):
        return Account(session, role, f"s3://{session.default_bucket()}/{PREFIX}")


def _role(session: "Session", plan: Plan) -> str | None:
    """The role's ARN, looked up where only its name was given; None where the SDK's defaults file has one."""
    from botocore.exceptions import ClientError

    from launch import sdk

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


def send(plan: Plan, account: Account) -> None:
    """Stage the code, run the prepare job where raw images were given, then the training job."""
    requirements = None if plan.image.uri else missing_from_aws_image()
    with tempfile.TemporaryDirectory(prefix="trapline-code-") as folder:
        code = stage_code(Path(folder) / "code", requirements)
        job = _training_job(plan, account, code)
        estimator = _estimator(job, account)  # what it refuses must not come after a paid job
        if plan.prepared:
            _train(plan, account, estimator, job)
            return
        _prepare(plan, account, code, installs=bool(requirements))
        with _keeping(plan, job.prepared):
            _train(plan, account, estimator, job)


@contextlib.contextmanager
def _keeping(plan: Plan, prepared: str) -> Iterator[None]:
    """Say in every error of the block that the data set is there: nothing need be paid twice."""
    hint = f"the prepared set is kept: give --prepared {prepared} in place of --data {plan.data}"
    try:
        yield
    except TraplineError as error:
        raise type(error)(f"{error}\n{hint}") from error
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted\n{hint}") from None


def _output_of_prepare(plan: Plan, account: Account) -> str:
    return f"{account.output}/{prepare_job_name(plan.job_name)}/{PREPARED}"


def _training_job(plan: Plan, account: Account, code: Path) -> TrainingJob:
    return TrainingJob(
        name=plan.job_name,
        code=code,
        hyperparameters=plan.config.record(),
        prepared=as_folder(plan.prepared or _output_of_prepare(plan, account)),
        output=account.output,
        machines=Machines(plan.instance_type, plan.instance_count),
        image=plan.image,
        role=account.role,
        input_mode=plan.input_mode,
        channels={name: _channel_uri(uri) for name, uri in plan.channels.items()},
    )


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


def _estimator(job: TrainingJob, account: Account) -> "PyTorch":
    from launch import sdk

    with _refusals_of_the_sdk("--instance-type, --instance-count, --framework-version or --py-version"):
        estimator = sdk.make_estimator(job, account.session)
        estimator.training_image_uri()
    return estimator


def _prepare(plan: Plan, account: Account, code: Path, *, installs: bool) -> None:
    from launch import sdk

    name = prepare_job_name(plan.job_name)
    job = PrepareJob(
        name=name,
        code=f"{account.output}/{name}/input/code",
        installs=installs,
        arguments=plan.prepare_arguments(),
        source_name=plan.data or "",
        input=None if plan.data == "demo" else as_folder(plan.data or ""),
        site_csv=plan.prepare_options.get("site-csv"),
        output=_output_of_prepare(plan, account),
        machines=Machines(plan.prepare_instance_type),
        image=plan.image,
        role=account.role,
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


def _train(plan: Plan, account: Account, estimator: "PyTorch", job: TrainingJob) -> None:
    from launch import sdk

    with interruptible("training", job.name) as sending:
        with explained(f"training job {job.name}", WITHOUT_ACCOUNT):
            estimator.fit(sdk.training_inputs(job), wait=False, job_name=job.name)
        if estimator.latest_training_job is None:
            raise KeyboardInterrupt
        sending.sent = True
        if plan.dry_run:
            return
        print(f"training job: {job.name}", flush=True)
        if plan.wait:
            wait_for_job(account.session, "training", job.name)
    print(f"model: {account.output}/{job.name}/output/model.tar.gz", flush=True)
    print(f"fetch it: python launch/artifacts.py {job.name} --to DIR", flush=True)
