"""S3 for trial runs: a folder of this machine, served as S3 to its jobs, which read it as they will on AWS.

moto keeps the objects in memory as long as the command runs; nothing leaves the machine, no account is asked.
Only its own jobs are answered. What is served is what lies in the folder: a
link that leads out of it is none of its files.

A page of a browser may send requests to 127.0.0.1, under a name of its own too (DNS rebinding). So each
request needs the access key that this run has made up, comes to a loopback name at the server's own port, and
is none that a browser makes for a page; answers allow no other origin to read them.
"""

import contextlib
import hmac
import importlib.util
import os
import re
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from trapline.errors import TraplineError, refuse_any
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
LOOPBACK = "127.0.0.1"
NAMES = (LOOPBACK, "localhost", "[::1]")  # of this machine, in a request's Host
OF_A_PAGE = ("HTTP_ORIGIN", "HTTP_SEC_FETCH_SITE")  # headers that a browser sets and no S3 client does
# Of all versions of signatures.
CREDENTIAL = re.compile(r"(?:\bCredential=|\bAWSAccessKeyId=|^AWS )(\w{1,128})")
POLL = 0.05  # seconds to notice the end

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def trial_folder(data: str | None, backend: str, follow_links: bool = False) -> Path:
    """The folder that `--data` names, checked. Raises UsageError where --trial-s3 makes no sense.

    Raises TraplineError for a folder in it that cannot be opened.
    """
    place, other = data or "", data or "another source"
    refuse_any(
        [
            (
                backend == "aws",
                "--trial-s3: only with --backend process or local; jobs on AWS read S3 itself",
            ),
            (
                place in ("", "demo") or is_s3(place),
                f"--trial-s3: serves a folder; give --data DIR, not {other}",
            ),
        ]
    )
    folder = Path(place.removeprefix("file://"))
    size = sum(found.size for found in walk(folder, follow_links=follow_links) if found.kind == "file")
    refuse_any(
        [
            (not folder.is_dir(), f"--data {data}: no such folder"),
            (
                size > LARGEST,
                f"--trial-s3: {data} has {size / 2**30:.1f} GiB, which would lie in memory; at most "
                f"{LARGEST / 2**30:.0f} GiB, so take a part of it",
            ),
            (
                importlib.util.find_spec("moto") is None,
                "--trial-s3: needs moto; install it: pip install -c constraints.txt -e '.[local]'",
            ),
        ]
    )
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
    with (
        serve_guarded(DomainDispatcherApplication(create_backend_app), key) as endpoint,
        _environment(endpoint, key),
    ):
        count = _upload(folder, follow_links)
        print(
            f"trial S3: {count} files of {printable(folder)} are {URI}/ until this command ends", flush=True
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
    left_out = {
        found.name: LEFT_OUT.get(found.kind, "its name is not UTF-8, as the keys of S3 are")
        for found in entries
        if found.kind != "file" or printable(found.name) != found.name
    }
    if left_out:
        count = f"{len(left_out)} entries" if len(left_out) > 1 else "1 entry"
        name, why = next(iter(left_out.items()))
        print(f"trial S3: {count} left out, first {printable(name)}: {why}", flush=True)
    for found in entries:
        if found.name not in left_out:
            client.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{found.name}", Body=_content(found))
    return len(entries) - len(left_out)


def _content(found: Found) -> bytes:
    try:
        return found.path.read_bytes()
    except OSError as error:
        raise TraplineError(
            f"{printable(found.path)}: cannot be read ({error.strerror}), and would be lost; make it "
            "readable, or move it elsewhere"
        ) from None


@contextlib.contextmanager
def serve_guarded(application: Application, access_key: str) -> Iterator[str]:
    """Serve a WSGI application on loopback, at a free port, until the block ends; yields its address.

    Requests without `access_key`, and those that `refusal` names, are answered with 403; no other origin may
    read the other answers.
    """
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, *_: Any, **__: Any) -> None:
            """Nothing: a job's output is not about each of its requests."""

    def guarded(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        why = refusal(environ, server.port, access_key)
        if why is None:
            return application(environ, _without_cors(start))
        start("403 Forbidden", [("Content-Type", "text/plain"), ("Connection", "close")])
        return [f"{why}\n".encode()]

    server = make_server(LOOPBACK, 0, guarded, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(POLL,), name="trial-s3", daemon=True)
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def refusal(environ: dict[str, Any], port: int, access_key: str) -> str | None:
    """Why a request (its WSGI environment) is not answered; None where it is."""
    host = environ.get("HTTP_HOST", "")
    if host not in {f"{name}:{port}" for name in NAMES}:
        return "the trial S3 answers to 127.0.0.1 and its own port alone"
    if any(environ.get(name) for name in OF_A_PAGE):
        return "the trial S3 answers no page of a browser"
    # Of a signed request, in a header or in its address.
    found = CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION") or unquote(environ.get("QUERY_STRING", "")))
    if not hmac.compare_digest((found[1] if found else "").encode(), access_key.encode()):
        return "the trial S3 answers the jobs of its own command alone"
    return None


def _without_cors(start: Callable[..., Any]) -> Callable[..., Any]:
    def begin(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        return start(
            status, [pair for pair in headers if not pair[0].lower().startswith("access-control-")], *more
        )

    return begin
