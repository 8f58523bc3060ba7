"""Requests to an ASGI application in this process, any number at a time, without a socket."""

import asyncio
import contextlib
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


@contextlib.asynccontextmanager
async def running(app):
    """The application between its start and its end, and an `ask` to it."""
    async with app.router.lifespan_context(app), asyncio.timeout(30):
        yield Client(app)


@dataclass(frozen=True)
class Client:
    app: object

    @property
    def service(self):
        return self.app.state.service

    async def get(self, path):
        return await self.ask(b"", path=path, method="GET")

    async def ask(self, body, *, content_type="image/png", path="/invocations", method="POST", piece=50_000,
                  on_piece=None, **headers):  # fmt: skip
        """Send `body` in pieces; `on_piece` is called with the bytes that were taken after each of them."""
        starts = list(range(0, len(body), piece)) or [0]
        sent, taken = [], 0

        async def receive():
            nonlocal taken
            await asyncio.sleep(0)
            if not starts:
                await asyncio.Event().wait()  # as a connection that stays open
            start = starts.pop(0)
            content = body[start : start + piece]  # cut only now: who keeps it takes memory for it
            taken += len(content)
            if on_piece:
                on_piece(taken)
            return {"type": "http.request", "body": content, "more_body": bool(starts)}

        async def send(message):
            sent.append(message)

        fields = {
            "content-type": content_type,
            **{name.replace("_", "-"): text for name, text in headers.items()},
        }
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": [(name.encode(), text.encode()) for name, text in fields.items()],
        }
        await self.app(scope, receive, send)
        start, *rest = sent
        received = {name.decode(): text.decode() for name, text in start["headers"]}
        return Reply(start["status"], received, b"".join(message.get("body", b"") for message in rest))
