"""What `--data` and `--input` name in S3: a folder of raw images, a bucket of them, or one archive."""

from pathlib import Path

from trapline.errors import UsageError
from trapline.preparation.archives import READ_ARCHIVES, is_archive, unread_archive
from trapline.s3_places import Place, place_of


def raw_place(uri: str, flag: str = "") -> Place:
    """The place of raw images. Raises UsageError as `place_of` does, and for an object that is not read.

    `flag`: what gave the URI, as in `--data`, for messages.
    """
    shown = f"{flag} {uri}".strip()
    place = place_of(uri)
    if place.kind != "object":
        return place
    if reason := unread_archive(Path(place.name)):
        raise UsageError(f"{shown}: {reason}")
    if not is_archive(place.name):
        raise UsageError(
            f"{shown}: is one file; give the folder that holds it, or {READ_ARCHIVES}; a folder of that name "
            "has a slash at its end"
        )
    return place
