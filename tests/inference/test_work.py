"""Images of a request, each within its budget: small ones at once, costly ones apart, all of them bounded."""

import asyncio
import base64
import dataclasses
import json
import threading
import time

import numpy as np
import pytest

from tests.support.asgi_client import running
from tests.support.hostile_images import png, textual_ppm
from tests.support.small_models import colour_predictor, coloured
from trapline.errors import TraplineError
from trapline.images.budget import PREPARATION
from trapline.images.files import ImageProblem, Reason
from trapline.inference.limits import LIVE, ServingSettings, settings_from
from trapline.inference.predictor import Predictor
from trapline.inference.serving import make_app
from trapline.inference.work import SLICE

COSTLY = textual_ppm(16)  # of a kind whose header does not tell what it takes


@pytest.fixture(autouse=True)
def released():
    """An event for stand-ins to wait for; it is set at the end of the test, however that ends."""
    event = threading.Event()
    yield event
    event.set()


def serve(conversation, settings=None, apart=None, **changes):
    """What `conversation(client)` returns; `apart(data)` stands in for decoding in a process."""

    async def hold():
        app = make_app(colour_predictor(), settings or ServingSettings(**changes))
        async with running(app) as client:
            if apart is not None:
                client.service.work._processes = StandIn(apart)
            return await conversation(client)

    return asyncio.run(hold())


class StandIn:
    """Decoding processes without processes."""

    def __init__(self, function):
        self.function = function

    def canonicalise(self, data, settings):
        return Decoded(self.function(data))

    def close(self):
        pass


@dataclasses.dataclass
class Decoded:
    pixels: np.ndarray


def seven(data=b""):
    """An image whose answer is 7."""
    return np.full((8, 8, 3), 7, np.uint8)


def raising(error):
    def fail(data):
        raise error

    return fail


def in_json(files):
    return json.dumps({"images": [base64.b64encode(file).decode() for file in files]}).encode()


def ask(client, files):
    return client.ask(in_json(files), content_type="application/json")


def labels(reply):
    return [answer["label"] or answer["reason"] for answer in reply.json]


def test_a_frame_that_was_prepared_is_answered_in_batch_and_refused_live():
    frame = png(10_000, 6_000)

    async def conversation(client):
        return (await client.ask(frame)).json, labels(await ask(client, [COSTLY, coloured(3)]))

    threads = {"TRAPLINE_DECODE_THREADS": "1"}
    batch, both = serve(conversation, settings_from({"SAGEMAKER_BATCH": "true", **threads}))
    live, _ = serve(conversation, settings_from(threads), apart=seven)
    assert (batch["label"], both) == ("0", ["7", "3"])
    assert live["reason"] == "too_large"


def test_the_budget_is_that_of_preparation_in_batch_and_a_smaller_one_live():
    assert settings_from({"SAGEMAKER_BATCH": "true"}).budget == PREPARATION
    assert settings_from({}).budget == LIVE
    assert LIVE.max_pixels < PREPARATION.max_pixels


def test_images_of_both_kinds_have_their_answers_in_their_order():
    async def conversation(client):
        return await ask(client, [COSTLY, coloured(3), b"damaged", COSTLY, coloured(5)])

    assert labels(serve(conversation, apart=seven)) == ["7", "3", "not_an_image", "7", "5"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ImageProblem(Reason.DECODER_CRASHED, "it died"), "decoder_crashed"),
        (ImageProblem(Reason.TOO_COSTLY, "too long"), "too_costly"),
        (TraplineError("no process starts"), "decoder_crashed"),
        (OSError(24, "too many open files"), "decoder_crashed"),
        (MemoryError(), "too_costly"),
        (RuntimeError("nobody foresaw this"), "corrupt"),
    ],
)
def test_whatever_happens_to_one_image_apart_is_its_own_answer(error, reason):
    async def conversation(client):
        return await ask(client, [COSTLY, coloured(3)])

    reply = serve(conversation, apart=raising(error))
    assert (reply.status, labels(reply)) == (200, [reason, "3"])


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("nobody foresaw this"), ValueError()])
def test_whatever_happens_to_the_squares_of_one_image_is_its_own_answer(error, monkeypatch, capsys):
    squares = Predictor.squares

    def breaking(self, pixels):
        if pixels[0, 0, 0] == 66:
            raise error
        return squares(self, pixels)

    monkeypatch.setattr(Predictor, "squares", breaking)

    async def conversation(client):
        return await ask(client, [coloured(3), coloured(66), coloured(5)])

    reply = serve(conversation)
    assert (reply.status, [answer["status"] for answer in reply.json]) == (200, ["ok", "failed", "ok"])
    assert capsys.readouterr().err.count("Traceback") == 1


