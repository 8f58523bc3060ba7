"""Many training jobs on AWS, so many at a time: started without waiting, looked at, taken up again by name.

The state file names each job before it is sent. The same command finds what runs, starts what is missing,
and tries again what has failed.
"""

import calendar
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trapline import interruption
from trapline.errors import TraplineError, UsageError
from trapline.launching.aws.account import Account, signed_in
from trapline.launching.aws.backend import launch, run_job, show_requests, training_job
from trapline.launching.aws.errors import WITHOUT_ACCOUNT, explain, explained, suppressed
from trapline.launching.aws.jobs import (
    COMPLETED,
    NEW_FOR,
    PROCESSING,
    TRAINING,
    Clients,
    Contact,
    ask_until_known,
    bill,
    has_ended,
    make_clients,
    reason,
)
from trapline.launching.aws.waiting import POLL, Interrupted, follow_job
from trapline.launching.fetching import DESCRIPTION, METRICS, RECORD, opened, run_of_job
from trapline.launching.many.jobs import STATE, TEST, LabelledPlan, Many, is_complete, with_set
from trapline.launching.plan import NAME_LENGTH, Job, Plan, PrepareJob, TrainingJob, prepare_job_name
from trapline.launching.terminal import Screen
from trapline.storage import atomic_file, read_json, write_json
from trapline.unpacking import read_text

if TYPE_CHECKING:
    import boto3

STAMP = "%y%m%d%H%M%S"  # UTC; makes the name of a job one that the account has not had
STAMP_LENGTH = 12
STAMPED = re.compile(rf"-(\d{{{STAMP_LENGTH}}})(-[a-z]+)?$")  # the end of the name of a job, prepare jobs too


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


class InParallel:
    """Runs many jobs on AWS, `many.parallel` at a time."""

    def check(self, many: Many) -> None:
        """Raise UsageError where the jobs would have names that SageMaker does not take."""
        room = NAME_LENGTH - max(len(job.label) for job in many.jobs) - STAMP_LENGTH - 2
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

        def send(_plan: Plan, account: Account, jobs: Sequence[Job]) -> None:
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


def training_jobs(many: Many, _plan: Plan, account: Account, lead: TrainingJob) -> list[TrainingJob]:
    """All jobs, in the place of the training `lead`, under the names that they have in a dry run."""
    return [_training_job(job, f"{many.name}-{job.label}", account, lead) for job in many.jobs]


def _training_job(job: LabelledPlan, name: str, account: Account, lead: TrainingJob) -> TrainingJob:
    return training_job(replace(with_set(job.plan, lead.prepared), job_name=name), account, lead.code)


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
    subject, patience = f"processing job {name}", _patience(name)
    if not _there(
        lambda: ask_until_known(
            lambda: PROCESSING.describe(clients.sagemaker, name), subject, patience=patience
        )
    ):
        return None  # it was never sent
    print(f"processing job: {name} (of the earlier call)", flush=True)
    described = follow_job(clients, PROCESSING.name, name)
    if PROCESSING.status(described) != COMPLETED:
        print(f"{name}: {reason(PROCESSING, described)}; the data are prepared again", flush=True)
        return None
    return str(described["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"])


def _there(asked: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """What AWS says of a job; None where it says that there is none."""
    with suppressed(absent=True):
        return asked()
    return None


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
                ended = len(self.jobs) - len(self.waiting) - len(self.running)
                self.screen.progress(
                    f"progress: {ended} of {len(self.jobs)} jobs ended, {len(self.running)} running"
                )
                if self.running:
                    interruption.pause(POLL)
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
            name = self.state.content["jobs"].get(label)
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
        return _there(
            lambda: self.contact.ask(lambda: TRAINING.describe(self.clients.sagemaker, name), patience)
        )

    def _fill(self) -> None:
        """Send jobs as long as there is a place for one, here and in the account's quota."""
        while self.waiting and len(self.running) < self.many.parallel:
            label = self.waiting[0]
            name = f"{self.many.name}-{label}-{_stamp()}"
            self.state.note(jobs={**self.state.content["jobs"], label: name})
            self.running[label] = name  # before it is sent: Ctrl-C may come when AWS has taken it
            try:
                self.account.start(_training_job(self.jobs[label], name, self.account, self.lead))
            except TraplineError as error:
                del self.running[label]
                code = getattr(error.__cause__, "response", {}).get("Error", {}).get("Code")
                if not self.running or code != "ResourceLimitExceeded":
                    raise  # else the account may have no more of its machines at a time
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

    def _left(self, said: str) -> str:
        """What happened, and what becomes of the jobs."""
        if not self.running:
            return f"{said}; no job runs; the same command goes on"
        names = list(self.running.values())
        return (
            f"{said}; what runs goes on ({', '.join(names)}), and the same command takes it up again; a job "
            f"is stopped as with: {TRAINING.command('stop', names[0])}"
        )


def keep_end(job: LabelledPlan, folder: Path, described: Mapping[str, Any]) -> str:
    """Write into `folder` how a job has ended, and what it has left. Returns that in a line.

    A job whose results cannot be read counts as failed until they can.
    """
    status = TRAINING.status(described)
    said = bill(described) or "the time it took is not known"
    failure = None if status == COMPLETED else reason(TRAINING, described)
    if failure is None:
        try:
            _keep_results(folder, described)
        except TraplineError as error:
            failure, status = f"its results cannot be read ({error})", "Failed"
    write_json(folder / RECORD, {**_record(job, described), "status": status, "failure_reason": failure})
    return f"{status}; {said}" if failure is None else f"{status} ({failure}); {said}"


def _keep_results(folder: Path, described: Mapping[str, Any]) -> None:
    run = run_of_job(described)
    for place, name in ((run.model, DESCRIPTION), (run.history, METRICS), (run.history, TEST)):
        if place is None:
            raise TraplineError(f"training job {run.name}: AWS does not say where its {name} lies")
        with opened(place) as stream:
            text = read_text(stream, str(place), (name, f"data/{name}"))
        if text is None and name != TEST:
            raise TraplineError(f"{place}: holds no {name}")
        if text is not None:
            with atomic_file(folder / name, "w", encoding="utf-8") as file:
                file.write(text)


def _record(job: LabelledPlan, described: Mapping[str, Any]) -> dict[str, Any]:
    """job.json, as a launch here writes it, and what the machines cost."""
    machines = described.get("ResourceConfig") or {}
    return {
        "job_name": described["TrainingJobName"],
        "experiment": job.plan.experiment.name,
        "backend": "aws",
        "hyperparameters": job.plan.config.record(),
        "instance_type": machines.get("InstanceType"),
        "instance_count": machines.get("InstanceCount", 1),
        "billable_s": described.get("BillableTimeInSeconds"),
        "training_s": described.get("TrainingTimeInSeconds"),
        "metrics": dict(run_of_job(described).metrics),
        "model": (described.get("ModelArtifacts") or {}).get("S3ModelArtifacts"),
    }
