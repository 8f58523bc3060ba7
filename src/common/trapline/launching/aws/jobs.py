"""Jobs on AWS: what AWS says of one, read, and how it is asked while one is waited for.

What passes is waited out, and said once. SageMaker's answers may be some seconds behind: for a moment it does
not know a job that it has just taken.
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from trapline import interruption
from trapline.errors import TraplineError
from trapline.launching.aws.errors import explain, is_absent, will_pass, without_credentials
from trapline.launching.terminal import duration
from trapline.metrics import format_value

if TYPE_CHECKING:
    import boto3

Answer = TypeVar("Answer")
FIRST_PAUSE, MAX_PAUSE = 5.0, 60.0  # seconds; each pause is twice the one before
NEW_FOR = 60.0  # seconds that AWS may take to know what it has made
COMPLETED, STOPPED = "Completed", "Stopped"
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
        return dict(operation(**{f"{self.title}Name": name}))

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
    return kind.status(described) not in ("InProgress", "Stopping", "Deleting")


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
    condition, secondary = described.get("StoppingCondition") or {}, described.get("SecondaryStatus")
    run, wait = condition.get("MaxRuntimeInSeconds"), condition.get("MaxWaitTimeInSeconds")
    start, end = described.get("ProcessingStartTime"), described.get("ProcessingEndTime")
    full_length = bool(kind is PROCESSING and run and start and end and (end - start).total_seconds() >= run)
    uri = checkpoints(described)
    kept = f"; its checkpoints are kept ({uri}), the same command goes on from them" if uri else ""
    if secondary == "MaxWaitTimeExceeded":
        limit = f", {duration(wait)}" if wait else ""
        return (
            f"the longest wait for spot machines is over{limit}; give a greater --max-wait, or leave out "
            f"--spot{kept}"
        )
    if secondary == "MaxRuntimeExceeded" or full_length:
        limit = f", {duration(run)}" if run else ""
        return f"the longest run is over{limit}; give a greater --max-run{kept}"
    return ""


def checkpoints(described: Mapping[str, Any]) -> str | None:
    """Where the checkpoints of a training job lie."""
    uri = (described.get("CheckpointConfig") or {}).get("S3Uri")
    return str(uri) if uri else None


def epochs(described: Mapping[str, Any]) -> int | None:
    """The hyperparameter `epochs` of a training job; the SDK writes JSON."""
    try:
        return int(json.loads((described.get("HyperParameters") or {}).get("epochs", "")))
    except (ValueError, TypeError):
        return None


def instances(described: Mapping[str, Any]) -> int:
    """How many machines the job has."""
    processing = (described.get("ProcessingResources") or {}).get("ClusterConfig")
    resources = described.get("ResourceConfig") or processing or described.get("TransformResources") or {}
    return sum(group.get("InstanceCount") or 1 for group in resources.get("InstanceGroups") or [resources])


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


def describe_child(child: Mapping[str, Any]) -> str:
    """A training job of a search: its name, state, hyperparameters, objective, or why it failed."""
    settings = ", ".join(f"{name} {value}" for name, value in child.get("TunedHyperParameters", {}).items())
    objective = child.get("FinalHyperParameterTuningJobObjectiveMetric")
    failure = child.get("FailureReason")
    return (
        f"{child['TrainingJobName']} {child['TrainingJobStatus']}"
        f"{f' ({settings})' if settings else ''}"
        f"{f': {_objective(objective)}' if objective else ''}"
        f"{f': {one_line(failure)}' if failure else ''}"
    )


def _objective(metric: Mapping[str, Any]) -> str:
    return f"{metric['MetricName']} {format_value(float(metric['Value']))}"


def how_far(described: Mapping[str, Any]) -> str:
    """How far a search is: its jobs that have ended or run, and the best of them."""
    counters = described["TrainingJobStatusCounters"]
    ended = sum(counters.get(name, 0) for name in ("Completed", "NonRetryableError", "Stopped"))
    most = described["HyperParameterTuningJobConfig"].get("ResourceLimits", {}).get("MaxNumberOfTrainingJobs")
    best = described.get("BestTrainingJob", {})
    objective = best.get("FinalHyperParameterTuningJobObjectiveMetric")
    jobs = f"{ended} of {most}" if most else str(ended)
    said = f"progress: {jobs} jobs ended, {counters.get('InProgress', 0)} running"
    return f"{said}, best {_objective(objective)} ({best['TrainingJobName']})" if objective else said


# --- asking -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clients:
    """The services that a waiting program asks."""

    sagemaker: Any
    logs: Any


def make_clients(session: "boto3.Session", region: str | None = None) -> Clients:
    """Clients that give up soon; `region`: another than the session's."""
    from botocore.config import Config

    # The pauses are here: botocore's own would keep silent for minutes.
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=10, read_timeout=30
    )
    return Clients(
        *(session.client(name, region_name=region, config=config) for name in ("sagemaker", "logs"))
    )


