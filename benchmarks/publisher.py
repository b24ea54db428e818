"""What both servers publish, and the door by which the load asks for it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

PAYLOAD = {
    "type": "card.moved",
    "card": 1234567,
    "column": "doing",
    "by": "somebody@example.org",
    "text": "x" * 400,
}
TEXT = json.dumps(PAYLOAD)
HOST = "127.0.0.1"

Publish = Callable[[], Awaitable[object]]


class Door:
    """An ASGI application: an HTTP request opens a port beside it, on which each byte publishes once.

    So that what is measured is fan-out, and not the parsing of HTTP.
    """

    def __init__(self, publish: Publish) -> None:
        self.publish = publish
        self.server: asyncio.Server | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.server = self.server or await asyncio.start_server(self.serve, HOST, 0)
        port = str(self.server.sockets[0].getsockname()[1]).encode()
        headers = [(b"content-length", str(len(port)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": port})

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1):
            await self.publish()
