"""A job on AWS is watched to its end, whatever the network does, and left without harm."""

import datetime
import io

import pytest
from botocore.exceptions import (
    ConnectionClosedError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError

from tests.support.cloud import (
    COMPLETED,
    NAME,
    START,
    STREAM,
    Cloud,
    metric_line,
    own_clock,
    refused,
    state,
    training,
)
from tests.support.interrupting import lose_ctrl_c
from trapline import interruption
from trapline.errors import TraplineError
from trapline.launching.aws.jobs import (
    JOB_KINDS,
    MAX_PAUSE,
    PROCESSING,
    TRAINING,
    bill,
    has_ended,
    reason,
    require_completed,
)
from trapline.launching.aws.waiting import LAST_LOOKS, POLL, Interrupted, follow_job, interruptible
from trapline.launching.terminal import CLEAR_LINE

UNREACHABLE = EndpointConnectionError(endpoint_url="https://api.sagemaker.eu-west-1.amazonaws.com/")
HICCUPS = [
    UNREACHABLE,
    ReadTimeoutError(endpoint_url="https://api"),
    ConnectionClosedError(endpoint_url="https://api"),
    refused("ThrottlingException", "Rate exceeded"),
    refused("InternalFailure", status=500),
    refused("502", "Bad Gateway", status=502),
    ResponseParserError("Unable to parse response, invalid XML received: <html>sign in to this wifi"),
]


@pytest.fixture
def clock(monkeypatch):
    return own_clock(monkeypatch)


def watch(cloud, capsys, tail=None):
    """The lines that following the training job shows."""
    follow_job(cloud.clients, "training", NAME, tail)
    return capsys.readouterr().out.splitlines()


# What is shown


def test_a_job_is_shown_with_its_log_and_how_far_it_is(clock, capsys):
    cloud = Cloud(training(), training(), COMPLETED)
    cloud.after = {
        1: lambda: cloud.write("reading the set", metric_line(1), at=40),
        2: lambda: cloud.write(metric_line(2), at=101),
        3: lambda: cloud.write("model written", at=102),
    }
    assert watch(cloud, capsys) == [
        "reading the set",
        metric_line(1),
        "progress: epoch 1 of 5, log loss 1.500, accuracy 0.250, at most 2:00 left",
        metric_line(2),
        "progress: epoch 2 of 5, log loss 0.750, accuracy 0.250, at most 3:00 left",
        "model written",
    ]
    assert clock.pauses == [POLL] * 3


def test_the_time_left_is_counted_in_the_jobs_time_when_it_is_taken_up_late(clock, capsys):
    cloud = Cloud(COMPLETED)
    for epoch in (1, 2, 3):
        cloud.write(metric_line(epoch, epoch_s=1.0), at=epoch * 600)
    assert watch(cloud, capsys)[-1].endswith(
        "epoch 3 of 5, log loss 0.500, accuracy 0.250, at most 20:00 left"
    )


def test_a_metric_that_is_not_a_number_is_left_out(clock, capsys):
    cloud = Cloud(COMPLETED)
    cloud.write(metric_line(4, val_loss=float("nan")))
    assert watch(cloud, capsys)[-1] == "progress: epoch 4 of 5, accuracy 0.250, at most 0:30 left"


def test_a_job_without_epochs_shows_its_log_alone(clock, capsys):
    cloud = Cloud(training("Completed", HyperParameters={"epochs": '"many"'}))
    cloud.write(metric_line(1))
    assert watch(cloud, capsys) == [metric_line(1)]


def test_a_terminal_keeps_how_far_it_is_in_its_last_line(clock, monkeypatch):
    shown = io.StringIO()
    shown.isatty = lambda: True
    monkeypatch.setattr("sys.stdout", shown)
    monkeypatch.setenv("COLUMNS", "60")
    cloud = Cloud(COMPLETED)
    cloud.write(metric_line(1), "and then")
    follow_job(cloud.clients, "training", NAME)
    status = "progress: epoch 1 of 5, log loss 1.500, accuracy 0.250, at"
    assert f"{CLEAR_LINE}and then\n{status}" in shown.getvalue()
    assert max(map(len, shown.getvalue().split(CLEAR_LINE)[-2].splitlines())) < 60
    assert shown.getvalue().endswith(CLEAR_LINE)


def test_the_states_of_a_job_stand_among_the_lines_of_its_log(clock, capsys):
    starting = training(SecondaryStatusTransitions=[state("Starting", 0, "Starting the training job")])
    ended = training(
        "Completed",
        SecondaryStatusTransitions=[
            state("Starting", 0, "Starting the training job"),
            state("Training", 10, "image download\n  completed"),
            state("Completed", 90),
        ],
    )
    cloud = Cloud(starting, ended)
    cloud.after = {2: lambda: cloud.write("hello", "bye", at=20)}
    assert watch(cloud, capsys) == [
        "== Starting: Starting the training job",
        "== Training: image download completed",
        "hello",
        "bye",
        "== Completed",
    ]


def test_several_machines_bear_their_names(clock, capsys):
    cloud = Cloud(training("Completed", ResourceConfig={"InstanceCount": 2}))
    cloud.write("hello")
    cloud.write("world", stream=f"{NAME}/algo-2-1767225600", at=1)
    assert watch(cloud, capsys) == ["algo-1 | hello", "algo-2 | world"]


def test_the_last_lines_which_come_late_are_waited_for(clock, capsys):
    cloud = Cloud(training(), COMPLETED)
    clock.then = lambda: cloud.write(f"after {clock.now:.0f} s", at=int(clock.now))
    assert watch(cloud, capsys) == [f"after {POLL:.0f} s", f"after {2 * POLL:.0f} s"]


def test_a_job_that_has_long_ended_is_not_waited_for(clock, capsys):
    cloud = Cloud(COMPLETED)
    cloud.write("old")
    assert watch(cloud, capsys) == ["old"]
    assert clock.pauses == []


def test_a_secret_in_the_log_is_not_shown(clock, capsys):
    cloud = Cloud(COMPLETED)
    cloud.write("key AKIA2AAAABBBBCCCCDDD in use")
    assert watch(cloud, capsys) == ["key <an AWS access key id> in use"]


# Spot machines


def test_an_interruption_is_said_as_it_happens_and_not_counted_as_training(clock, capsys):
    states = [
        state("Training", 0),
        state("Interrupted", 200, "Spot capacity"),
        state("Starting", 210),
        state("Training", 3600),
    ]
    spot = {"CheckpointConfig": {"S3Uri": "s3://b/checkpoints/abc"}, "EnableManagedSpotTraining": True}
    times = {"TrainingTimeInSeconds": 4000, "BillableTimeInSeconds": 1000}
    done = training("Completed", SecondaryStatusTransitions=states, **spot, **times)
    cloud = Cloud(
        training(SecondaryStatusTransitions=states[:1], **spot),
        training(secondary="Interrupted", SecondaryStatusTransitions=states[:2], **spot),
        done,
    )
    second = f"{NAME}/algo-1-1767229200"
    cloud.after = {
        1: lambda: cloud.write(metric_line(1), metric_line(2), at=99),
        3: lambda: cloud.write("resumed from epoch 2", metric_line(3), stream=second, at=3620),
    }
    said = watch(cloud, capsys)
    place = said.index(
        "== Interrupted: the spot machine was taken back; "
        "the job waits for another and goes on from its checkpoint"
    )
    assert said[place - 1].startswith("progress: epoch 2 of 5")
    assert said[place + 1 :] == [
        "== Starting",
        "== Training",
        "resumed from epoch 2",
        metric_line(3),
        "progress: epoch 3 of 5, log loss 0.500, accuracy 0.250, at most 1:00 left",
        "training took 1:06:40, billable 16:40 (spot saves 75%)",
    ]


def test_an_interruption_without_checkpoints_says_that_it_begins_again(clock, capsys):
    cloud = Cloud(training("Completed", SecondaryStatusTransitions=[state("Interrupted", 5)]))
    assert watch(cloud, capsys)[0].endswith("begins again (it has no checkpoints)")


def test_the_bill_of_several_machines_says_so():
    groups = {"InstanceGroups": [{"InstanceCount": 2}]}
    described = training(TrainingTimeInSeconds=60, BillableTimeInSeconds=60, ResourceConfig=groups)
    assert bill(described) == "training took 1:00, billable 1:00 on each of 2 machines"


# How jobs end


@pytest.mark.parametrize(
    ("described", "message"),
    [
        (
            training("Failed", FailureReason="AlgorithmError:\n no val part"),
            "Failed (AlgorithmError: no val part)",
        ),
        (training("Failed", "Failed"), "Failed (no reason given)"),
        (training("Stopped", "Stopped"), "Stopped (on request, before its end)"),
        (
            training("Stopped", "MaxRuntimeExceeded"),
            "Stopped (the longest run is over, 1:00:00; give a greater --max-run)",
        ),
        (
            training("Stopped", "MaxRuntimeExceeded", CheckpointConfig={"S3Uri": "s3://b/c"}),
            "--max-run; its checkpoints are kept (s3://b/c), the same command goes on from them)",
        ),
        (
            training("Stopped", "MaxWaitTimeExceeded", StoppingCondition={"MaxWaitTimeInSeconds": 7200}),
            "longest wait for spot machines is over, 2:00:00; give a greater --max-wait, or leave out --spot",
        ),
        (training("Failed", FailureReason="key AKIA2AAAABBBBCCCCDDD"), "Failed (key <an AWS access key id>)"),
    ],
)
def test_every_end_but_completed_is_an_error_with_its_reason_and_what_to_do(described, message):
    with pytest.raises(TraplineError) as failure:
        require_completed(TRAINING, NAME, described)
    assert str(failure.value).startswith(f"training job {NAME}: {described['TrainingJobStatus']} (")
    assert message in str(failure.value)
    assert failure.value.exit_code == 1


def test_a_completed_job_is_no_error():
    assert has_ended(TRAINING, COMPLETED)
    require_completed(TRAINING, NAME, COMPLETED)


@pytest.mark.parametrize(
    ("seconds", "said"), [(3600, "the longest run is over, 1:00:00"), (60, "on request")]
)
def test_a_processing_job_that_met_its_limit_is_told_from_one_that_was_stopped(seconds, said):
    described = {
        "ProcessingJobStatus": "Stopped",
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        "ProcessingStartTime": START,
        "ProcessingEndTime": START + datetime.timedelta(seconds=seconds),
    }
    assert said in reason(PROCESSING, described)


def test_a_job_that_is_being_stopped_is_waited_for(clock, capsys):
    cloud = Cloud(training("Stopping", "Stopping"), training("Stopped", "Stopped"))
    assert follow_job(cloud.clients, "training", NAME)["TrainingJobStatus"] == "Stopped"
    assert clock.pauses == [POLL, POLL]


# Trouble on the way


@pytest.mark.parametrize("trouble", HICCUPS, ids=lambda error: type(error).__name__)
def test_a_hiccup_is_said_once_waited_out_and_its_end_said(clock, capsys, trouble):
    cloud = Cloud(training(), *[trouble] * 3, COMPLETED)
    said = watch(cloud, capsys)
    assert len(said) == 2
    assert said[0].startswith(f"training job {NAME}: ")
    assert said[0].endswith("; it goes on, and is asked for again until AWS answers")
    assert said[1] == f"training job {NAME}: AWS answers again, after 0:35"
    assert clock.pauses == [POLL, 5, 10, 20, POLL]


def test_hours_without_a_network_are_waited_out_a_minute_at_a_time(clock, capsys):
    cloud = Cloud(training(), *[UNREACHABLE] * 300, COMPLETED)
    said = watch(cloud, capsys)
    assert len(said) == 2
    assert max(clock.pauses) == MAX_PAUSE
    assert said[1].endswith("AWS answers again, after 4:57:15")


def test_a_hiccup_at_the_first_look_does_not_end_waiting(clock, capsys):
    assert len(watch(Cloud(UNREACHABLE, COMPLETED), capsys)) == 2


def test_trouble_with_the_log_alone_does_not_keep_the_end_of_the_job_from_being_seen(clock, capsys):
    cloud = Cloud(training(), training(), COMPLETED)
    cloud.write("one")
    cloud.troubles = [UNREACHABLE, None, None, None, UNREACHABLE]
    cloud.after = {3: lambda: cloud.write("two", at=1)}
    said = watch(cloud, capsys)
    assert [line for line in said if not line.startswith("log of")] == ["one", "two"]
    assert said[0].startswith(f"log of training job {NAME}: AWS cannot be reached")
    assert said[1:3] == ["one", f"log of training job {NAME}: AWS answers again, after 0:10"]


def test_a_log_that_stays_out_of_reach_is_given_up_after_the_job(clock, capsys):
    cloud = Cloud(training(), COMPLETED)
    cloud.troubles = [UNREACHABLE] * 100
    said = watch(cloud, capsys)
    assert len(said) == 2
    assert said[1] == f"log of training job {NAME}: the rest of it could not be read"
    assert len(clock.pauses) == 1 + LAST_LOOKS


@pytest.mark.parametrize("place", [0, 1])
def test_without_permission_for_the_log_the_job_is_waited_for_without_it(clock, capsys, place):
    cloud = Cloud(training(), training(), COMPLETED)
    cloud.write("unseen")
    denied = refused("AccessDeniedException", "not authorized", "GetLogEvents")
    cloud.troubles = [*[None] * place, denied]
    said = watch(cloud, capsys)
    assert len(said) == 1
    assert said[0].startswith(f"log of training job {NAME}: access denied; the role or user needs")
    assert said[0].endswith("; waiting without it")


EXPIRED = refused("ExpiredTokenException", "The security token included in the request is expired")


@pytest.mark.parametrize("error", [EXPIRED, NoCredentialsError(), refused("AccessDeniedException")])
def test_a_sign_in_that_ends_on_the_way_says_that_the_job_goes_on_and_how_to_come_back(clock, capsys, error):
    cloud = Cloud(training(), training(), error)
    with pytest.raises(TraplineError) as failure:
        watch(cloud, capsys)
    assert str(failure.value).startswith(f"waiting for the training job {NAME}: ")
    assert str(failure.value).endswith(
        f"; the job goes on; take it up again with: python launch/follow.py {NAME}"
    )
    assert cloud.looks == 3


def test_a_sign_in_that_ends_while_the_log_is_read_is_the_same(clock, capsys):
    cloud = Cloud(training(), COMPLETED)
    cloud.troubles = [EXPIRED]
    with pytest.raises(
        TraplineError, match=r"has expired; sign in again .*the job goes on; take it up again"
    ):
        watch(cloud, capsys)


def test_a_defect_of_ours_is_not_taken_for_trouble_with_aws(clock, capsys):
    with pytest.raises(ZeroDivisionError):
        watch(Cloud(training(), ZeroDivisionError()), capsys)


# Ctrl-C


def after_sending(kind, happens):
    with interruptible(kind, NAME) as sent:
        sent.set()
        happens()


def control_c():
    raise KeyboardInterrupt


@pytest.mark.parametrize("kind", JOB_KINDS)
def test_ctrl_c_leaves_the_job_and_says_how_to_take_it_up_and_how_to_stop_it(kind):
    resource = JOB_KINDS[kind].resource
    with pytest.raises(Interrupted) as stopped:
        after_sending(kind, control_c)
    assert str(stopped.value) == (
        f"interrupted; the {kind} job {NAME} goes on; take it up again with: python launch/follow.py {NAME}; "
        f"stop it with: aws sagemaker stop-{resource} --{resource}-name {NAME}"
    )
    assert stopped.value.exit_code == 130


def test_ctrl_c_in_the_middle_asks_aws_for_nothing_more(clock, capsys):
    cloud = Cloud(training(), KeyboardInterrupt())
    with pytest.raises(Interrupted):
        after_sending("training", lambda: watch(cloud, capsys))
    assert cloud.asked == ["describe_training_job", "describe_log_streams", "describe_training_job"]


def test_a_ctrl_c_that_a_finalizer_swallows_ends_the_waiting_at_the_next_look(clock, capsys):
    cloud = Cloud(training())
    cloud.after[2] = lose_ctrl_c
    with pytest.raises(Interrupted), interruption.remembered():
        after_sending("training", lambda: watch(cloud, capsys))
    assert cloud.asked.count("describe_training_job") == 2


def test_the_log_of_a_restarted_machine_is_shown_after_that_of_the_first(clock, capsys):
    cloud = Cloud(COMPLETED)
    cloud.write("first", stream=STREAM)
    cloud.write("second", stream=f"{NAME}/algo-1-1767229200", at=3600)
    assert watch(cloud, capsys) == ["first", "second"]
