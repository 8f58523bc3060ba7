"""S3 for trial runs: a folder of this machine, served as S3 to its jobs, which read it as they will on AWS.

moto keeps the objects in memory as long as the command runs; nothing leaves the machine, no account is asked.
Only its own jobs are answered (`local.trial_server`). What is served is what lies in the folder: a
link that leads out of it is none of its files.
"""

import contextlib
import importlib.util
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from trapline.errors import TraplineError, UsageError
from trapline.launching.local.trial_server import serve_guarded
from trapline.launching.local.user_files import Found, printable, walk
from trapline.s3 import is_s3

BUCKET = "trapline-trial"
PREFIX = "data"
URI = f"s3://{BUCKET}/{PREFIX}"
REGION = "us-east-1"
LEFT_OUT = {
    "outside": "a link that leads out of the folder; --prepare follow-links=true follows it",
    "special": "no regular file",
    "nowhere": "a link to nowhere",
}
LARGEST = 4 * 2**30  # bytes of a folder; they lie in memory
# A user's own profile must not come between.
SETTINGS = {
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}
HIDDEN = ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ENDPOINT_URL")


def trial_folder(data: str | None, backend: str, follow_links: bool = False) -> Path:
    """The folder that `--data` names, checked. Raises UsageError where --trial-s3 makes no sense.

    Raises TraplineError for a folder in it that cannot be opened.
    """
    if backend == "aws":
        raise UsageError("--trial-s3: only with --backend process or local; jobs on AWS read S3 itself")
    if not data or data == "demo" or is_s3(data):
        raise UsageError(f"--trial-s3: serves a folder; give --data DIR, not {data or 'another source'}")
    folder = Path(data.removeprefix("file://"))
    if not folder.is_dir():
        raise UsageError(f"--data {data}: no such folder")
    size = sum(found.size for found in walk(folder, follow_links=follow_links) if found.kind == "file")
    if size > LARGEST:
        raise UsageError(
            f"--trial-s3: {data} has {size / 2**30:.1f} GiB, which would lie in memory; at most "
            f"{LARGEST / 2**30:.0f} GiB, so take a part of it"
        )
    if importlib.util.find_spec("moto") is None:
        raise UsageError("--trial-s3: needs moto; install it: pip install -c constraints.txt -e '.[local]'")
    return folder


@contextlib.contextmanager
def trial_s3(folder: Path | None, *, follow_links: bool = False) -> Iterator[None]:
    """Serve `folder` at `URI` on loopback until the block ends, to this process and those that it starts.

    None: there is nothing to serve. `follow_links`: what links outside of the folder lead to is served, too.
    Raises TraplineError naming what cannot be read.
    """
    if folder is None:
        yield
        return
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    key = secrets.token_hex(16)
    application = DomainDispatcherApplication(create_backend_app)
    with serve_guarded(application, key) as endpoint, _environment(endpoint, key):
        count = _upload(folder, follow_links)
        print(
            f"trial S3: {count} files of {printable(folder)} are {URI}/ until this command ends",
            flush=True,
        )
        yield


@contextlib.contextmanager
def _environment(endpoint: str, key: str) -> Iterator[None]:
    """Let this process and those that it starts know the server, and the key that it asks for."""
    before = dict(os.environ)
    for name in HIDDEN:
        os.environ.pop(name, None)
    os.environ.update(
        SETTINGS, AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=key, AWS_ENDPOINT_URL_S3=endpoint
    )
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _upload(folder: Path, follow_links: bool) -> int:
    """Copy the files to S3 and say what is left out. Returns how many there are."""
    import boto3

    client = boto3.Session().client("s3")  # the default one may remember other credentials
    client.create_bucket(Bucket=BUCKET)
    entries = [found for found in walk(folder, follow_links=follow_links) if found.kind != "folder"]
    files = [found for found in entries if _why_not(found) is None]
    _say_left_out([found for found in entries if _why_not(found) is not None])
    for found in files:
        client.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{found.name}", Body=_content(found))
    return len(files)


def _why_not(found: Found) -> str | None:
    """Why an entry cannot be an object; None where it can."""
    if found.kind == "file" and printable(found.name) != found.name:
        return "its name is not UTF-8, as the keys of S3 are"
    return LEFT_OUT.get(found.kind)


def _say_left_out(entries: list[Found]) -> None:
    if entries:
        count = f"{len(entries)} entries" if len(entries) > 1 else "1 entry"
        first = f"{printable(entries[0].name)}: {_why_not(entries[0])}"
        print(f"trial S3: {count} left out, first {first}", flush=True)


def _content(found: Found) -> bytes:
    try:
        return found.path.read_bytes()
    except OSError as error:
        raise TraplineError(
            f"{printable(found.path)}: cannot be read ({error.strerror}), and would be lost; make it "
            "readable, or move it elsewhere"
        ) from None
