"""A running job, or execution of a pipeline, on AWS: what it does until it ends, how it ended.

Here is also how it is left and taken up again.
"""

import contextlib
import heapq
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from trapline import interruption
from trapline.errors import TraplineError
from trapline.launching.aws.errors import explain, is_signed_out, will_pass, without_credentials
from trapline.launching.aws.jobs import (
    JOB_KINDS,
    LOST,
    TUNING,
    Clients,
    Contact,
    JobKind,
    bill,
    checkpoints,
    describe_child,
    epochs,
    has_ended,
    how_far,
    instances,
    job_of,
    list_steps,
    one_line,
    paged,
)
from trapline.launching.aws.logs import JobLog, LogLine
from trapline.launching.terminal import Prefixed, Screen, TrainingProgress, duration, prefixed
from trapline.metrics import read_line

POLL = 10.0  # seconds between looks at a running job or execution
LAST_LOOKS = 6  # at most, for the rest of the log of a job that has ended


class Interrupted(TraplineError):
    """Ctrl-C at a moment when something goes on without the launcher, or is left behind."""

    exit_code = 130


@contextlib.contextmanager
def interruptible(kind: str, name: str) -> Iterator[threading.Event]:
    """While a job is sent and waited for: Ctrl-C becomes Interrupted, which says what goes on.

    `kind`: training, processing, transform or tuning. The event is to be set once AWS has taken the job.
    """
    sent = threading.Event()
    try:
        yield sent
    except KeyboardInterrupt:
        job = JOB_KINDS[kind]
        raise Interrupted(
            f"interrupted; the {kind} job {name} goes on; take it up again with: {follow_command(name)}; "
            f"stop it with: {job.command('stop', name)}"
            if sent.is_set()
            else f"interrupted while the {kind} job was sent; whether it runs says: "
            f"{job.command('describe', name)}"
        ) from None


def follow_command(name: str) -> str:
    """The command that takes up again a job, by its name, or an execution of a pipeline, by its ARN."""
    return f"python launch/follow.py {name}"


def follow_job(clients: Clients, kind: str, name: str, tail: int | None = None) -> dict[str, Any]:
    """Show what a `training`, `processing`, `transform` or `tuning` job does until it ends, whatever the end.

    tail: how many lines of each stream of the log that is there come first; None: all of it. Returns the
    job's last description. Raises TraplineError where AWS no longer answers, as when the sign-in ends before
    the job, which goes on then.
    """
    with taken_up_again(f"{kind} job", name), contextlib.closing(Screen()) as screen:
        job = JOB_KINDS[kind]
        contact = Contact(f"{kind} job {name}", screen.line)
        display = make_display(clients, job, name, screen, contact, tail)
        first = described = contact.ask(lambda: job.describe(clients.sagemaker, name))
        display.show(described)
        while not has_ended(job, described):
            interruption.pause(POLL)
            described = contact.ask(lambda: job.describe(clients.sagemaker, name))
            display.show(described)
        display.end(described, seen_running=described is not first)
        return described


@contextlib.contextmanager
def taken_up_again(kind: str, name: str) -> Iterator[None]:
    """Where AWS no longer answers while something is waited for: say that it goes on, and how to see it.

    `kind`: as in `training job`.
    """
    try:
        yield
    except Exception as error:
        understood = explain(error, f"waiting for the {kind} {name}")
        if understood is None:
            raise
        raise TraplineError(
            f"{understood}; the {kind.split()[-1]} goes on; take it up again with: {follow_command(name)}"
        ) from error


