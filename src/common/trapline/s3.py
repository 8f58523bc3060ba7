"""S3: what a URI names, copying an object to a local file, and what S3's errors mean.

S3 has keys alone, and SageMaker reads every key that begins with a URI: `s3://b/raw` would mean `raw-2/` too.
So a folder always gets its slash, and a URI without one names an object only by the suffix of a file: its
text decides, the same for all that read. Whoever may ask S3 finds out in addition whether it is so.

Credentials, region and endpoint (AWS_ENDPOINT_URL_S3) come from the usual AWS settings.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trapline.errors import TraplineError, UsageError
from trapline.storage import CHUNK, is_archive, is_part, unread_kind

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
FILES = (
    ".csv", ".tsv", ".txt", ".json", ".jsonl", ".parquet", ".arrow", ".xlsx", ".pdf", ".log",
    ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp",
    ".safetensors", ".pth", ".pt",
)  # fmt: skip


# --- what a URI names ---------------------------------------------------------------------------------------


def is_s3(uri: str) -> bool:
    """Whether `uri` names an object or a prefix in S3."""
    return uri.startswith(SCHEME)


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of an S3 URI. Raises UsageError when it names no bucket."""
    bucket, _, key = uri.removeprefix(SCHEME).partition("/")
    if not is_s3(uri) or not bucket:
        raise UsageError(f"{uri}: not an S3 URI; write s3://BUCKET/PREFIX")
    return bucket, key


@dataclass(frozen=True)
class Place:
    """A place in S3. key: an object's, or what the keys in a folder begin with, its slash included."""

    kind: Literal["object", "folder", "bucket"]
    bucket: str
    key: str

    @property
    def uri(self) -> str:
        """The URI as jobs are given it."""
        return f"{SCHEME}{self.bucket}/{self.key}"

    @property
    def name(self) -> str:
        """The last part of the key; the bucket's name where that is all."""
        return self.key.rstrip("/").rpartition("/")[2] or self.bucket


def place_of(uri: str) -> Place:
    """What `uri` names. `s3://b/x.zip/` is a folder, as is all that ends with a slash.

    Keys are taken as they are written, with blanks, `#?%` and doubled slashes; slashes at the end count as
    one. Raises UsageError for a URI without a bucket, and for a blank at its end.
    """
    bucket, key = _without_blanks(uri)
    # A file by its suffix: an archive, read or not, a table, an image, tensors.
    if is_archive(key) or is_part(key) or unread_kind(key) is not None or key.lower().endswith(FILES):
        return Place("object", bucket, key)
    return _folder(bucket, key)


def as_folder(uri: str) -> str:
    """The URI of what can be nothing but a folder, with one slash at its end. Raises as `place_of` does."""
    return _folder(*_without_blanks(uri)).uri


def as_file(uri: str, flag: str = "") -> Place:
    """The object that is meant where nothing but one file can be, whatever its suffix.

    `flag`: what gave the URI, for messages. Raises UsageError as `place_of` does, and for a folder or bucket.
    """
    bucket, key = _without_blanks(uri)
    if not key or key.endswith("/"):
        raise UsageError(f"{flag} {uri}: names a folder; give one file".strip())
    return Place("object", bucket, key)


def _without_blanks(uri: str) -> tuple[str, str]:
    bucket, key = split_uri(uri)
    if uri != uri.strip() or bucket != bucket.strip():
        raise UsageError(f"{uri!r}: there is a blank at the end of the bucket or the key; leave it out")
    return bucket, key


def _folder(bucket: str, key: str) -> Place:
    if not key.strip("/"):
        return Place("bucket", bucket, "")
    return Place("folder", bucket, f"{key.rstrip('/')}/")


# --- objects, and why one has no copy -----------------------------------------------------------------------


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


def entries(client: Any, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    """What S3 says of each object whose key begins with `prefix`. Raises what boto3 does."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from page.get("Contents", [])


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
        with path.open("wb") as file, contextlib.closing(answer["Body"]) as body:
            try:
                for chunk in body.iter_chunks(CHUNK):
                    file.write(chunk)
                return None
            except errors() as error:  # a connection breaks in many ways, a checksum in another
                failure = error
    return explain(BrokenOff(f"{TRIES} times: {type(failure).__name__}: {failure}"))


def explain(error: Exception) -> S3Problem:
    """What an error of boto3 means and what to do about it."""
    response = getattr(error, "response", None) or {}
    code = str(response.get("Error", {}).get("Code", ""))
    code = SYNONYMS.get(code, code)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    if kinds & CREDENTIALS_ERRORS:
        return S3Problem(
            f"no AWS credentials ({error}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, "
            "or run it with a role",
            everywhere=True,
        )
    if "ParamValidationError" in kinds:
        return S3Problem(f"not a name that S3 takes ({reason})", everywhere=True)
    if not code and "BotoCoreError" in kinds:
        return S3Problem(
            f"S3 cannot be reached ({reason}); check the network, AWS_DEFAULT_REGION and AWS_ENDPOINT_URL_S3",
            everywhere=True,
        )
    return S3Problem(
        EXPLANATIONS.get(code) or f"cannot be read from S3 ({reason})",
        missing=code == "NoSuchKey",
        everywhere=code in EVERYWHERE,
    )
