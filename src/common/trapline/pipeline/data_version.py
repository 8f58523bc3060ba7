"""The state of what a pipeline reads in S3, as one text: a digest of the listing, taken when it is started.

A step's cache looks at the text of a URI and not at what lies there. So `start` lists every place that a
cached step reads from outside of the pipeline, and Prepare, with which all begins, has the digest as an
argument.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from trapline.errors import UsageError
from trapline.launching.aws.errors import explained
from trapline.launching.checking.pipeline_steps import all_steps
from trapline.launching.checking.service_model import is_variable, resolve
from trapline.pipeline.parameters import ABOUT_REUSE, DATA_VERSION, SCHEDULED, YES, Value
from trapline.pipeline.schedule import SCHEDULED_TIME
from trapline.s3 import is_s3, split_uri

SPACE = 2**256  # of the sum of SHA-256 digests


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
        return {**values, **_of_a_schedule(declared, values)}
    if DATA_VERSION in values or DATA_VERSION not in declared:
        return dict(values)
    uris = read_from_outside(definition, known)
    if uris:
        print(f"listing {', '.join(uris)}", flush=True)
    version, number = listing_digest(session.client("s3"), uris)
    if uris:
        print(f"data: {number} objects, version {version[:12]}", flush=True)
    return {**values, DATA_VERSION: version}


def _of_a_schedule(declared: set[str], values: Mapping[str, Value]) -> dict[str, Value]:
    if DATA_VERSION in values:
        raise UsageError(f"--param {DATA_VERSION}: a schedule sends the time of each start; leave it out")
    if not declared >= set(ABOUT_REUSE):
        raise UsageError("schedule: the pipeline in the account is of an earlier version; upsert it first")
    return {DATA_VERSION: SCHEDULED_TIME, SCHEDULED: YES}


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
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _plain_texts(item, values)
    elif isinstance(value, list):
        for item in value:
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
            for entry in _entries(s3, uri):
                line = json.dumps([entry["Key"], entry["Size"], entry.get("ETag", "")])
                total = (total + int.from_bytes(hashlib.sha256(line.encode()).digest())) % SPACE
                number += 1
        digest.update(json.dumps([uri, f"{total:064x}"]).encode())
    return digest.hexdigest(), number


def _entries(s3: Any, uri: str) -> Iterator[dict[str, Any]]:
    bucket, prefix = split_uri(uri)
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from page.get("Contents", [])
