"""Many training jobs on AWS, so many at a time: started without waiting, looked at, taken up again by name.

The state file names each job before it is sent. The same command finds what runs, starts what is missing,
and tries again what has failed.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from common.errors import TraplineError, UsageError
from common.storage import read_json, write_json
from launch.aws import backend as aws_backend
from launch.aws.backend import WITHOUT_ACCOUNT, Account
from launch.aws.contact import Clients, Contact, make_clients
from launch.aws.errors import explain, explained, is_absent
from launch.aws.jobs import COMPLETED, PROCESSING, TRAINING, has_ended, reason
from launch.aws.waiting import POLL, Interrupted, follow_job
from launch.flags import Plan
from launch.jobs import NAME_LENGTH, TrainingJob, prepare_job_name
from launch.many.here import is_complete, with_set
from launch.many.jobs import STATE, Job, Many
from launch.many.kept import keep_end
from launch.terminal import Screen

if TYPE_CHECKING:
    import boto3
    from sagemaker.pytorch import PyTorch

STAMP = "%y%m%d%H%M%S"  # UTC; makes the name of a job one that the account has not had
STAMP_LENGTH = 12
NO_ROOM = "ResourceLimitExceeded"


class State:
    """The state file: the name under which each job was sent, and that of the prepare job."""

    def __init__(self, many: Many) -> None:
        self.path = many.folder / STATE
        self.content: dict[str, Any] = read_json(self.path)
        self.content.setdefault("jobs", {})

    def note(self, **changes: Any) -> None:
        """Change keys and write the file."""
        self.content |= changes
        write_json(self.path, self.content)

    def name_of(self, label: str) -> str | None:
        """The name under which the job was sent last."""
        name = self.content["jobs"].get(label)
        return str(name) if name else None

    def sent_as(self, label: str, name: str) -> None:
        """Remember the name of a job that is about to be sent."""
        self.note(jobs={**self.content["jobs"], label: name})


def check_names(many: Many) -> None:
    """Raise UsageError where the jobs would have names that SageMaker does not take."""
    longest = max(len(job.label) for job in many.jobs)
    room = NAME_LENGTH - longest - STAMP_LENGTH - 2
    if len(many.name) > room:
        raise UsageError(
            f"--job-name {many.name}: with the names of its jobs it is too long for SageMaker; give one of "
            f"at most {room} characters"
        )


def run_on_aws(many: Many, watch: Callable[[str], None]) -> None:
    """Run the jobs, `many.parallel` at a time, and call `watch` with the label of each that has ended.

    Raises Interrupted on Ctrl-C, which leaves the jobs running, and TraplineError where AWS refuses.
    """
    state = State(many)
    lead = _lead(many, state)
    aws_backend.launch(lead, starter(many, state, watch), goes_on=True)


def starter(
    many: Many, state: State | None = None, watch: Callable[[str], None] = lambda _: None
) -> aws_backend.Start:
    """What sends the jobs once the data are prepared; in a dry run, which needs no state, without waiting."""

    def start(plan: Plan, account: Account, estimator: "PyTorch", lead: TrainingJob) -> None:
        del estimator  # of the lead: it has shown that image and machine are possible
        if plan.dry_run:
            for job in many.jobs:
                _submit(job, f"{many.name}-{job.label}", account, lead)
            return
        assert state is not None
        state.note(prepared=lead.prepared)
        _Fleet(many, state, account, lead, watch).run()

    return start


def _submit(job: Job, name: str, account: Account, lead: TrainingJob) -> None:
    own = replace(with_set(job.plan, lead.prepared), job_name=name)
    training = aws_backend.training_job(own, account, lead.code)
    aws_backend.submit(aws_backend.estimator_of(training, account), training)


def _lead(many: Many, state: State) -> Plan:
    """The launch to begin with: with the set that an earlier call has prepared, or prepares just now."""
    prepared, sent = state.content.get("prepared"), state.content.get("prepare")
    if sent and not prepared:
        with explained(f"processing job {sent}", WITHOUT_ACCOUNT):
            prepared = _earlier_set(aws_backend.signed_in(), sent)
    if prepared or many.lead.prepared:
        return with_set(many.lead, prepared or str(many.lead.prepared))
    name = f"{many.name}-{_stamp()}"
    state.note(prepare=prepare_job_name(name))
    return replace(many.lead, job_name=name)


def _earlier_set(session: "boto3.Session", name: str) -> str | None:
    """The set that the prepare job has made, waited for where it runs; None where there is none."""
    clients = make_clients(session)
    try:
        PROCESSING.describe(clients.sagemaker, name)
    except Exception as error:
        if is_absent(error):
            return None  # it was never sent
        raise
    print(f"processing job: {name} (of the earlier call)", flush=True)
    described = follow_job(clients, PROCESSING.name, name)
    if PROCESSING.status(described) != COMPLETED:
        print(f"{name}: {reason(PROCESSING, described)}; the data are prepared again", flush=True)
        return None
    outputs = described["ProcessingOutputConfig"]["Outputs"]
    return str(outputs[0]["S3Output"]["S3Uri"])


def _stamp() -> str:
    return time.strftime(STAMP, time.gmtime())


class _Fleet:
    """The jobs on their way: those that wait for a place, and those that run."""

    def __init__(
        self, many: Many, state: State, account: Account, lead: TrainingJob, watch: Callable[[str], None]
    ) -> None:
        self.many, self.state, self.account, self.lead, self.watch = many, state, account, lead, watch
        self.screen = Screen()
        self.contact = Contact(f"the jobs of {many.name}", self.screen.line)
        self.clients: Clients = make_clients(account.session.boto_session)
        self.jobs = {job.label: job for job in many.jobs}
        self.waiting: list[str] = []
        self.running: dict[str, str] = {}  # label -> name of the job
        self.said: dict[str, str] = {}  # label -> the state that was shown last

    def run(self) -> None:
        """Find what earlier calls have started, and run the rest to its end."""
        try:
            self._find()
            while self.waiting or self.running:
                self._fill()
                self.screen.progress(self._how_far())
                if self.running:
                    time.sleep(POLL)
                self._look()
        except KeyboardInterrupt:
            raise Interrupted(self._left("interrupted")) from None
        except Exception as error:
            understood = error if isinstance(error, TraplineError) else explain(error, self.contact.subject)
            if understood is None:
                raise
            raise type(understood)(self._left(str(understood))) from error
        finally:
            self.screen.close()

    def _find(self) -> None:
        for label in self.jobs:
            name = self.state.name_of(label)
            described = self._described(name) if name else None
            if name and described and not has_ended(TRAINING, described):
                self.running[label] = name
                self.screen.line(f"{label}: {name} runs already")
            elif described and TRAINING.status(described) == COMPLETED:
                self._ended(label, described)
            else:  # never sent, or it has failed: it goes on from its checkpoint
                self.waiting.append(label)

    def _described(self, name: str) -> dict[str, Any] | None:
        """What AWS says of a job; None where there is none of this name."""
        try:
            found: dict[str, Any] = self.contact.ask(lambda: TRAINING.describe(self.clients.sagemaker, name))
        except Exception as error:
            if is_absent(error):
                return None
            raise
        return found

    def _fill(self) -> None:
        """Send jobs as long as there is a place for one, here and in the account's quota."""
        while self.waiting and len(self.running) < self.many.parallel:
            label = self.waiting[0]
            name = f"{self.many.name}-{label}-{_stamp()}"
            self.state.sent_as(label, name)
            self.running[label] = name  # before it is sent: Ctrl-C may come when AWS has taken it
            try:
                _submit(self.jobs[label], name, self.account, self.lead)
            except TraplineError as error:
                del self.running[label]
                if not self.running or not _no_room(error):
                    raise
                self._say_once(label, f"waits until another job has ended ({error})")
                return
            self.waiting.pop(0)
            self._say_once(label, f"training job {name}")

    def _look(self) -> None:
        for label, name in list(self.running.items()):
            described = self._described(name)
            if described is None:
                raise TraplineError(f"training job {name}: AWS no longer knows it")
            if has_ended(TRAINING, described):
                del self.running[label]
                self._ended(label, described)
            else:
                self._say_once(label, str(described.get("SecondaryStatus")))

    def _say_once(self, label: str, state: str) -> None:
        if self.said.get(label) != state:
            self.said[label] = state
            self.screen.line(f"{label}: {state}")

    def _ended(self, label: str, described: dict[str, Any]) -> None:
        folder = self.many.folder / label
        if not is_complete(folder):
            self.screen.line(f"{label}: {keep_end(self.jobs[label], folder, described)}")
        self.watch(label)

    def _how_far(self) -> str:
        ended = len(self.jobs) - len(self.waiting) - len(self.running)
        return f"progress: {ended} of {len(self.jobs)} jobs ended, {len(self.running)} running"

    def _left(self, said: str) -> str:
        """What happened, and what becomes of the jobs."""
        if not self.running:
            return f"{said}; no job runs; the same command goes on"
        names = list(self.running.values())
        return (
            f"{said}; what runs goes on ({', '.join(names)}), and the same command takes it up again; a job "
            f"is stopped as with: {TRAINING.command('stop', names[0])}"
        )


def _no_room(error: TraplineError) -> bool:
    """Whether AWS refused a job because the account may have no more of its machines at a time."""
    answer = getattr(error.__cause__, "response", {})
    return bool(answer.get("Error", {}).get("Code") == NO_ROOM)
