"""A server among those who mean it harm: everybody else is answered, /ping at once, in bounded memory."""

import base64
import contextlib
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.support.hostile_images import (
    bmp_of_runs,
    jpeg_of_scans,
    overlapping_tiff,
    png,
    textual_ppm,
    webp_lossless,
)
from tests.support.serving import PATIENCE, serving
from tests.support.small_models import picture, write_small_model

pytestmark = pytest.mark.slow

PAYLOAD_MB, QUEUE_MB, CONNECTIONS = 20, 64, 260
HEAD = "POST /invocations HTTP/1.1\r\nHost: here\r\nContent-Type: image/jpeg\r\n"
SETTINGS = {
    "TRAPLINE_PRECISION": "fp32",
    "SAGEMAKER_MAX_PAYLOAD_IN_MB": str(PAYLOAD_MB),
    "TRAPLINE_QUEUE_MB": str(QUEUE_MB),
    "TRAPLINE_MAX_CONNECTIONS": str(CONNECTIONS),
    "TRAPLINE_MAX_SECONDS": "0.5",
    "TRAPLINE_MAX_REQUEST_SECONDS": "2",
    "TRAPLINE_DECODE_THREADS": "2",
}
GOOD = picture(0)
AT_ONCE = 2.0  # seconds, what the platform gives /ping


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    model = write_small_model(tmp_path_factory.mktemp("model"))
    with serving(model, **SETTINGS) as running:
        yield running


@contextlib.contextmanager
def connections(server, count, sent=b""):
    """So many connections on which `sent` has been sent."""
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(count):
            opened.append(stack.enter_context(socket.create_connection(("127.0.0.1", server.port), PATIENCE)))
            opened[-1].sendall(sent)
        yield opened


def is_well(server):
    """Whether /ping answers at once, and a good picture is answered."""
    started = time.monotonic()
    pinged = server.ask(b"", path="/ping", method="GET")[0]
    waited = time.monotonic() - started
    return pinged == 200 and waited < AT_ONCE and server.predict(GOOD)["status"] == "ok"


def resident(server):
    """MiB of the server's process."""
    return psutil.Process(server.process.pid).memory_info().rss / 2**20


def in_json(files):
    return json.dumps({"images": [base64.b64encode(file).decode() for file in files]}).encode()


@pytest.mark.parametrize("sent", [b"", b"GET /ping HT", HEAD.encode()])
def test_connections_that_say_nothing_or_never_end_keep_nobody_out(server, sent):
    with connections(server, 200, sent), connections(server, 200, sent):
        assert is_well(server)
    assert psutil.Process(server.process.pid).num_fds() < CONNECTIONS + 100


def test_slow_bodies_take_no_place_from_others(server):
    with connections(server, 160, (HEAD + "Content-Length: 100000\r\n\r\nslow").encode()):
        assert is_well(server)


def test_large_bodies_beyond_what_is_held_get_503_and_no_memory(server):
    before = resident(server)
    body = bytes(PAYLOAD_MB * 2**20 - 1)
    almost = f"{HEAD}Content-Length: {PAYLOAD_MB * 2**20}\r\n\r\n".encode() + body
    with ThreadPoolExecutor(20) as clients, contextlib.ExitStack() as stack:

        def hold(_):
            return stack.enter_context(connections(server, 1, almost))[0]

        held = list(clients.map(hold, range(20)))
        grown = resident(server) - before
        assert is_well(server)
        for connection in held:
            connection.sendall(b"\0")
        answers = [connection.recv(12) for connection in held]
    assert grown < 2 * QUEUE_MB
    assert set(answers) == {b"HTTP/1.1 503", b"HTTP/1.1 422"}


def test_costly_images_are_ended_and_small_ones_do_not_wait_for_them(server):
    runs = bmp_of_runs(16, 100_000)
    costly = [textual_ppm(1500), in_json([runs] * 64), in_json([runs, GOOD])]
    with ThreadPoolExecutor(8) as clients:
        started = time.monotonic()
        types = ["image/x-portable-pixmap", "application/json", "application/json"]
        asked = [clients.submit(server.ask, *one) for one in zip(costly, types, strict=True)]
        waits = []
        while not all(future.done() for future in asked):
            before = time.monotonic()
            assert is_well(server)
            waits.append(time.monotonic() - before)
        took = time.monotonic() - started
    (one, _, said), (many, *_), (both, _, mixed) = [future.result() for future in asked]
    assert (one, json.loads(said)["reason"]) == (422, "too_costly")
    assert [answer["status"] for answer in json.loads(mixed)] == ["failed", "ok"]
    assert (many, both) == (422, 200)
    assert len(waits) > 5
    assert max(waits) < 2
    assert took < 15


@pytest.mark.parametrize(
    "image",
    [webp_lossless(16383, 16383), jpeg_of_scans(500, 500, 3000), png(60_000, 8),
     overlapping_tiff(500, 10_000)],
    ids=["webp", "jpeg", "png", "tiff"],
)  # fmt: skip
def test_an_image_that_announces_much_is_refused_at_once(server, image):
    started = time.monotonic()
    status, _, content = server.ask(image)
    assert status == 422
    assert json.loads(content)["reason"] in ("too_large", "too_costly", "corrupt")
    assert time.monotonic() - started < 5


def test_bodies_that_are_costly_to_read_are_refused_while_others_are_answered(server):
    bodies = [
        b"[" * 10 * 2**20,
        b'{"images": ' + b"[" * 9000,
        b'{"images": [""], "ids": [' + b"1," * 10**6 + b"1]}",
        b'{"images": [' + b"1" * 10**7 + b"]}",
        b'{"images": [' + b"1." + b"1" * 10**7 + b"]}",
        b'{"images": ["' + b"\\u0041" * 10**6 + b'"]}',
        b'{"images": ["' + b"A" * 19 * 2**20 + b'"]}',
    ]
    with ThreadPoolExecutor(len(bodies)) as clients:
        asked = [clients.submit(server.ask, body, "application/json") for body in bodies]
        while not all(future.done() for future in asked):
            assert is_well(server)
    assert [future.result()[0] for future in asked] == [400, 400, 413, 400, 422, 422, 422]


def test_a_body_in_tiny_chunks_is_refused(server):
    chunks = (HEAD + "Transfer-Encoding: chunked\r\n\r\n").encode() + b"1\r\nA\r\n" * 300_000
    with connections(server, 1) as (connection,), contextlib.suppress(ConnectionError):
        connection.sendall(chunks)
        assert connection.recv(12) == b"HTTP/1.1 400"
    assert is_well(server)


def test_it_ends_well_after_all_that(server):
    assert is_well(server)
    assert server.stop() == 0