def test_small_images_do_not_wait_for_costly_ones(released):
    def slow(data):
        released.wait(20)
        return seven()

    async def conversation(client):
        costly = [asyncio.create_task(client.ask(COSTLY)) for _ in range(4)]
        await asyncio.sleep(0.1)
        async with asyncio.timeout(2):
            small = await asyncio.gather(*(client.ask(coloured(red)) for red in range(20)))
        released.set()
        return [reply.json["label"] for reply in (*small, *await asyncio.gather(*costly))]

    assert serve(conversation, apart=slow, decode_threads=1) == [*map(str, range(20)), *"7777"]


def test_requests_with_costly_images_leave_half_of_the_places_to_others(released):
    def slow(data):
        released.wait(20)
        return seven()

    async def conversation(client):
        costly = [asyncio.create_task(client.ask(COSTLY)) for _ in range(8)]
        await asyncio.sleep(0.2)
        small = await client.ask(coloured(3))
        released.set()
        return small.status, sorted([reply.status for reply in await asyncio.gather(*costly)])

    assert serve(conversation, apart=slow, queue=4) == (200, [200] * 2 + [503] * 6)


def test_in_batch_they_wait_for_each_other():
    async def conversation(client):
        return await asyncio.gather(*(client.ask(COSTLY) for _ in range(12)))

    replies = serve(conversation, apart=seven, queue=4, batch=True)
    assert [reply.json["label"] for reply in replies] == ["7"] * 12


def test_the_seconds_of_a_request_are_bounded_and_its_other_images_keep_their_answers():
    def slow(data):
        time.sleep(0.1)
        return seven()

    async def conversation(client):
        started = time.monotonic()
        reply = await ask(client, [coloured(3), *[COSTLY] * 62, coloured(5)])
        waited = time.monotonic() - started
        return labels(reply), waited, client.service.work.pixels.held

    found, waited, held = serve(conversation, apart=slow, request_seconds=0.35)
    assert (found[0], found[1], found[-2], found[-1]) == ("3", "7", "too_costly", "5")
    assert waited < 2
    assert held in (0, 256)  # the last one may still be decoded


def test_images_wait_for_room_for_their_pixels(released):
    at_work, most = [], []

    def counted(data):
        at_work.append(data)
        most.append(len(at_work))
        time.sleep(0.02)
        at_work.pop()
        return seven()

    async def conversation(client):
        return await asyncio.gather(*(client.ask(COSTLY) for _ in range(12)))

    limits = {"max_pixels_in_flight": 2 * 256, "decode_threads": 4, "batch": True}
    replies = serve(conversation, apart=counted, **limits)
    assert [reply.json["label"] for reply in replies] == ["7"] * 12
    assert max(most) <= 2


def test_small_images_that_have_no_room_wait_for_it_as_well():
    async def conversation(client):
        return await asyncio.gather(*(client.ask(coloured(red)) for red in range(40)))

    replies = serve(conversation, max_pixels_in_flight=100, decode_threads=4)
    assert [reply.json["label"] for reply in replies] == [*map(str, range(40))]


def test_an_image_for_which_there_is_no_room_in_time_is_too_costly(released):
    def slow(data):
        released.wait(20)
        return seven()

    async def conversation(client):
        first = asyncio.create_task(client.ask(COSTLY))
        await asyncio.sleep(0.05)
        second = await client.ask(COSTLY)
        released.set()
        await first
        return second.json["reason"]

    assert serve(conversation, apart=slow, max_pixels_in_flight=300, request_seconds=0.3) == "too_costly"


def test_a_request_of_many_images_lets_others_in_between(monkeypatch):
    decode = Predictor.decode

    def slow(self, data, budget):
        time.sleep(SLICE)
        return decode(self, data, budget)

    monkeypatch.setattr(Predictor, "decode", slow)

    async def conversation(client):
        many = asyncio.create_task(ask(client, [coloured(3)] * 20))
        await asyncio.sleep(SLICE)
        one = await client.ask(coloured(5))
        return one.json["label"], many.done(), labels(await many)

    assert serve(conversation, decode_threads=1) == ("5", False, ["3"] * 20)


def test_nothing_is_held_after_all_that():
    async def conversation(client):
        for files in ([coloured(3)], [b""], [COSTLY], [png(10_000, 6_000)], [coloured(3)[:-9], COSTLY]):
            await ask(client, files)
            await client.ask(files[0])
        await client.ask(b"{", content_type="application/json")
        service = client.service
        return [
            room.held for room in (service.bodies, service.places, service.work.pixels, service.work.costly)
        ]

    assert serve(conversation, apart=seven) == [0, 0, 0, 0]
