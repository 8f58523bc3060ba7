"""What a launch reads in S3 is looked for before anything is paid: buckets, their region, what lies there."""

from typing import TYPE_CHECKING, Any

from common.data.archives import is_archive
from common.errors import UsageError
from common.s3 import is_s3, split_uri
from launch.aws.errors import explained
from launch.flags import Plan
from launch.prepare_options import LABEL_NAMES

if TYPE_CHECKING:
    import boto3

WITHOUT_ACCOUNT = "--backend process runs the same job here, without an account"


def check_sources(boto_session: "boto3.Session", plan: Plan) -> None:
    """Raise TraplineError where a bucket is not there, or nothing lies where a flag says so."""
    s3 = boto_session.client("s3")
    sites = plan.prepare_options.get("site-csv", "")
    flags = {
        "--output": plan.output,
        "--code-output": plan.aws.code_output,
        "--data": None if plan.data == "demo" else plan.data,
        "--prepared": plan.prepared,
        "--prepare site-csv": sites,
        "--prepare label-names": _label_names(plan),
        **{f"--{name}": uri for name, uri in plan.channels.items()},
    }
    for flag, uri in flags.items():
        if uri:
            with explained(f"{flag} {uri}", WITHOUT_ACCOUNT):
                _check_bucket(s3, flag, uri, boto_session.region_name)
                _check_content(s3, flag, uri)


def _label_names(plan: Plan) -> str | None:
    """The URI of the CSV of names; None where there is none, or the data cannot be looked into for it."""
    names = plan.prepare_options.get(LABEL_NAMES)
    if not names or is_s3(names):
        return names
    looks = plan.data and plan.data != "demo" and not is_archive(plan.data)
    return as_folder(str(plan.data)) + names if looks else None


def _check_bucket(s3: Any, flag: str, uri: str, region: str) -> None:
    """SageMaker reads and writes in its own region alone."""
    lies_in = s3.head_bucket(Bucket=split_uri(uri)[0]).get("BucketRegion") or region
    if lies_in != region:
        raise UsageError(
            f"{flag} {uri}: the bucket lies in {lies_in}, the jobs would run in {region}, and SageMaker "
            f"does not reach across; set AWS_REGION={lies_in} or use a bucket in {region}"
        )


def _check_content(s3: Any, flag: str, uri: str) -> None:
    if flag in ("--output", "--code-output"):
        return
    bucket, _ = split_uri(uri)
    names = {"--prepared": "dataset.json", "--pseudo": "pseudo_labels.csv", "--weights": "weights.json"}
    name = names.get(flag)
    if (flag == "--data" and not is_archive(uri)) or (flag == "--phase1" and not uri.endswith(".tar.gz")):
        name = ""
    wanted = split_uri(uri if name is None else as_folder(uri) + name)[1]
    found = s3.list_objects_v2(Bucket=bucket, Prefix=wanted, MaxKeys=1).get("Contents", [])
    if not found or (name != "" and found[0]["Key"] != wanted):
        known = {"--data": "nothing there", "--prepared": "no dataset.json there"}
        missing = {**known, "--weights": "no weights.json there"}.get(flag, "no such file")
        raise UsageError(f"{flag} {uri}: {missing}; look with: aws s3 ls {uri}")


def as_data(uri: str) -> str:
    """The URI of raw images as a job is given it: one object where it is an archive, else a folder."""
    return uri if is_archive(uri) else as_folder(uri)


def as_folder(uri: str) -> str:
    """`uri` with one slash at its end: without it, s3://b/set would be read with s3://b/set-2 as well."""
    return f"{uri.rstrip('/')}/"
