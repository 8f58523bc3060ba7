"""The server of a trial S3: for this machine's jobs, and for no page that a browser shows.

A page from elsewhere may send requests to 127.0.0.1, under a name of its own too (DNS rebinding). So each
request needs the access key that this run has made up, comes to a loopback name at the server's own port, and
is none that a browser makes for a page; answers allow no other origin to read them.
"""

import contextlib
import hmac
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import unquote

LOOPBACK = "127.0.0.1"
NAMES = (LOOPBACK, "localhost", "[::1]")  # of this machine, in a request's Host
OF_A_PAGE = ("HTTP_ORIGIN", "HTTP_SEC_FETCH_SITE")  # headers that a browser sets and no S3 client does
CREDENTIAL = re.compile(
    r"(?:\bCredential=|\bAWSAccessKeyId=|^AWS )(\w{1,128})"
)  # of all versions of signatures

POLL = 0.05  # seconds to notice the end

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@contextlib.contextmanager
def serve_guarded(application: Application, access_key: str) -> Iterator[str]:
    """Serve a WSGI application on loopback, at a free port, until the block ends; yields its address.

    Requests without `access_key`, and those that `refusal` names, are answered with 403.
    """
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, *_: Any, **__: Any) -> None:
            """Nothing: a job's output is not about each of its requests."""

    server = make_server(LOOPBACK, 0, application, threaded=True, request_handler=Quiet)
    server.app = guarded(application, server.port, access_key)
    thread = threading.Thread(target=server.serve_forever, args=(POLL,), name="trial-s3", daemon=True)
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def guarded(application: Application, port: int, access_key: str) -> Application:
    """The application behind the checks of `refusal`, with answers that no other origin may read."""

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        why = refusal(environ, port, access_key)
        if why is None:
            return application(environ, _without_cors(start))
        start("403 Forbidden", [("Content-Type", "text/plain"), ("Connection", "close")])
        return [f"{why}\n".encode()]

    return answer


def refusal(environ: dict[str, Any], port: int, access_key: str) -> str | None:
    """Why a request (its WSGI environment) is not answered; None where it is."""
    host = environ.get("HTTP_HOST", "")
    if host not in {f"{name}:{port}" for name in NAMES}:
        return "the trial S3 answers to 127.0.0.1 and its own port alone"
    if any(environ.get(name) for name in OF_A_PAGE):
        return "the trial S3 answers no page of a browser"
    if not hmac.compare_digest(_key_of(environ).encode(), access_key.encode()):
        return "the trial S3 answers the jobs of its own command alone"
    return None


def _key_of(environ: dict[str, Any]) -> str:
    """The access key of a signed request, whose signature stands in a header or in its address."""
    signed = environ.get("HTTP_AUTHORIZATION") or unquote(environ.get("QUERY_STRING", ""))
    found = CREDENTIAL.search(signed)
    return found[1] if found else ""


def _without_cors(start: Callable[..., Any]) -> Callable[..., Any]:
    def begin(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        kept = [pair for pair in headers if not pair[0].lower().startswith("access-control-")]
        return start(status, kept, *more)

    return begin
