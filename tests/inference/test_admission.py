"""Room that is taken and given back in turn; bodies, how fast they must come and how many bytes are held."""

import asyncio
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect, Request

from trapline.inference.content import RequestError
from trapline.inference.limits import Body, Pace, Room


async def settled(task):
    """Whether the task is done once everything that can go on has gone on."""
    for _ in range(5):
        await asyncio.sleep(0)
    return task.done()


def test_what_does_not_fit_is_not_taken():
    room = Room(10)
    assert [room.try_take(6), room.try_take(5), room.try_take(4)] == [True, False, True]
    room.give(6)
    assert room.held == 4


def test_who_waits_gets_it_in_turn_though_the_next_one_would_fit():
    async def order():
        room, got = Room(10), []

        async def take(name, amount):
            await room.take(amount)
            got.append(name)

        room.try_take(8)
        tasks = [asyncio.create_task(take("large", 9)), asyncio.create_task(take("small", 1))]
        assert not await settled(tasks[1])
        assert not room.try_take(1)
        room.give(8)
        await asyncio.gather(*tasks)
        return got

    assert asyncio.run(order()) == ["large", "small"]


def test_more_than_there_is_waits_for_all_of_it():
    async def taken():
        room = Room(10)
        room.try_take(1)
        task = asyncio.create_task(room.take(1000))
        before = await settled(task)
        room.give(1)
        return before, await task, room.held

    assert asyncio.run(taken()) == (False, 10, 10)


@pytest.mark.parametrize("granted", [False, True])
def test_who_goes_away_leaves_it_to_the_next(granted):
    async def left():
        room = Room(10)
        room.try_take(10)
        leaving = asyncio.create_task(room.take(8))
        staying = asyncio.create_task(room.take(8))
        await settled(leaving)
        if granted:
            room.give(10)  # it is granted, but the task does not know yet
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        if not granted:
            room.give(10)
        async with asyncio.timeout(5):
            await staying
        return leaving.cancelled(), room.held

    assert asyncio.run(left()) == (True, 8)


def test_what_is_kept_is_for_those_who_do_not_wait():
    async def kept():
        room = Room(10, kept=4)
        first, second = await room.take(3), asyncio.create_task(room.take(5))
        waits = not await settled(second)
        passes = room.try_take(7)
        room.give(7)
        room.give(first, waited=True)
        return waits, passes, await second, room.held

    assert asyncio.run(kept()) == (True, True, 5, 5)


def test_small_takes_that_go_on_for_ever_do_not_keep_out_who_wants_all():
    async def starve():
        room = Room(10, kept=4)
        room.try_take(3)
        large = asyncio.create_task(room.take(10))
        await settled(large)
        passes = room.try_take(1)
        room.give(3)
        return passes, await large

    assert asyncio.run(starve()) == (False, 10)


def test_who_is_alone_may_have_what_is_kept_as_well():
    async def alone():
        room = Room(10, kept=4)
        return await room.take(10), room.try_take(1)

    assert asyncio.run(alone()) == (10, False)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 15), max_size=40), st.integers(0, 9))
def test_there_is_never_more_taken_than_there_is_and_everyone_has_his_turn(amounts, kept):
    async def take_all():
        room, most = Room(10, kept), 0

        async def use(amount):
            nonlocal most
            taken = await room.take(amount)
            most = max(most, room.held)
            thread = threading.Thread(target=room.give, args=(taken, True))
            await asyncio.sleep(0)
            thread.start()
            thread.join()

        async with asyncio.timeout(10):
            await asyncio.gather(*map(use, amounts))
        return room.held, most

    held, most = asyncio.run(take_all())
    assert held == 0
    assert most <= 10


QUICK = Pace(patience=0.4, grace=0.1, min_rate=1000)


def body(pieces, *, room, limit=1000, pace=QUICK, waits=False, announced=None, seconds=0.0):
    """A body of which a piece comes every so many seconds; None: the client goes away."""
    left = list(pieces)

    async def receive():
        await asyncio.sleep(seconds)
        if not left:
            await asyncio.Event().wait()
        piece = left.pop(0)
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": piece != b""}

    headers = [] if announced is None else [(b"content-length", str(announced).encode())]
    return Body(Request({"type": "http", "headers": headers}, receive), limit, room, pace, waits)


def refused(one):
    with pytest.raises(RequestError) as caught:
        asyncio.run(one.read())
    return caught.value.status


def test_a_body_holds_its_bytes_until_it_is_released():
    room = Room(1000)
    one = body([b"ab", b"c", b""], room=room)
    assert b"".join(asyncio.run(one.read())) == b"abc"
    assert room.held == 3
    one.release()
    one.release()
    assert (room.held, one.pieces) == (0, [])


def test_a_trickle_is_ended_long_before_a_whole_body_must_be_there():
    one = body([b"x"] * 1000, room=Room(1000), pace=Pace(60, 0.1, 1000), seconds=0.01)
    assert refused(one) == 408
    assert 3 < len(one.pieces) < 30


def test_a_body_that_comes_fast_enough_may_take_its_time():
    pace = Pace(patience=9, grace=0.2, min_rate=1000)
    one = body([b"x" * 900] * 5 + [b""], room=Room(9000), limit=9000, pace=pace, seconds=0.06)
    assert sum(map(len, asyncio.run(one.read()))) == 4500


def test_no_body_may_take_longer_than_the_patience():
    assert refused(body([b"x" * 60] * 100, room=Room(10**5), limit=10**5, seconds=0.03)) == 408


def test_in_batch_only_the_whole_time_counts():
    one = body([b"x"] * 8 + [b""], room=Room(1000), pace=Pace(60, 0.02, 0), waits=True, seconds=0.01)
    assert len(asyncio.run(one.read())) == 9


def test_a_body_for_which_there_is_no_room_is_busy_and_leaves_nothing_behind():
    room = Room(1000)
    room.try_take(900)
    one = body([b"x" * 60, b"x" * 60, b""], room=room)
    assert refused(one) == 503
    one.release()
    assert (room.held, one.pieces) == (900, [])


@pytest.mark.parametrize("announced", [None, 900])
def test_in_batch_bodies_that_do_not_fit_together_come_one_after_the_other(announced):
    room, held = Room(1000), []

    async def read_all():
        async def use():
            one = body([b"x" * 300] * 3 + [b""], room=room, waits=True, announced=announced)
            pieces = await one.read()
            held.append(room.held)
            await asyncio.sleep(0.01)
            size = sum(map(len, pieces))
            one.release()
            return size

        async with asyncio.timeout(5):
            return await asyncio.gather(*(use() for _ in range(10)))

    assert asyncio.run(read_all()) == [900] * 10
    assert held == [900] * 10
    assert room.held == 0


def test_in_batch_a_body_of_all_the_room_there_is_is_taken():
    one = body([b"x" * 500] * 4 + [b""], room=Room(1000), limit=2000, waits=True)
    assert sum(map(len, asyncio.run(one.read()))) == 2000


@pytest.mark.parametrize("waits", [False, True])
def test_a_client_that_goes_away_leaves_no_bytes(waits):
    room = Room(1000)
    one = body([b"x" * 60, None], room=room, waits=waits)
    with pytest.raises(ClientDisconnect):
        asyncio.run(one.read())
    one.release()
    assert room.held == 0


def test_a_body_that_announces_more_than_the_limit_is_refused_unread():
    one = body([b"x"], room=Room(1000), announced=1001)
    assert refused(one) == 413
    assert not one.pieces
