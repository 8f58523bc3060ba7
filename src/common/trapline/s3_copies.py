"""Copies of what lies in S3: local folders for what a job reads, and the upload of its results.

Decoding in other processes and memory-mapping need files, so what lies in S3 is copied before the work
begins, as SageMaker's File mode does. A copy that was interrupted goes on.
"""

import contextlib
import itertools
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, TypeVar

from trapline.console import progress
from trapline.errors import TraplineError, refuse_any
from trapline.options import Options, places
from trapline.s3 import (
    AT_ONCE,
    SCHEME,
    S3Object,
    S3Problem,
    as_folder,
    copy_object,
    entries,
    errors,
    explain,
    fetch,
    is_s3,
    open_client,
    place_of,
    split_uri,
)
from trapline.storage import held, remove_empty

Given = TypeVar("Given", bound=Options)
BESIDE = "evaluation.json"  # what is read with it lies beside it
PROBE = ".write-probe"
NO_RESULTS = "input"  # what `trapline.job_contract` copies to an output folder, for the job to read
BATCH = 1024  # objects that wait for a thread, whatever their number
JOURNAL, PARTIAL, LOCK = "copied.jsonl", "partial", "lock"


def fetch_folder(
    uri: str,
    target: Path,
    only: Sequence[str] = ("",),
    may_fail: Callable[[str], bool] = lambda name: False,
) -> dict[str, S3Problem]:
    """Make the folder `target` hold what lies below the prefix `uri`, and nothing else.

    `only` names what is wanted below the prefix: objects (`dataset.json`) and folders (`train/`). Copies that
    an earlier call left are kept where size and ETag are still those of the object. Returns the objects that
    have no copy, by name, among those for which `may_fail(name)`. Processes that copy to the same `target`
    wait for one another.

    Raises TraplineError for an object that cannot be read, is changed meanwhile, or whose key cannot be a
    path below `target`, and when nothing lies below the prefix, S3 cannot be reached or refuses.
    """
    bucket, prefix = split_uri(as_folder(uri))
    with _state_folder(target) as state:
        client = open_client(uri)
        objects = _placeable(_listed(client, bucket, prefix, only, uri), bucket)
        if not objects:
            raise TraplineError(f"{uri}: no object lies below it; check the bucket and the prefix")
        with (state / JOURNAL).open("a+", encoding="utf-8") as journal:
            kept = _kept_copies(target, objects, journal)
            missing = [item for item in objects if item.name not in kept]
            _announce(uri, target, missing, len(kept))
            return _copy_all(client, bucket, missing, target, state, journal, may_fail)


def remove_copy(target: Path) -> None:
    """Remove what `fetch_folder` made of `target`, whole or not; a folder that it did not make stays."""
    state = _state_of(target)
    if state.exists():
        with held(state, LOCK):
            shutil.rmtree(target, ignore_errors=True)
            shutil.rmtree(state, ignore_errors=True)


# --- listing ------------------------------------------------------------------------------------------------


def _listed(client: Any, bucket: str, prefix: str, only: Sequence[str], uri: str) -> Iterator[S3Object]:
    try:
        for wanted in only:
            for entry in entries(client, bucket, prefix + wanted):
                name = entry["Key"].removeprefix(prefix)
                if name == wanted or not wanted or wanted.endswith("/"):
                    yield S3Object(entry["Key"], name, int(entry["Size"]), entry.get("ETag", ""))
    except errors() as error:
        raise TraplineError(f"{uri}: {explain(error).detail}") from error


def _placeable(objects: Iterator[S3Object], bucket: str) -> list[S3Object]:
    """The objects that become files, without the empty ones that only mark a folder.

    Raises TraplineError for a key that cannot be a path below the target.
    """
    files = [item for item in objects if item.name and not item.name.endswith("/")]
    folders = {item.name[: slash.start()] for item in files for slash in re.finditer("/", item.name)}
    files = [item for item in files if item.size or item.name not in folders]
    for item in files:
        parts = item.name.split("/")
        faults = {
            "its key is also that of a folder": item.name in folders,
            "its key holds a zero byte": "\0" in item.name,
            "its key holds an empty name between slashes": "" in parts,
            "its key holds . or .. as a name": "." in parts or ".." in parts,
        }
        refusals = (
            (
                found,
                f"{SCHEME}{bucket}/{item.key}: {reason}, so it cannot become a file; "
                "rename it or choose another prefix",
            )
            for reason, found in faults.items()
        )
        refuse_any(refusals, TraplineError)
    return files


# --- what is there already ----------------------------------------------------------------------------------


def _state_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.copying")


@contextlib.contextmanager
def _state_folder(target: Path) -> Iterator[Path]:
    """The folder beside `target` for journal and unfinished copies, locked against other processes."""
    state = _state_of(target)
    if not state.exists() and target.is_dir() and any(target.iterdir()):  # it would be removed
        raise TraplineError(f"{target}: is there already and no copy from S3; remove it or choose another")
    with held(state, LOCK, waiting=f"waiting for another process that copies to {target}"):
        target.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(state / PARTIAL, ignore_errors=True)
        (state / PARTIAL).mkdir()
        yield state


