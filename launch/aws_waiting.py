"""A running job on AWS: its log until it ends, and how it ended, in one line."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.errors import TraplineError
from launch.aws_errors import explain

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from sagemaker.session import Session

POLL = 10  # seconds between looks at a running job
LOG_OPERATIONS = {"DescribeLogStreams", "GetLogEvents", "FilterLogEvents"}


class Interrupted(TraplineError):
    """Ctrl-C at a moment when something goes on without the launcher, or is left behind."""

    exit_code = 130


@dataclass
class Sending:
    """Whether AWS has taken the job."""

    sent: bool = False


@contextlib.contextmanager
def interruptible(kind: str, name: str) -> Iterator[Sending]:
    """While a job is sent and waited for: Ctrl-C becomes Interrupted, which says what goes on."""
    sending = Sending()
    try:
        yield sending
    except KeyboardInterrupt:
        if sending.sent:
            said = f"interrupted; the {kind} job {name} goes on; {_how('stop', kind, name)}"
        else:
            said = (
                f"interrupted while the {kind} job was sent; whether it runs says: "
                f"aws sagemaker describe-{kind}-job --{kind}-job-name {name}"
            )
        raise Interrupted(said) from None


def wait_for_job(session: "Session", kind: str, name: str) -> None:
    """Show the log of a `training` or `processing` job until it ends.

    Raises TraplineError unless the job is Completed (Stopped is a failure), and where AWS no longer
    answers, as when the sign-in ends before the job, which goes on then.
    """
    try:
        _show_log(session, kind, name)
        check_ended(session.sagemaker_client, kind, name)
    except Exception as error:
        understood = explain(error, f"waiting for the {kind} job {name}")
        if understood is None:
            raise
        raise TraplineError(f"{understood}; the job goes on; {_how('describe', kind, name)}") from error


def _how(verb: str, kind: str, name: str) -> str:
    purpose = {"stop": "stop it with", "describe": "look at it with"}[verb]
    return f"{purpose}: aws sagemaker {verb}-{kind}-job --{kind}-job-name {name}"


def _show_log(session: "Session", kind: str, name: str) -> None:
    from botocore.exceptions import ClientError
    from sagemaker.exceptions import UnexpectedStatusException

    training = kind == "training"
    follow = session.logs_for_job if training else session.logs_for_processing_job
    wait = session.wait_for_job if training else session.wait_for_processing_job
    with contextlib.suppress(UnexpectedStatusException):  # check_ended says it in one line
        try:
            follow(name, wait=True, poll=POLL)
        except ClientError as error:
            _only_the_log_is_missing(error)
            wait(name, poll=POLL)
    print(flush=True)  # after the SDK's row of dots


def _only_the_log_is_missing(error: "ClientError") -> None:
    """Raise `error` unless it comes from the log, without which a job can be waited for."""
    if error.operation_name not in LOG_OPERATIONS:
        raise error
    print(f"\n{explain(error, 'log')}; waiting without it", flush=True)


def check_ended(client: Any, kind: str, name: str) -> None:
    """Raise TraplineError with the reason unless the job is Completed."""
    title = kind.capitalize()
    described = getattr(client, f"describe_{kind}_job")(**{f"{title}JobName": name})
    status = described[f"{title}JobStatus"]
    if status != "Completed":
        raise TraplineError(f"{kind} job {name}: {status} ({_reason(described, status)})")


def _reason(described: dict[str, Any], status: str) -> str:
    """What the script said, what AWS says, or the state in which the job ended; one line."""
    said = [described.get(key) for key in ("ExitMessage", "FailureReason")]
    texts = [" ".join(text.split()) for text in said if text]
    if not texts:
        texts = [text for text in [described.get("SecondaryStatus")] if text and text != status]
    return "; ".join(dict.fromkeys(texts)) or "no reason given"
