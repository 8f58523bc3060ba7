"""upsert, start, status and stop: what an account gets, and what is said where it refuses."""

import datetime
import json

import boto3
import botocore.session
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from common.errors import TraplineError, UsageError
from launch.aws import executions as aws_executions
from launch.aws.contact import Clients
from launch.aws.executions import wait_for_execution
from pipelines import account
from pipelines.account import Client, act, archive_of
from pipelines.command_line import read_command
from tests.launch.account import BUCKET, REGION, ROLE, SERVICE_MODELS, furnish, keys, ship_little, sign_in

pytest.importorskip("sagemaker")

PLACES = ["--data", f"s3://{BUCKET}/raw", "--output", f"s3://{BUCKET}/out", "--role", "Trapline"]
NAME = "trapline-resnet18-baseline"
ARN = f"arn:aws:sagemaker:{REGION}:123456789012:pipeline/{NAME}/execution/abcdefghijkl"
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture
def sagemaker(monkeypatch, tmp_path):
    """A signed-in account with a bucket and a role; the code that is copied is little."""
    sign_in(monkeypatch)
    monkeypatch.setattr(botocore.session, "create_loader", SERVICE_MODELS)
    ship_little(monkeypatch, tmp_path)
    with mock_aws():
        furnish()
        yield boto3.client("sagemaker")


def do(*words):
    act(read_command(words))


@pytest.fixture
def upserted(sagemaker):
    do("upsert", *PLACES, "--image-uri", "own:1")
    return sagemaker


@pytest.fixture
def stubbed(sagemaker, monkeypatch):
    """The client of SageMaker with answers of the test's own: moto cannot list an execution's steps."""
    session = boto3.Session()
    others = session.client
    monkeypatch.setattr(
        session, "client", lambda name, **_: sagemaker if name == "sagemaker" else others(name)
    )
    monkeypatch.setattr(account, "make_session", lambda: session)
    monkeypatch.setattr(aws_executions, "POLL", 0)
    with Stubber(sagemaker) as stub:
        yield stub


def described(status, **more):
    return {"PipelineExecutionArn": ARN, "PipelineExecutionStatus": status, **more}


def step(name, status, seconds=90, **more):
    ended = {"EndTime": START + datetime.timedelta(seconds=seconds)} if status != "Executing" else {}
    return {"StepName": name, "StepStatus": status, "StartTime": START, **ended, **more}


def listed(*steps):
    return {"PipelineExecutionSteps": list(steps)}


def answer(stub, *pairs):
    for status, steps in pairs:
        stub.add_response("describe_pipeline_execution", status)
        stub.add_response("list_pipeline_execution_steps", steps)


def test_upsert_sends_the_definition_and_the_code_that_it_names(upserted, capsys):
    sent = upserted.describe_pipeline(PipelineName=NAME)
    definition = json.loads(sent["PipelineDefinition"])
    defaults = {item["Name"]: item.get("DefaultValue") for item in definition["Parameters"]}
    assert defaults["RoleArn"] == ROLE
    assert defaults["OutputPrefix"] == f"s3://{BUCKET}/out"
    assert sent["RoleArn"] == ROLE
    _, code, _ = definition["Steps"][0]["Arguments"]["ProcessingInputs"][0]["S3Input"]["S3Uri"]["Std:Join"][
        "Values"
    ][1:]
    copied = [key for key in keys() if key.startswith(f"out/code/{code}/")]
    assert {f"out/code/{code}/{name}" for name in ("sourcedir.tar.gz", "files/train.py")} <= set(copied)
    assert f"out/code/{code}/files/common/__init__.py" in copied


def test_upsert_again_updates_the_pipeline(upserted):
    do("upsert", *PLACES, "--image-uri", "own:2")
    definition = json.loads(upserted.describe_pipeline(PipelineName=NAME)["PipelineDefinition"])
    assert {"Name": "ImageUri", "Type": "String", "DefaultValue": "own:2"} in definition["Parameters"]


def test_start_passes_what_was_given_and_names_the_execution(upserted, capsys):
    do("start", "--param", "EpochsPhase1=3", "QualityGate=1.5")
    (execution,) = upserted.list_pipeline_executions(PipelineName=NAME)["PipelineExecutionSummaries"]
    arn = execution["PipelineExecutionArn"]
    assert f"execution: {arn}" in capsys.readouterr().out
    given = upserted.list_pipeline_parameters_for_execution(PipelineExecutionArn=arn)["PipelineParameters"]
    assert {"Name": "EpochsPhase1", "Value": "3"} in given
    assert {"Name": "QualityGate", "Value": "1.5"} in given


