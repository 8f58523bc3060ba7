"""The requests of a plan's jobs, recorded before they would leave this machine, to be shown or checked."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trapline.errors import UsageError
from trapline.launching.aws.account import Account, make_session, open_account
from trapline.launching.aws.backend import Variation, check_plan, planned_jobs
from trapline.launching.aws.errors import WITHOUT_ACCOUNT, explained
from trapline.launching.aws.options import role_of_environment
from trapline.launching.dry_run import chatter_to_stderr, print_requests
from trapline.launching.job_requests import Job
from trapline.launching.plan import Plan
from trapline.launching.pricing.cost import estimate
from trapline.launching.pricing.prices import REGION

if TYPE_CHECKING:
    import boto3

# What callers read in answers.
ANSWERED = ("TrainingJobArn", "ProcessingJobArn", "HyperParameterTuningJobArn", "ETag", "UploadId")
QUESTIONS = ("Get", "Head", "List")  # of S3: whether the SDK's default bucket is there


class AwsRecorder:
    """Answers what a boto session would change in SageMaker and S3 itself; questions do reach AWS."""

    def __init__(self, session: "boto3.Session") -> None:
        self.requests: list[dict[str, Any]] = []
        self.uploads: Counter[str] = Counter()  # by the folder of each copied file
        session.events.register("provide-client-params.sagemaker.*", self._record)
        session.events.register("provide-client-params.s3.CreateBucket", self._record)
        session.events.register("provide-client-params.s3.*", self._record_upload)
        session.events.register("before-call.sagemaker.*", self._answer)
        session.events.register("before-call.s3.*", self._answer)

    def _record(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        self.requests.append({model.name: params})

    def _record_upload(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        if model.name in ("PutObject", "CreateMultipartUpload"):
            self.uploads[f"s3://{params['Bucket']}/{params['Key'].rpartition('/')[0]}/"] += 1

    def _answer(self, model: Any, **_: Any) -> Any:
        """Answered here, after botocore's checks and before signing, a request does not leave the machine."""
        from botocore.awsrequest import AWSResponse

        if model.name.startswith(QUESTIONS):
            return None
        return AWSResponse("", 200, {}, None), dict.fromkeys(ANSWERED, "dry-run")


def requests_of(jobs: Sequence[Job], account: Account) -> list[dict[str, Any]]:
    """The requests that the jobs would be; nothing is sent, and no code copied."""
    from trapline.launching.sdk.objects import open_session

    boto_session, recorder = _silent_session(account.boto_session)
    session = open_session(boto_session)
    session.upload_data = _copy_nothing  # a hundred files would be read and hashed to no end
    _record(jobs, dataclasses.replace(account, session=session))
    return recorder.requests


def _record(jobs: Sequence[Job], account: Account) -> None:
    with chatter_to_stderr():
        for job in jobs:
            account.start(job)


def _silent_session(session: "boto3.Session") -> tuple["boto3.Session", AwsRecorder]:
    """A second session with the settings of `session`, which sends nothing, and what it records."""
    import boto3
    import botocore.session

    core = botocore.session.get_session()
    own = session._session
    # The long descriptions of the services are read once for both.
    core.register_component("data_loader", own.get_component("data_loader"))
    found = own.get_credentials()
    if found is not None:
        core._credentials = found
    second = boto3.Session(botocore_session=core, region_name=session.region_name)
    return second, AwsRecorder(second)


def _copy_nothing(*_: object, **__: object) -> None:
    """In the place of the SDK's copying to S3."""


def show_requests(plan: Plan, vary: Variation | None = None) -> None:
    """The dry run; without an account: given a region, --output, and --role as ARN.

    `vary`: as of `trapline.launching.aws.backend.planned_jobs`.
    """
    with explained(f"launching {plan.job_name}", WITHOUT_ACCOUNT):
        check_plan(plan)
        session = _session_of_dry_run(plan)
        recorder = AwsRecorder(session)
        with chatter_to_stderr():
            account = open_account(session, plan)
        with planned_jobs(plan, account, vary) as jobs:
            _record(jobs, account)
        print_requests(recorder.requests, recorder.uploads, estimate(recorder.requests))


def _session_of_dry_run(plan: Plan) -> "boto3.Session":
    session = make_session(REGION)
    if session.get_credentials() is not None:
        return session
    if plan.output is None or not (plan.role or role_of_environment() or "").startswith("arn:"):
        raise UsageError(
            "--dry-run without AWS credentials: give --output s3://BUCKET/PREFIX and --role as an ARN, "
            "which would be looked up in the account"
        )
    return session
