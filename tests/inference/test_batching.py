"""Micro-batches: everyone gets his own results, soon, whatever happens to the others."""

import asyncio
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trapline.inference.work import Batcher

BAD = -1


class Doubling:
    """Doubles its items, remembers its batches, and fails on a bad one."""

    def __init__(self, seconds=0.0):
        self.seconds = seconds
        self.batches = []

    def __call__(self, items):
        self.batches.append(list(items))
        time.sleep(self.seconds)
        if BAD in items:
            raise ValueError("a bad item")
        return [2 * item for item in items]


def run(function, requests, *, max_batch=4, max_delay=0.002, coming=None):
    """The results, or the exceptions, of concurrent requests."""

    async def all_at_once():
        batcher = Batcher(function, max_batch, max_delay, coming or (lambda: len(requests)))
        batcher.start()
        try:
            async with asyncio.timeout(20):
                return await asyncio.gather(*map(batcher.submit, requests), return_exceptions=True)
        finally:
            await batcher.close()

    return asyncio.run(all_at_once())


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.integers(BAD, 1000), max_size=6), max_size=30), st.integers(1, 8))
def test_each_request_gets_the_results_of_its_own_items_and_no_other_pays_for_a_bad_one(requests, max_batch):
    results = run(Doubling(), requests, max_batch=max_batch, max_delay=0.001)
    for items, result in zip(requests, results, strict=True):
        if BAD in items:
            assert isinstance(result, ValueError)
        else:
            assert result == [2 * item for item in items]


def test_requests_that_come_together_go_together():
    function = Doubling()
    run(function, [[number] for number in range(8)], max_batch=4)
    assert function.batches == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_no_batch_is_larger_than_allowed_but_for_a_request_that_is_larger_itself():
    function = Doubling()
    run(function, [[1, 2, 3], [4, 5], [6] * 9, [7]], max_batch=4)
    assert function.batches == [[1, 2, 3], [4, 5], [6] * 9, [7]]


def test_a_request_on_its_own_does_not_wait_for_others_that_cannot_come():
    started = time.monotonic()
    assert run(Doubling(), [[1]], max_delay=5) == [[2]]
    assert time.monotonic() - started < 2


def test_a_request_waits_for_others_only_as_long_as_it_may():
    function = Doubling()
    started = time.monotonic()
    assert run(function, [[1]], max_delay=0.2, coming=lambda: 2) == [[2]]
    assert 0.15 < time.monotonic() - started < 2


def test_what_comes_while_the_function_runs_is_the_next_batch():
    function = Doubling(seconds=0.1)

    async def later():
        batcher = Batcher(function, 8, 0.0)
        batcher.start()
        first = asyncio.create_task(batcher.submit([1]))
        await asyncio.sleep(0.03)
        rest = await asyncio.gather(*(batcher.submit([number]) for number in (2, 3, 4)))
        await batcher.close()
        return [await first, *rest]

    assert asyncio.run(later()) == [[2], [4], [6], [8]]
    assert function.batches == [[1], [2, 3, 4]]


def test_a_request_that_was_given_up_does_not_disturb_its_neighbours():
    async def given_up():
        batcher = Batcher(Doubling(seconds=0.05), 4, 0.0)
        batcher.start()
        leaving = asyncio.create_task(batcher.submit([1]))
        staying = asyncio.create_task(batcher.submit([2]))
        await asyncio.sleep(0.01)
        leaving.cancel()
        result = await staying
        await batcher.close()
        return result

    assert asyncio.run(given_up()) == [4]


def test_a_function_that_loses_results_is_an_error_and_never_a_mix_up():
    (result,) = run(lambda items: items[1:], [[1, 2]])
    assert isinstance(result, RuntimeError)
    assert "1 results for 2 items" in str(result)


def test_nothing_to_do_needs_no_batch():
    function = Doubling()
    assert run(function, [[]]) == [[]]
    assert function.batches == []


def test_the_function_runs_beside_the_event_loop_in_one_thread():
    threads = set()

    def remember(items):
        threads.add(threading.current_thread())
        return items

    run(remember, [[number] for number in range(9)], max_batch=2)
    assert len(threads) == 1
    assert threading.main_thread() not in threads


def test_a_batcher_is_alive_until_it_is_closed():
    async def states():
        batcher = Batcher(Doubling(), 4, 0.0)
        before = batcher.alive
        batcher.start()
        between = batcher.alive
        await batcher.close()
        return before, between, batcher.alive

    assert asyncio.run(states()) == (False, True, False)


@pytest.mark.parametrize("max_batch", [1, 3])
def test_results_are_in_the_order_of_the_items(max_batch):
    assert run(Doubling(), [[3, 1, 2], [9]], max_batch=max_batch) == [[6, 2, 4], [18]]
