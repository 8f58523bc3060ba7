"""--dry-run: the requests that a launch would send, recorded just before they would leave this machine."""

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from common.errors import UsageError
from launch.flags import Plan

if TYPE_CHECKING:
    import boto3

ANSWER_ARN = "arn:aws:sagemaker:::dry-run"


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


def show(requests: list[dict[str, Any]], uploads: list[str]) -> None:
    """Print what would be sent, in order, as one JSON object."""
    print(json.dumps({"uploads": uploads, "requests": requests}, indent=2, default=str))


@contextlib.contextmanager
def chatter_to_stderr() -> Iterator[None]:
    """Keep standard output for the JSON."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def print_aws_requests(plan: Plan) -> None:
    """Print the aws backend's requests; without an account: given a region, --output, and --role as ARN."""
    from launch import aws_backend

    boto_session = _session(plan)
    recorder = AwsRecorder(boto_session)
    with chatter_to_stderr():
        aws_backend.send(plan, aws_backend.open_account(boto_session, plan))
    show(recorder.requests, recorder.uploads)


def _session(plan: Plan) -> "boto3.Session":
    import boto3

    session = boto3.Session()
    if session.region_name is None:
        raise UsageError("no AWS region: set AWS_REGION or AWS_DEFAULT_REGION, as in eu-west-1")
    if session.get_credentials() is not None:
        return session
    if plan.output is None or not (plan.role or "").startswith("arn:"):
        raise UsageError(
            "--dry-run without AWS credentials: give --output s3://BUCKET/PREFIX and --role as an ARN, "
            "which would be looked up in the account"
        )
    return boto3.Session(
        aws_access_key_id="dry-run", aws_secret_access_key="dry-run", region_name=session.region_name
    )


class AwsRecorder:
    """Answers every changing request of a boto session itself; nothing of it reaches AWS."""

    def __init__(self, session: "boto3.Session") -> None:
        self.requests: list[dict[str, Any]] = []
        self.uploads: list[str] = []
        session.events.register("provide-client-params.sagemaker.*", self._record)
        session.events.register("provide-client-params.s3.*", self._record_upload)
        session.events.register("before-send.sagemaker.*", self._answer)
        session.events.register("before-send.s3.*", self._answer)

    def _record(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        self.requests.append({model.name: params})

    def _record_upload(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        if model.name in ("PutObject", "CreateMultipartUpload"):
            self.uploads.append(f"s3://{params['Bucket']}/{params['Key']}")

    def _answer(self, request: Any, **_: Any) -> Any:
        from botocore.awsrequest import AWSResponse

        is_s3 = ".s3." in request.url or "//s3." in request.url
        names = ("TrainingJobArn", "ProcessingJobArn")
        body = b"" if is_s3 else json.dumps(dict.fromkeys(names, ANSWER_ARN)).encode()
        return AWSResponse(request.url, 200, {"etag": '"0"'}, _Body(body))


class _Body:
    """What botocore reads an answer from."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        """The content in one piece."""
        yield self.content
