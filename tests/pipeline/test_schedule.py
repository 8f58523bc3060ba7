"""The schedule of a pipeline: what the scheduler gets, and what is refused before it is asked."""

import json
import re

import boto3
import pytest
from botocore.stub import Stubber

from tests.pipeline.test_account import NAME, do
from tests.support.account import BUCKET, REGION, ROLE, sign_in
from tests.support.golden_definitions import whole
from trapline.errors import TraplineError, UsageError
from trapline.launching.checking.service_model import check_request
from trapline.pipeline.command_line import read_command
from trapline.pipeline.starting import expression, put_schedule, shown

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


def keep(sagemaker, *, without="", of_before=False):
    """Put the pipeline of a golden file into the account, which spares the making of one.

    `of_before`: as if it were made before there were versions of the data.
    """
    definition = json.loads(json.dumps(whole("plain")).replace("us-east-1", REGION))
    for item in definition["Parameters"]:
        if item["Name"] == without:
            del item["DefaultValue"]
    if of_before:
        definition["Steps"] = [step for step in definition["Steps"] if step["Name"] == "Prepare"]
        definition = json.loads(json.dumps(definition).replace("DataVersion", "Views"))
        definition["Parameters"] = [
            item for item in definition["Parameters"] if item["Name"] not in ("Scheduled", "Views")
        ] + [{"Name": "Views", "Type": "String", "DefaultValue": "auto"}]
    sagemaker.create_pipeline(
        PipelineName=NAME, RoleArn=ROLE, ClientRequestToken="x" * 32,
        PipelineDefinition=json.dumps(definition),
    )  # fmt: skip


@pytest.fixture
def scheduler(sagemaker):
    keep(sagemaker)
    return boto3.client("scheduler")


def started_by(target, time="2026-01-05T03:00:00Z"):
    """What SageMaker is asked for at a time, after the scheduler has put in what only it knows."""
    assert set(re.findall("<[^>]*>", target["Input"])) == {"<aws.scheduler.scheduled-time>"}
    return json.loads(target["Input"].replace("<aws.scheduler.scheduled-time>", time))


def test_a_schedule_starts_the_pipeline_with_the_given_values_in_a_role_of_its_own(scheduler, capsys):
    do(*EVERY_WEEK, "--param", "EpochsPhase1=3", "--data", f"s3://{BUCKET}/new")
    found = scheduler.get_schedule(Name=NAME)
    assert found["ScheduleExpression"] == "rate(7 days)"
    assert found["State"] == "ENABLED"
    assert found["Target"]["Arn"] == "arn:aws:scheduler:::aws-sdk:sagemaker:startPipelineExecution"
    assert found["Target"]["RoleArn"] == ROLE
    assert found["Target"]["RetryPolicy"] == {"MaximumRetryAttempts": 3, "MaximumEventAgeInSeconds": 3600}
    start = started_by(found["Target"])
    assert start["PipelineName"] == NAME
    given = start["PipelineParameters"]
    assert {"Name": "EpochsPhase1", "Value": "3"} in given
    assert {"Name": "InputData", "Value": f"s3://{BUCKET}/new/"} in given
    said = capsys.readouterr().out
    assert "rate(7 days) UTC" in said
    arn = f"arn:aws:sagemaker:{REGION}:123456789012:pipeline/{NAME}"
    assert f"the role must allow sagemaker:StartPipelineExecution on {arn}\n" in said
    assert shown(scheduler, NAME) == "schedule: rate(7 days) UTC, enabled"


def test_sagemaker_would_accept_each_start_and_its_time_is_the_version_of_the_data(scheduler):
    do(*EVERY_WEEK)
    target = scheduler.get_schedule(Name=NAME)["Target"]
    starts = [started_by(target, time) for time in ("2026-01-05T03:00:00Z", "2026-01-12T03:00:00Z")]
    for start, time in zip(starts, ("2026-01-05T03:00:00Z", "2026-01-12T03:00:00Z"), strict=True):
        assert check_request("StartPipelineExecution", start, "start") == []
        assert {"Name": "DataVersion", "Value": time} in start["PipelineParameters"]
        assert {"Name": "Scheduled", "Value": "yes"} in start["PipelineParameters"]
    tokens = [start["ClientRequestToken"] for start in starts]
    assert tokens[0] != tokens[1]  # else the second start would be taken for the first, tried again
    assert started_by(target)["ClientRequestToken"] == tokens[0]


@pytest.mark.parametrize("name", ["trapline-x", "trapline-enhanced-resnet18"])
@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_the_request_is_one_of_the_scheduler_in_each_partition(partition, name):
    region = {"aws": REGION, "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}[partition]
    client = boto3.client("scheduler", region_name=region, aws_access_key_id="x", aws_secret_access_key="x")
    asked = []
    client.meta.events.register("provide-client-params.scheduler", lambda params, **_: asked.append(params))
    arn = f"arn:{partition}:sagemaker:{region}:123456789012:pipeline/{name}"
    role = ROLE.replace("arn:aws:", f"arn:{partition}:")
    with Stubber(client) as stub:
        stub.add_client_error("get_schedule", "ResourceNotFoundException")
        stub.add_response("create_schedule", {"ScheduleArn": f"arn:{partition}:scheduler:::schedule/x"})
        put_schedule(client, name, "rate(7 days)", arn, role, {"EpochsPhase1": 3})
    request = asked[-1]
    found = check_request("CreateSchedule", {**request, "ClientToken": "x"}, "schedule")
    # botocore's pattern of a role has no place for the second hyphen of aws-us-gov.
    assert {one.field for one in found} <= ({"Target.RoleArn"} if partition == "aws-us-gov" else set())
    wanted = f"arn:{partition}:scheduler:::aws-sdk:sagemaker:startPipelineExecution"
    assert request["Target"]["Arn"] == wanted
    assert check_request("StartPipelineExecution", started_by(request["Target"]), "start") == []


def test_a_schedule_of_an_earlier_version_is_said_to_overlook_new_data(scheduler):
    do(*EVERY_WEEK)
    found = scheduler.get_schedule(Name=NAME)
    target = {name: found["Target"][name] for name in ("RoleArn", "RetryPolicy")}
    arn = f"arn:aws:sagemaker:{REGION}:123456789012:pipeline/{NAME}"
    scheduler.update_schedule(
        Name=NAME, ScheduleExpression="rate(7 days)", FlexibleTimeWindow={"Mode": "OFF"}, State="ENABLED",
        Target={**target, "Arn": arn, "SageMakerPipelineParameters": {"PipelineParameterList": []}},
    )  # fmt: skip
    assert "overlooks new data: give `schedule` again" in shown(scheduler, NAME)
    do(*EVERY_WEEK)
    assert "overlooks" not in shown(scheduler, NAME)


def test_what_a_schedule_decides_is_not_to_be_given(scheduler):
    with pytest.raises(UsageError, match="--param DataVersion: a schedule sends the time of each start"):
        do(*EVERY_WEEK, "--param", "DataVersion=monday")
    for verb in ("start", "schedule", "definition"):
        with pytest.raises(UsageError, match="--param Scheduled: only a schedule sets it"):
            read_command([verb, "--param", "Scheduled=yes"])


def test_a_pipeline_of_an_earlier_version_is_not_scheduled(sagemaker):
    keep(sagemaker, of_before=True)
    with pytest.raises(UsageError, match="is of an earlier version; upsert it first"):
        do(*EVERY_WEEK)


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


def test_a_schedule_needs_a_role_and_everything_that_a_start_needs(sagemaker):
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
