"""A fifth of the requests is hostile: are good pictures still answered rightly, how late, in what memory?

Run: python benchmarks/hostile_load.py [--requests 5000] [--clients 64] [--precision fp32] [--side 224]
A friendly load of good pictures goes first, then as many requests of which one in five is among the worst
that are known: files that announce or make much work, bodies that are no requests, connections that trickle
or break off. Server and clients share the machine. Ends with exit code 1 when a good picture is answered
wrongly, when a request ends in a 500, when 99% of the good answers take more than 5 times as long as under
the friendly load, or when the server and its decoding processes take more memory than its settings allow.
"""

import argparse
import base64
import contextlib
import functools
import http.client
import itertools
import json
import os
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the hostile images; others install a `tests`, too

import numpy as np
import psutil
from figures import Figure, emit
from models import check_spread, write_random_model
from serving import TOLERANCE, Outcome, drawn, note, offline, post, server
from side_by_side import describe_machine

from tests.support import hostile_images as hostile
from trapline.images.budget import DecodeBudget
from trapline.inference.limits import ServingSettings, settings_from
from trapline.inference.predictor import load_predictor

PICTURES = 64  # good ones, which come in turn
HOSTILE_EVERY = 5  # one request in so many
MAX_TIMES_LATER = 5.0
COPIES_OF_A_BODY = 3  # as bytes, as JSON's text, as what base64 makes of it
PATIENCE, TRICKLE_SECONDS = 120.0, 12.0
LOOPBACK = "127.0.0.1"
MIB = 2**20


@dataclass
class Load:
    """What the clients have seen of one load, and the highest memory of the server meanwhile, bytes."""

    good: Outcome = field(default_factory=Outcome)
    others: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    peak: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def late(self) -> float:
        """Seconds within which 99% of the good answers came."""
        return float(np.quantile(self.good.seconds, 0.99))

    def note_other(self, name: str, outcome: str) -> None:
        """Count what came of a hostile request."""
        with self.lock:
            self.others[f"{name}: {outcome}"] += 1


@dataclass(frozen=True)
class Good:
    """The good pictures: files, what the offline loop says of them (files, classes), and how exactly."""

    files: list[bytes]
    expected: np.ndarray
    tolerance: float

    def ask(self, connection: http.client.HTTPConnection, number: int, load: Load) -> None:
        """Send one and note what came; a refusal is a wrong answer, as is a broken connection."""
        which = number % len(self.files)
        started = time.perf_counter()
        try:
            status, answer = post(connection, self.files[which])
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            status, answer = 0, {"reason": type(error).__name__}
        taken = time.perf_counter() - started
        with load.lock:
            if status != 200:
                load.good.counts[f"refused, {status} {answer.get('reason')}"] += 1
            note(load.good, status, answer, taken, self.expected[which], self.tolerance)