def _kept_copies(target: Path, objects: Sequence[S3Object], journal: IO[str]) -> set[str]:
    """The names of the copies that are still good; every other file in `target` is removed."""
    recorded = _recorded(journal)
    kept = {
        item.name
        for item in objects
        if recorded.get(item.name) == item.etag and _size(target / item.name) == item.size
    }
    for place, folders, files in os.walk(target, topdown=False):
        for name in (*files, *folders):
            path = Path(place) / name
            if path.is_symlink() or path.is_file():
                if path.relative_to(target).as_posix() not in kept:
                    path.unlink()
            else:
                remove_empty(path)  # unless it holds a copy that is kept
    return kept


def _recorded(journal: IO[str]) -> dict[str, str]:
    """Name and ETag of each copy; a line that a kill cut short is as good as none."""
    recorded: dict[str, str] = {}
    journal.seek(0)
    content = journal.read()
    for line in content.splitlines():
        with contextlib.suppress(json.JSONDecodeError, TypeError, ValueError):
            name, etag = json.loads(line)
            recorded[name] = etag
    if content and not content.endswith("\n"):
        journal.write("\n")
    return recorded


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() and not path.is_symlink() else None


def _announce(uri: str, target: Path, missing: Sequence[S3Object], kept: int) -> None:
    """Say what is copied. Raises TraplineError where it does not fit on the disk."""
    needed, free = sum(item.size for item in missing), shutil.disk_usage(target).free
    if needed > free:
        raise TraplineError(
            f"{target}: {needed / 1e9:.2f} GB from {uri} do not fit, {free / 1e9:.2f} GB are free; "
            "choose an --output on a larger disk"
        )
    there = f", {kept} are there" if kept else ""
    print(f"copying {len(missing)} objects ({needed / 1e6:.1f} MB){there}: {uri} to {target}", flush=True)


# --- copying ------------------------------------------------------------------------------------------------


def _copy_all(
    client: Any,
    bucket: str,
    objects: Sequence[S3Object],
    target: Path,
    state: Path,
    journal: IO[str],
    may_fail: Callable[[str], bool],
) -> dict[str, S3Problem]:
    problems: dict[str, S3Problem] = {}
    with contextlib.closing(_copies(client, bucket, objects, target, state / PARTIAL)) as copies:
        for item, problem in progress(copies, "copying", len(objects), "objects"):
            if problem is None:
                journal.write(json.dumps([item.name, item.etag]) + "\n")
                journal.flush()
            elif problem.everywhere or not may_fail(item.name):
                raise TraplineError(f"{SCHEME}{bucket}/{item.key}: {problem.detail}")
            else:
                problems[item.name] = problem
    if objects and len(problems) == len(objects):
        first = objects[0]
        raise TraplineError(
            f"{SCHEME}{bucket}/{first.key}: {problems[first.name].detail} (so it is with every object)"
        )
    return problems


def _copies(
    client: Any, bucket: str, objects: Sequence[S3Object], target: Path, partial: Path
) -> Generator[tuple[S3Object, S3Problem | None], None, None]:
    """Copy `objects`, many at once, and yield each with its problem, in order."""

    def place(number: int, item: S3Object) -> S3Problem | None:
        path = target / item.name
        try:
            problem = copy_object(client, bucket, item, partial / str(number))
            if problem is None:
                path.parent.mkdir(parents=True, exist_ok=True)
                (partial / str(number)).replace(path)
        except OSError as error:
            raise TraplineError(f"{path}: cannot be written ({error.strerror or error})") from None
        return problem

    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="s3-copy")
    try:
        for start in range(0, len(objects), BATCH):
            batch = objects[start : start + BATCH]
            yield from zip(batch, pool.map(place, itertools.count(start), batch), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


# --- places of a command ------------------------------------------------------------------------------------


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
        yield options.model_copy(
            update={name: _placed(value, kinds[name], work / name, shown) for name, value in uris.items()}
        )
    except BaseException as error:
        shutil.rmtree(work, ignore_errors=True)
        if not isinstance(error, TraplineError):
            raise
        message = str(error)
        for path, uri in shown.items():
            message = message.replace(path, uri)
        raise type(error)(message) from None
    for name in (name for name in uris if kinds[name] == "output"):
        upload_folder(work / name, uris[name])
    shutil.rmtree(work, ignore_errors=True)


def upload_folder(folder: Path, uri: str) -> None:
    """Store every file below `folder` under the prefix `uri`. Raises TraplineError; the folder stays."""
    bucket, prefix = split_uri(uri.rstrip("/"))
    client = open_client(uri)
    results = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] != NO_RESULTS
    ]
    for path in results:
        key = f"{prefix}/{path.relative_to(folder).as_posix()}".removeprefix("/")
        try:
            with path.open("rb") as file:
                client.upload_fileobj(file, bucket, key)
        except errors() as error:
            raise TraplineError(
                f"{SCHEME}{bucket}/{key}: {explain(error).detail}; the results lie in {folder}"
            ) from error
    print(f"uploaded {len(results)} files: {uri}", flush=True)


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
