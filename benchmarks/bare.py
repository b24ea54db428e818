"""The floor: no Channels, no Django, one send per socket. What the server itself costs."""

from typing import Any

from benchmarks.publisher import TEXT, Door

MESSAGE = {"type": "websocket.send", "text": TEXT}
sockets: set[Any] = set()


async def publish() -> None:
    for send in list(sockets):
        await send(MESSAGE)


door = Door(publish)


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await door(scope, receive, send)
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        sockets.add(send)
        try:
            while (await receive())["type"] != "websocket.disconnect":
                pass
        finally:
            sockets.discard(send)
