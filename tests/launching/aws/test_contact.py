"""What AWS has just made and does not know yet is asked for again, for a while."""

import time

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from tests.support.cloud import ARN, COMPLETED, NAME, START, Cloud, own_clock, refused, training
from trapline.errors import TraplineError
from trapline.launching.aws.jobs import FIRST_PAUSE, NEW_FOR, Clients, Contact
from trapline.launching.aws.waiting import follow_job, wait_for_execution
from trapline.launching.many import fleet as on_aws
from trapline.launching.many.fleet import STAMP

UNKNOWN = refused("ValidationException", "Requested resource not found.")
EXECUTION = f"{ARN}:pipeline/traps/execution/abcdefghijkl"
JOB = f"{ARN}:processing-job/prepare-abc"
LONG_AGO, NOW = 1_000_000_000, 1_700_000_000


@pytest.fixture
def clock(monkeypatch):
    return own_clock(monkeypatch)


@pytest.fixture
def stub(monkeypatch):
    """SageMaker with answers of the test's own, checked against its service model; logs without a group."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    client = boto3.client("sagemaker", region_name="eu-west-1")
    with Stubber(client) as answers:
        yield answers


def unknown(stub, operation, times=1):
    for _ in range(times):
        stub.add_client_error(operation, "ValidationException", "Requested resource not found.")


@pytest.mark.parametrize(
    "error", [UNKNOWN, refused("ResourceNotFound", "gone"), refused("ValidationException", "does not exist")]
)
def test_a_job_that_aws_does_not_know_yet_is_waited_for(clock, capsys, error):
    cloud = Cloud(error, error, error, training(), COMPLETED)
    assert follow_job(cloud.clients, "training", NAME) == COMPLETED
    assert clock.pauses[:3] == [FIRST_PAUSE] * 3
    said = f"training job {NAME}: AWS does not know what it has just made; it is asked for 1:00"
    assert capsys.readouterr().out.splitlines().count(said) == 1


def test_an_answer_that_falls_behind_later_is_waited_for_too(clock):
    cloud = Cloud(training(), UNKNOWN, training(), UNKNOWN, COMPLETED)
    assert follow_job(cloud.clients, "training", NAME) == COMPLETED


def test_a_job_that_does_not_come_is_an_error_after_a_while(clock):
    with pytest.raises(TraplineError, match="AWS finds no such thing"):
        follow_job(Cloud(UNKNOWN).clients, "training", NAME)
    assert sum(clock.pauses) == NEW_FOR


def test_other_refusals_are_not_waited_out(clock):
    contact = Contact("training job x", print)
    with pytest.raises(ClientError):
        contact.ask(lambda: Cloud(refused("AccessDeniedException")).described("describe"))
    assert clock.pauses == []


def test_no_connection_while_a_job_is_not_known_yet_is_waited_out(clock):
    cloud = Cloud(UNKNOWN, refused("ThrottlingException"), UNKNOWN, COMPLETED)
    assert follow_job(cloud.clients, "training", NAME) == COMPLETED


def test_an_execution_and_the_job_of_its_step_are_waited_for(clock, stub, capsys):
    step = {"StepName": "Prepare", "StartTime": START, "Metadata": {"ProcessingJob": {"Arn": JOB}}}
    described = {"PipelineExecutionArn": EXECUTION, "PipelineExecutionStatus": "Succeeded"}
    job = {
        "ProcessingJobName": "prepare-abc", "ProcessingJobArn": JOB, "ProcessingJobStatus": "Completed",
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 9}
        },
        "AppSpecification": {"ImageUri": "own:1"}, "CreationTime": START,
    }  # fmt: skip
    unknown(stub, "describe_pipeline_execution", 2)
    stub.add_response("describe_pipeline_execution", described)
    unknown(stub, "list_pipeline_execution_steps")
    steps = {"PipelineExecutionSteps": [{**step, "StepStatus": "Succeeded", "EndTime": START}]}
    stub.add_response("list_pipeline_execution_steps", steps)
    unknown(stub, "describe_processing_job")
    stub.add_response("describe_processing_job", job)
    wait_for_execution(Clients(stub.client, Cloud().clients.logs), EXECUTION)
    said = capsys.readouterr().out
    assert "== Prepare Succeeded 0:00" in said
    assert "waiting without its log" not in said
    stub.assert_no_pending_responses()


def test_the_jobs_of_a_search_are_listed_as_soon_as_aws_knows_it(clock, stub):
    tuning = {
        "HyperParameterTuningJobName": NAME,
        "HyperParameterTuningJobArn": f"{ARN}:hyper-parameter-tuning-job/{NAME}",
        "HyperParameterTuningJobStatus": "Completed",
        "HyperParameterTuningJobConfig": {
            "Strategy": "Random",
            "ResourceLimits": {"MaxParallelTrainingJobs": 1},
        },
        "CreationTime": START,
        "TrainingJobStatusCounters": {},
        "ObjectiveStatusCounters": {},
    }
    unknown(stub, "describe_hyper_parameter_tuning_job")
    stub.add_response("describe_hyper_parameter_tuning_job", tuning)
    unknown(stub, "list_training_jobs_for_hyper_parameter_tuning_job", 3)
    stub.add_response("list_training_jobs_for_hyper_parameter_tuning_job", {"TrainingJobSummaries": []})
    assert follow_job(Clients(stub.client, None), "tuning", NAME)["CreationTime"] == START


@pytest.mark.parametrize("suffix", ["", "-prepare"])
def test_a_job_that_an_earlier_call_has_just_sent_is_waited_for_and_an_old_one_is_not(monkeypatch, suffix):
    def named(sent):
        return f"sweep-a-{time.strftime(STAMP, time.gmtime(sent))}{suffix}"

    monkeypatch.setattr(time, "time", lambda: NOW)
    patience = on_aws._patience
    assert patience(named(NOW)) == NEW_FOR
    assert patience(named(NOW - 20)) == NEW_FOR - 20
    assert patience(named(NOW + 3600)) == NEW_FOR  # a clock that was set back
    assert [patience(name) for name in (named(LONG_AGO), "sweep-a", "sweep-a-999999999999")] == [0, 0, 0]
