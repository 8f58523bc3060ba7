"""Places of requests: who finds none gets 503 in real time, and waits in batch."""

import contextlib
from collections.abc import AsyncIterator

from trapline.inference.content import BUSY, RequestError
from trapline.inference.room import Room


@contextlib.asynccontextmanager
async def place_in(places: Room, *, waits: bool, busy: str) -> AsyncIterator[None]:
    """One of the places, within the block. Raises RequestError 503, saying `busy`, unless it `waits`."""
    if waits:
        await places.take(1)
    elif not places.try_take(1):
        raise RequestError(503, BUSY, busy)
    try:
        yield
    finally:
        places.give_after_waiting(1) if waits else places.give(1)
