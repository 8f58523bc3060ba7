"""Where a launch goes on AWS: the session, the role, the place of its results, and the image of its jobs.

That image is the project's own in the account's registry, unless another is named. What a launch reads in S3
is looked for here, too: buckets, their region, what lies there.
"""

import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trapline.errors import UsageError
from trapline.launching.aws.errors import WITHOUT_ACCOUNT, explained, suppressed
from trapline.launching.aws.options import DEFAULTS_FILE, check_isolation, role_of_environment
from trapline.launching.given_options import FILE_OPTIONS, LABEL_NAMES
from trapline.launching.plan import WEIGHTS, Image, Job, Plan, PrepareJob
from trapline.preparation.archives import READ_ARCHIVES, is_archive, raw_place
from trapline.s3 import Place, as_file, as_folder, is_s3, place_of, split_uri

if TYPE_CHECKING:
    import boto3

    from trapline.launching.sdk.objects import Session

RETRIES = {"mode": "adaptive", "max_attempts": 8}  # throttling is waited for
REPOSITORY, TAG = "trapline", "latest"  # as `docker/build.sh --push trapline` names them
PUSH = f"docker/build.sh --push {REPOSITORY}"
REGISTRY = re.compile(
    r"(?P<address>(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/"
    r"(?P<repository>[^:@]+))(:(?P<tag>[^@]+))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@dataclass(frozen=True)
class Account:
    """Where a launch goes: the session, the role, the prefix of everything that it writes, the image."""

    session: "Session"
    role: str | None  # None: the SDK's defaults file names it
    output: str
    image: Image

    def start(self, job: Job) -> None:
        """Send a job without waiting for it. Raises TraplineError where the SDK or AWS refuses it."""
        from trapline.launching.sdk.objects import start_job

        if isinstance(job, PrepareJob):
            with explained(f"copying the code to {job.code}", WITHOUT_ACCOUNT):
                bucket, prefix = split_uri(job.code)
                self.session.upload_data(str(job.staged), bucket=bucket, key_prefix=prefix)
        with explained(f"{job.kind} job {job.name}", WITHOUT_ACCOUNT):
            start_job(job, self.session)


def make_session(assumed: str | None = None) -> "boto3.Session":
    """A boto3 session whose clients wait where AWS throttles.

    AWS_REGION counts as it does for AWS's other tools; boto3 alone reads AWS_DEFAULT_REGION only. `assumed`:
    the region where nothing names one; without it that is a UsageError.
    """
    import boto3
    import botocore.session
    from botocore.config import Config
    from botocore.exceptions import UnknownRegionError

    core = botocore.session.get_session()
    core.set_default_client_config(Config(retries=RETRIES))
    region = os.environ.get("AWS_REGION") or core.get_config_variable("region") or assumed
    if not region:
        raise UsageError(
            "no AWS region: set AWS_REGION or AWS_DEFAULT_REGION, as in eu-west-1, or region in trapline.toml"
        )
    session = boto3.Session(botocore_session=core, region_name=region)
    try:
        session.get_partition_for_region(session.region_name)
    except UnknownRegionError:
        raise UsageError(
            f"AWS has no region {session.region_name}; check AWS_REGION and AWS_DEFAULT_REGION"
        ) from None
    return session


def signed_in(hint: str = f";\n{WITHOUT_ACCOUNT}") -> "boto3.Session":
    """A session with credentials and a region. Raises UsageError, with the `hint`, where one is missing."""
    session = make_session()
    if session.get_credentials() is None:
        raise UsageError(
            f"no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY{hint}"
        )
    return session


def open_account(boto_session: "boto3.Session", plan: Plan, *, by_digest: bool = False) -> Account:
    """Session, role, output prefix and image of a launch. Raises TraplineError where one cannot be had.

    `by_digest`: the image, where it has an address, as `require_image` gives it.
    """
    from trapline.launching.sdk.objects import isolated_by_default, open_session

    session = open_session(boto_session)
    if isolated_by_default(session.sagemaker_config):
        check_isolation(plan.config.weights, staged=WEIGHTS in plan.channels, flag=DEFAULTS_FILE)
    role = _role(session, plan)
    with explained("the account's own image (--image-uri names another)", WITHOUT_ACCOUNT):
        image = settled(plan.image, role, boto_session)
    with explained("the SDK's default bucket (--output names another)", WITHOUT_ACCOUNT):
        output = plan.output or f"s3://{session.default_bucket()}/trapline"
    if by_digest and image.uri:
        with explained(f"looking for the image {image.uri}", WITHOUT_ACCOUNT):
            image = replace(image, uri=require_image(boto_session, image.uri))
    return Account(session, role, output.rstrip("/"), image)


def _role(session: "Session", plan: Plan) -> str | None:
    """The role's ARN, looked up where only its name was given; None where the SDK's defaults file has one."""
    from trapline.launching.sdk.objects import defaults_name_role

    role = plan.role or role_of_environment()
    if not role:
        if defaults_name_role(session, training_only=plan.prepared is not None):
            return None
        raise UsageError("no role: give --role NAME or ARN, the jobs' execution role, or set SAGEMAKER_ROLE")
    with explained(f"--role {role}", WITHOUT_ACCOUNT), suppressed("NoSuchEntity"):
        return str(session.expand_role(role))
    raise UsageError(f"--role {role}: the account has no such role; `aws iam list-roles` lists them")


def account_of(role: str | None) -> str | None:
    """The account of a role's ARN; None where it is no ARN."""
    found = re.fullmatch(r"arn:aws[a-z-]*:iam::(\d{12}):role/.+", role or "")
    return found[1] if found else None


def own_image(account: str, region: str) -> str:
    """The address of the project's own image in an account's registry; China has a domain of its own."""
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"{account}.dkr.ecr.{region}.{domain}/{REPOSITORY}:{TAG}"


def settled(image: Image, role: str | None, session: "boto3.Session") -> Image:
    """`image`, or the project's own where none is named. The account is the role's, else asked for."""
    if image.uri or image.of_aws:
        return image
    account = account_of(role) or session.client("sts").get_caller_identity()["Account"]
    return Image(own_image(str(account), str(session.region_name)))


def require_image(session: "boto3.Session", uri: str) -> str:
    """The address of the image by its digest. Raises UsageError where the account's registry lacks it.

    A tag may be pushed anew; by the digest a step's cache, a job's record and a registered model say which
    image it was. Images of other registries are as they were given; nobody is asked. Who may not look is told
    so, and goes on with the tag: the jobs' role may be allowed what this user is not.
    """
    found = REGISTRY.fullmatch(uri)
    if not found:
        return uri
    image = {"imageDigest": found["digest"]} if found["digest"] else {"imageTag": found["tag"] or TAG}
    with suppressed("AccessDenied", "AccessDeniedException", "UnauthorizedOperation"):
        with suppressed("ImageNotFoundException", "RepositoryNotFoundException"):
            answer = session.client("ecr", region_name=found["region"]).describe_images(
                registryId=found["account"], repositoryName=found["repository"], imageIds=[image]
            )
            return f"{found['address']}@{answer['imageDetails'][0]['imageDigest']}"
        region = str(session.region_name)
        place = "" if found["region"] == region else f" (in {found['region']}, the jobs run in {region})"
        raise UsageError(
            f"--image-uri {uri}: no such image in the registry{place}; make it and send it there with: {PUSH}"
        )
    print(f"image: {uri} is not looked up (ecr:DescribeImages: access denied)", flush=True)
    return uri


# --- what a launch reads in S3, looked for before anything is paid ------------------------------------------


def check_sources(boto_session: "boto3.Session", plan: Plan) -> None:
    """Raise TraplineError where a bucket is not there, or nothing lies where a flag says so."""
    s3 = boto_session.client("s3")
    flags = {
        "--output": plan.output,
        "--code-output": plan.aws.code_output,
        "--data": None if plan.data == "demo" else plan.data,
        "--prepared": plan.prepared,
        FILE_OPTIONS[LABEL_NAMES].flag: _label_names(plan),
        **{FILE_OPTIONS[name].flag: uri for name, uri in plan.files.items()},
        **{f"--{name}": uri for name, uri in plan.channels.items()},
    }
    for flag, uri in flags.items():
        if uri:
            check_place(s3, flag, uri, str(boto_session.region_name))


def check_place(s3: Any, flag: str, uri: str, region: str) -> None:
    """Raise TraplineError where the bucket lacks what the flag says: a file, or anything at all in a folder.

    `region`: that of the jobs, for SageMaker reads and writes in its own region alone.
    """
    with explained(f"{flag} {uri}", WITHOUT_ACCOUNT):
        lies_in = s3.head_bucket(Bucket=split_uri(uri)[0]).get("BucketRegion") or region
        if lies_in != region:
            raise UsageError(
                f"{flag} {uri}: the bucket lies in {lies_in}, the jobs would run in {region}, and SageMaker "
                f"does not reach across; set AWS_REGION={lies_in} or use a bucket in {region}"
            )
        if flag not in ("--output", "--code-output"):
            kind, inside, missing = PLACES.get(flag, (as_file, "", NO_FILE))
            place = kind(uri)
            if not _has(s3, place.bucket, place.key + inside, exactly=place.kind == "object" or bool(inside)):
                raise UsageError(
                    f"{flag} {uri}: {_misnamed(s3, place) or missing}; look with: aws s3 ls {uri}"
                )


def require_alone(s3: Any, flag: str, uri: str) -> None:
    """Raise UsageError where raw images are an archive, and other keys begin with its own."""
    place = place_of(uri)
    if place.kind != "object" or not is_archive(place.name):
        return
    with explained(f"{flag} {uri}", WITHOUT_ACCOUNT):
        found = s3.list_objects_v2(Bucket=place.bucket, Prefix=place.key, MaxKeys=2).get("Contents", [])
    if others := [item["Key"] for item in found if item["Key"] != place.key]:
        raise UsageError(
            f"{flag} {uri}: a job reads all keys that begin so, {others[0]} too; move one of them elsewhere"
        )


def _label_names(plan: Plan) -> str | None:
    """The URI of a CSV of names in the data; None without one, or where they cannot be looked into."""
    names = plan.prepare_options.get(LABEL_NAMES)
    if not names or is_s3(names):
        return None
    place = raw_place(plan.data) if plan.data and plan.data != "demo" else None
    return place.uri + names if place and place.kind != "object" else None


def _folder(uri: str) -> Place:
    return place_of(as_folder(uri))


NO_FILE = "no such file"
# Of each flag: what its URI names, the file that must be in it, and what is said where that is not there. All
# other flags name a file.
PLACES = {
    "--data": (raw_place, "", "nothing there"),
    "--phase1": (place_of, "", NO_FILE),
    "--prepared": (_folder, "dataset.json", "no dataset.json there"),
    "--pseudo": (_folder, "pseudo_labels.csv", NO_FILE),
    "--weights": (_folder, "weights.json", "no weights.json there"),
    **{
        option.flag: (option.place, "", "nothing there")
        for option in FILE_OPTIONS.values()
        if option.kind != "file"
    },
}


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
