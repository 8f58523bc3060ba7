"""The places in S3 that an execution reads: what their URIs name, and whether that is there."""

from collections.abc import Mapping
from typing import Any

from trapline.launching.aws.sources import check_place, require_alone
from trapline.pipeline.parameters import INPUT_DATA, SITE_CSV, WEIGHTS_URI, Value, in_s3
from trapline.s3 import is_s3

FLAGS = {INPUT_DATA: "--data", SITE_CSV: "--prepare site-csv", WEIGHTS_URI: "--weights"}


def with_places(values: Mapping[str, Value], known: Mapping[str, Value]) -> dict[str, Value]:
    """The values of a start, and beside them the places that the pipeline has without a folder's slash.

    `known`: the values with the pipeline's own defaults, of an earlier version perhaps. Raises UsageError for
    a place that no job reads.
    """
    meant = {name: in_s3(name, str(known[name]), FLAGS[name]) for name in FLAGS if name in known}
    return {**values, **{name: uri for name, uri in meant.items() if uri != known[name]}}


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