def test_start_says_which_parameter_nobody_gave(sagemaker):
    do("upsert", *PLACES[2:])
    with pytest.raises(UsageError, match=r"needs InputData .*--param InputData=VALUE"):
        do("start")


def test_without_an_image_the_pipeline_has_the_one_of_its_account_and_starts_where_it_is_there(sagemaker):
    do("upsert", *PLACES)
    definition = json.loads(sagemaker.describe_pipeline(PipelineName=NAME)["PipelineDefinition"])
    own = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/trapline:latest"
    assert {"Name": "ImageUri", "Type": "String", "DefaultValue": own} in definition["Parameters"]
    do("start")
    with pytest.raises(
        UsageError, match=f"--image-uri {own[:-6]}old: no such image .* docker/build.sh --push"
    ):
        do("start", "--param", f"ImageUri={own[:-6]}old")


def test_the_code_goes_where_it_is_asked_to_go(sagemaker):
    do("upsert", *PLACES, "--code-output", f"s3://{BUCKET}/sources")
    definition = json.loads(sagemaker.describe_pipeline(PipelineName=NAME)["PipelineDefinition"])
    source = definition["Steps"][0]["Arguments"]["ProcessingInputs"][0]["S3Input"]["S3Uri"]["Std:Join"]
    assert "/".join(source["Values"]).removeprefix(f"s3://{BUCKET}/") + "/train.py" in keys()


def test_start_of_a_pipeline_that_is_not_there_says_what_makes_it(sagemaker):
    with pytest.raises(TraplineError, match="upsert makes it"):
        do("start")


def test_upsert_needs_a_place_and_a_role(sagemaker):
    with pytest.raises(UsageError, match="give --output s3://BUCKET/PREFIX and --role"):
        do("upsert", "--data", "demo")


def test_without_credentials_one_message_names_the_way_without_an_account(monkeypatch):
    sign_in(monkeypatch)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(UsageError, match="no AWS credentials"):
        do("start")


def test_status_shows_each_step_with_its_time_and_reason(stubbed, capsys):
    failed = step("TrainPhase1", "Failed", FailureReason="AlgorithmError:\n no  images")
    answer(stubbed, (described("Failed"), listed(step("Prepare", "Succeeded"), failed)))
    do("status", "--execution", ARN)
    said = capsys.readouterr().out
    assert "status: Failed" in said
    assert "Prepare      Succeeded  1:30" in said
    assert "AlgorithmError: no images" in said


def test_stop_stops_the_execution(stubbed, capsys):
    stubbed.add_response("stop_pipeline_execution", {"PipelineExecutionArn": ARN})
    do("stop", "--execution", ARN)
    assert f"stopping: {ARN}" in capsys.readouterr().out


def test_waiting_says_each_step_once_and_ends_with_the_execution(stubbed, capsys):
    answer(
        stubbed,
        (described("Executing"), listed(step("Prepare", "Executing"))),
        (described("Executing"), listed(step("Prepare", "Succeeded"), step("TrainPhase1", "Executing"))),
        (described("Succeeded"), listed(step("Prepare", "Succeeded"), step("TrainPhase1", "Succeeded"))),
    )
    wait_for_execution(Clients(stubbed.client, None), ARN)
    said = capsys.readouterr().out.splitlines()
    assert said == ["== Prepare Succeeded 1:30", "== TrainPhase1 Succeeded 1:30"]


@pytest.mark.parametrize("status", ["Failed", "Stopped"])
def test_an_execution_that_failed_or_was_stopped_is_an_error_in_the_words_of_its_step(stubbed, status):
    gate = step("GateNotMet", "Failed", FailureReason="the quality gate is not met")
    answer(stubbed, (described(status), listed(gate)))
    with pytest.raises(TraplineError, match=f"{status} .step GateNotMet: the quality gate is not met"):
        wait_for_execution(Clients(stubbed.client, None), ARN)


def test_the_archive_of_the_same_code_has_the_same_bytes(tmp_path):
    (tmp_path / "a.py").write_text("1")
    assert archive_of(tmp_path) == archive_of(tmp_path)


def test_a_role_is_looked_up_by_its_name(sagemaker):
    assert account._role_arn(Client(boto3.Session(), sagemaker), "Trapline") == ROLE
