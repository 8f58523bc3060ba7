"""Many jobs on AWS: so many at a time, each for itself, and found again by the same command."""

import itertools
import json
import re
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from launch.resnet18_baseline import EXPERIMENT
from tests.support.cloud import own_clock, refused
from tests.support.service import Service
from trapline.errors import TraplineError, UsageError
from trapline.launching.aws.errors import explained
from trapline.launching.aws.jobs import NEW_FOR, Clients
from trapline.launching.aws.waiting import Interrupted
from trapline.launching.flags import read_plan
from trapline.launching.many import fleet
from trapline.launching.many.fleet import Fleet, InParallel, State
from trapline.launching.many.jobs import STATE, LabelledPlan, Many, open_folder, read_outcome

AWS = ["--prepared", "s3://b/set", "--output", "s3://b/out", "--role", "arn:aws:iam::123456789012:role/T"]
LABELS = ("a", "b", "c", "d", "e")


@pytest.fixture
def clock(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return own_clock(monkeypatch)


@pytest.fixture
def run(monkeypatch, clock):
    """Run jobs against a service: (service, parallel, labels) -> the labels as they ended."""

    stamps = itertools.count(1)
    monkeypatch.setattr(fleet, "_stamp", lambda: f"{next(stamps):012d}")

    def call(service, parallel=2, labels=LABELS, sent=send):
        many = many_of(labels, parallel)
        if not (many.folder / STATE).exists():
            open_folder(many.folder / STATE, many.record(), many.what, "5 jobs")
        monkeypatch.setattr(fleet, "make_clients", lambda _: Clients(service, None))
        monkeypatch.setattr(fleet, "_training_job", lambda job, name, *_: name)
        monkeypatch.setattr(fleet, "keep_end", keep)
        ended = []
        account = SimpleNamespace(
            session=SimpleNamespace(boto_session=None), start=lambda name: sent(service, name)
        )
        lead = SimpleNamespace(prepared="s3://b/set")
        Fleet(many, State(many), account, lead, ended.append).run()
        return ended

    return call


def send(service, name):
    with explained(f"training job {name}"):
        service.create(name)


def keep(job, folder, described):
    """The record alone: what is in S3 has tests of its own."""
    folder.mkdir(exist_ok=True)
    record = {"status": described["TrainingJobStatus"], "failure_reason": described["FailureReason"]}
    (folder / "job.json").write_text(json.dumps(record))
    return record["status"]


def many_of(labels, parallel=None, name="many"):
    plan = read_plan(EXPERIMENT, AWS)
    jobs = [LabelledPlan(label, plan) for label in labels]
    return Many(name, "sweep", replace(plan, job_name=name, parallel=parallel), jobs)


def test_no_more_jobs_run_at_a_time_than_asked_for(run):
    service = Service()
    assert sorted(run(service, parallel=2)) == list(LABELS)
    assert service.sent == list(LABELS)
    assert service.most == 2


def test_a_job_that_fails_ends_itself_alone(run):
    service = Service(endings={"b": "Failed", "d": "Stopped"})
    assert sorted(run(service)) == list(LABELS)
    assert read_outcome("b", many_of(LABELS).folder / "b").status == "Failed"
    assert read_outcome("b", many_of(LABELS).folder / "b").reason == "it diverged"


def test_what_is_complete_is_not_sent_again_and_what_has_failed_is(run):
    service = Service(endings={"b": "Failed"})
    run(service)
    service.endings = {}
    assert sorted(run(service)) == list(LABELS)
    assert service.sent == [*LABELS, "b"]
    assert len(service.jobs) == 6  # another name: SageMaker takes none twice


def test_throttling_is_waited_out(run, clock, capsys):
    service = Service()
    service.troubles = [refused("ThrottlingException", "Rate exceeded")] * 3
    assert sorted(run(service)) == list(LABELS)
    said = capsys.readouterr().out
    assert said.count("AWS asks to slow down") == 1
    assert "AWS answers again" in said


def test_where_the_quota_has_no_room_a_job_waits_for_another_to_end(run, capsys):
    service = Service(quota=2)
    assert sorted(run(service, parallel=4)) == list(LABELS)
    assert service.most == 2
    assert "waits until another job has ended" in capsys.readouterr().out


def test_a_quota_of_no_machine_at_all_is_an_error(run):
    with pytest.raises(TraplineError, match="the account's quota does not allow it"):
        run(Service(quota=0))


def test_control_c_leaves_the_jobs_running_and_the_same_command_finds_them(run, clock):
    service = Service(looks=5)

    def interrupt():
        raise KeyboardInterrupt

    clock.then = interrupt
    with pytest.raises(Interrupted) as ended:
        run(service)
    assert ended.value.exit_code == 130
    assert re.search(r"what runs goes on \(many-a-\d+, many-b-\d+\), and the same command", str(ended.value))
    assert "aws sagemaker stop-training-job --training-job-name many-a-" in str(ended.value)
    clock.then = bool
    assert sorted(run(service)) == list(LABELS)
    assert service.sent == list(LABELS)


def test_control_c_while_a_job_is_sent_counts_it_as_sent(run):
    def taken_and_interrupted(service, name):
        service.create(name)
        raise KeyboardInterrupt

    service = Service()
    with pytest.raises(Interrupted, match=r"what runs goes on \(many-a-\d+\)"):
        run(service, sent=taken_and_interrupted)
    assert sorted(run(service)) == list(LABELS)
    assert service.sent == list(LABELS)


def test_where_aws_no_longer_answers_it_is_said_what_becomes_of_the_jobs(run):
    service = Service(looks=3)
    service.troubles = [refused("ExpiredTokenException", "expired")]
    with pytest.raises(
        TraplineError, match=r"the AWS session has expired.*what runs goes on.*the same command"
    ):
        run(service)


def test_names_that_sagemaker_would_not_take_are_refused_before_anything_starts():
    with pytest.raises(UsageError, match="at most 9 characters"):
        InParallel().check(many_of(["x" * 40], name="ten-letter"))
    InParallel().check(many_of(["x" * 40], name="nine-lett"))


class Slow(Service):
    """A service that knows a job some looks after it was sent."""

    def __init__(self, behind, **more):
        super().__init__(**more)
        self.behind, self.asked = behind, {}

    def describe_training_job(self, TrainingJobName):
        """A look at a job."""
        self.asked[TrainingJobName] = self.asked.get(TrainingJobName, 0) + 1
        if self.asked[TrainingJobName] <= self.behind:
            raise refused("ValidationException", "Requested resource not found.")
        return super().describe_training_job(TrainingJobName)


def test_a_job_that_aws_does_not_know_yet_does_not_end_the_others(run, capsys):
    service = Slow(behind=3, endings={"b": "Failed"})
    assert sorted(run(service, parallel=3)) == list(LABELS)
    assert service.sent == list(LABELS)
    assert "AWS does not know what it has just made" in capsys.readouterr().out


def test_a_job_that_aws_never_comes_to_know_is_an_error_after_a_while(run, clock):
    with pytest.raises(TraplineError, match=r"training job many-a-\d+: AWS no longer knows it.*the same com"):
        run(Slow(behind=1000))
    assert sum(clock.pauses) < 2 * NEW_FOR


def test_a_job_sent_just_before_the_command_was_killed_is_taken_up_and_not_sent_twice(run, clock):
    stamp = time.strftime(fleet.STAMP, time.gmtime())
    service = Slow(behind=4)
    service.create(f"many-a-{stamp}")
    many = many_of(LABELS)
    open_folder(many.folder / STATE, many.record(), many.what, "5 jobs")
    State(many).note(jobs={"a": f"many-a-{stamp}"})
    assert sorted(run(service)) == list(LABELS)
    assert service.sent == list(LABELS)
