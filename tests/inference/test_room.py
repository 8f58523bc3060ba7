"""Room that is taken and given back: never more than there is, in turn, from threads too."""

import asyncio
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trapline.inference.room import Room


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
        room.give_after_waiting(first)
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
            thread = threading.Thread(target=room.give_after_waiting, args=(taken,))
            await asyncio.sleep(0)
            thread.start()
            thread.join()

        async with asyncio.timeout(10):
            await asyncio.gather(*map(use, amounts))
        return room.held, most

    held, most = asyncio.run(take_all())
    assert held == 0
    assert most <= 10
