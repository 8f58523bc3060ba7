"""The server's application: each request gets its own answer, and nothing takes more than it may."""

import asyncio
import base64
import dataclasses
import io
import json
import math
import socket
import threading
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.asgi_client import running
from tests.support.small_models import colour_predictor, coloured
from trapline.inference.limits import ServingSettings
from trapline.inference.serving import _listening, make_app

DAMAGED = [b"", b"not an image", coloured(3)[:-20], coloured(3)[:60] + b"\0\0" + coloured(3)[62:]]
REASONS = {"empty", "not_an_image", "truncated", "corrupt"}


def serve(conversation, predictor=None, **changes):
    """What `conversation(client)` returns, held with the application."""

    async def hold():
        app = make_app(predictor or colour_predictor(), ServingSettings(**changes))
        async with running(app) as client:
            return await conversation(client)

    return asyncio.run(hold())


def in_json(files, **more):
    return json.dumps({"images": [base64.b64encode(file).decode() for file in files], **more}).encode()


def is_right(reply, red):
    return reply.status == 200 and reply.json["label"] == str(red) and reply.json["confidence"] > 0.99


GOOD = st.integers(0, 255)
BAD = st.sampled_from(range(-len(DAMAGED), 0))  # a negative number means damaged content


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.one_of(GOOD, BAD, st.lists(st.one_of(GOOD, BAD), min_size=1, max_size=5)), max_size=40),
    st.integers(1, 8),
    st.integers(1, 3),
    st.booleans(),
    st.integers(20, 2000),
)
def test_answers_of_concurrent_requests_are_never_mixed_up(requests, max_batch, threads, batch, piece):
    def content(number):
        return coloured(number) if number >= 0 else DAMAGED[number]

    async def ask_all(client):
        def ask(request):
            if isinstance(request, int):
                return client.ask(content(request), piece=piece)
            body = in_json(map(content, request), ids=list(range(len(request))))
            return client.ask(body, content_type="application/json", piece=piece)

        return await asyncio.gather(*map(ask, requests))

    replies = serve(ask_all, max_batch=max_batch, decode_threads=threads, batch=batch, max_delay=0.001)
    for request, reply in zip(requests, replies, strict=True):
        wanted = [request] if isinstance(request, int) else request
        answers = [reply.json] if isinstance(request, int) else reply.json
        failed = all(number < 0 for number in wanted) and not batch
        assert reply.status == (422 if failed else 200)
        assert [answer.get("id") for answer in answers if "id" in answer] in (
            [], [str(number) for number in range(len(wanted))],
        )  # fmt: skip
        for number, answer in zip(wanted, answers, strict=True):
            if number < 0:
                assert answer["status"] == "failed"
                assert answer["reason"] in REASONS
                assert answer["probabilities"] is None
            else:
                assert answer["label"] == str(number)
                assert math.isclose(sum(answer["probabilities"].values()), 1, abs_tol=1e-9)


def test_concurrent_requests_go_through_the_model_together():
    predictor = colour_predictor()

    async def ask_all(client):
        return await asyncio.gather(*(client.ask(coloured(red)) for red in range(24)))

    replies = serve(ask_all, predictor, max_batch=8, max_delay=1.0)
    assert all(is_right(reply, red) for red, reply in enumerate(replies))
    assert len(predictor.model.batches) < 12
    assert max(predictor.model.batches) <= 8


def test_ping_and_execution_parameters_say_what_the_platform_wants_to_know():
    async def ask_both(client):
        return await client.get("/ping"), await client.get("/execution-parameters")

    ping, parameters = serve(ask_both, max_payload_mb=10, max_batch=32)
    assert ping.status == 200
    assert parameters.json == {
        "MaxConcurrentTransforms": 10, "BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": 10,
    }  # fmt: skip


def test_ping_answers_while_the_model_is_busy():
    release = threading.Event()
    predictor = colour_predictor({7: lambda: release.wait(20) and torch.zeros(256)})

    async def ask(client):
        request = asyncio.create_task(client.ask(coloured(7)))
        await asyncio.sleep(0.1)
        async with asyncio.timeout(2):
            ping = await client.get("/ping")
        release.set()
        await request
        return ping.status

    assert serve(ask, predictor) == 200


