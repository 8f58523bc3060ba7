"""What AWS says of a job, read: its kind, how far it is, why it ended so, what is billed."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from trapline.errors import TraplineError
from trapline.launching.aws.redaction import without_credentials
from trapline.launching.terminal import duration

COMPLETED, STOPPED = "Completed", "Stopped"
UNDER_WAY = ("InProgress", "Stopping", "Deleting")
LOST = ("Interrupted", "Restarting")  # secondary states after which a training job begins again


@dataclass(frozen=True)
class JobKind:
    """A kind of job: what it is called here, in AWS's commands, and where its log lies."""

    name: str
    resource: str
    log_group: str | None = None

    @property
    def title(self) -> str:
        """As in TrainingJobName."""
        return "".join(word.capitalize() for word in self.resource.split("-"))

    def describe(self, client: Any, name: str) -> dict[str, Any]:
        """What AWS says of the job."""
        operation = getattr(client, f"describe_{self.resource.replace('-', '_')}")
        answer: dict[str, Any] = operation(**{f"{self.title}Name": name})
        return answer

    def status(self, described: Mapping[str, Any]) -> str:
        """InProgress, Completed, Failed, Stopping or Stopped."""
        return str(described[f"{self.title}Status"])

    def command(self, verb: str, name: str) -> str:
        """AWS's own command: `verb` is describe or stop."""
        return f"aws sagemaker {verb}-{self.resource} --{self.resource}-name {name}"


TRAINING = JobKind("training", "training-job", "/aws/sagemaker/TrainingJobs")
PROCESSING = JobKind("processing", "processing-job", "/aws/sagemaker/ProcessingJobs")
TRANSFORM = JobKind("transform", "transform-job", "/aws/sagemaker/TransformJobs")
TUNING = JobKind("tuning", "hyper-parameter-tuning-job")
ARN = re.compile(r"arn:[\w-]+:sagemaker:(?P<region>[a-z0-9-]+):\d{12}:(?P<resource>[a-z-]+)/(?P<name>.+)")
JOB_KINDS = {kind.name: kind for kind in (TRAINING, PROCESSING, TRANSFORM, TUNING)}


def job_of(arn: str) -> tuple[JobKind, str] | None:
    """JobKind and name of the job with this ARN; None where it is not a job's."""
    match = ARN.fullmatch(arn)
    found = [kind for kind in JOB_KINDS.values() if match and kind.resource == match["resource"]]
    return (found[0], match["name"]) if match and found else None


def has_ended(kind: JobKind, described: Mapping[str, Any]) -> bool:
    """Whether nothing more will come of the job."""
    return kind.status(described) not in UNDER_WAY


def require_completed(kind: JobKind, name: str, described: Mapping[str, Any]) -> None:
    """Raise TraplineError with the reason unless the job is Completed."""
    status = kind.status(described)
    if status != COMPLETED:
        raise TraplineError(f"{kind.name} job {name}: {status} ({reason(kind, described)})")


def reason(kind: JobKind, described: Mapping[str, Any]) -> str:
    """Why a job failed or stopped: what the script said, what AWS says, the limit it met. One line."""
    texts = [one_line(described[key]) for key in ("ExitMessage", "FailureReason") if described.get(key)]
    if kind.status(described) == STOPPED:
        texts.append(_limit(kind, described) or ("" if texts else "on request, before its end"))
    return "; ".join(dict.fromkeys(text for text in texts if text)) or "no reason given"


def one_line(text: str) -> str:
    """A text of AWS's or a job's, without line ends and credentials."""
    return without_credentials(" ".join(text.split()))


def _limit(kind: JobKind, described: Mapping[str, Any]) -> str:
    """The limit of time that stopped the job, and what to do; empty where none did."""
    condition = described.get("StoppingCondition") or {}
    secondary = described.get("SecondaryStatus")
    run, wait = condition.get("MaxRuntimeInSeconds"), condition.get("MaxWaitTimeInSeconds")
    if secondary == "MaxWaitTimeExceeded":
        limit = f", {duration(wait)}" if wait else ""
        said = f"the longest wait for spot machines is over{limit}"
        return f"{said}; give a greater --max-wait, or leave out --spot{_kept(described)}"
    if secondary == "MaxRuntimeExceeded" or (kind is PROCESSING and run and seconds_run(described) >= run):
        limit = f", {duration(run)}" if run else ""
        return f"the longest run is over{limit}; give a greater --max-run{_kept(described)}"
    return ""


def _kept(described: Mapping[str, Any]) -> str:
    uri = checkpoints(described)
    return f"; its checkpoints are kept ({uri}), the same command goes on from them" if uri else ""


def checkpoints(described: Mapping[str, Any]) -> str | None:
    """Where the checkpoints of a training job lie."""
    uri = (described.get("CheckpointConfig") or {}).get("S3Uri")
    return str(uri) if uri else None


def seconds_run(described: Mapping[str, Any]) -> float:
    """How long a processing job ran; 0 where that is not known."""
    start, end = described.get("ProcessingStartTime"), described.get("ProcessingEndTime")
    return float((end - start).total_seconds()) if start and end else 0.0


def started(described: Mapping[str, Any]) -> float:
    """When a training job began to train, or was made; seconds since 1970."""
    moment: datetime = described.get("TrainingStartTime") or described["CreationTime"]
    return moment.timestamp()


def epochs(described: Mapping[str, Any]) -> int | None:
    """The hyperparameter `epochs` of a training job; the SDK writes JSON."""
    text = (described.get("HyperParameters") or {}).get("epochs", "")
    try:
        return int(json.loads(text))
    except (ValueError, TypeError):
        return None


def instances(described: Mapping[str, Any]) -> int:
    """How many machines the job has."""
    processing = (described.get("ProcessingResources") or {}).get("ClusterConfig")
    resources = described.get("ResourceConfig") or processing or described.get("TransformResources") or {}
    groups = resources.get("InstanceGroups") or [resources]
    return sum(group.get("InstanceCount") or 1 for group in groups)


def bill(described: Mapping[str, Any]) -> str | None:
    """A training job's billable time, and what spot machines saved; None where AWS does not say."""
    trained, billed = described.get("TrainingTimeInSeconds"), described.get("BillableTimeInSeconds")
    if trained is None or billed is None:
        return None
    each = f" on each of {instances(described)} machines" if instances(described) > 1 else ""
    said = f"training took {duration(trained)}, billable {duration(billed)}{each}"
    if described.get("EnableManagedSpotTraining") and trained:
        said += f" (spot saves {1 - billed / trained:.0%})"
    return said
