"""The aws backend: the same jobs as SageMaker processing and training jobs in your account."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import TraplineError, UsageError
from common.s3 import is_s3, split_uri
from launch.aws_errors import explain
from launch.flags import Plan
from launch.jobs import PREPARED, Machines, PrepareJob, TrainingJob, prepare_job_name
from launch.requirements import missing_from_aws_image
from launch.staging import stage_code

if TYPE_CHECKING:
    import boto3
    from sagemaker.session import Session

WITHOUT_ACCOUNT = "--backend process runs the same job here, without an account"
RETRIES = {"mode": "adaptive", "max_attempts": 8}  # throttling is waited for
POLL = 10  # seconds between looks at a running job
PREFIX = "trapline"  # in the SDK's default bucket


@dataclass(frozen=True)
class Account:
    """Where a launch goes: the session, the role, and the prefix of everything that it writes."""

    session: "Session"
    role: str | None
    output: str

    def upload(self, folder: Path, job: str) -> str:
        """Copy a folder of code to S3 and return its URI."""
        bucket, prefix = split_uri(f"{self.output}/{job}/input/code")
        return str(self.session.upload_data(str(folder), bucket=bucket, key_prefix=prefix.strip("/")))


def launch(plan: Plan) -> None:
    """Send the plan's requests and wait for the jobs. Raises TraplineError, one message, where one fails."""
    try:
        if plan.dry_run:
            from launch.dry_run import print_aws_requests

            print_aws_requests(plan)
            return
        boto_session = _boto_session()
        _check_sources(boto_session, plan)
        account = open_account(boto_session, plan)
        send(plan, account)
    except TraplineError:
        raise
    except Exception as error:
        explained = explain(error, f"launching {plan.job_name}", hint=WITHOUT_ACCOUNT)
        if explained is None:
            raise
        raise explained from error


def _boto_session() -> "boto3.Session":
    import boto3

    session = boto3.Session()
    if session.get_credentials() is None:
        raise UsageError(
            "no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY;\n"
            + WITHOUT_ACCOUNT
        )
    if session.region_name is None:
        raise UsageError("no AWS region: set AWS_REGION or AWS_DEFAULT_REGION, as in eu-west-1")
    return session


def _check_sources(boto_session: "boto3.Session", plan: Plan) -> None:
    """Raise UsageError where the bucket of --output, or what --data or --prepared name, is not there."""
    s3 = boto_session.client("s3")
    if plan.output:
        s3.head_bucket(Bucket=split_uri(plan.output)[0])
    sites = plan.prepare_options.get("site-csv")
    if sites and not is_s3(sites):
        raise UsageError(f"--prepare site-csv={sites}: must be an s3:// URI for a job on AWS")
    for flag, uri in (("--data", plan.data), ("--prepared", plan.prepared)):
        if uri and uri != "demo":
            bucket, prefix = split_uri(uri)
            wanted = f"{prefix.strip('/')}/dataset.json" if flag == "--prepared" else prefix
            if not s3.list_objects_v2(Bucket=bucket, Prefix=wanted, MaxKeys=1).get("KeyCount"):
                missing = "no dataset.json there" if flag == "--prepared" else "nothing there"
                raise UsageError(f"{flag} {uri}: {missing}; look with: aws s3 ls {uri.rstrip('/')}/")


def open_account(boto_session: "boto3.Session", plan: Plan) -> Account:
    """The session, role and output prefix of a launch."""
    from launch import sdk

    sdk.import_sdk()
    from botocore.config import Config
    from sagemaker.session import Session

    client = boto_session.client("sagemaker", config=Config(retries=RETRIES))
    session = Session(boto_session=boto_session, sagemaker_client=client)
    role = plan.role or os.environ.get("SAGEMAKER_ROLE")
    output = plan.output or f"s3://{session.default_bucket()}/{PREFIX}"
    return Account(session, role, output.rstrip("/"))