def test_ping_fails_once_nothing_works_on_the_batches():
    async def ask(client):
        await client.service.batcher.close()
        return await client.get("/ping")

    assert serve(ask).status == 500


def test_arrays_and_csv_are_understood():
    pixels = np.zeros((2, 9, 9, 3), np.uint8)
    pixels[1, :, :, 0] = 200

    async def ask(client):
        buffer = io.BytesIO()
        np.save(buffer, pixels)
        return await client.ask(buffer.getvalue(), content_type="application/x-npy", accept="text/csv")

    lines = serve(ask).body.decode().splitlines()
    assert [line.split(",")[3] for line in lines] == ["label", "0", "200"]


def test_what_is_wrong_with_a_request_is_said_with_a_4xx_in_real_time():
    async def ask_all(client):
        return [
            await client.ask(b"", content_type="text/plain"),
            await client.ask(coloured(1), accept="text/html"),
            await client.ask(b"{", content_type="application/json"),
            await client.ask(b"not an image"),
        ]

    replies = serve(ask_all)
    assert [reply.status for reply in replies] == [415, 406, 400, 422]
    assert all(reply.json["status"] == "failed" and reply.json["detail"] for reply in replies)
    assert "Retry-After" not in replies[0].headers


def test_in_batch_what_is_wrong_with_an_input_is_an_answer_and_what_is_wrong_with_the_job_an_error():
    async def ask_all(client):
        return [
            await client.ask(b"not an image"),
            await client.ask(b"{", content_type="application/json"),
            await client.ask(bytes(2**20 + 1), accept="text/csv"),
            await client.ask(coloured(1), content_type="text/plain"),
        ]

    image, body, large, job = serve(ask_all, batch=True, max_payload_mb=1)
    assert [image.status, body.status, large.status, job.status] == [200, 200, 200, 415]
    assert image.json["reason"] == "not_an_image"
    assert body.json["reason"] == "bad_request"
    assert large.body.decode().splitlines()[1].startswith(",failed,payload_too_large,,,")


def test_a_body_beyond_the_limit_gets_413_and_is_not_kept():
    sent, peaks = bytes(12 * 2**20), []

    async def ask(client):
        tracemalloc.start()
        reply = await client.ask(
            sent, on_piece=lambda taken: peaks.append(tracemalloc.get_traced_memory()[1])
        )
        tracemalloc.stop()
        return reply

    assert serve(ask, max_payload_mb=1).status == 413
    assert len(peaks) > 200  # the client got rid of all of it, and so reads the answer
    assert max(peaks) < 1.5 * 2**20


def test_a_body_whose_length_says_that_it_is_too_large_is_refused_before_it_is_kept():
    taken = []

    async def ask(client):
        return await client.ask(
            bytes(2**20 + 1), content_length=str(2**20 + 1), expect="100-continue", on_piece=taken.append
        )

    assert serve(ask, max_payload_mb=1).status == 413
    assert taken == []


def test_a_body_of_exactly_the_limit_is_taken():
    async def ask(client):
        return await client.ask(coloured(9) + bytes(2**20 - len(coloured(9))))

    assert is_right(serve(ask, max_payload_mb=1), 9)


def busy(client_requests, **changes):
    """The replies to requests beyond the queue, sent while the first ones keep the model busy."""
    release = threading.Event()
    predictor = colour_predictor({7: lambda: release.wait(20) and torch.zeros(256)})

    async def ask(client):
        first = [asyncio.create_task(client.ask(coloured(7))) for _ in range(2)]
        await asyncio.sleep(0.1)
        more = [asyncio.create_task(client.ask(coloured(red))) for red in client_requests]
        await asyncio.sleep(0.2)
        done = [task.done() for task in more]
        release.set()
        await asyncio.gather(*first)
        return done, await asyncio.gather(*more)

    return serve(ask, predictor, queue=2, max_batch=1, **changes)