class LogDisplay:
    """A job's log, its states among the lines, and how far its training is."""

    def __init__(self, log: JobLog, screen: Screen, contact: Contact) -> None:
        self.screen, self.contact = screen, contact
        self.log: JobLog | None = log  # None: without it, as where access to it is denied
        self.said: set[tuple[int, str, str]] = set()
        self.progress: TrainingProgress | None = None
        self.machines: set[str] = set()

    def show(self, described: Mapping[str, Any]) -> None:
        """Show the states and lines that are new, by time."""
        if self.progress is None and (number := epochs(described)):
            begun = described.get("TrainingStartTime") or described["CreationTime"]
            self.progress = TrainingProgress(number, begun.timestamp())
        if instances(described) > 1:
            self.machines.add("")  # more than one, even before the second has said anything
        states = self._new_states(described)
        for lines in self._new_lines():
            due = [state for state in states if state.moment <= lines[-1].moment]
            states = states[len(due) :]
            self._show_lines(heapq.merge(due, lines, key=lambda line: line.moment))
        self._show_lines(states)

    def end(self, described: Mapping[str, Any], *, seen_running: bool) -> None:
        """Show the rest of the log, which comes some seconds late, and the bill."""
        late = self.log and (seen_running or self.contact.lost is not None)
        for _ in range(LAST_LOOKS if late else 0):
            interruption.pause(POLL)
            self.show(described)
            if self.contact.lost is None:
                break
        if self.log is not None:
            self._show_lines(self.log.rest())
        if self.contact.lost is not None:
            self.screen.line(f"{self.contact.subject}: the rest of it could not be read")
        if said := bill(described):
            self.screen.line(said)

    def _new_states(self, described: Mapping[str, Any]) -> list[LogLine]:
        found = []
        for place, state in enumerate(described.get("SecondaryStatusTransitions") or []):
            status, message = state["Status"], state.get("StatusMessage") or ""
            if (place, status, message) not in self.said:
                self.said.add((place, status, message))
                if status == "Interrupted":
                    then = (
                        "goes on from its checkpoint"
                        if checkpoints(described)
                        else "begins again (it has no checkpoints)"
                    )
                    message = f"the spot machine was taken back; the job waits for another and {then}"
                said = f"{status}: {one_line(message)}" if message else status
                found.append(LogLine(state["StartTime"].timestamp(), said, state=status))
        return found

    def _new_lines(self) -> Iterator[list[LogLine]]:
        """The new lines of the log, as far as it can be read; the next look reads on."""
        if self.log is None:
            return
        try:
            self.log.look()
            while lines := self.log.read():
                yield lines
            self.contact.well()
        except Exception as error:
            understood = explain(error, self.contact.subject)
            if understood is None or is_signed_out(error):
                raise
            if will_pass(error):
                self.contact.trouble(error)
            else:
                self.screen.line(f"{understood}; waiting without it")
                self.log = None

    def _show_lines(self, lines: Iterable[LogLine]) -> None:
        for line in lines:
            if line.state:
                self.screen.line(f"== {line.text}")
                if self.progress and line.state in LOST:
                    self.progress.restart(line.moment)
                continue
            self.machines.add(line.machine)
            text = without_credentials(line.text)
            self.screen.line(prefixed(line.machine, text) if len(self.machines) > 1 else text)
            values = read_line(line.text)
            if self.progress and "epoch" in values:
                self.screen.progress(self.progress.status(values, line.moment))


class TuningDisplay:
    """A line for each state of each training job, and after what is new how far the search is."""

    def __init__(self, client: Any, name: str, screen: Screen, contact: Contact) -> None:
        self.client, self.name, self.screen, self.contact = client, name, screen, contact
        self.said: dict[str, str] = {}
        self.status = ""

    def show(self, described: Mapping[str, Any]) -> None:
        """Show the states that are new, and how far the search is."""
        children = self.contact.ask(
            lambda: paged(
                self.client,
                "list_training_jobs_for_hyper_parameter_tuning_job",
                "TrainingJobSummaries",
                HyperParameterTuningJobName=self.name,
                SortBy="CreationTime",
                SortOrder="Ascending",
            )
        )
        for child in children:
            name, state = child["TrainingJobName"], child["TrainingJobStatus"]
            if self.said.get(name) != state:
                self.said[name] = state
                self.screen.line(f"== {describe_child(child)}")
        status = how_far(described)
        if status != self.status:
            self.status = status
            self.screen.progress(status)

    def end(self, described: Mapping[str, Any], *, seen_running: bool) -> None:
        """Say which training job was best."""
        if best := described.get("BestTrainingJob"):
            self.screen.line(f"best: {describe_child(best)}")


JobDisplay = LogDisplay | TuningDisplay


def make_display(
    clients: Clients, kind: JobKind, name: str, screen: Screen, contact: Contact, tail: int | None
) -> JobDisplay:
    """The display of a job of this kind."""
    if kind is TUNING:
        return TuningDisplay(clients.sagemaker, name, screen, contact)
    return LogDisplay(
        JobLog(clients.logs, kind.log_group or "", name, tail),
        screen,
        Contact(f"log of {kind.name} job {name}", screen.line),
    )


# --- executions of a pipeline -------------------------------------------------------------------------------

RUNNING = ("Executing", "Stopping")
NOT_ENDED = ("Starting", *RUNNING)  # of a step