def main() -> None:
    """Measure."""
    flags = _flags()
    describe_machine()
    settings = settings_from(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        files = drawn(Path(folder) / "raw")[:PICTURES]
        model = write_random_model(Path(folder) / "model", flags.side, files)
        predictor = load_predictor(model, precision=flags.precision)
        expected, _ = offline(predictor, files, len(files))
        check_spread(expected)
        good = Good(files, expected, TOLERANCE[predictor.execution.precision])
        with server(model, flags.precision) as (process, port):
            friendly = run_load(process.pid, port, good, flags.clients, flags.requests, [])
            allowed = memory_limit(process.pid, settings)
            worst = worst_requests(port)
            attacked = run_load(process.pid, port, good, flags.clients, flags.requests, worst)
            pinged = ping(port)
    sys.exit(0 if report(friendly, attacked, allowed) and pinged else 1)


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--side", type=int, default=224)
    return parser.parse_args()


def memory_limit(pid: int, settings: ServingSettings) -> int:
    """Bytes: what the server takes now, and what its settings let bodies, pixels and decoders take beside."""
    idle = resident(pid)
    bodies = COPIES_OF_A_BODY * settings.queue_mb * MIB
    overhead = DecodeBudget(max_pixels=0).max_memory  # of a process that decodes nothing
    pixels = DecodeBudget(max_pixels=settings.max_pixels_in_flight).max_memory - overhead
    decoders = settings.decode_threads * overhead
    print(
        f"memory allowed: {idle / MIB:.0f} MiB after a friendly load + {bodies / MIB:.0f} for bodies"
        f" + {pixels / MIB:.0f} for pixels + {decoders / MIB:.0f} for decoding processes",
        flush=True,
    )
    return idle + bodies + pixels + decoders


# --- the loads ----------------------------------------------------------------------------------------------


Attack = Callable[[], str]


def run_load(
    pid: int, port: int, good: Good, clients: int, requests: int, worst: list[tuple[str, Attack]]
) -> Load:
    """Send so many requests, of which every fifth is one of the `worst`, if any, while others go on."""
    load, numbers = Load(), itertools.count()
    attackers, free = ThreadPoolExecutor(max(1, clients // 2)), threading.Semaphore(max(1, clients // 2))

    def client() -> None:
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PATIENCE)
        while (number := next(numbers)) < requests:
            if worst and number % HOSTILE_EVERY == HOSTILE_EVERY - 1:
                name, attack = worst[number // HOSTILE_EVERY % len(worst)]
                free.acquire()
                connection.close()  # it may have been idle for longer than the server keeps it; it opens anew
                attackers.submit(_attacked, name, attack, load).add_done_callback(lambda _: free.release())
            else:
                good.ask(connection, number, load)
        connection.close()

    with memory_watched(pid, load):
        started = time.perf_counter()
        threads = [threading.Thread(target=client) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        load.seconds = time.perf_counter() - started
        attackers.shutdown()
    return load


def _attacked(name: str, attack: Attack, load: Load) -> None:
    try:
        outcome = attack()
    except (OSError, http.client.HTTPException) as error:
        outcome = type(error).__name__
    load.note_other(name, outcome)


@contextlib.contextmanager
def memory_watched(pid: int, load: Load) -> Iterator[None]:
    """Look ten times a second at what the server and its processes take."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            load.peak = max(load.peak, resident(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def resident(pid: int) -> int:
    """Resident bytes of a process and its children; what they share counts for each."""
    process, total = psutil.Process(pid), 0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += one.memory_info().rss
    return total


def ping(port: int) -> bool:
    """Whether the server is still there."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200


# --- hostile requests ---------------------------------------------------------------------------------------


def worst_requests(port: int) -> list[tuple[str, Attack]]:
    """The worst that is known, by name: files, bodies and connections in turn."""
    bodies = [(name, "image/jpeg", data) for name, data in _files().items()] + _broken_bodies()
    asked = [(name, functools.partial(_ask, port, body, kind)) for name, kind, body in bodies]
    connections: list[tuple[str, Attack]] = [
        ("a body that trickles", lambda: _trickle(port, _head(100_000))),
        ("a head that trickles", lambda: _trickle(port, b"POST /invocations HTTP/1.1\r\n")),
        ("a body that breaks off", lambda: _break_off(port, _head(100_000) + bytes(50_000))),
        ("no HTTP at all", lambda: _break_off(port, os.urandom(4_000))),
    ]
    return [*asked, *connections]


def _files() -> dict[str, bytes]:
    """Images that announce, or make, about as much work as the budget allows, and more."""
    return {
        "a WebP of 34 bytes": hostile.webp_lossless(16_383, 16_383),
        "a WebP of 49 megapixels": hostile.webp_lossless(7_000, 7_000),
        "a TIFF of one huge tile": hostile.tiled_tiff(16, 40_000),
        "a TIFF whose entries overlap": hostile.overlapping_tiff(20_000, 400_000),
        "a PNG of 12,000,000 x 8": hostile.png(12_000_000, 8),
        "a transparent PNG of 48 megapixels": hostile.png(8_000, 6_000, colour=6),
        "a PNG of 60,000 chunks": hostile.png_of_chunks(60_000),
        "a JPEG of 5,000 scans": hostile.jpeg_of_scans(1_000, 1_000, 5_000),
        "a JPEG of 90 scans": hostile.jpeg_of_scans(4_000, 4_000, 80),
        "a progressive JPEG of 48 megapixels": hostile.jpeg(8_000, 6_000, progressive=True),
        "a JPEG whose EXIF entries overlap": hostile.jpeg(
            64, 64, exif=hostile.exif_of_entries(2_000, 20_000)
        ),
        "a GIF behind a long comment": hostile.gif_of_comments(20_000),
        "a BMP of runs": hostile.bmp_of_runs(4_000, 2_000_000),
        "a PPM in text": hostile.textual_ppm(900),
        "a JPEG 2000 of 30 megapixels": hostile.jpeg2000(6_000, 5_000, 1_024),
        "an AVIF of 12 megapixels": hostile.avif_header(4_000, 3_000),
    }


def _broken_bodies() -> list[tuple[str, str, bytes]]:
    text = base64.b64encode(hostile.webp_lossless(4_900, 4_900)).decode()
    header = b"\x93NUMPY\x01\x00" + (9_000).to_bytes(2, "little") + b"(" * 9_000
    return [
        ("JSON of 64 costly images", "application/json", json.dumps({"images": [text] * 64}).encode()),
        ("deep JSON", "application/json", b'{"images":' + b"[" * 1_000_000),
        (
            "JSON of a million ids",
            "application/json",
            b'{"images":["AA=="],"ids":[' + b'"a",' * 10**6 + b'"a"]}',
        ),
        ("an array with a deep header", "application/x-npy", header),
        ("6 MiB that are no image", "image/png", bytes(6 * MIB - 100)),
        ("7 MiB, which are too much", "image/png", bytes(7 * MIB)),
    ]


def _ask(port: int, body: bytes, content_type: str) -> str:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request("POST", "/invocations", body, {"Content-Type": content_type})
        reply = connection.getresponse()
        content = json.loads(reply.read())
        reason = content.get("reason") if isinstance(content, dict) else f"{len(content)} answers"
        return f"{reply.status} {reason or 'answered'}"


def _head(length: int) -> bytes:
    return (
        b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
        % length
    )


def _trickle(port: int, start: bytes) -> str:
    """Send a byte now and then, until the server has enough or the client has."""
    ends = time.monotonic() + TRICKLE_SECONDS
    with socket.create_connection((LOOPBACK, port), timeout=PATIENCE) as one:
        one.sendall(start)
        one.settimeout(0.5)
        while time.monotonic() < ends:
            with contextlib.suppress(TimeoutError):
                answer = one.recv(4_096)
                return " ".join(answer.decode("latin-1").split(maxsplit=2)[1:2]) or "closed"
            one.sendall(b"a")
    return "left by the client"


def _break_off(port: int, sent: bytes) -> str:
    with socket.create_connection((LOOPBACK, port), timeout=PATIENCE) as one:
        one.sendall(sent)
    return "left by the client"


# --- what came out ------------------------------------------------------------------------------------------


def report(friendly: Load, attacked: Load, allowed: int) -> bool:
    """Print what came out; whether all of it is as it must be."""
    for name, load in (("friendly", friendly), ("hostile", attacked)):
        median = float(np.median(load.good.seconds))
        print(
            f"{name} load: {len(load.good.seconds):,} good pictures in {load.seconds:.0f} s:"
            f" {dict(load.good.counts)}; median {median:.3f} s, 99% within {load.late:.3f} s;"
            f" peak memory {load.peak / MIB:.0f} MiB"
        )
    for name, count in sorted(attacked.others.items()):
        print(f"  {name}: {count}")
    ratio = attacked.late / friendly.late
    print(f"ratio of the 99th percentiles: {ratio:.2f}, of at most {MAX_TIMES_LATER:g}")
    seconds = (
        f"{name}: 99% within {load.late:.3f} s"
        for name, load in (("friendly", friendly), ("hostile", attacked))
    )
    emit(Figure(f"one request in {HOSTILE_EVERY} is hostile", *seconds, f"{ratio:.2f}"))
    print(f"memory: {attacked.peak / MIB:.0f} MiB at the most, of {allowed / MIB:.0f} allowed")
    wrong = friendly.good.counts["wrong"] + attacked.good.counts["wrong"]
    failed = sum(count for name, count in attacked.others.items() if ": 500" in name)
    return not wrong and not failed and ratio <= MAX_TIMES_LATER and attacked.peak <= allowed


if __name__ == "__main__":
    main()