def send(plan: Plan, account: Account) -> None:
    """Stage the code, run the prepare job where raw images were given, then the training job."""
    requirements = None if plan.image.uri else missing_from_aws_image()
    with tempfile.TemporaryDirectory(prefix="trapline-code-") as folder:
        code = stage_code(Path(folder) / "code", requirements)
        prepared = plan.prepared or _prepare(plan, account, code, installs=bool(requirements))
        _train(plan, account, code, prepared)


def _prepare(plan: Plan, account: Account, code: Path, *, installs: bool) -> str:
    from launch import sdk

    name = prepare_job_name(plan.job_name)
    job = PrepareJob(
        name=name,
        code=account.upload(code, name),
        installs=installs,
        arguments=plan.prepare_arguments(),
        source_name=plan.data or "",
        input=None if plan.data == "demo" else plan.data,
        site_csv=plan.prepare_options.get("site-csv"),
        output=f"{account.output}/{name}/{PREPARED}",
        machines=Machines(plan.prepare_instance_type),
        image=plan.image,
        role=account.role,
    )
    sdk.make_processor(job, account.session).run(
        inputs=sdk.processing_inputs(job),
        outputs=sdk.processing_outputs(job),
        arguments=sdk.processing_arguments(job),
        wait=False,
        logs=False,
        job_name=job.name,
    )
    if not plan.dry_run:
        print(f"processing job: {job.name}", flush=True)
        _wait(account, "processing", job.name)
        print(f"prepared data: {job.output} (--prepared takes it)", flush=True)
    return job.output


def _train(plan: Plan, account: Account, code: Path, prepared: str) -> None:
    from launch import sdk

    job = TrainingJob(
        name=plan.job_name,
        code=code,
        hyperparameters=plan.config.record(),
        prepared=prepared,
        output=account.output,
        machines=Machines(plan.instance_type, plan.instance_count),
        image=plan.image,
        role=account.role,
        input_mode=plan.input_mode,
    )
    try:
        estimator = sdk.make_estimator(job, account.session)
        estimator.fit(sdk.training_inputs(job), wait=False, job_name=job.name)
    except ValueError as error:
        if "role" not in str(error).lower():
            raise
        raise UsageError("--role: name the execution role of the job, or set SAGEMAKER_ROLE") from None
    if plan.dry_run:
        return
    print(f"training job: {job.name}", flush=True)
    if plan.wait:
        _wait(account, "training", job.name)
    print(f"model: {account.output}/{job.name}/output/model.tar.gz", flush=True)
    print(f"fetch it: python launch/artifacts.py {job.name} --to DIR", flush=True)


def _wait(account: Account, kind: str, name: str) -> None:
    """Show a job's log until it ends. Raises TraplineError unless it is Completed: Stopped is a failure."""
    from sagemaker.exceptions import UnexpectedStatusException

    session = account.session
    follow = session.logs_for_job if kind == "training" else session.logs_for_processing_job
    try:
        follow(name, wait=True, poll=POLL)
    except UnexpectedStatusException:
        pass  # described below, in one line
    except KeyboardInterrupt:
        print(
            f"\nleft: the {kind} job {name} goes on; stop it with\n"
            f"aws sagemaker stop-{kind}-job --{kind}-job-name {name}",
            flush=True,
        )
        raise
    _check_ended(session.sagemaker_client, kind, name)


def _check_ended(client: Any, kind: str, name: str) -> None:
    title = kind.capitalize()
    described = getattr(client, f"describe_{kind}_job")(**{f"{title}JobName": name})
    status = described[f"{title}JobStatus"]
    if status == "Completed":
        return
    reasons = [described.get(key) for key in ("FailureReason", "ExitMessage", "SecondaryStatus")]
    reason = next((text for text in reasons if text and text != status), "no reason given")
    raise TraplineError(f"{kind} job {name}: {status} ({reason})")