def wait_for_execution(clients: Clients, arn: str, tail: int | None = None) -> None:
    """Show the steps of an execution and the logs of their jobs, until it ends.

    tail: how many lines of each stream of the logs that are there come first; None: all of them.

    Raises TraplineError in the words of the step that failed, where Stopped is a failure; Interrupted at
    Ctrl-C, which leaves the execution running.
    """
    try:
        with taken_up_again("execution", arn), contextlib.closing(Screen()) as screen:
            status, steps, reason = _watch(clients, arn, tail, screen)
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted; the execution goes on; take it up again with: {follow_command(arn)}; "
            f"stop it with: aws sagemaker stop-pipeline-execution --pipeline-execution-arn {arn}"
        ) from None
    if status != "Succeeded":
        reasons = "; ".join(
            f"step {step['StepName']}: {step_row(step)[3]}" for step in steps if step.get("FailureReason")
        )
        unsaid = "on request, before its end" if status == "Stopped" else "no reason given"
        raise TraplineError(f"execution {arn}: {status} ({reasons or reason or unsaid})")


def _watch(
    clients: Clients, arn: str, tail: int | None, screen: Screen
) -> tuple[str, list[dict[str, Any]], str]:
    """Show the steps until the execution ends. Returns its status, steps, and what AWS says of the end."""
    client = clients.sagemaker
    contact = Contact(f"execution {arn.rpartition('/')[2]}", screen.line)
    logs = StepLogs(clients, contact, tail)
    said: set[str] = set()
    while True:
        described = contact.ask(lambda: client.describe_pipeline_execution(PipelineExecutionArn=arn))
        steps = contact.ask(lambda: list_steps(client, arn))
        for step in (step for step in steps if step["StepName"] not in said):
            logs.show(step)
            if step["StepStatus"] not in NOT_ENDED:
                said.add(step["StepName"])
                screen.line(f"== {' '.join(part for part in step_row(step) if part)}")
        status = described["PipelineExecutionStatus"]
        if status not in RUNNING:
            return status, steps, one_line(described.get("FailureReason", ""))
        interruption.pause(POLL)


class StepLogs:
    """The logs of an execution's jobs; each line bears its step's name."""

    def __init__(self, clients: Clients, contact: Contact, tail: int | None) -> None:
        self.clients, self.contact, self.tail = clients, contact, tail
        self.displays: dict[str, JobDisplay] = {}  # by job: a step that is tried again has another
        self.refused: set[str] = set()  # names of jobs that may not be looked at

    def show(self, step: Mapping[str, Any]) -> None:
        """Show what is new in the log of a step's job; the rest of it once the step has ended."""
        kind, name = _job_of(step) or (None, "")
        if kind is None or name in self.refused:
            return
        begun = name in self.displays
        if not begun:
            # No status line: lines of several steps follow one another.
            screen = Screen(Prefixed(step["StepName"], sys.stdout))  # type: ignore[arg-type]
            screen.line(f"== {kind.name} job {name}")
            contact = Contact(f"{kind.name} job {name}", screen.line)
            self.displays[name] = make_display(self.clients, kind, name, screen, contact, self.tail)
        try:
            described = self.contact.ask(lambda: kind.describe(self.clients.sagemaker, name))
        except Exception as error:
            understood = explain(error, f"{kind.name} job {name}")
            if understood is None or is_signed_out(error):
                raise
            self.refused.add(name)
            self.contact.say(f"{understood}; waiting without its log")
            return
        self.displays[name].show(described)
        if step["StepStatus"] not in NOT_ENDED:
            self.displays[name].end(described, seen_running=begun)


def _job_of(step: Mapping[str, Any]) -> tuple[JobKind, str] | None:
    """The job that a step runs; None for a step without one, and one whose result comes from the cache."""
    if step.get("CacheHitResult"):
        return None
    arns = (made.get("Arn", "") for made in step.get("Metadata", {}).values() if isinstance(made, dict))
    return next((job for arn in arns if (job := job_of(arn))), None)


def step_row(step: dict[str, Any]) -> list[str]:
    """A step's name, state, time and reason of failure; empty where it has none."""
    start, end = step.get("StartTime"), step.get("EndTime")
    seconds = duration((end - start).total_seconds()) if start and end else ""
    return [step["StepName"], step["StepStatus"], seconds, one_line(step.get("FailureReason", ""))]


def outcome_of(step: Mapping[str, Any]) -> str:
    """What a condition has come to, True or False; empty for a step that is none, or has not ended."""
    return str(step.get("Metadata", {}).get("Condition", {}).get("Outcome", ""))
