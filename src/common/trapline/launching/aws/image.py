"""The image of jobs on AWS: the project's own in the account's registry, unless another is named.

A tag may be pushed anew, so what is sent names the image by its digest: a step's cache, a job's record and a
registered model then say which image it was.
"""

import re
from typing import TYPE_CHECKING, Any

from trapline.errors import UsageError
from trapline.launching.job_requests import Image

if TYPE_CHECKING:
    import boto3

REPOSITORY, TAG = "trapline", "latest"  # as `docker/build.sh --push trapline` names them
PUSH = f"docker/build.sh --push {REPOSITORY}"
CHINA = "cn-"  # regions whose addresses have a domain of their own
ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):role/.+")
REGISTRY = re.compile(
    r"(?P<address>(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/"
    r"(?P<repository>[^:@]+))(:(?P<tag>[^@]+))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)
DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")
MISSING = ("ImageNotFoundException", "RepositoryNotFoundException")


def account_of(role: str | None) -> str | None:
    """The account of a role's ARN; None where it is no ARN."""
    found = ROLE_ARN.fullmatch(role or "")
    return found[1] if found else None


def own_image(account: str, region: str) -> str:
    """The address of the project's own image in an account's registry."""
    domain = "amazonaws.com.cn" if region.startswith(CHINA) else "amazonaws.com"
    return f"{account}.dkr.ecr.{region}.{domain}/{REPOSITORY}:{TAG}"


def settled(image: Image, role: str | None, session: "boto3.Session") -> Image:
    """`image`, or the project's own where none is named. The account is the role's, else asked for."""
    if image.uri or image.of_aws:
        return image
    account = account_of(role) or str(session.client("sts").get_caller_identity()["Account"])
    return Image(own_image(account, str(session.region_name)))


def require_image(session: "boto3.Session", uri: str) -> str:
    """The address of the image by its digest. Raises UsageError where the account's registry lacks it.

    Images of other registries are as they were given; nobody is asked. Who may not look is told so, and goes
    on with the tag: the jobs' role may be allowed what this user is not.
    """
    from botocore.exceptions import ClientError

    found = REGISTRY.fullmatch(uri)
    if not found:
        return uri
    try:
        digest = _look_up(session.client("ecr", region_name=found["region"]), found)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in MISSING:
            raise UsageError(_way_out(found, str(session.region_name))) from None
        if code not in DENIED:
            raise
        print(f"image: {uri} is not looked up (ecr:DescribeImages: access denied)", flush=True)
        return uri
    return f"{found['address']}@{digest}"


def _look_up(ecr: Any, found: re.Match[str]) -> str:
    """The digest of the image, from its registry."""
    image = {"imageDigest": found["digest"]} if found["digest"] else {"imageTag": found["tag"] or TAG}
    answer = ecr.describe_images(
        registryId=found["account"], repositoryName=found["repository"], imageIds=[image]
    )
    return str(answer["imageDetails"][0]["imageDigest"])


def _way_out(found: re.Match[str], region: str) -> str:
    place = "" if found["region"] == region else f" (in {found['region']}, the jobs run in {region})"
    return (
        f"--image-uri {found.group()}: no such image in the registry{place}; "
        f"make it and send it there with: {PUSH}"
    )
