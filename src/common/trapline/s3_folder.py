"""A local folder as a copy of what lies below a prefix in S3.

Decoding in other processes and memory-mapping need files, so what lies in S3 is copied before the work
begins, as SageMaker's File mode does. A copy that was interrupted goes on.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from trapline.console import progress
from trapline.errors import TraplineError
from trapline.locking import hold, remove_empty
from trapline.s3 import (
    AT_ONCE,
    SCHEME,
    S3Object,
    S3Problem,
    copy_object,
    errors,
    explain,
    open_client,
    split_uri,
)
from trapline.s3_places import as_folder

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
            _check_space(target, sum(item.size for item in missing), uri)
            _announce(uri, target, missing, len(kept))
            return _copy_all(client, bucket, missing, target, state, journal, may_fail)


def remove_copy(target: Path) -> None:
    """Remove what `fetch_folder` made of `target`, whole or not; a folder that it did not make stays."""
    state = _state_of(target)
    if not state.exists():
        return
    lock = hold(state, LOCK)
    assert lock is not None  # it was waited for
    shutil.rmtree(target, ignore_errors=True)
    shutil.rmtree(state, ignore_errors=True)
    os.close(lock)


# --- listing ------------------------------------------------------------------------------------------------


def _listed(client: Any, bucket: str, prefix: str, only: Sequence[str], uri: str) -> Iterator[S3Object]:
    for wanted in only:
        for entry in _entries(client, bucket, prefix + wanted, uri):
            name = entry["Key"].removeprefix(prefix)
            if name == wanted or not wanted or wanted.endswith("/"):
                yield S3Object(entry["Key"], name, int(entry["Size"]), entry.get("ETag", ""))


def _entries(client: Any, bucket: str, prefix: str, uri: str) -> Iterator[dict[str, Any]]:
    """All keys that begin with `prefix`."""
    try:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            yield from page.get("Contents", [])
    except errors() as error:
        raise TraplineError(f"{uri}: {explain(error).detail}") from error


def _placeable(objects: Iterator[S3Object], bucket: str) -> list[S3Object]:
    """The objects that become files, without the empty ones that only mark a folder.

    Raises TraplineError for a key that cannot be a path below the target.
    """
    files = [item for item in objects if item.name and not item.name.endswith("/")]
    folders = {name[:place] for name in (i.name for i in files) for place in _slashes(name)}
    files = [item for item in files if item.size or item.name not in folders]
    for item in files:
        reason = "its key is also that of a folder" if item.name in folders else _unplaceable(item.name)
        if reason:
            raise TraplineError(
                f"{SCHEME}{bucket}/{item.key}: {reason}, so it cannot become a file; "
                "rename it or choose another prefix"
            )
    return files


def _slashes(name: str) -> Iterator[int]:
    return (place for place, letter in enumerate(name) if letter == "/")


def _unplaceable(name: str) -> str | None:
    parts = name.split("/")
    if "\0" in name:
        return "its key holds a zero byte"
    if "" in parts:
        return "its key holds an empty name between slashes"
    return "its key holds . or .. as a name" if {".", ".."} & set(parts) else None


# --- what is there already ----------------------------------------------------------------------------------


def _state_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.copying")


@contextlib.contextmanager
def _state_folder(target: Path) -> Iterator[Path]:
    """The folder beside `target` for journal and unfinished copies, locked against other processes."""
    state = _state_of(target)
    if not state.exists() and target.is_dir() and any(target.iterdir()):  # it would be removed
        raise TraplineError(f"{target}: is there already and no copy from S3; remove it or choose another")
    lock = hold(state, LOCK, wait=False)
    if lock is None:
        print(f"waiting for another process that copies to {target}", flush=True)
        lock = hold(state, LOCK)
    assert lock is not None  # it was waited for
    try:
        target.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(state / PARTIAL, ignore_errors=True)
        (state / PARTIAL).mkdir()
        yield state
    finally:
        os.close(lock)


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


def _check_space(target: Path, needed: int, uri: str) -> None:
    free = shutil.disk_usage(target).free
    if needed > free:
        raise TraplineError(
            f"{target}: {needed / 1e9:.2f} GB from {uri} do not fit, {free / 1e9:.2f} GB are free; "
            "choose an --output on a larger disk"
        )


def _announce(uri: str, target: Path, missing: Sequence[S3Object], kept: int) -> None:
    megabytes = sum(item.size for item in missing) / 1e6
    there = f", {kept} are there" if kept else ""
    print(f"copying {len(missing)} objects ({megabytes:.1f} MB){there}: {uri} to {target}", flush=True)


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

    def place(numbered: tuple[int, S3Object]) -> S3Problem | None:
        number, item = numbered
        path = target / item.name
        try:
            problem = copy_object(client, bucket, item, partial / str(number))
            if problem is None:
                path.parent.mkdir(parents=True, exist_ok=True)
                (partial / str(number)).replace(path)
        except OSError as error:
            raise TraplineError(f"{path}: cannot be written ({error.strerror or error})") from None
        return problem

    numbered = list(enumerate(objects))
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="s3-copy")
    try:
        for start in range(0, len(numbered), BATCH):
            batch = numbered[start : start + BATCH]
            yield from zip((item for _, item in batch), pool.map(place, batch), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)
