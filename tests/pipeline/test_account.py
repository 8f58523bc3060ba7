"""upsert, start, status and stop: what an account gets, and what is said where it refuses."""

import datetime
import json

import boto3
import pytest
from botocore.stub import Stubber

from tests.support.account import (
    BUCKET,
    REGION,
    ROLE,
    by_digest,
    keys,
    sign_in,
)
from trapline.errors import TraplineError, UsageError
from trapline.launching.aws import waiting as aws_waiting
from trapline.launching.aws.jobs import Clients
from trapline.launching.aws.waiting import wait_for_execution
from trapline.pipeline import account
from trapline.pipeline.account import Client, act, archive_of
from trapline.pipeline.command_line import read_command

pytest.importorskip("sagemaker")

PLACES = ["--data", f"s3://{BUCKET}/raw", "--output", f"s3://{BUCKET}/out", "--role", "Trapline"]
NAME = "trapline-resnet18-baseline"
ARN = f"arn:aws:sagemaker:{REGION}:123456789012:pipeline/{NAME}/execution/abcdefghijkl"
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


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
    monkeypatch.setattr(account, "signed_in", lambda: session)
    monkeypatch.setattr(aws_waiting, "POLL", 0)
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
    assert f"out/code/{code}/files/trapline/__init__.py" in copied


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
    image = by_digest({"ImageUri": own})["ImageUri"]
    assert {"Name": "ImageUri", "Type": "String", "DefaultValue": image} in definition["Parameters"]
    do("start")
    with pytest.raises(
        UsageError, match=f"--image-uri {own[:-6]}old: no such image .* docker/build.sh --push"
    ):
        do("start", "--param", f"ImageUri={own[:-6]}old")


def _jobs_and_pipelines_role(sagemaker):
    described = sagemaker.describe_pipeline(PipelineName=NAME)
    (job_role,) = [
        item["DefaultValue"]
        for item in json.loads(described["PipelineDefinition"])["Parameters"]
        if item["Name"] == "RoleArn"
    ]
    return job_role, described["RoleArn"]


def test_the_jobs_have_a_role_of_their_own_where_one_is_named(sagemaker, capsys):
    boto3.client("iam").create_role(RoleName="Jobs", AssumeRolePolicyDocument="{}")
    do("upsert", *PLACES, "--job-role", "Jobs")
    jobs = "arn:aws:iam::123456789012:role/Jobs"
    assert _jobs_and_pipelines_role(sagemaker) == (jobs, ROLE)
    assert f"roles: {ROLE} of the pipeline, {jobs} of its jobs" in capsys.readouterr().out


def test_the_environment_names_the_jobs_role_too(sagemaker, monkeypatch):
    monkeypatch.setenv("SAGEMAKER_JOB_ROLE", "arn:aws:iam::123456789012:role/Jobs")
    do("upsert", *PLACES)
    assert _jobs_and_pipelines_role(sagemaker) == ("arn:aws:iam::123456789012:role/Jobs", ROLE)


def test_with_one_role_it_is_said_what_its_jobs_may_do(sagemaker, capsys):
    do("upsert", *PLACES)
    assert _jobs_and_pipelines_role(sagemaker) == (ROLE, ROLE)
    assert "of its jobs, which may thus start others; with --job-role" in capsys.readouterr().out


def test_a_jobs_role_that_is_not_there_is_named(sagemaker):
    with pytest.raises(TraplineError, match="--job-role Nobody"):
        do("upsert", *PLACES, "--job-role", "Nobody")


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


@pytest.mark.parametrize(("outcome", "ended"), [("True", True), ("False", False)])
def test_status_says_of_an_execution_that_ended_early_why(stubbed, capsys, outcome, ended):
    steps = [step("Prepare", "Succeeded"), step("NothingNew", "Succeeded")]
    steps[1]["Metadata"] = {"Condition": {"Outcome": outcome}}
    answer(stubbed, (described("Succeeded"), listed(*steps)))
    do("status", "--execution", ARN)
    said = capsys.readouterr().out
    assert "status: Succeeded" in said
    why = "nothing new: data, code, image and settings are those of the last completed execution"
    assert (why in said) == ended


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
