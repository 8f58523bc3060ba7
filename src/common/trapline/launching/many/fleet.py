"""Many training jobs on AWS, so many at a time: started without waiting, looked at, taken up again by name.

The state file names each job before it is sent. The same command finds what runs, starts what is missing,
and tries again what has failed.
"""

import calendar
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from trapline.errors import TraplineError, UsageError
from trapline.launching.aws.account import Account, signed_in
from trapline.launching.aws.backend import training_job
from trapline.launching.aws.contact import NEW_FOR, Clients, Contact, ask_until_known, make_clients
from trapline.launching.aws.errors import WITHOUT_ACCOUNT, explain, explained, is_absent
from trapline.launching.aws.job_kinds import COMPLETED, PROCESSING, TRAINING, has_ended, reason
from trapline.launching.aws.recording import show_requests
from trapline.launching.aws.sending import launch, run_job
from trapline.launching.aws.waiting import POLL, Interrupted, follow_job
from trapline.launching.job_requests import NAME_LENGTH, Job, PrepareJob, TrainingJob, prepare_job_name
from trapline.launching.many.job_list import STATE, LabelledPlan, Many
from trapline.launching.many.kept import keep_end
from trapline.launching.many.one_by_one import is_complete, with_set
from trapline.launching.plan import Plan
from trapline.launching.terminal import Screen
from trapline.storage import read_json, write_json

if TYPE_CHECKING:
    import boto3

STAMP = "%y%m%d%H%M%S"  # UTC; makes the name of a job one that the account has not had
STAMP_LENGTH = 12
STAMPED = re.compile(rf"-(\d{{{STAMP_LENGTH}}})(-[a-z]+)?$")  # the end of the name of a job, prepare jobs too
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


class InParallel:
    """Runs many jobs on AWS, `many.parallel` at a time."""

    def check(self, many: Many) -> None:
        """Raise UsageError where the jobs would have names that SageMaker does not take."""
        longest = max(len(job.label) for job in many.jobs)
        room = NAME_LENGTH - longest - STAMP_LENGTH - 2
        if len(many.name) > room:
            raise UsageError(
                f"--job-name {many.name}: with the names of its jobs it is too long for SageMaker; give one "
                f"of at most {room} characters"
            )

    def run(self, many: Many, ended: Callable[[str], None]) -> None:
        """Run the jobs that are not complete.

        Raises Interrupted on Ctrl-C, which leaves the jobs running, and TraplineError where AWS refuses.
        """
        state = State(many)

        def send(plan: Plan, account: Account, jobs: Sequence[Job]) -> None:
            del plan
            if isinstance(jobs[0], PrepareJob):
                run_job(jobs[0], account)
            lead = jobs[-1]
            assert isinstance(lead, TrainingJob)
            state.note(prepared=lead.prepared)
            Fleet(many, state, account, lead, ended).run()

        launch(_lead(many, state), partial(training_jobs, many), send)

    def show_requests(self, many: Many) -> None:
        """Print the requests of all jobs, and what they may cost."""
        self.check(many)
        show_requests(many.lead, partial(training_jobs, many))


def training_jobs(many: Many, plan: Plan, account: Account, lead: TrainingJob) -> list[TrainingJob]:
    """All jobs, in the place of the training `lead`, under the names that they have in a dry run."""
    del plan
    return [_training_job(job, f"{many.name}-{job.label}", account, lead) for job in many.jobs]


def _training_job(job: LabelledPlan, name: str, account: Account, lead: TrainingJob) -> TrainingJob:
    own = replace(with_set(job.plan, lead.prepared), job_name=name)
    return training_job(own, account, lead.code)


def _lead(many: Many, state: State) -> Plan:
    """The launch to begin with: with the set that an earlier call has prepared, or prepares just now."""
    prepared, sent = state.content.get("prepared"), state.content.get("prepare")
    if sent and not prepared:
        with explained(f"processing job {sent}", WITHOUT_ACCOUNT):
            prepared = _earlier_set(signed_in(), sent)
    if prepared or many.lead.prepared:
        return with_set(many.lead, prepared or str(many.lead.prepared))
    name = f"{many.name}-{_stamp()}"
    state.note(prepare=prepare_job_name(name))
    return replace(many.lead, job_name=name)


def _earlier_set(session: "boto3.Session", name: str) -> str | None:
    """The set that the prepare job has made, waited for where it runs; None where there is none."""
    clients = make_clients(session)
    try:
        ask_until_known(
            lambda: PROCESSING.describe(clients.sagemaker, name),
            f"processing job {name}",
            patience=_patience(name),
        )
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


def _patience(name: str) -> float:
    """For how many seconds AWS may still come to know the job that an earlier call was about to send."""
    stamped = STAMPED.search(name)
    try:
        sent = calendar.timegm(time.strptime(stamped[1] if stamped else "", STAMP))
    except ValueError:
        return 0.0
    return min(NEW_FOR, max(0.0, sent + NEW_FOR - time.time()))


class Fleet:
    """The jobs on their way: those that wait for a place, and those that run."""

    def __init__(
        self, many: Many, state: State, account: Account, lead: TrainingJob, watch: Callable[[str], None]
    ) -> None:
        self.many, self.state, self.account, self.lead, self.watch = many, state, account, lead, watch
        self.screen = Screen()
        self.contact = Contact(f"the jobs of {many.name}", self.screen.line)
        self.clients: Clients = make_clients(account.boto_session)
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
            described = self._described(name, _patience(name)) if name else None
            if name and described and not has_ended(TRAINING, described):
                self.running[label] = name
                self.screen.line(f"{label}: {name} runs already")
            elif described and TRAINING.status(described) == COMPLETED:
                self._ended(label, described)
            else:  # never sent, or it has failed: it goes on from its checkpoint
                self.waiting.append(label)

    def _described(self, name: str, patience: float = NEW_FOR) -> dict[str, Any] | None:
        """What AWS says of a job; None where there is none of this name, also after `patience` seconds."""
        try:
            found: dict[str, Any] = self.contact.ask(
                lambda: TRAINING.describe(self.clients.sagemaker, name), patience
            )
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
                self.account.start(_training_job(self.jobs[label], name, self.account, self.lead))
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
