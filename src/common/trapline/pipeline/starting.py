"""What a start of the pipeline in an account takes: the image, places in S3, the version of the data.

An execution may be started by a schedule or in the console, so the definition itself names the image by its
digest. A `start` looks again for what the tag stands for: what was pushed since the upsert is what runs then.
The pipeline's description keeps the tag, as AWS keeps nothing else that a person may read.

A step's cache looks at the text of a URI and not at what lies there. So `start` lists every place that a
cached step reads from outside of the pipeline, and Prepare, with which all begins, has a digest of the
listing as an argument.

An optional schedule bears the pipeline's name, lies in the account's default group, counts in UTC, and starts
the pipeline that is there at that moment: an upsert between two starts is enough to change what runs. Its
target is a universal one, as only there the time of a start can be a parameter.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from trapline.errors import UsageError, refuse_any
from trapline.launching.aws.account import check_place, require_alone, require_image
from trapline.launching.aws.errors import WITHOUT_ACCOUNT, explain, explained, suppressed
from trapline.launching.checking.pipeline_steps import all_steps
from trapline.launching.checking.service_model import is_variable, resolve
from trapline.pipeline.design import (
    ABOUT_REUSE,
    COMPLETED,
    DATA_VERSION,
    FILE_PARAMETERS,
    INPUT_DATA,
    SCHEDULED,
    WEIGHTS_URI,
    YES,
    Value,
    in_s3,
)
from trapline.preparation.completion import NONE_YET, RECORD
from trapline.s3 import entries, is_s3, split_uri

HINT = f"{WITHOUT_ACCOUNT} (run --backend process)"
DESCRIPTION = "From raw images to a submission, in two phases"
IMAGE = "ImageUri"  # the pipeline's parameter
NAMED = re.compile(r"; image: (\S+)\Z")
FLAGS = {
    INPUT_DATA: "--data",
    **{name: option.flag for name, option in FILE_PARAMETERS.items()},
    WEIGHTS_URI: "--weights",
}
PRESENT = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
SPACE = 2**256  # of the sum of SHA-256 digests


def description(image: str | None) -> str:
    """The description of a pipeline whose image was given as `image`."""
    return f"{DESCRIPTION}; image: {image}" if image else DESCRIPTION


def by_digest(session: Any, image: str) -> str:
    """The address of `image` by its digest, and a line about it where it had a tag.

    Raises TraplineError where the account's registry lacks it, or cannot be asked.
    """
    with explained(f"looking for the image {image}", HINT):
        found = require_image(session, image)
    if found != image:
        print(f"image: {image} is {found.rpartition('@')[2]}", flush=True)
    return found


def with_image(
    session: Any,
    described: Mapping[str, Any],
    values: Mapping[str, Value],
    stored: str,
    *,
    scheduled: bool,
) -> dict[str, Value]:
    """The values of a start, the image by its digest among them where it is not the one that is stored.

    `described`: the pipeline in the account. `stored`: the image by default, which stays where the values
    name none and the start is `scheduled`, or the registry may not be asked. Raises as `by_digest` does.
    """
    given = values.get(IMAGE)
    named = None if scheduled else NAMED.search(described.get("PipelineDescription") or "")
    asked = str(given or (named[1] if named else stored))
    found = by_digest(session, asked)
    stays = given is None and (scheduled or found in (asked, stored))
    return dict(values) if stays else {**values, IMAGE: found}


def with_places(values: Mapping[str, Value], known: Mapping[str, Value]) -> dict[str, Value]:
    """The values of a start, and beside them the places that the pipeline has without a folder's slash.

    `known`: the values with the pipeline's own defaults, of an earlier version perhaps. Raises UsageError for
    a place that no job reads.
    """
    meant = {name: in_s3(name, str(known[name]), FLAGS[name]) for name in FLAGS if name in known}
    return {**values, **{name: uri for name, uri in meant.items() if uri != known[name]}}


def require_same_names(known: Mapping[str, Value], stored: Mapping[str, Value | None]) -> None:
    """Raise UsageError where a value names a file of another name than the definition: its job would miss it.

    `known`: the values of a start. `stored`: the defaults of the pipeline in the account.
    """
    for name, option in FILE_PARAMETERS.items():
        value, default = str(known.get(name) or ""), str(stored.get(name) or "")
        if value == default or not (is_s3(value) and is_s3(default)):
            continue
        expected = option.file_name(default)
        refuse_any(
            [
                (
                    option.file_name(value) != expected,
                    f"{option.flag} {value}: the pipeline in the account has its job look for "
                    f"{f'a file called {expected}' if expected else 'a folder'}; give one, or `upsert` with "
                    "this first",
                )
            ]
        )


def check_places(session: Any, known: Mapping[str, Value]) -> None:
    """Raise TraplineError where something is missing that an execution with these values would read.

    An archive must be the only key that begins so: Prepare finds it alone in its folder or not at all.
    """
    s3 = session.client("s3")
    for name, flag in FLAGS.items():
        uri = str(known.get(name, ""))
        if is_s3(uri):
            check_place(s3, flag, uri, str(session.region_name))
            require_alone(s3, flag, uri)


def ensure_record(s3: Any, output: str, pipeline: str) -> None:
    """Where there is no record, put one that says so: no execution of the pipeline has completed yet.

    `output`: OutputPrefix. Raises TraplineError where AWS refuses.
    """
    uri = f"{output}/{COMPLETED}/{pipeline}/{RECORD}"
    bucket, key = split_uri(uri)
    with explained(f"the record of executions, {uri}"), suppressed(*PRESENT):
        s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(NONE_YET).encode(), IfNoneMatch="*")


def with_version(
    session: Any,
    definition: Mapping[str, Any],
    values: Mapping[str, Value],
    known: Mapping[str, Value],
    *,
    scheduled: bool,
) -> dict[str, Value]:
    """The values of a start, the version of the data among them.

    `definition`: of the pipeline in the account; one of an earlier version knows no version. `known`: the
    values with the defaults. `scheduled`: the time of each start is the version, so that Prepare looks at the
    data itself. Raises UsageError where that cannot be, TraplineError where S3 cannot be listed.
    """
    declared = {item["Name"] for item in definition["Parameters"]}
    if scheduled:
        refuse_any(
            [
                (
                    DATA_VERSION in values,
                    f"--param {DATA_VERSION}: a schedule sends the time of each start; leave it out",
                ),
                (
                    not declared >= set(ABOUT_REUSE),
                    "schedule: the pipeline in the account is of an earlier version; upsert it first",
                ),
            ]
        )
        return {**values, DATA_VERSION: SCHEDULED_TIME, SCHEDULED: YES}
    if DATA_VERSION in values or DATA_VERSION not in declared:
        return dict(values)
    if uris := read_from_outside(definition, known):
        print(f"listing {', '.join(uris)}", flush=True)
    version, number = listing_digest(session.client("s3"), uris)
    if uris:
        print(f"data: {number} objects, version {version[:12]}", flush=True)
    return {**values, DATA_VERSION: version}


def read_from_outside(definition: Mapping[str, Any], values: Mapping[str, Value]) -> list[str]:
    """The S3 URIs that cached steps read and that no step and no upload of the code has made, sorted.

    Those are whole values of parameters, or stand in the definition. What is joined of several parts lies
    below OutputPrefix, where the pipeline itself writes.
    """
    found: set[str] = set()
    for step in all_steps(definition["Steps"]):
        if step.body.get("CacheConfig", {}).get("Enabled"):
            found |= {text for text in _plain_texts(step.arguments, values) if is_s3(text)}
    return sorted(found)


def _plain_texts(value: Any, values: Mapping[str, Value]) -> Iterator[str]:
    if is_variable(value):
        value = None if "Std:Join" in value else resolve(value, values)
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _plain_texts(item, values)


def listing_digest(s3: Any, uris: list[str]) -> tuple[str, int]:
    """A digest of what lies at S3 URIs, keys, sizes and ETags, and the number of objects.

    A job reads every key that begins with a URI, so these count. Neither the size of S3's pages nor the order
    of keys changes it; memory does not grow with the number of objects. Raises TraplineError naming the URI
    that cannot be listed.
    """
    digest, number = hashlib.sha256(), 0
    for uri in uris:
        total = 0
        with explained(f"listing {uri} (--param {DATA_VERSION}=TEXT starts without it)"):
            for entry in entries(s3, *split_uri(uri)):
                line = json.dumps([entry["Key"], entry["Size"], entry.get("ETag", "")])
                total = (total + int.from_bytes(hashlib.sha256(line.encode()).digest())) % SPACE
                number += 1
        digest.update(json.dumps([uri, f"{total:064x}"]).encode())
    return digest.hexdigest(), number


# --- by a schedule ------------------------------------------------------------------------------------------

UNITS = {"h": "hour", "d": "day"}
EVERY = re.compile(r"([1-9][0-9]{0,3})([hd])")
CRON_FIELD = re.compile(r"[A-Z0-9*?,/#-]+", re.IGNORECASE)
CRON_FIELDS = "minutes hours day-of-month month day-of-week year"
# A start that AWS refuses for an hour would be refused for a day, which is the service's own patience.
RETRIES = {"MaximumRetryAttempts": 3, "MaximumEventAgeInSeconds": 3600}
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
    fields = str(cron).split()
    example = f'six fields ({CRON_FIELDS}), as in "0 3 ? * MON *" for Mondays at 03:00 UTC'
    if len(fields) != 6 or not all(CRON_FIELD.fullmatch(field) for field in fields):
        raise UsageError(f"--cron {cron}: must be {example}")
    if (fields[2] == "?") == (fields[4] == "?"):
        raise UsageError(f"--cron {cron}: one of day-of-month and day-of-week must be ?; write {example}")
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
    with suppressed("ResourceNotFoundException"):
        return dict(scheduler.get_schedule(Name=name))
    return None


def shown(scheduler: Any, name: str) -> str:
    """A line about the schedule of a pipeline; a user who may not ask is told why."""
    from botocore.exceptions import ClientError

    try:
        found = find_schedule(scheduler, name)
    except ClientError as error:
        return f"schedule: not known ({explain(error, 'asking')})"
    if found is None:
        return "schedule: none"
    line = f"schedule: {found['ScheduleExpression']} UTC, {found['State'].lower()}"
    target = found.get("Target", {}).get("Arn", "")
    return line if target.endswith(API_CALL) else f"{line}; {OUTDATED}"
