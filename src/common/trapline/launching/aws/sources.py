"""What a launch reads in S3 is looked for before anything is paid: buckets, their region, what lies there."""

from typing import TYPE_CHECKING, Any

from trapline.errors import UsageError
from trapline.launching.aws.errors import WITHOUT_ACCOUNT, explained
from trapline.launching.plan import Plan
from trapline.launching.prepare_options import LABEL_NAMES
from trapline.preparation.archives import READ_ARCHIVES, is_archive
from trapline.preparation.raw_places import raw_place
from trapline.s3 import is_s3, split_uri
from trapline.s3_places import Place, as_file, as_folder, place_of

if TYPE_CHECKING:
    import boto3


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
            check_place(s3, flag, uri, str(boto_session.region_name))


def check_place(s3: Any, flag: str, uri: str, region: str) -> None:
    """Raise TraplineError where the bucket lacks what the flag says. `region`: that of the jobs."""
    with explained(f"{flag} {uri}", WITHOUT_ACCOUNT):
        _check_bucket(s3, flag, uri, region)
        _check_content(s3, flag, uri)


def require_alone(s3: Any, flag: str, uri: str) -> None:
    """Raise UsageError where raw images are an archive, and other keys begin with its own."""
    place = place_of(uri)
    if place.kind != "object" or not is_archive(place.name):
        return
    with explained(f"{flag} {uri}", WITHOUT_ACCOUNT):
        found = s3.list_objects_v2(Bucket=place.bucket, Prefix=place.key, MaxKeys=2).get("Contents", [])
    others = [item["Key"] for item in found if item["Key"] != place.key]
    if others:
        raise UsageError(
            f"{flag} {uri}: a job reads all keys that begin so, {others[0]} too; move one of them elsewhere"
        )


def _label_names(plan: Plan) -> str | None:
    """The URI of the CSV of names; None where there is none, or the data cannot be looked into for it."""
    names = plan.prepare_options.get(LABEL_NAMES)
    if not names or is_s3(names):
        return names
    place = raw_place(plan.data) if plan.data and plan.data != "demo" else None
    return place.uri + names if place and place.kind != "object" else None


def _check_bucket(s3: Any, flag: str, uri: str, region: str) -> None:
    """SageMaker reads and writes in its own region alone."""
    lies_in = s3.head_bucket(Bucket=split_uri(uri)[0]).get("BucketRegion") or region
    if lies_in != region:
        raise UsageError(
            f"{flag} {uri}: the bucket lies in {lies_in}, the jobs would run in {region}, and SageMaker "
            f"does not reach across; set AWS_REGION={lies_in} or use a bucket in {region}"
        )


def _check_content(s3: Any, flag: str, uri: str) -> None:
    """Raise UsageError where what the flag names is not there: a file, or anything at all in a folder."""
    if flag in ("--output", "--code-output"):
        return
    place = PLACES.get(flag, as_file)(uri)
    wanted = place.key + INSIDE.get(flag, "")
    if _has(s3, place.bucket, wanted, exactly=place.kind == "object" or flag in INSIDE):
        return
    known = {"--data": "nothing there", "--prepared": "no dataset.json there"}
    missing = {**known, "--weights": "no weights.json there"}.get(flag, "no such file")
    raise UsageError(f"{flag} {uri}: {_misnamed(s3, place) or missing}; look with: aws s3 ls {uri}")


def _folder(uri: str) -> Place:
    return place_of(as_folder(uri))


# What the URI of a flag names, and the file that must be in it; all other flags name a file.
PLACES = {
    "--data": raw_place, "--phase1": place_of,
    "--prepared": _folder, "--pseudo": _folder, "--weights": _folder,
}  # fmt: skip
INSIDE = {"--prepared": "dataset.json", "--pseudo": "pseudo_labels.csv", "--weights": "weights.json"}


def _has(s3: Any, bucket: str, key: str, *, exactly: bool) -> bool:
    """Whether there is an object with this key, or, not `exactly`, one whose key begins with it."""
    found = s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("Contents", [])
    return bool(found) and (not exactly or found[0]["Key"] == key)


def _misnamed(s3: Any, place: Place) -> str | None:
    """What lies there instead: a folder under the name of the object that was meant, or the reverse."""
    if place.kind == "object" and _has(s3, place.bucket, f"{place.key}/", exactly=False):
        return "no such file, but a folder, which is named with a slash at its end"
    if place.kind == "folder" and _has(s3, place.bucket, place.key.rstrip("/"), exactly=True):
        return f"one object and no folder; give a folder, or {READ_ARCHIVES}"
    return None
