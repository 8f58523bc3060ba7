"""Folders and files here in place of s3:// URIs: what a job reads is fetched, its results are uploaded."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from trapline.errors import TraplineError
from trapline.options import Options, places
from trapline.s3 import SCHEME, errors, explain, fetch, is_s3, open_client, split_uri
from trapline.s3_folder import fetch_folder
from trapline.s3_places import place_of

Given = TypeVar("Given", bound=Options)
BESIDE = "evaluation.json"  # what is read with it lies beside it
PROBE = ".write-probe"
MOVED = ("input", "output")  # an option's kinds of place that are not the command's own to read
NO_RESULTS = "input"  # what `trapline.channels` copies to an output folder, for the job to read


@contextlib.contextmanager
def local_places(options: Given) -> Iterator[Given]:
    """The options with local paths where they name inputs or an output in S3; without such, unchanged.

    Results are uploaded when the block ends without an error; where that fails they stay here. What is
    copied goes with the block. Raises TraplineError for what cannot be fetched or uploaded; an error of the
    block that names a copy names the URI instead.
    """
    kinds = places(type(options))
    uris = {
        name: value for name, value in options if kinds.get(name) in ("input", "output") and _in_s3(value)
    }
    if not uris:
        yield options
        return
    work = Path(tempfile.mkdtemp(prefix="trapline-"))
    shown: dict[str, str] = {}
    try:
        local = {name: _placed(value, kinds[name], work / name, shown) for name, value in uris.items()}
        yield options.model_copy(update=local)
    except TraplineError as error:
        shutil.rmtree(work, ignore_errors=True)
        raise type(error)(_with_uris(str(error), shown)) from None
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    for name in (name for name in uris if kinds[name] == "output"):
        upload_folder(work / name, uris[name])
    shutil.rmtree(work, ignore_errors=True)


def upload_folder(folder: Path, uri: str) -> None:
    """Store every file below `folder` under the prefix `uri`. Raises TraplineError; the folder stays."""
    bucket, prefix = split_uri(uri.rstrip("/"))
    client = open_client(uri)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    wanted = [path for path in files if path.relative_to(folder).parts[0] != NO_RESULTS]
    for path in wanted:
        key = f"{prefix}/{path.relative_to(folder).as_posix()}".removeprefix("/")
        try:
            with path.open("rb") as file:
                client.upload_fileobj(file, bucket, key)
        except errors() as error:
            detail = explain(error).detail
            raise TraplineError(f"{SCHEME}{bucket}/{key}: {detail}; the results lie in {folder}") from error
    print(f"uploaded {len(wanted)} files: {uri}", flush=True)


def _in_s3(value: object) -> bool:
    return any(is_s3(str(text)) for text in (value if isinstance(value, tuple) else [value]))


def _placed(
    value: str | tuple[str, ...], kind: str, target: Path, shown: dict[str, str]
) -> str | tuple[str, ...]:
    if isinstance(value, tuple):
        return tuple(
            str(_placed(text, kind, target / str(number), shown)) if is_s3(text) else text
            for number, text in enumerate(value)
        )
    path = _output(value, target) if kind == "output" else _fetched(value, target)
    shown[str(path)] = value.rstrip("/")
    return str(path)


def _output(uri: str, target: Path) -> Path:
    """A new folder. The bucket is written to before the work, which would else be lost after it."""
    bucket, prefix = split_uri(uri.rstrip("/"))
    client, probe = open_client(uri), f"{prefix}/{PROBE}".removeprefix("/")
    try:
        client.put_object(Bucket=bucket, Key=probe, Body=b"")
        client.delete_object(Bucket=bucket, Key=probe)
    except errors() as error:
        raise TraplineError(f"{uri}: cannot be written; {explain(error).detail}") from error
    target.mkdir(parents=True)
    return target


def _fetched(uri: str, target: Path) -> Path:
    place = place_of(uri)
    if place.name == BESIDE:
        fetch_folder(uri.removesuffix(BESIDE), target, only=(BESIDE, "test_predictions.csv"))
        return target / BESIDE
    if place.kind == "object":
        return fetch(place.uri, target / place.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    fetch_folder(place.uri, target)
    return target


def _with_uris(message: str, shown: dict[str, str]) -> str:
    for path, uri in shown.items():
        message = message.replace(path, uri)
    return message
