"""Connections within their limits, over sockets; and the parts of uvicorn that this rests on."""

import asyncio
import functools
import inspect
import resource
import subprocess
import sys

import h11
import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from trapline.inference.connections import ConnectionLimits, LimitedProtocol

pytestmark = pytest.mark.slow

HINT = "src/common/trapline/inference/connections.py relies on it"
GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\nslow"
LARGE = 20 * 2**20


async def app(scope, receive, send):
    """Answers OK once the body is there; /large gets much, /early its answer before the body is there."""
    while scope["path"] != "/early" and (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    content = bytes(LARGE) if scope["path"] == "/large" else b"OK"
    await send({"type": "http.response.body", "body": content, "more_body": scope["path"] == "/large"})
    if scope["path"] == "/large":
        await send({"type": "http.response.body", "body": b""})


def talk(conversation, keep_alive=30, **limits):
    """What `conversation(connect, server)` returns, held with a server."""

    async def hold():
        config = uvicorn.Config(
            app, port=0, lifespan="off", log_level="critical", timeout_keep_alive=keep_alive,
            http=functools.partial(LimitedProtocol, limits=ConnectionLimits(**limits)), ws="none",
        )  # fmt: skip
        server = uvicorn.Server(config)
        await start(server)
        port = server.servers[0].sockets[0].getsockname()[1]
        opened = []

        async def connect(sent=b""):
            opened.append(await asyncio.open_connection("127.0.0.1", port))
            opened[-1][1].write(sent)
            await asyncio.sleep(0.01)
            return opened[-1]

        try:
            async with asyncio.timeout(20):
                return await conversation(connect, server)
        finally:
            for _, writer in opened:
                writer.close()
            for one in server.servers:
                one.close()

    return asyncio.run(hold())


async def start(server):
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()


async def is_closed(reader, within):
    """Whether the connection ends in so many seconds, whatever comes before."""
    try:
        async with asyncio.timeout(within):
            while await reader.read(2**20):
                pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


async def answer(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    return head[9:12]


@pytest.mark.parametrize("sent", [b"", b"G", GET[:-2], b"POST / HTTP/1.1\r\nHost: a\r\nX: "])
def test_a_connection_without_a_whole_head_is_closed_in_time(sent):
    async def wait(connect, server):
        reader, _ = await connect(sent)
        return await is_closed(reader, 0.05), await is_closed(reader, 2)

    assert talk(wait, head_patience=0.6) == (False, True)


def test_a_trickle_of_headers_does_not_put_it_off():
    async def trickle(connect, server):
        reader, writer = await connect(b"GET / HTTP/1.1\r\n")
        closed = asyncio.create_task(is_closed(reader, 2))
        for number in range(100):
            writer.write(b"X-%d: 1\r\n" % number)
            await asyncio.sleep(0.01)
            if closed.done():
                return number
        return 100

    assert talk(trickle, head_patience=0.2) < 60


def test_a_kept_connection_may_be_idle_but_not_slow():
    async def wait(connect, server):
        reader, writer = await connect(GET)
        first = await answer(reader)
        idle = await is_closed(reader, 0.3)
        writer.write(GET[:10])
        return first, idle, await is_closed(reader, 2)

    assert talk(wait, head_patience=0.1) == (b"200", False, True)


def test_a_body_that_goes_on_after_its_answer_has_a_deadline_too():
    async def wait(connect, server):
        reader, writer = await connect(POST.replace(b"POST /", b"POST /early"))
        first = await answer(reader)
        writer.write(b"x")
        return first, await is_closed(reader, 2)

    assert talk(wait, head_patience=0.2) == (b"200", True)


def test_a_client_that_does_not_read_its_answer_is_left():
    async def wait(connect, server):
        _, writer = await connect()
        writer.transport.pause_reading()
        writer.write(GET.replace(b"GET /", b"GET /large"))
        state = server.server_state
        async with asyncio.timeout(30):
            while state.connections or state.tasks:
                await asyncio.sleep(0.05)
        return len(state.connections), len(state.tasks)

    assert talk(wait, read_patience=0.2) == (0, 0)


def test_a_client_that_reads_gets_a_large_answer():
    async def read(connect, server):
        reader, _ = await connect(GET.replace(b"GET /", b"GET /large"))
        await answer(reader)
        return len(await reader.readexactly(LARGE))

    assert talk(read, read_patience=5) == LARGE


def test_beyond_the_limit_the_one_that_has_been_idle_for_longest_goes():
    async def overfill(connect, server):
        busy, _ = await connect(POST)
        idle = [await connect(sent) for sent in (b"", GET, b"G")]
        newest, _ = await connect(GET)
        said = await answer(newest)
        closed = [await is_closed(reader, 0.1) for reader in (busy, *(reader for reader, _ in idle))]
        return said, closed, len(server.server_state.connections)

    assert talk(overfill, connections=4) == (b"200", [False, True, False, False], 4)


def test_where_none_is_idle_the_one_that_has_waited_longest_for_its_body_goes():
    async def overfill(connect, server):
        waiting = [await connect(POST) for _ in range(3)]
        newest, _ = await connect(GET)
        return await answer(newest), [await is_closed(reader, 0.1) for reader, _ in waiting]

    assert talk(overfill, connections=3) == (b"200", [True, False, False])


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", b"400"),
        (POST.replace(b"Content-Length: 9", b"Transfer-Encoding: chunked") + b"1\r\nA\r\n" * 9000, b"400"),
        (b"nonsense\r\n\r\n", b"400"),
        (GET * 3, b"200"),
    ],
    ids=["long head", "tiny chunks", "no HTTP", "pipelined"],
)
def test_what_is_sent_is_answered_or_refused(sent, status):
    async def ask(connect, server):
        reader, _ = await connect(sent)
        return await answer(reader)

    assert talk(ask) == status


