"""The record of the last completed execution, in S3: there from the first, as the input of a job must be."""

import json
from typing import Any

from trapline.launching.aws.errors import explained
from trapline.preparation.completion import NONE_YET, RECORD
from trapline.s3 import split_uri

COMPLETED = "completed"  # the folder of all pipelines' records, below OutputPrefix
PRESENT = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


def ensure_record(s3: Any, output: str, pipeline: str) -> None:
    """Where there is no record, put one that says so: no execution of the pipeline has completed yet.

    `output`: OutputPrefix. Raises TraplineError where AWS refuses.
    """
    from botocore.exceptions import ClientError

    uri = f"{output}/{COMPLETED}/{pipeline}/{RECORD}"
    bucket, key = split_uri(uri)
    body = json.dumps(NONE_YET).encode()
    with explained(f"the record of executions, {uri}"):
        try:
            s3.put_object(Bucket=bucket, Key=key, Body=body, IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] not in PRESENT:
                raise