def test_a_full_queue_refuses_with_503_and_retry_after_in_real_time():
    done, replies = busy([1, 2])
    assert all(done)
    assert [reply.status for reply in replies] == [503, 503]
    assert [reply.headers["retry-after"] for reply in replies] == ["1", "1"]
    assert replies[0].json["reason"] == "busy"


def test_a_full_queue_waits_in_batch():
    done, replies = busy([1, 2, 3, 4], batch=True)
    assert not any(done)
    assert all(is_right(reply, red) for red, reply in zip([1, 2, 3, 4], replies, strict=True))


def test_a_place_in_the_queue_is_free_again_after_every_kind_of_answer():
    async def ask(client):
        for body in (coloured(1), b"damaged", bytes(2**20 + 1)) * 3:
            await client.ask(body)
        return client.service.places.held, await client.ask(coloured(5))

    admitted, reply = serve(ask, queue=1, max_payload_mb=1)
    assert admitted == 0
    assert is_right(reply, 5)


def fail():
    raise RuntimeError("the model broke on this one")


def test_an_image_on_which_the_model_breaks_fails_alone():
    async def ask(client):
        return await asyncio.gather(*(client.ask(coloured(red)) for red in (1, 66, 2, 3)))

    replies = serve(ask, colour_predictor({66: fail}), max_batch=4, max_delay=0.5)
    assert [reply.status for reply in replies] == [200, 500, 200, 200]
    assert [reply.json["label"] for reply in replies] == ["1", None, "2", "3"]


@pytest.mark.parametrize(("batch", "status"), [(False, 500), (True, 200)])
def test_outputs_that_are_no_numbers_fail_their_image_alone(batch, status):
    async def ask(client):
        return await asyncio.gather(*(client.ask(coloured(red)) for red in (1, 66, 2)))

    predictor = colour_predictor({66: lambda: torch.full((256,), torch.nan)})
    replies = serve(ask, predictor, max_batch=4, max_delay=0.5, batch=batch)
    assert [reply.status for reply in replies] == [200, status, 200]
    assert replies[1].json["reason"] == "not_finite"
    assert b"NaN" not in b"".join(reply.body for reply in replies)


def test_a_client_that_goes_away_leaves_its_place():
    async def ask(client):
        async def receive():
            return {"type": "http.disconnect"}

        async def send(message):
            pass

        scope = {"type": "http", "method": "POST", "path": "/invocations", "query_string": b"", "headers": []}
        await client.app(scope, receive, send)
        return client.service.places.held, await client.ask(coloured(5))

    admitted, reply = serve(ask, queue=1)
    assert admitted == 0
    assert is_right(reply, 5)


def test_answers_do_not_wait_for_acknowledgements():
    async def option_of_an_accepted_connection():
        accepted = asyncio.get_running_loop().create_future()

        def accept(_, writer):
            connection = writer.get_extra_info("socket")
            accepted.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        server = await asyncio.start_server(accept, sock=_listening("127.0.0.1", 0))
        async with server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            option = await accepted
            writer.close()
        return option

    assert asyncio.run(option_of_an_accepted_connection()) != 0


@pytest.mark.parametrize(("batch", "deterministic"), [(True, True), (True, False), (False, True)])
def test_in_batch_a_deterministic_models_images_do_not_depend_on_which_come_together(batch, deterministic):
    predictor = colour_predictor()
    configuration = {"deterministic": deterministic}
    predictor = dataclasses.replace(
        predictor, description=predictor.description.model_copy(update={"configuration": configuration})
    )

    async def all_at_once(client):
        bodies = [coloured(red) for red in range(24)]
        return await asyncio.gather(*(client.ask(body) for body in bodies))

    replies = serve(all_at_once, predictor, batch=batch, max_delay=0.05)
    assert all(is_right(reply, red) for red, reply in enumerate(replies))
    assert (max(predictor.model.batches) == 1) is (batch and deterministic)
