"""S3 for trial runs: a folder of this machine, served as S3 to its jobs, which read it as they will on AWS.

moto keeps the objects in memory as long as the command runs; nothing leaves the machine, no account is asked.
"""

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from common.errors import UsageError
from common.s3 import is_s3

BUCKET = "trapline-trial"
PREFIX = "data"
URI = f"s3://{BUCKET}/{PREFIX}"
REGION = "us-east-1"
LARGEST = 4 * 2**30  # bytes of a folder; they lie in memory
# Credentials for a server that asks for some and knows none. A user's own profile must not come between.
SETTINGS = {
    "AWS_ACCESS_KEY_ID": "trial",
    "AWS_SECRET_ACCESS_KEY": "trial",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}
HIDDEN = ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ENDPOINT_URL")


def trial_folder(data: str | None, backend: str) -> Path:
    """The folder that `--data` names, checked. Raises UsageError where --trial-s3 makes no sense."""
    if backend == "aws":
        raise UsageError("--trial-s3: only with --backend process or local; jobs on AWS read S3 itself")
    if not data or data == "demo" or is_s3(data):
        raise UsageError(f"--trial-s3: serves a folder; give --data DIR, not {data or 'another source'}")
    folder = Path(data.removeprefix("file://"))
    if not folder.is_dir():
        raise UsageError(f"--data {data}: no such folder")
    size = sum(path.stat().st_size for path in _files(folder))
    if size > LARGEST:
        raise UsageError(
            f"--trial-s3: {data} has {size / 2**30:.1f} GiB, which would lie in memory; at most "
            f"{LARGEST / 2**30:.0f} GiB, so take a part of it"
        )
    if importlib.util.find_spec("moto") is None:
        raise UsageError("--trial-s3: needs moto; install it: pip install -c constraints.txt -e '.[local]'")
    return folder


@contextlib.contextmanager
def trial_s3(folder: Path | None) -> Iterator[None]:
    """Serve `folder` at `URI` on loopback until the block ends, to this process and those that it starts.

    None: there is nothing to serve.
    """
    if folder is None:
        yield
        return
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        with _environment(f"http://{host}:{port}"):
            count = _upload(folder)
            print(f"trial S3: {count} files of {folder} are {URI}/ until this command ends", flush=True)
            yield
    finally:
        server.stop()


@contextlib.contextmanager
def _environment(endpoint: str) -> Iterator[None]:
    before = dict(os.environ)
    for name in HIDDEN:
        os.environ.pop(name, None)
    os.environ.update(SETTINGS, AWS_ENDPOINT_URL_S3=endpoint)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _upload(folder: Path) -> int:
    import boto3

    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    count = 0
    for path in _files(folder):
        key = f"{PREFIX}/{path.relative_to(folder).as_posix()}"
        client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
        count += 1
    return count


def _files(folder: Path) -> Iterator[Path]:
    for top, folders, names in os.walk(folder):
        folders.sort()
        yield from (path for name in sorted(names) if (path := Path(top, name)).is_file())
