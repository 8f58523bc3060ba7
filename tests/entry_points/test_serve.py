"""The server as a process: over a socket it answers what the predictor says offline, and it ends well."""

import base64
import csv
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.support.serving import PATIENCE, serving, start, wait_until_ready
from tests.support.small_models import CLASSES, picture, write_small_model
from trapline.errors import TraplineError
from trapline.inference.limits import ServingSettings
from trapline.inference.predictor import load_predictor
from trapline.inference.serving import serve

VIEWS = ["plain", "horizontal_flip", "centre_crop", "vertical_flip"]
PICTURES = [picture(seed, 90 + 5 * seed, 150) for seed in range(12)]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_small_model(tmp_path_factory.mktemp("model"), views=VIEWS)


@pytest.fixture(scope="module")
def server(model):
    with serving(model, TRAPLINE_PRECISION="fp32", SAGEMAKER_MAX_PAYLOAD_IN_MB="1") as running:
        yield running


@pytest.fixture(scope="module")
def offline(model):
    predictor = load_predictor(model, precision="fp32")
    return predictor.probabilities(predictor.logits([predictor.decode(data) for data in PICTURES]))


def numbers(answer):
    assert answer["status"] == "ok"
    return np.array([answer["probabilities"][name] for name in CLASSES])


def test_served_answers_equal_offline_predictions_from_the_same_bytes(server, offline):
    served = np.array([numbers(server.predict(data)) for data in PICTURES])
    assert np.abs(served - offline).max() < 1e-4
    assert np.ptp(offline, axis=0).max() > 0.01  # or the comparison would say little


def test_concurrent_requests_get_the_answers_to_their_own_images_though_others_are_damaged(server, offline):
    damaged = [data[:-200] for data in PICTURES]
    with ThreadPoolExecutor(16) as clients:
        good = [clients.submit(server.predict, data) for data in PICTURES * 4]
        bad = [clients.submit(server.ask, data) for data in damaged]
    served = np.array([numbers(future.result()) for future in good])
    assert np.abs(served - np.tile(offline, (4, 1))).max() < 1e-4
    assert {future.result()[0] for future in bad} == {422}


def test_several_images_in_json_and_an_answer_in_csv(server, offline):
    body = json.dumps(
        {"images": [base64.b64encode(data).decode() for data in PICTURES[:3]], "ids": list("abc")}
    )
    _, headers, content = server.ask(body.encode(), "application/json", accept="text/csv")
    header, *rows = csv.reader(io.StringIO(content.decode()))
    assert headers["Content-Type"].startswith("text/csv")
    assert header == ["id", "status", "reason", "label", "confidence", *CLASSES]
    assert [row[0] for row in rows] == ["a", "b", "c"]
    assert np.abs(np.array([row[5:] for row in rows], float) - offline[:3]).max() < 1e-4


def test_ping_answers_within_two_seconds_of_being_asked(server):
    started = time.monotonic()
    assert server.ask(b"", path="/ping", method="GET")[0] == 200
    assert time.monotonic() - started < 2


def test_a_body_beyond_the_limit_gets_its_answer_over_the_socket_however_it_is_sent(server):
    whole = bytes(2 * 2**20)
    pieces = (bytes(2**16) for _ in range(32))
    assert server.ask(whole)[0] == 413
    assert server.ask(pieces)[0] == 413  # chunked: without a length
    assert server.ask(whole, "text/plain")[0] == 415
    assert server.ask(PICTURES[0])[0] == 200


def test_the_first_line_says_what_runs(server):
    assert "runs_in=fp32" in server.first_line
    assert f"views={','.join(VIEWS)}" in server.first_line


def test_a_model_archive_is_served_as_it_comes_and_sigterm_lets_requests_in_progress_end(
    model, offline, tmp_path
):
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
        archive.add(model, arcname=".")
    options = {"TRAPLINE_PRECISION": "fp32", "TRAPLINE_MAX_BATCH": "1", "SAGEMAKER_BATCH": "true"}
    with serving(tmp_path / "model.tar.gz", **options) as running, ThreadPoolExecutor(24) as clients:
        assert np.abs(numbers(running.predict(PICTURES[0])) - offline[0]).max() < 1e-4
        assert running.predict(b"damaged")["reason"] == "not_an_image"
        answers = [clients.submit(running.predict, data) for data in PICTURES * 2]
        while not any(answer.done() for answer in answers):
            time.sleep(0.001)
        code = running.stop()
        finished = [answer for answer in answers if answer.exception() is None]
        served = {
            index: numbers(answer.result()) for index, answer in enumerate(answers) if answer in finished
        }
    assert code == 0
    # Those that had not yet reached the server when it stopped listening were refused, and know it.
    refused = [answer.exception() for answer in answers if answer not in finished]
    assert all(isinstance(error, ConnectionError) for error in refused)
    assert len(finished) > 1
    assert all(np.abs(row - offline[index % 12]).max() < 1e-4 for index, row in served.items())


def test_sigterm_before_the_model_is_loaded_exits_with_0(model):
    with start(model) as process:
        while not catches_sigterm(process.pid):
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert "[SERVE]" not in process.stdout.read()


def catches_sigterm(pid):
    """From the mask of caught signals in /proc; what Python has not started yet catches none."""
    mask = re.search(r"SigCgt:\s*([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text())[1]
    return bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1)


def can_make_process_1():
    unshare = shutil.which("unshare")
    return unshare and subprocess.run([unshare, "-pf", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not can_make_process_1(), reason="no right to make a process namespace")
def test_sigterm_ends_the_server_with_0_as_process_1_too(model):
    with start(model, prefix=["unshare", "--pid", "--fork", "--kill-child"]) as process:
        try:
            running = wait_until_ready(process)
            assert numbers(running.predict(PICTURES[0])).sum() == pytest.approx(1)
            os.kill(child_of(process.pid), signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


def child_of(pid):
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=True
    )
    return int(listed.stdout)


def test_a_model_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(TraplineError, match="none: no such file"):
        serve(tmp_path / "none", ServingSettings(port=0), "127.0.0.1")


def test_a_port_that_is_taken_is_named(model):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(TraplineError, match=f"port {port}: cannot be used"):
            serve(model, ServingSettings(port=port), "127.0.0.1")