def paged(client: Any, operation: str, key: str, **arguments: Any) -> list[dict[str, Any]]:
    """What all pages of an answer hold under `key`."""
    return [item for page in client.get_paginator(operation).paginate(**arguments) for item in page[key]]


def list_steps(client: Any, arn: str) -> list[dict[str, Any]]:
    """The steps of an execution that have begun, in that order."""
    return paged(
        client,
        "list_pipeline_execution_steps",
        "PipelineExecutionSteps",
        PipelineExecutionArn=arn,
        SortOrder="Ascending",
    )


def ask_until_known(
    question: Callable[[], Answer],
    subject: str,
    say: Callable[[str], None] = print,
    patience: float = NEW_FOR,
) -> Answer:
    """The answer to a question about something that AWS has made, or may have made, a moment ago.

    `subject`: what it is, as in `training job night-run`. `patience`: seconds, as pauses count them, for
    which "there is no such thing" is asked again. Raises what botocore raises, that answer too in the end.
    """
    waited = 0.0
    while True:
        try:
            return question()
        except Exception as error:
            if not is_absent(error) or waited >= patience:
                raise
        if not waited:
            say(f"{subject}: AWS does not know what it has just made; it is asked for {duration(patience)}")
        interruption.pause(FIRST_PAUSE)
        waited += FIRST_PAUSE


class Contact:
    """Asks until there is an answer. Says once that there is none, and when there is one again."""

    def __init__(self, subject: str, say: Callable[[str], None]) -> None:
        """`subject`: what goes on meanwhile, as in `training job night-run`."""
        self.subject, self.say = subject, say
        self.lost: float | None = None  # since when there is no answer

    def ask(self, question: Callable[[], Answer], patience: float = NEW_FOR) -> Answer:
        """The answer. Raises what botocore raises where asking again would not help.

        `patience`: as for `ask_until_known`; 0: what AWS does not know is not there.
        """
        return ask_until_known(lambda: self._answered(question), self.subject, self.say, patience)

    def _answered(self, question: Callable[[], Answer]) -> Answer:
        pause = FIRST_PAUSE
        while True:
            try:
                answer = question()
            except Exception as error:
                if not will_pass(error):
                    raise
                self.trouble(error)
            else:
                self.well()
                return answer
            interruption.pause(pause)
            pause = min(2 * pause, MAX_PAUSE)

    def trouble(self, error: Exception) -> None:
        """Say, the first time, that AWS does not answer."""
        if self.lost is None:
            self.lost = time.monotonic()
            self.say(f"{explain(error, self.subject)}; it goes on, and is asked for again until AWS answers")

    def well(self) -> None:
        """Say, after trouble, that AWS answers again."""
        if self.lost is not None:
            self.say(f"{self.subject}: AWS answers again, after {duration(time.monotonic() - self.lost)}")
            self.lost = None