def test_a_body_in_many_chunks_that_are_not_tiny_is_taken():
    chunks = b"40\r\n" + b"x" * 64 + b"\r\n"
    start = b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def ask(connect, server):
        reader, _ = await connect(start + chunks * 3000 + b"0\r\n\r\n")
        return await answer(reader)

    assert talk(ask) == b"200"


def test_the_number_of_connections_is_what_the_limit_on_open_files_leaves():
    program = """
import resource, sys
from trapline.inference.connections import affordable_connections
soft, hard = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(affordable_connections(1000, 2), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    cases = [(300, 300), (100, 100), (256, 700)] + ([(256, 4000)] if hard < 0 or hard >= 4000 else [])
    for soft, most in cases:
        command = [sys.executable, "-c", program, str(soft), str(most)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        connections, allowed = map(int, done.stdout.split())
        assert allowed == min(most, 1264)
        assert connections == max(2, allowed - 264)


def test_uvicorn_has_what_is_extended():
    made = inspect.signature(H11Protocol.__init__).parameters
    assert list(made) == ["self", "config", "server_state", "app_state", "_loop"], HINT
    for name in (
        "on_response_complete",
        "send_400_response",
        "_unset_keepalive_if_required",
        "data_received",
    ):
        assert callable(getattr(H11Protocol, name)), HINT
    source = inspect.getsource(H11Protocol)
    for name in ("self.conn = h11.Connection(", "self.cycle", "self.flow", "self.timeout_keep_alive_task ="):
        assert name in source, HINT
    assert "on_response=self.on_response_complete" in source, HINT
    cycle = inspect.getsource(RequestResponseCycle)
    for name in ("self.response_complete = ", "self.more_body = "):
        assert name in cycle, HINT
    assert "self.write_paused" in inspect.getsource(FlowControl), HINT
    assert "chunk_start" in h11.Data.__annotations__ or hasattr(h11.Data, "chunk_start"), HINT
