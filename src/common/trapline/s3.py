"""S3: what a URI names, copying an object to a local file, and what S3's errors mean.

Credentials, region and endpoint (AWS_ENDPOINT_URL_S3) come from the usual AWS settings.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trapline.errors import TraplineError, UsageError
from trapline.storage import CHUNK

SCHEME = "s3://"
AT_ONCE = 16  # objects that are copied side by side
TRIES = 3  # of an object whose bytes break off

# S3's error code -> what it means. Those in EVERYWHERE would meet every other object too.
EXPLANATIONS = {
    "NoSuchKey": "no such object in S3",
    "NoSuchBucket": "there is no such bucket; check its name and AWS_ENDPOINT_URL_S3",
    "AccessDenied": "access denied; the credentials need s3:ListBucket for the bucket, s3:GetObject for its "
    "objects, and kms:Decrypt where they are encrypted",
    "InvalidAccessKeyId": "S3 does not know the AWS access key; check the credentials",
    "SignatureDoesNotMatch": "the AWS secret key is wrong; check the credentials",
    "InvalidToken": "the AWS session token is not valid; renew the credentials",
    "ExpiredToken": "the AWS credentials have expired; renew them",
    "PreconditionFailed": "it changed while it was copied; start again when nobody writes there",
    "InvalidObjectState": "it is archived; restore it first",
    "PermanentRedirect": "the bucket is in another region; set AWS_DEFAULT_REGION",
}
SYNONYMS = {
    "404": "NoSuchKey",
    "403": "AccessDenied",
    "412": "PreconditionFailed",
    "301": "PermanentRedirect",
}
EVERYWHERE = {
    "NoSuchBucket",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "ExpiredToken",
    "PermanentRedirect",
    "RequestTimeTooSkewed",
    "SlowDown",
}
CREDENTIALS_ERRORS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "ProfileNotFound",
    "TokenRetrievalError",
    "SSOError",
}


@dataclass(frozen=True)
class S3Object:
    """One object; `name` is its key relative to the prefix that was asked for, `size` in bytes."""

    key: str
    name: str
    size: int
    etag: str


@dataclass(frozen=True)
class S3Problem:
    """Why an object has no copy: one line for a person, and whether the object is gone."""

    detail: str
    missing: bool = False
    everywhere: bool = False  # the same would happen to the other objects


class BrokenOff(Exception):
    """The bytes of an object ended before their time, again and again."""


def is_s3(uri: str) -> bool:
    """Whether `uri` names an object or a prefix in S3."""
    return uri.startswith(SCHEME)


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of an S3 URI. Raises UsageError when it names no bucket."""
    bucket, _, key = uri.removeprefix(SCHEME).partition("/")
    if not is_s3(uri) or not bucket:
        raise UsageError(f"{uri}: not an S3 URI; write s3://BUCKET/PREFIX")
    return bucket, key


def fetch(uri: str, target: Path) -> Path:
    """Copy an object in S3 to the local file `target` and return it.

    Raises TraplineError when the object is missing or cannot be read; `target` is then as it was.
    """
    bucket, key = split_uri(uri)
    partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        problem = copy_object(open_client(uri), bucket, S3Object(key, key, -1, ""), partial)
        if problem:
            raise TraplineError(f"{uri}: {problem.detail}")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def open_client(uri: str) -> Any:
    """A boto3 client of S3 with the AWS settings of this moment, to read or write what `uri` names.

    Raises TraplineError where the settings allow none.
    """
    import boto3
    from botocore.config import Config

    try:  # an own session: boto3's shared one keeps the credentials of an earlier call
        return boto3.session.Session().client("s3", config=Config(max_pool_connections=AT_ONCE))
    except errors() as error:
        raise TraplineError(f"{uri}: {explain(error).detail}") from error


def errors() -> tuple[type[Exception], ...]:
    """What boto3 raises where S3 cannot be reached or refuses; ValueError where a setting is none."""
    from botocore.exceptions import BotoCoreError, ClientError

    return BotoCoreError, ClientError, ValueError


def copy_object(client: Any, bucket: str, item: S3Object, path: Path) -> S3Problem | None:
    """Write the bytes of `item` to `path`. OSError means the local file; what S3 says is an S3Problem."""
    # IfMatch: what was listed is what is copied, or S3 says that it changed.
    condition = {"IfMatch": item.etag} if item.etag else {}
    failure: Exception | None = None
    for _ in range(TRIES):
        try:
            answer = client.get_object(Bucket=bucket, Key=item.key, **condition)
        except errors() as error:
            return explain(error)
        failure = _received(answer["Body"], path)
        if failure is None:
            return None
    return explain(BrokenOff(f"{TRIES} times: {type(failure).__name__}: {failure}"))


def _received(body: Any, path: Path) -> Exception | None:
    """Write the body of S3's answer to `path`; what went wrong on the way here."""
    with path.open("wb") as file, contextlib.closing(body):
        try:
            for chunk in body.iter_chunks(CHUNK):
                file.write(chunk)
        except errors() as error:  # a connection breaks in many ways, a checksum in another
            return error
    return None


def explain(error: Exception) -> S3Problem:
    """What an error of boto3 means and what to do about it."""
    response = getattr(error, "response", None) or {}
    code = str(response.get("Error", {}).get("Code", ""))
    code = SYNONYMS.get(code, code)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    if kinds & CREDENTIALS_ERRORS:
        hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run it with a role"
        return S3Problem(f"no AWS credentials ({error}); {hint}", everywhere=True)
    if "ParamValidationError" in kinds:
        return S3Problem(f"not a name that S3 takes ({reason})", everywhere=True)
    if not code and "BotoCoreError" in kinds:
        hint = "check the network, AWS_DEFAULT_REGION and AWS_ENDPOINT_URL_S3"
        return S3Problem(f"S3 cannot be reached ({reason}); {hint}", everywhere=True)
    detail = EXPLANATIONS.get(code) or f"cannot be read from S3 ({reason})"
    return S3Problem(detail, missing=code == "NoSuchKey", everywhere=code in EVERYWHERE)
