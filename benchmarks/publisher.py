"""What both servers publish, and the HTTP door by which the load asks for it."""

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

Publish = Callable[[], Awaitable[object]]


class Door:
    """An ASGI application: every HTTP request publishes once."""

    def __init__(self, publish: Publish) -> None:
        self.publish = publish

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.publish()
        await send({"type": "http.response.start", "status": 204, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
