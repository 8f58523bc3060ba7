"""An optional schedule: Amazon EventBridge Scheduler starts the pipeline every so often.

The schedule bears the pipeline's name, lies in the account's default group, counts in UTC, and starts the
pipeline that is there at that moment: an upsert between two starts is enough to change what runs. Its target
is a universal one, as only there the time of a start can be a parameter.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from trapline.errors import UsageError
from trapline.launching.aws.errors import explained

UNITS = {"h": "hour", "d": "day"}
EVERY = re.compile(r"([1-9][0-9]{0,3})([hd])")
CRON_FIELD = re.compile(r"[A-Z0-9*?,/#-]+", re.IGNORECASE)
CRON_FIELDS = "minutes hours day-of-month month day-of-week year"
# A start that AWS refuses for an hour would be refused for a day, which is the service's own patience.
RETRIES = {"MaximumRetryAttempts": 3, "MaximumEventAgeInSeconds": 3600}
ABSENT = "ResourceNotFoundException"
API_CALL = "scheduler:::aws-sdk:sagemaker:startPipelineExecution"  # of the ARN of a universal target
ACTION = "sagemaker:StartPipelineExecution"  # which the role needs
SCHEDULED_TIME = "<aws.scheduler.scheduled-time>"  # which the scheduler replaces by the time of a start
# What a schedule of an earlier version starts takes Prepare from the cache, whatever has come since.
OUTDATED = "made by an earlier version, it overlooks new data: give `schedule` again"


def expression(every: str | None, cron: str | None) -> str:
    """What the service takes, of `--every 12h`, `--every 7d` or `--cron "0 3 ? * MON *"`."""
    if (every is None) == (cron is None):
        raise UsageError('schedule: give either --every, as in 12h or 7d, or --cron, as in "0 3 ? * MON *"')
    if every is not None:
        found = EVERY.fullmatch(every)
        if not found:
            raise UsageError(f"--every {every}: must be a number of hours or days, as in 12h or 7d")
        number, unit = int(found[1]), UNITS[found[2]]
        return f"rate({number} {unit}{'s' if number > 1 else ''})"
    return _cron(str(cron))


def _cron(text: str) -> str:
    fields = text.split()
    example = f'six fields ({CRON_FIELDS}), as in "0 3 ? * MON *" for Mondays at 03:00 UTC'
    if len(fields) != 6 or not all(CRON_FIELD.fullmatch(field) for field in fields):
        raise UsageError(f"--cron {text}: must be {example}")
    if (fields[2] == "?") == (fields[4] == "?"):
        raise UsageError(f"--cron {text}: one of day-of-month and day-of-week must be ?; write {example}")
    return f"cron({' '.join(fields)})"


def put_schedule(
    scheduler: Any, name: str, when: str, pipeline_arn: str, role: str, values: Mapping[str, object]
) -> str:
    """Create the schedule, or change the one that is there. Returns its ARN.

    `pipeline_arn` says the partition, too. `role`: the ARN of the role that starts the pipeline. `values`:
    the parameters of each start.
    """
    start = {
        "PipelineName": name,
        # The same for every try of one start, another for the next; SageMaker wants 32 characters at least.
        "ClientRequestToken": f"{name}-scheduled-at-{SCHEDULED_TIME}",
        "PipelineParameters": [{"Name": key, "Value": str(value)} for key, value in values.items()],
    }
    request = {
        "Name": name,
        "Description": f"Starts the SageMaker pipeline {name}",
        "ScheduleExpression": when,
        "ScheduleExpressionTimezone": "UTC",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "State": "ENABLED",
        "Target": {
            "Arn": f"arn:{pipeline_arn.split(':')[1]}:{API_CALL}",
            "RoleArn": role,
            "RetryPolicy": RETRIES,
            "Input": json.dumps(start),
        },
    }
    with explained(f"schedule {name}"):
        change = scheduler.update_schedule if find_schedule(scheduler, name) else scheduler.create_schedule
        return str(change(**request)["ScheduleArn"])


def find_schedule(scheduler: Any, name: str) -> dict[str, Any] | None:
    """The schedule of a pipeline, or None."""
    from botocore.exceptions import ClientError

    try:
        found: dict[str, Any] = scheduler.get_schedule(Name=name)
    except ClientError as error:
        if error.response["Error"]["Code"] != ABSENT:
            raise
        return None
    return found


def remove_schedule(scheduler: Any, name: str) -> bool:
    """Delete the schedule of a pipeline; returns whether there was one."""
    with explained(f"schedule {name}"):
        if find_schedule(scheduler, name) is None:
            return False
        scheduler.delete_schedule(Name=name)
    return True


def shown(scheduler: Any, name: str) -> str:
    """A line about the schedule of a pipeline; a user who may not ask is told why."""
    from botocore.exceptions import ClientError

    from trapline.launching.aws.errors import explain

    try:
        found = find_schedule(scheduler, name)
    except ClientError as error:
        return f"schedule: not known ({explain(error, 'asking')})"
    if found is None:
        return "schedule: none"
    line = f"schedule: {found['ScheduleExpression']} UTC, {found['State'].lower()}"
    target = found.get("Target", {}).get("Arn", "")
    return line if target.endswith(API_CALL) else f"{line}; {OUTDATED}"
