"""A running job on AWS: what it does until it ends, how it ended, and how it is left and taken up again."""

import contextlib
import heapq
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from trapline.errors import TraplineError
from trapline.launching.aws import job_kinds
from trapline.launching.aws.contact import Clients, Contact, make_clients
from trapline.launching.aws.errors import explain, is_signed_out, will_pass
from trapline.launching.aws.job_kinds import JOB_KINDS, TUNING, JobKind
from trapline.launching.aws.logs import JobLog, LogLine
from trapline.launching.aws.redaction import without_credentials
from trapline.launching.prefixed import prefixed
from trapline.launching.terminal import Screen, TrainingProgress
from trapline.metrics import read_line

if TYPE_CHECKING:
    import boto3

POLL = 10.0  # seconds between looks at a running job
LAST_LOOKS = 6  # at most, for the rest of the log of a job that has ended


class Interrupted(TraplineError):
    """Ctrl-C at a moment when something goes on without the launcher, or is left behind."""

    exit_code = 130


@dataclass
class Sending:
    """Whether AWS has taken the job."""

    sent: bool = False


@contextlib.contextmanager
def interruptible(kind: str, name: str) -> Iterator[Sending]:
    """While a job is sent and waited for: Ctrl-C becomes Interrupted, which says what goes on.

    `kind`: training, processing, transform or tuning.
    """
    sending = Sending()
    try:
        yield sending
    except KeyboardInterrupt:
        job = JOB_KINDS[kind]
        if sending.sent:
            said = (
                f"interrupted; the {kind} job {name} goes on; take it up again with: {follow_command(name)}; "
                f"stop it with: {job.command('stop', name)}"
            )
        else:
            said = (
                f"interrupted while the {kind} job was sent; whether it runs says: "
                f"{job.command('describe', name)}"
            )
        raise Interrupted(said) from None


def follow_command(name: str) -> str:
    """The command that takes up again a job, by its name, or an execution of a pipeline, by its ARN."""
    return f"python launch/follow.py {name}"


def wait_for_job(session: "boto3.Session", kind: str, name: str) -> None:
    """Show what a `training`, `processing`, `transform` or `tuning` job does until it ends.

    Raises TraplineError unless the job is Completed (Stopped is a failure), and where AWS no longer
    answers, as when the sign-in ends before the job, which goes on then.
    """
    described = follow_job(make_clients(session), kind, name)
    job_kinds.require_completed(JOB_KINDS[kind], name, described)


def follow_job(clients: Clients, kind: str, name: str, tail: int | None = None) -> dict[str, Any]:
    """Show what a job does until it ends, whatever the end. Returns its last description.

    tail: how many lines of each stream of the log that is there come first; None: all of it.
    """
    with taken_up_again(f"{kind} job", name), contextlib.closing(Screen()) as screen:
        job = JOB_KINDS[kind]
        contact = Contact(f"{kind} job {name}", screen.line)
        display = make_display(clients, job, name, screen, contact, tail)
        first = described = contact.ask(lambda: job.describe(clients.sagemaker, name))
        display.show(described)
        while not job_kinds.has_ended(job, described):
            time.sleep(POLL)
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
        said = f"{understood}; the {kind.split()[-1]} goes on; take it up again with: {follow_command(name)}"
        raise TraplineError(said) from error


class JobDisplay(Protocol):
    """What is shown of one kind of job."""

    def show(self, described: Mapping[str, Any]) -> None:
        """Show what is new."""

    def end(self, described: Mapping[str, Any], *, seen_running: bool) -> None:
        """Show what comes last."""


def make_display(
    clients: Clients, kind: JobKind, name: str, screen: Screen, contact: Contact, tail: int | None
) -> JobDisplay:
    """The display of a job of this kind."""
    if kind is TUNING:
        from trapline.launching.aws.tuning_jobs import TuningDisplay

        return TuningDisplay(clients.sagemaker, name, screen, contact)
    log = JobLog(clients.logs, kind.log_group or "", name, tail)
    return LogDisplay(log, screen, Contact(f"log of {kind.name} job {name}", screen.line))


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
        if self.progress is None and (epochs := job_kinds.epochs(described)):
            self.progress = TrainingProgress(epochs, job_kinds.started(described))
        if job_kinds.instances(described) > 1:
            self.machines.add("")  # more than one, even before the second has said anything
        states = self._new_states(described)
        for lines in self._new_lines():
            due = [state for state in states if state.moment <= lines[-1].moment]
            states = states[len(due) :]
            self._show_lines(heapq.merge(due, lines, key=lambda line: line.moment))
        self._show_lines(states)

    def end(self, described: Mapping[str, Any], *, seen_running: bool) -> None:
        """Show the rest of the log, which comes some seconds late, and the bill."""
        looks = LAST_LOOKS if self.log and (seen_running or self.contact.lost is not None) else 0
        for _ in range(looks):
            time.sleep(POLL)
            self.show(described)
            if self.contact.lost is None:
                break
        if self.log is not None:
            self._show_lines(self.log.rest())
        if self.contact.lost is not None:
            self.screen.line(f"{self.contact.subject}: the rest of it could not be read")
        if said := job_kinds.bill(described):
            self.screen.line(said)

    def _new_states(self, described: Mapping[str, Any]) -> list[LogLine]:
        found = []
        for place, state in enumerate(described.get("SecondaryStatusTransitions") or []):
            status, message = state["Status"], state.get("StatusMessage") or ""
            if (place, status, message) not in self.said:
                self.said.add((place, status, message))
                said = _said(status, message, job_kinds.checkpoints(described))
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
                self._show_state(line)
            else:
                self._show_line(line)

    def _show_state(self, line: LogLine) -> None:
        self.screen.line(f"== {line.text}")
        if self.progress and line.state in job_kinds.LOST:
            self.progress.restart(line.moment)

    def _show_line(self, line: LogLine) -> None:
        self.machines.add(line.machine)
        text = without_credentials(line.text)
        self.screen.line(prefixed(line.machine, text) if len(self.machines) > 1 else text)
        values = read_line(line.text)
        if self.progress and "epoch" in values:
            self.screen.progress(self.progress.status(values, line.moment))


def _said(state: str, message: str, checkpoints: str | None) -> str:
    """A state that a job has entered, in words."""
    if state == "Interrupted":
        then = "goes on from its checkpoint" if checkpoints else "begins again (it has no checkpoints)"
        message = f"the spot machine was taken back; the job waits for another and {then}"
    return f"{state}: {job_kinds.one_line(message)}" if message else state
