"""An S3 on loopback for tests: moto's, which can also refuse, cut short, or change an object under way."""

import contextlib
import threading
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "traps"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
}
STATUS = {"AccessDenied": "403 Forbidden", "ExpiredToken": "400 Bad Request", "NoSuchKey": "404 Not Found"}


@dataclass
class ObjectStore:
    """The server's address, a client with a bucket, what was asked of it, and what it shall do wrong."""

    endpoint: str = ""
    client: Any = None
    fetched: list[str] = field(default_factory=list)  # keys, in the order in which they were asked for
    refused: dict[str, str] = field(default_factory=dict)  # key ("": the listing) -> S3's error code
    cut: dict[str, int] = field(default_factory=dict)  # key -> how many times half of it is sent
    before: dict[str, Callable[[], object]] = field(default_factory=dict)  # key -> what happens just before

    @property
    def environment(self):
        """The variables with which a process finds this store."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": self.endpoint}

    def put(self, key, content=b"content"):
        """Store an object."""
        self.client.put_object(Bucket=BUCKET, Key=key, Body=content)

    def upload(self, folder, prefix):
        """Store the files below `folder` under `prefix`."""
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def behave(self):
        """Do nothing wrong any more, and forget what was asked."""
        for disturbance in (self.fetched, self.refused, self.cut, self.before):
            disturbance.clear()


@contextlib.contextmanager
def serve():
    """Run an ObjectStore until the block ends."""
    store = ObjectStore()
    moto = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, lambda *call: _answer(store, moto, *call), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    store.endpoint = f"http://127.0.0.1:{server.server_port}"
    store.client = boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    # moto keeps one state for a process: what an earlier server of it held would still be there.
    urllib.request.urlopen(f"{store.endpoint}/moto-api/reset", data=b"").close()
    store.client.create_bucket(Bucket=BUCKET)
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()


def _answer(store, moto, environ, start_response):
    path = environ["PATH_INFO"].encode("latin-1").decode()
    key = path.removeprefix(f"/{BUCKET}").removeprefix("/")
    if environ["REQUEST_METHOD"] != "GET":
        return moto(environ, start_response)
    if key:
        store.fetched.append(key)
    store.before.pop(key, lambda: None)()
    if key in store.refused:
        code = store.refused[key]
        start_response(STATUS[code], [("Content-Type", "application/xml")])
        return [f"<Error><Code>{code}</Code><Message>refused</Message></Error>".encode()]
    if store.cut.get(key, 0):
        store.cut[key] -= 1
        return _halved(moto, environ, start_response)
    return moto(environ, start_response)


def _halved(moto, environ, start_response):
    content = b"".join(moto(environ, start_response))
    return [content[: len(content) // 2]]
