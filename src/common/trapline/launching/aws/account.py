"""Where a launch goes on AWS: the session, the role, the place of its results, the image."""

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trapline.errors import UsageError
from trapline.launching.aws import image as aws_image
from trapline.launching.aws.errors import WITHOUT_ACCOUNT, explained
from trapline.launching.aws.options import DEFAULTS_FILE, check_isolation, role_of_environment
from trapline.launching.job_requests import WEIGHTS, Image, Job, PrepareJob
from trapline.launching.plan import Plan
from trapline.s3 import split_uri

if TYPE_CHECKING:
    import boto3

    from trapline.launching.sdk.workflow import Session

RETRIES = {"mode": "adaptive", "max_attempts": 8}  # throttling is waited for
PREFIX = "trapline"  # in the SDK's default bucket


@dataclass(frozen=True)
class Account:
    """Where a launch goes: the session, the role, the prefix of everything that it writes, the image."""

    session: "Session"
    role: str | None  # None: the SDK's defaults file names it
    output: str
    image: Image

    @property
    def boto_session(self) -> "boto3.Session":
        """The session of AWS's own library."""
        return self.session.boto_session

    @property
    def region(self) -> str:
        """The region of the jobs."""
        return str(self.session.boto_region_name)

    def start(self, job: Job) -> None:
        """Send a job without waiting for it. Raises TraplineError where the SDK or AWS refuses it."""
        from trapline.launching.sdk.starting import start_job

        if isinstance(job, PrepareJob):
            with explained(f"copying the code to {job.code}", WITHOUT_ACCOUNT):
                bucket, prefix = split_uri(job.code)
                self.session.upload_data(str(job.staged), bucket=bucket, key_prefix=prefix)
        with explained(f"{job.kind} job {job.name}", WITHOUT_ACCOUNT):
            start_job(job, self.session)

    def with_digest(self) -> "Account":
        """The account with its image by its digest, where it has one. Raises as `require_image` does."""
        named = self.image.uri
        if named is None:
            return self
        with explained(f"looking for the image {named}", WITHOUT_ACCOUNT):
            uri = aws_image.require_image(self.boto_session, named)
        return replace(self, image=replace(self.image, uri=uri))


def make_session(assumed: str | None = None) -> "boto3.Session":
    """A boto3 session whose clients wait where AWS throttles.

    AWS_REGION counts as it does for AWS's other tools; boto3 alone reads AWS_DEFAULT_REGION only. `assumed`:
    the region where nothing names one; without it that is a UsageError.
    """
    import boto3
    import botocore.session
    from botocore.config import Config

    core = botocore.session.get_session()
    core.set_default_client_config(Config(retries=RETRIES))
    region = os.environ.get("AWS_REGION") or core.get_config_variable("region") or assumed
    if not region:
        raise UsageError(
            "no AWS region: set AWS_REGION or AWS_DEFAULT_REGION, as in eu-west-1, or region in trapline.toml"
        )
    session = boto3.Session(botocore_session=core, region_name=region)
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
    from trapline.launching.sdk import objects as sdk

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

    from trapline.launching.sdk import objects as sdk

    role = plan.role or role_of_environment()
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
