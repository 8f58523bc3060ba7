"""Many clients at a time against the server: answers, memory, and throughput beside the offline loop's.

Run: python benchmarks/serving.py [--requests 5000] [--clients 64] [--precision auto] [--side 224]
Server, clients and the offline loop share the machine; the loop runs while the server is idle. One request in
a hundred carries a damaged image. Ends with exit code 1 when an answer is wrong.
"""

import argparse
import contextlib
import http.client
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the server does; read when torch loads

import numpy as np
import psutil
from figures import Figure, emit
from models import CLASSES, check_spread, write_random_model
from side_by_side import describe_machine

from trapline.inference.predictor import Predictor, load_predictor
from trapline.preparation.demo import DemoSettings, draw_demo

SERVE = Path(__file__).parents[1] / "entry_points" / "serve.py"
IMAGES, EVERY = 240, 100  # different images; one damaged request in so many
TOLERANCE = {"fp32": 1e-4, "bf16": 0.05, "fp16": 0.01}  # rounding depends on the company in the batch


@dataclass
class Outcome:
    """What the clients have seen."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    largest: float = 0.0  # difference of a probability from the offline loop's


def main() -> None:
    """Measure."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--requests", type=int, default=5000)
    arguments.add_argument("--clients", type=int, default=64)
    arguments.add_argument("--precision", default="auto")
    arguments.add_argument("--side", type=int, default=224)
    flags = arguments.parse_args()
    describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        files = drawn(Path(folder) / "raw")
        model = write_random_model(Path(folder) / "model", flags.side, files[:64])
        predictor = load_predictor(model, precision=flags.precision)
        expected, before = offline(predictor, files, flags.requests)
        check_spread(expected)
        with server(model, flags.precision) as (process, port):
            outcome, seconds = ask_all(process, port, files, expected, predictor, flags)
        _, after = offline(predictor, files, flags.requests)
    report(flags, outcome, flags.requests / seconds, [before, after])
    sys.exit(0 if outcome.counts["wrong"] == 0 else 1)


def drawn(folder: Path) -> list[bytes]:
    """JPEG files as a camera trap makes them, 480 x 270."""
    draw_demo(folder, DemoSettings(images=IMAGES, sites=24, unlabeled=0, damaged=0))
    return [path.read_bytes() for path in sorted(folder.rglob("*")) if path.suffix.lower() == ".jpg"]


def offline(predictor: Predictor, files: list[bytes], requests: int) -> tuple[np.ndarray, float]:
    """Probabilities (files, classes) by the batch loop, and its images/s over up to `requests` images."""
    passes = max(1, min(requests, 1000) // len(files))
    predictor.logits(predictor.decode(data) for data in files[:32])
    started = time.perf_counter()
    for _ in range(passes):
        logits = predictor.logits(predictor.decode(data) for data in files)
    rate = passes * len(files) / (time.perf_counter() - started)
    return predictor.probabilities(logits), rate


@contextlib.contextmanager
def server(model: Path, precision: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server in its own process, which must end with 0."""
    command = [sys.executable, str(SERVE), "--model", str(model), "--port", "0", "--host", "127.0.0.1"]
    environment = os.environ | {"TRAPLINE_PRECISION": precision}
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, text=True)
        try:
            yield process, wait_for_port(process, log)
            process.send_signal(signal.SIGTERM)
            print(f"server's exit code: {process.wait(60)}")
        finally:
            process.kill()
            process.wait()


def wait_for_port(process: subprocess.Popen[str], log) -> int:
    """The port from the server's first line."""
    while process.poll() is None:
        log.seek(0)
        if found := re.search(r"\[SERVE\] port=(\d+).*\n", log.read()):
            print(found[0].strip())
            return int(found[1])
        time.sleep(0.1)
    raise SystemExit("the server did not start")


def ask_all(process, port, files, expected, predictor, flags) -> tuple[Outcome, float]:
    """Send all requests from `clients` threads; print the server's memory on the way."""
    outcome, numbers, lock = Outcome(), itertools.count(), threading.Lock()
    tolerance = TOLERANCE[predictor.execution.precision]
    memory = psutil.Process(process.pid)
    marks = {0, flags.requests // 10, flags.requests // 2, flags.requests - 1}

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while (number := next(numbers)) < flags.requests:
            if number in marks:
                print(f"request {number}: server has {memory.memory_info().rss / 2**20:.0f} MiB", flush=True)
            which = number % len(files)
            damaged = number % EVERY == EVERY // 2
            started = time.perf_counter()
            status, answer = post(
                connection, files[which][: -(len(files[which]) // 3)] if damaged else files[which]
            )
            taken = time.perf_counter() - started
            with lock:
                note(outcome, status, answer, taken, None if damaged else expected[which], tolerance)

    threads = [threading.Thread(target=client) for _ in range(flags.clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcome, time.perf_counter() - started


def post(connection: http.client.HTTPConnection, body: bytes) -> tuple[int, dict]:
    """Status and content of an answer."""
    connection.request("POST", "/invocations", body, {"Content-Type": "image/jpeg"})
    reply = connection.getresponse()
    return reply.status, json.loads(reply.read())


def note(outcome: Outcome, status: int, answer: dict, taken: float, expected, tolerance: float) -> None:
    """Count one answer; `expected` (classes,), or None where the image was damaged."""
    outcome.seconds.append(taken)
    if expected is None:
        right = status == 422 and answer["reason"] == "truncated"
        outcome.counts["damaged, refused" if right else "wrong"] += 1
        return
    if status != 200:
        outcome.counts["wrong"] += 1
        return
    difference = float(np.abs(np.array([answer["probabilities"][name] for name in CLASSES]) - expected).max())
    outcome.largest = max(outcome.largest, difference)
    outcome.counts["right" if difference <= tolerance else "wrong"] += 1


def report(flags: argparse.Namespace, outcome: Outcome, rate: float, offline_rates: list[float]) -> None:
    """Print what came out."""
    loop = sum(offline_rates) / len(offline_rates)
    median, late = np.quantile(outcome.seconds, [0.5, 0.99])
    print(f"answers: {dict(outcome.counts)}; largest difference from the offline loop {outcome.largest:.2g}")
    print(f"seconds for an answer: median {median:.3f}, 99% within {late:.3f}")
    print(
        f"served {rate:.1f} images/s; offline loop {loop:.1f}"
        f" ({min(offline_rates):.1f} to {max(offline_rates):.1f})"
    )
    wrong = outcome.counts["wrong"]
    what = f"{flags.clients} clients, {flags.requests} requests, 1% damaged, {wrong} answered wrongly"
    emit(Figure(what, f"offline loop: {loop:.1f} images/s", f"{rate:.1f} images/s", f"{rate / loop:.2f}"))


if __name__ == "__main__":
    main()
