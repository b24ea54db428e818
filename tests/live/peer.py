"""A raw peer of a consumer in this process: says what it is told to, and keeps what it heard."""

import asyncio
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self
from uuid import uuid4

from asgiref.sync import sync_to_async

from reconnect_channels import announcement
from reconnect_channels.log import log_for
from reconnect_channels.protocol.entry import Entry
from reconnect_channels.protocol.position import Position
from reconnect_channels.publication import publish_many
from reconnect_channels.testing import Socket
from tests.app.consumers import NotesConsumer

Frame = dict[str, Any]
Positions = dict[str, Position | None]


def wire(streams: Any) -> Any:
    """Positions as they travel; what isn't one stays as it is."""
    if isinstance(streams, dict):
        return {name: at.wire() if isinstance(at, Position) else at for name, at in streams.items()}
    return streams


class Peer:
    """Nothing happens by itself: no ACK, no PONG, no retry."""

    def __init__(self, consumer: Any = NotesConsumer, path: str = "/ws/", **options: Any) -> None:
        application = consumer.as_asgi() if isinstance(consumer, type) else consumer
        self.socket = Socket(application, path, **options)
        self.producer = str(uuid4())
        self.client_id = str(uuid4())
        self._read = 0
        self._n: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        await self.socket.connect()
        return self

    async def __aexit__(self, *error: object) -> None:
        self.socket.unblock()
        await self.socket.close()

    @property
    def heard(self) -> list[Frame]:
        return [json.loads(event["text"]) for event in self.socket.sent if event.get("text")]

    def kinds(self, stream: str | None = None) -> list[str]:
        """The types of everything heard, in order."""
        return [frame["type"] for frame in self.heard if stream in (None, frame.get("stream"))]

    def say(self, kind: str, **fields: Any) -> None:
        if "streams" in fields:
            fields["streams"] = wire(fields["streams"])
        self.socket.write(json.dumps({"type": kind, **fields}))

    def hello(self, streams: Any = None, **fields: Any) -> None:
        greeting = {"protocol": "reconnect.v1", "client_id": self.client_id, "attempt": 1, **fields}
        self.say("HELLO", streams=streams or {}, **greeting)

    async def greet(self, streams: Any = None, **fields: Any) -> Frame:
        """HELLO, and the WELCOME that answers it."""
        self.hello(streams, **fields)
        return await self.hear("WELCOME")

    def message(self, stream: str, payload: Any, **fields: Any) -> str:
        """A MESSAGE with the next `n` of its stream; returns its id."""
        self._n[stream] = self._n.get(stream, 0) + 1
        frame = {"id": str(uuid4()), "producer": self.producer, "n": self._n[stream], "stream": stream}
        frame |= {"payload": payload, **fields}
        self.say("MESSAGE", **frame)
        return str(frame["id"])

    async def answer(self, message_id: str) -> Frame:
        """The ACK or REJECT of a message."""
        return await self.until(lambda frame: frame.get("id") == message_id)

    async def hear(self, kind: str, **fields: Any) -> Frame:
        """The next frame of this type and with these fields; those before it are skipped."""
        return await self.until(
            lambda frame: frame["type"] == kind and all(frame.get(k) == v for k, v in fields.items()),
            f"{kind} {fields or ''}",
        )

    async def sync(self, stream: str) -> Frame:
        """The next SYNC_DELTA or SYNC_SNAPSHOT of a stream."""
        return await self.until(
            lambda frame: frame["type"].startswith("SYNC_") and frame["stream"] == stream, f"sync of {stream}"
        )

    async def until(self, fits: Callable[[Frame], Any], wanted: str = "a frame", timeout: float = 5) -> Frame:
        found: list[Frame] = []

        def look() -> bool:
            while not found and self._read < len(self.socket.sent):
                text = self.socket.sent[self._read].get("text")
                self._read += 1
                if text and fits(frame := json.loads(text)):
                    found.append(frame)
            return bool(found)

        try:
            await self.socket.until(look, timeout)
        except TimeoutError:
            raise AssertionError(f"{wanted} never came; heard: {_short(self.heard)}") from None
        assert found, f"{wanted} never came, and the application ended; heard: {_short(self.heard)}"
        return found[0]

    async def goodbye(self) -> tuple[Frame, int]:
        """The BYE and the close code after it. There is one BYE, and nothing behind it."""
        await self.socket.until(lambda: self.socket.closed)
        assert self.socket.closed is not None, f"not closed; heard: {_short(self.heard)}"
        assert [frame["type"] for frame in self.heard].count("BYE") == 1
        last = self.heard[-1]
        assert last["type"] == "BYE", f"after BYE came {last['type']}"
        return last, self.socket.closed["code"]

    async def still_works(self, stream: str = "notes:still") -> None:
        """The connection answers a good message."""
        answer = await self.answer(self.message(stream, "still here"))
        assert answer["type"] == "ACK", answer


def _short(heard: list[Frame]) -> str:
    return ", ".join(str(frame)[:160] for frame in heard[-8:])


async def eventually(condition: Callable[[], Any], timeout: float = 5) -> None:
    """Waits for something that nothing announces."""
    async with asyncio.timeout(timeout):
        while not (await value if inspect.isawaitable(value := condition()) else value):  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def publish_all(stream: str, payloads: Sequence[Any]) -> list[Entry]:
    """Publishes in a thread, as a view does."""
    return await sync_to_async(publish_many)([(stream, payload) for payload in payloads])


@contextmanager
def unheard() -> Iterator[None]:
    """What is published inside is announced to nobody: as after a crash between COMMIT and announcing."""
    listeners, announcement.listeners = announcement.listeners, set()
    try:
        yield
    finally:
        announcement.listeners = listeners


async def publish_elsewhere(stream: str, payloads: Sequence[Any]) -> list[Entry]:
    """Publishes as another process does: the hub of this one isn't told."""
    with unheard():
        return await publish_all(stream, payloads)


async def position_at(stream: str, seq: int) -> Position:
    """The right position at a seq that the log holds."""
    log = log_for(stream)

    def read() -> Position:
        head = log.heads([stream])[stream]
        if seq == head.seq:
            return head.position
        if seq == head.floor - 1:
            return Position(head.epoch, seq, head.floor_checksum)
        checksum = log.checksum_at(stream, head.epoch, seq)
        assert checksum is not None
        return Position(head.epoch, seq, checksum)

    return await sync_to_async(read)()


@contextmanager
def elsewhere() -> Iterator[None]:
    """What is published inside comes to this process by the channel layer alone."""
    with unheard():
        yield
