"""A server in a process of its own, as a container starts it, and requests to it."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SERVE = Path(__file__).parents[2] / "entry_points" / "serve.py"
PATIENCE = 60  # seconds


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen
    port: int
    first_line: str

    def ask(self, body, content_type="image/jpeg", *, path="/invocations", method="POST", **headers):
        """Status, headers and body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            fields = {"Content-Type": content_type, **{name.title(): text for name, text in headers.items()}}
            connection.request(method, path, body, fields)
            reply = connection.getresponse()
            return reply.status, reply.headers, reply.read()

    def predict(self, body, content_type="image/jpeg", **headers):
        """The answer, which must be JSON and 200."""
        status, _, content = self.ask(body, content_type, **headers)
        assert status == 200, content
        return json.loads(content)

    def stop(self):
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def start(model, *, prefix=(), **environment):
    """The process of a server whose output is a pipe; it is not waited for."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("SM_", "SAGEMAKER_"))}
    command = [
        *prefix,
        sys.executable,
        str(SERVE),
        "--model",
        str(model),
        "--port",
        "0",
        "--host",
        "127.0.0.1",
    ]
    return subprocess.Popen(
        command, env=inherited | environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def wait_until_ready(process):
    """The server, once it has said where it listens."""
    printed = []
    for line in process.stdout:
        printed.append(line)
        if found := re.search(r"\[SERVE\] port=(\d+)", line):
            return Server(process, int(found[1]), line)
    raise AssertionError(f"no server, but: {''.join(printed)}")


@contextlib.contextmanager
def serving(model, **options):
    """A ready server, which is gone after the block."""
    with start(model, **options) as process:
        try:
            yield wait_until_ready(process)
        finally:
            process.kill()
