"""--dry-run: the requests that a launch would send, recorded just before they would leave this machine."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from common.errors import UsageError
from launch.flags import Plan
from launch.pricing.cost import Cost, estimate, say

if TYPE_CHECKING:
    import boto3

    from launch.aws.backend import Start

# What callers read in answers.
ANSWERED = ("TrainingJobArn", "ProcessingJobArn", "HyperParameterTuningJobArn", "ETag", "UploadId")
QUESTIONS = ("Get", "Head", "List")  # of S3: whether the SDK's default bucket is there


class LocalRecorder:
    """Takes the place of local mode's client."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []

    def create_training_job(self, **request: Any) -> None:
        """Record the request."""
        self.requests.append({"CreateTrainingJob": request})

    def create_processing_job(self, **request: Any) -> None:
        """Record the request."""
        self.requests.append({"CreateProcessingJob": request})


def show(requests: list[dict[str, Any]], uploads: list[str], cost: Cost | None = None) -> None:
    """Print as one JSON object what would be copied, the requests in their order, and what they may cost."""
    content: dict[str, Any] = {"uploads": sorted(uploads), "requests": requests}
    if cost is not None:
        content["cost"] = cost.record()
    print(json.dumps(content, indent=2, default=str))
    if cost is not None:
        say(cost)


@contextlib.contextmanager
def chatter_to_stderr() -> Iterator[None]:
    """Keep standard output for the JSON."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def print_aws_requests(plan: Plan, start: "Start | None" = None) -> None:
    """Print the aws backend's requests; without an account: given a region, --output, and --role as ARN.

    `start`: as of `launch.aws.backend.send`.
    """
    from launch.aws import backend as aws_backend

    boto_session = _session(plan)
    recorder = AwsRecorder(boto_session)
    with chatter_to_stderr():
        aws_backend.send(plan, aws_backend.open_account(boto_session, plan), start)
    show(recorder.requests, recorder.uploads, estimate(recorder.requests))


def _session(plan: Plan) -> "boto3.Session":
    from launch.aws.backend import make_session

    session = make_session()
    if session.get_credentials() is not None:
        return session
    if plan.output is None or not (plan.role or os.environ.get("SAGEMAKER_ROLE", "")).startswith("arn:"):
        raise UsageError(
            "--dry-run without AWS credentials: give --output s3://BUCKET/PREFIX and --role as an ARN, "
            "which would be looked up in the account"
        )
    return session


class AwsRecorder:
    """Answers what a boto session would change in SageMaker and S3 itself; questions do reach AWS."""

    def __init__(self, session: "boto3.Session") -> None:
        self.requests: list[dict[str, Any]] = []
        self.uploads: list[str] = []
        session.events.register("provide-client-params.sagemaker.*", self._record)
        session.events.register("provide-client-params.s3.CreateBucket", self._record)
        session.events.register("provide-client-params.s3.*", self._record_upload)
        session.events.register("before-call.sagemaker.*", self._answer)
        session.events.register("before-call.s3.*", self._answer)

    def _record(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        self.requests.append({model.name: params})

    def _record_upload(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        if model.name in ("PutObject", "CreateMultipartUpload"):
            self.uploads.append(f"s3://{params['Bucket']}/{params['Key']}")

    def _answer(self, model: Any, **_: Any) -> Any:
        """Answered here, after botocore's checks and before signing, a request does not leave the machine."""
        from botocore.awsrequest import AWSResponse

        if model.name.startswith(QUESTIONS):
            return None
        return AWSResponse("", 200, {}, None), dict.fromkeys(ANSWERED, "dry-run")
