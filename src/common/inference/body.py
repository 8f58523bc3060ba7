"""Reading a request's body: piece by piece, never more than the limit in memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request

from common.inference.content import PAYLOAD_TOO_LARGE, RequestError

PATIENCE = 60.0  # seconds for a whole body to arrive: what the platform allows a whole invocation
DISCARDED = 16 * 2**20  # bytes beyond the limit that are read to be thrown away


@dataclass
class Body:
    """The body of `request`; `limit` in bytes."""

    request: Request
    limit: int
    finished: bool = False  # nothing more will come, or is wanted

    async def read(self) -> bytes:
        """All of it. Raises RequestError: 413 beyond the limit, 408 where it does not come in time."""
        if int(self.request.headers.get("content-length", 0)) > self.limit:
            raise self._too_large()
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(PATIENCE):
                async for piece in self._pieces():
                    size += len(piece)
                    if size > self.limit:
                        raise self._too_large()
                    pieces.append(piece)
        except TimeoutError:
            self.finished = True
            raise RequestError(408, "slow_request", f"no whole body within {PATIENCE:.0f} s") from None
        return b"".join(pieces)

    async def discard(self) -> None:
        """Read what is left without keeping it, so that a client that is still sending gets to its answer.

        It would see a reset connection otherwise. One that asks first (Expect: 100-continue) is not sending.
        """
        if "expect" in self.request.headers:
            return
        left = self.limit + DISCARDED
        with contextlib.suppress(TimeoutError, ClientDisconnect):
            async with asyncio.timeout(PATIENCE):
                async for piece in self._pieces():
                    left -= len(piece)
                    if left < 0:
                        return

    async def _pieces(self) -> AsyncIterator[bytes]:
        while not self.finished:
            message = await self.request.receive()
            if message["type"] != "http.request":
                self.finished = True
                raise ClientDisconnect
            self.finished = not message.get("more_body", False)
            yield message.get("body", b"")

    def _too_large(self) -> RequestError:
        detail = f"the body is larger than {self.limit} bytes, the limit of SAGEMAKER_MAX_PAYLOAD_IN_MB"
        return RequestError(413, PAYLOAD_TOO_LARGE, detail)
