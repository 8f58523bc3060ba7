"""The schedule of a pipeline: what the scheduler gets, and what is refused before it is asked."""

import json

import boto3
import pytest
from botocore.stub import Stubber

from common.errors import TraplineError, UsageError
from pipelines.command_line import read_command
from pipelines.schedule import expression, shown
from tests.launch.account import BUCKET, REGION, ROLE, sign_in
from tests.pipelines.golden_definitions import whole
from tests.pipelines.test_account import NAME, do, sagemaker  # noqa: F401

EVERY_WEEK = ["schedule", "--every", "7d", "--role", ROLE]


@pytest.mark.parametrize(
    ("words", "when"),
    [
        (["--every", "7d"], "rate(7 days)"),
        (["--every", "1d"], "rate(1 day)"),
        (["--every", "12h"], "rate(12 hours)"),
        (["--cron", "0 3 ? * MON *"], "cron(0 3 ? * MON *)"),
        (["--cron", "0/30  8-17 1,15 * ?  2027"], "cron(0/30 8-17 1,15 * ? 2027)"),
    ],
)
def test_times_are_said_as_the_scheduler_takes_them(words, when):
    assert read_command(["schedule", *words]).when == when


@pytest.mark.parametrize(
    ("every", "cron", "message"),
    [
        (None, None, "schedule: give either --every"),
        ("7d", "0 3 ? * MON *", "schedule: give either --every"),
        ("0d", None, "--every 0d: must be a number of hours or days"),
        ("7", None, "--every 7: must be"),
        ("90s", None, "--every 90s: must be"),
        (None, "0 3 * * *", r"--cron 0 3 \* \* \*: must be six fields"),
        (None, "0 3 * * MON *", "one of day-of-month and day-of-week must be"),
        (None, "0 3 ? * ? *", "one of day-of-month and day-of-week must be"),
        (None, "0 3 ? * MON) *", "must be six fields"),
    ],
)
def test_other_times_are_refused_with_an_example(every, cron, message):
    with pytest.raises(UsageError, match=message):
        expression(every, cron)


def test_times_belong_to_the_schedule_alone():
    with pytest.raises(UsageError, match="--every: only with schedule"):
        read_command(["start", "--every", "7d"])


def keep(sagemaker, *, without=""):  # noqa: F811
    """Put the pipeline of a golden file into the account, which spares the making of one."""
    definition = json.loads(json.dumps(whole("plain")).replace("us-east-1", REGION))
    for item in definition["Parameters"]:
        if item["Name"] == without:
            del item["DefaultValue"]
    sagemaker.create_pipeline(
        PipelineName=NAME, RoleArn=ROLE, ClientRequestToken="x" * 32,
        PipelineDefinition=json.dumps(definition),
    )  # fmt: skip


@pytest.fixture
def scheduler(sagemaker):  # noqa: F811
    keep(sagemaker)
    return boto3.client("scheduler")


def test_a_schedule_starts_the_pipeline_with_the_given_values_in_a_role_of_its_own(scheduler, capsys):
    do(*EVERY_WEEK, "--param", "EpochsPhase1=3", "--data", f"s3://{BUCKET}/new")
    found = scheduler.get_schedule(Name=NAME)
    assert found["ScheduleExpression"] == "rate(7 days)"
    assert found["State"] == "ENABLED"
    assert found["Target"]["Arn"] == f"arn:aws:sagemaker:{REGION}:123456789012:pipeline/{NAME}"
    assert found["Target"]["RoleArn"] == ROLE
    assert found["Target"]["RetryPolicy"] == {"MaximumRetryAttempts": 3, "MaximumEventAgeInSeconds": 3600}
    given = found["Target"]["SageMakerPipelineParameters"]["PipelineParameterList"]
    assert {"Name": "EpochsPhase1", "Value": "3"} in given
    assert {"Name": "InputData", "Value": f"s3://{BUCKET}/new"} in given
    assert "rate(7 days) UTC" in capsys.readouterr().out
    assert shown(scheduler, NAME) == "schedule: rate(7 days) UTC, enabled"


def test_a_second_schedule_takes_the_place_of_the_first(scheduler):
    do(*EVERY_WEEK)
    do("schedule", "--cron", "0 3 ? * MON *", "--role", "Trapline")
    (found,) = scheduler.list_schedules()["Schedules"]
    assert found["Name"] == NAME
    assert scheduler.get_schedule(Name=NAME)["ScheduleExpression"] == "cron(0 3 ? * MON *)"


def test_unschedule_removes_it_and_says_where_there_is_none(scheduler):
    do(*EVERY_WEEK)
    do("unschedule")
    assert scheduler.list_schedules()["Schedules"] == []
    with pytest.raises(TraplineError, match=f"pipeline {NAME}: has no schedule"):
        do("unschedule")


def test_a_schedule_needs_a_role_and_everything_that_a_start_needs(sagemaker):  # noqa: F811
    with pytest.raises(UsageError, match="schedule: give --role"):
        do("schedule", "--every", "7d")
    with pytest.raises(TraplineError, match="upsert makes it"):
        do(*EVERY_WEEK)
    keep(sagemaker, without="InputData")
    with pytest.raises(UsageError, match="needs InputData"):
        do(*EVERY_WEEK)


def test_a_user_who_may_not_ask_for_schedules_still_sees_the_status(monkeypatch):
    sign_in(monkeypatch)
    client = boto3.client("scheduler")
    with Stubber(client) as stub:
        stub.add_client_error("get_schedule", "AccessDeniedException", "no")
        assert shown(client, NAME).startswith("schedule: not known (asking: access denied")
        stub.add_client_error("get_schedule", "ResourceNotFoundException", "no")
        assert shown(client, NAME) == "schedule: none"
