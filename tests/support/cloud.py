"""A service that answers what a test has written down, and a clock that only pauses move."""

import datetime
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from botocore.exceptions import ClientError

from trapline.launching.aws.jobs import Clients
from trapline.metrics import format_line

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
NAME = "night-run"
ARN = "arn:aws:sagemaker:eu-west-1:123456789012"
STREAM = f"{NAME}/algo-1-1767225600"


@dataclass
class Clock:
    """Time as waiting sees it. `then` happens at the end of each pause."""

    now: float = 0.0
    pauses: list[float] = field(default_factory=list)
    then: Callable[[], object] = bool

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.now += seconds
        self.then()


def own_clock(monkeypatch):
    """A clock in place of the machine's."""
    clock = Clock()
    monkeypatch.setattr(time, "sleep", clock.sleep)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    return clock


class Cloud:
    """SageMaker and its logs. Descriptions come one at a look, the last one again and again.

    An answer may be an exception. `written`: stream -> [(milliseconds, text)] that are there; `after`: the
    number of a look -> what happens before it is answered.
    """

    def __init__(self, *descriptions, page_size=100):
        self.descriptions = list(descriptions)
        self.page_size = page_size
        self.written = {}
        self.troubles = []  # answers of the log in place of the next ones
        self.after = {}
        self.asked = []
        self.looks = 0
        self.clients = Clients(Describing(self), Logs(self))

    def write(self, *texts, stream=STREAM, at=0):
        """Add lines, one second apart."""
        lines = self.written.setdefault(stream, [])
        for second, text in enumerate(texts, at):
            lines.append((int(START.timestamp() + second) * 1000, text))

    def described(self, operation):
        self.looks += 1
        self.asked.append(operation)
        self.after.get(self.looks, bool)()
        answer = self.descriptions[0] if len(self.descriptions) == 1 else self.descriptions.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def trouble(self, operation):
        self.asked.append(operation)
        if self.troubles:
            error = self.troubles.pop(0)
            if error is not None:
                raise error


class Describing:
    """The part of SageMaker's client that describes jobs."""

    def __init__(self, cloud):
        self.cloud = cloud

    def __getattr__(self, operation):
        if not operation.startswith("describe_"):
            raise AttributeError(operation)
        return lambda **_: self.cloud.described(operation)


class Logs:
    """CloudWatch's log streams, with its tokens: the same one again at the end."""

    def __init__(self, cloud):
        self.cloud = cloud

    def get_paginator(self, operation):
        assert operation == "describe_log_streams"
        return self

    def paginate(self, logGroupName, logStreamNamePrefix):
        self.cloud.trouble("describe_log_streams")
        if not self.cloud.written:
            raise refused("ResourceNotFoundException", "The specified log group does not exist.")
        names = sorted(name for name in self.cloud.written if name.startswith(logStreamNamePrefix))
        yield from ({"logStreams": [{"logStreamName": name}]} for name in names)

    def get_log_events(self, logGroupName, logStreamName, startFromHead, **where):
        self.cloud.trouble("get_log_events")
        lines = self.cloud.written[logStreamName]
        if "nextToken" in where:
            assert startFromHead
            begin = int(re.fullmatch(r"f/(\d+)", where["nextToken"])[1])
        elif startFromHead:
            begin = next((n for n, (at, _) in enumerate(lines) if at >= where.get("startTime", 0)), 0)
        else:
            begin = max(0, len(lines) - where["limit"])
        page = lines[begin : begin + self.cloud.page_size]
        events = [{"timestamp": at, "message": text, "ingestionTime": at} for at, text in page]
        return {"events": events, "nextForwardToken": f"f/{begin + len(page)}"}


def refused(code, message="as AWS words it", operation="DescribeTrainingJob", status=400):
    """What botocore raises for a refusal."""
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},
        operation,
    )


def training(status="InProgress", secondary="Training", **more):
    """The description of a training job of five epochs."""
    return {
        "TrainingJobName": NAME,
        "TrainingJobStatus": status,
        "SecondaryStatus": secondary,
        "HyperParameters": {"epochs": "5", "lr": "0.001"},
        "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.g5.xlarge"},
        "CreationTime": START,
        "TrainingStartTime": START,
        "ModelArtifacts": {"S3ModelArtifacts": "s3://b/night-run/output/model.tar.gz"},
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        **more,
    }


COMPLETED = training("Completed", "Completed")


def state(status, second, message=""):
    """A state that a training job has entered."""
    return {
        "Status": status,
        "StartTime": START + datetime.timedelta(seconds=second),
        "StatusMessage": message,
    }


def metric_line(epoch, **values):
    """A line of metrics."""
    return format_line({"epoch": epoch, "val_loss": 1.5 / epoch, "val_acc": 0.25, "epoch_s": 30.0, **values})
