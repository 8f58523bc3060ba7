"""What an S3 URI names: an object, a folder or a whole bucket. Its text decides, the same for all that read.

S3 has keys alone, and SageMaker reads every key that begins with a URI: `s3://b/raw` would mean `raw-2/` too.
So a folder always gets its slash, and a URI without one names an object only by the suffix of a file. Whoever
may ask S3 finds out in addition whether it is so.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from trapline.archive_names import is_archive, is_part, unread_kind
from trapline.errors import UsageError
from trapline.s3 import SCHEME, split_uri

Kind: TypeAlias = Literal["object", "folder", "bucket"]
FILES = (
    ".csv", ".tsv", ".txt", ".json", ".jsonl", ".parquet", ".arrow", ".xlsx", ".pdf", ".log",
    ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp",
    ".safetensors", ".pth", ".pt",
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A place in S3. key: an object's, or what the keys in a folder begin with, its slash included."""

    kind: Kind
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
    if key.strip("/") and not key.endswith("/") and is_file_name(key):
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


def is_file_name(name: str) -> bool:
    """Whether it is a file by its suffix: an archive, read or not, a table, an image, tensors."""
    known = is_archive(name) or is_part(name) or unread_kind(name) is not None
    return known or name.lower().endswith(FILES)


def _without_blanks(uri: str) -> tuple[str, str]:
    bucket, key = split_uri(uri)
    if uri != uri.strip() or bucket != bucket.strip():
        raise UsageError(f"{uri!r}: there is a blank at the end of the bucket or the key; leave it out")
    return bucket, key


def _folder(bucket: str, key: str) -> Place:
    if not key.strip("/"):
        return Place("bucket", bucket, "")
    return Place("folder", bucket, f"{key.rstrip('/')}/")
