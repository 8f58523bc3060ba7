"""Room for bytes, pixels or requests: so much of it may be taken at a time."""

import asyncio
import threading
from collections import deque
from concurrent.futures import Future


class Room:
    """Who takes some of it gives it back; who waits for it gets it in turn.

    size: all of it. kept: what those who wait leave for those who do not, but for one who wants more than the
    rest: he waits until no other of those who wait has any. For one event loop and its threads.
    """

    def __init__(self, size: int, kept: int = 0) -> None:
        self.size = size
        self.kept = kept
        self._lock = threading.Lock()
        self._held = self._held_after_waiting = 0
        self._line: deque[tuple[int, Future[None]]] = deque()

    @property
    def held(self) -> int:
        """What is taken now."""
        return self._held

    def try_take(self, amount: int) -> bool:
        """Take so much at once, or nothing; it may pass those who wait only by what is kept from them."""
        with self._lock:
            passes = not self._line or (self.kept and self._line[0][0] <= self.size - self.kept)
            if not passes or self._held + amount > self.size:
                return False
            self._held += amount
            return True

    async def take(self, amount: int) -> int:
        """Wait in line for so much, at most all of it, and take it; what was taken."""
        amount = min(amount, self.size)
        ticket: Future[None] = Future()
        with self._lock:
            self._line.append((amount, ticket))
            self._hand_out()
        try:
            await asyncio.wrap_future(ticket)
        except asyncio.CancelledError:
            if ticket.cancel():
                with self._lock:
                    self._hand_out()
            else:
                self.give_after_waiting(amount)
            raise
        return amount

    def give(self, amount: int) -> None:
        """Give back so much of what `try_take` took."""
        with self._lock:
            self._held -= amount
            self._hand_out()

    def give_after_waiting(self, amount: int) -> None:
        """Give back so much of what `take` took."""
        with self._lock:
            self._held -= amount
            self._held_after_waiting -= amount
            self._hand_out()

    def _hand_out(self) -> None:
        while self._line:
            amount, ticket = self._line[0]
            if not ticket.cancelled():
                if not self._fits(amount):
                    return
                if ticket.set_running_or_notify_cancel():
                    self._held += amount
                    self._held_after_waiting += amount
                    ticket.set_result(None)
            self._line.popleft()

    def _fits(self, amount: int) -> bool:
        """Whether the first in line can have so much now."""
        others = self._held_after_waiting
        return self._held + amount <= self.size and (not others or others + amount <= self.size - self.kept)
