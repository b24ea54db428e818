"""For tests of applications: clients that lose their connection, and what was published.

    async def test_nothing_is_lost():
        client = StreamCommunicator(BoardConsumer.as_asgi(), "/ws/board/")
        client.subscribe("board:1")
        await client.connect()
        await client.cut()
        key = client.post("board:1", {"move": 7})  # waits in the outbox
        await client.resume()
        await client.outcome(key)
        await client.live("board:1")
        client.assert_applied_once(key)

Async tests need a database that other threads can see: `@pytest.mark.django_db(transaction=True)` or
Django's TransactionTestCase. `captured_entries()` works in any TestCase.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any, Self

from . import announcement, publication, workers
from .client.errors import ClientError
from .client.outbox import Answer
from .client.session import Action, Deliver, HangUp, Session, Settle, Transmit
from .client.tracker import Entries
from .live.hub import close_hub, get_hub
from .protocol.entry import Entry
from .protocol.frames import SUBPROTOCOL
from .publication import Pending

__all__ = ["Socket", "StreamCommunicator", "captured_entries", "close_hub", "closed_hub", "get_hub", "stop"]

Event = dict[str, Any]
ABNORMAL = 1006


@contextmanager
def captured_entries() -> Iterator[list[Entry | Pending]]:
    """Collects what is published inside the block, also in a TestCase that never commits.

    Entries of transactions that were rolled back are collected too; those of a log that is not in the
    database are `Pending` inside a transaction.
    """
    captured: list[Entry | Pending] = []
    publication.captures.append(captured)
    try:
        yield captured
    finally:
        publication.captures.remove(captured)


def stop() -> None:
    """Ends this process's database threads and its announcer; both begin anew when needed."""
    announcement.stop()
    workers.stop()


@asynccontextmanager
async def closed_hub() -> AsyncIterator[None]:
    """Closes the running loop's hub, and the threads behind it, when the block ends.

    As a pytest fixture (pytest-asyncio):

        @pytest.fixture(autouse=True)
        async def hub():
            async with closed_hub():
                yield
    """
    try:
        yield
    finally:
        await close_hub()
        await asyncio.to_thread(stop)


class Socket:
    """The server's end of an in-process WebSocket, with the faults that real ones have.

    Unlike Channels' communicator it can push back, raise on send as uvicorn does, stay silently open,
    and have its task cancelled as Daphne does at shutdown.
    """

    def __init__(
        self,
        application: Any,
        path: str = "/",
        *,
        headers: Mapping[str, str] | None = None,
        subprotocols: tuple[str, ...] = (SUBPROTOCOL,),
        scope: Mapping[str, Any] | None = None,
    ) -> None:
        given = {"host": "testserver", "origin": "http://testserver", **(headers or {})}
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "scheme": "ws",
            "path": path,
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
            "subprotocols": list(subprotocols),
            "client": ("127.0.0.1", 50_000),
            **(scope or {}),
        }
        self.accepted: Event | None = None
        self.closed: Event | None = None
        self.sent: list[Event] = []
        self._application = application
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._arrived = asyncio.Condition()
        self._open = asyncio.Event()
        self._open.set()
        self._failing = False
        self._task: asyncio.Task[None] | None = None

    async def connect(self) -> Event:
        """Opens it; returns the application's accept or close event."""
        self._events.put_nowait({"type": "websocket.connect"})
        self._task = asyncio.create_task(self._application(self.scope, self._events.get, self._send))
        await self.until(lambda: self.accepted or self.closed or self._task is None or self._task.done())
        if self._task.done():
            await self._task
        answer = self.accepted or self.closed
        assert answer is not None, "the application ended without an answer"
        return answer

    async def _send(self, event: Event) -> None:
        if self._failing:
            raise OSError("the client is gone")
        if not self._open.is_set():
            await self._open.wait()
        match event["type"]:
            case "websocket.accept":
                self.accepted = event
            case "websocket.close":
                self.closed = event
            case _:
                self.sent.append(event)
        async with self._arrived:
            self._arrived.notify_all()

    async def until(self, condition: Callable[[], Any], timeout: float = 5) -> None:
        """Waits until a condition on what was sent holds. Raises TimeoutError."""
        async with asyncio.timeout(timeout), self._arrived:
            while not condition():
                waiting = asyncio.ensure_future(self._arrived.wait())
                ended = [self._task] if self._task is not None and not self._task.done() else []
                try:
                    await asyncio.wait([waiting, *ended], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not waiting.done():
                        waiting.cancel()
                        with suppress(asyncio.CancelledError):
                            await waiting
                if not ended and not condition() and self._task is not None and self._task.done():
                    return

    def write(self, text: str | None = None, data: bytes | None = None) -> None:
        """A message of the client."""
        self._events.put_nowait({"type": "websocket.receive", "text": text, "bytes": data})

    def block(self) -> None:
        """The peer takes nothing: sends wait."""
        self._open.clear()

    def unblock(self) -> None:
        self._open.set()

    def fail(self) -> None:
        """From now on sends raise, as uvicorn's do when the client has left."""
        self._failing = True
        self._open.set()

    async def close(self, code: int = 1000) -> None:
        """The client closes, or its connection breaks (1006); waits until the application has ended."""
        self._events.put_nowait({"type": "websocket.disconnect", "code": code})
        await self.ended()

    async def cancel(self) -> None:
        """The server cancels the application without a word."""
        if self._task is not None:
            self._task.cancel()
        await self.ended()

    async def ended(self, timeout: float = 5) -> BaseException | None:
        """Waits for the application's end; returns what it raised."""
        if self._task is None:
            return None
        done, _ = await asyncio.wait([self._task], timeout=timeout)
        if not done:
            raise TimeoutError("the application goes on")
        return None if self._task.cancelled() else self._task.exception()


class StreamCommunicator:
    """A well-behaved client of a consumer, in this process, whose connection you can break.

    It resumes, verifies, acknowledges and retries as the real clients do.

    :param application: `Consumer.as_asgi()`, or a whole ASGI application.
    :param scope: put into the ASGI scope: `{"user": user, "url_route": {"args": (), "kwargs": {...}}}`.
    """

    def __init__(
        self,
        application: Any,
        path: str = "/",
        *,
        headers: Mapping[str, str] | None = None,
        scope: Mapping[str, Any] | None = None,
    ) -> None:
        self.session = Session()
        self.socket: Socket | None = None
        self.states: dict[str, Any] = {}
        self.applied: dict[str, list[Any]] = {}
        self.outcomes: dict[str, Answer | ClientError] = {}
        self._make = partial(Socket, application, path, headers=headers, scope=scope)
        self._changed = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def connect(self, timeout: float = 5) -> None:
        """Opens a socket, says HELLO with every position held, and waits for WELCOME."""
        self.socket = self._make()
        accepted = await self.socket.connect()
        assert accepted.get("subprotocol") == SUBPROTOCOL, (
            f"the consumer didn't take {SUBPROTOCOL}: {accepted}"
        )
        self.socket.write(self.session.open(self._now))
        self._pump = asyncio.create_task(self._run(self.socket))
        await self.until(lambda: self.session.welcomed or self._pump is None or self._pump.done(), timeout)

    resume = connect

    async def _run(self, socket: Socket) -> None:
        read = 0
        while socket.closed is None:
            await socket.until(lambda seen=read: len(socket.sent) > seen or socket.closed, timeout=3600)  # type: ignore[misc]
            while read < len(socket.sent):
                text = socket.sent[read].get("text")
                read += 1
                if text is not None:
                    self._perform(self.session.receive(text, self._now))
        self._disconnect(socket.closed.get("code", ABNORMAL))

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Transmit(text):
                    if self.socket is not None:
                        self.socket.write(text)
                case Deliver(tracker, delivery):
                    if isinstance(delivery.item, Entries):
                        self.applied.setdefault(tracker.name, []).extend(delivery.item)
                    else:
                        self.states[tracker.name] = delivery.item.state
                        self.applied[tracker.name] = []
                    self._perform(self.session.finished(tracker, delivery, self._now))
                case Settle(message_id, outcome):
                    self.outcomes[message_id] = outcome
                case HangUp():
                    pass
                case _:
                    pass
        self._changed.set()

    def _disconnect(self, code: int) -> None:
        self.session.close(code, self._now)
        self._changed.set()

    async def until(self, condition: Callable[[], Any], timeout: float = 5) -> None:
        """Waits until a condition on what was received holds. Raises TimeoutError."""
        async with asyncio.timeout(timeout):
            while not condition():
                self._changed.clear()
                deadline = self.session.deadline()
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(deadline):
                        await self._changed.wait()
                if deadline is not None and deadline <= self._now:
                    self._perform(self.session.tick(self._now))

    def subscribe(self, stream: str) -> None:
        """Follows a stream from now on, connected or not."""
        self._perform(self.session.subscribe(stream, self._now))

    async def live(self, stream: str, timeout: float = 5) -> None:
        """Waits until the stream is caught up. Raises the refusal (`client.errors.Refused`)."""

        def reached() -> bool:
            tracker = self.session.trackers[stream]
            if tracker.refusal is not None:
                raise tracker.refusal
            return tracker.live

        await self.until(reached, timeout)

    def post(self, stream: str, payload: Any) -> str:
        """Puts a message into the outbox, connected or not; returns its id."""
        message, _, actions = self.session.send(stream, payload, self._now)
        self._perform(actions)
        return message.id

    async def outcome(self, message_id: str, timeout: float = 5) -> Answer:
        """Waits for a message's ack. Raises `client.errors.Rejected` and its kin."""
        await self.until(lambda: message_id in self.outcomes, timeout)
        outcome = self.outcomes[message_id]
        if isinstance(outcome, ClientError):
            raise outcome
        return outcome

    async def send(self, stream: str, payload: Any, timeout: float = 5) -> Answer:
        """Sends a message and waits for its ack."""
        return await self.outcome(self.post(stream, payload), timeout)

    async def cut(self) -> None:
        """The connection breaks; the server is told (1006)."""
        socket = self._drop()
        await socket.close(ABNORMAL)

    def half_open(self) -> Socket:
        """Nothing gets through any more, and the server isn't told; returns its end."""
        socket = self._drop()
        socket.block()
        return socket

    def _drop(self) -> Socket:
        assert self.socket is not None, "connect() first"
        socket, self.socket = self.socket, None
        if self._pump is not None:
            self._pump.cancel()
            self._pump = None
        self._disconnect(ABNORMAL)
        return socket

    async def close(self) -> None:
        """Closes the socket and ends the client."""
        if self.socket is not None:
            socket = self._drop()
            await socket.close()

    def assert_applied_once(self, key: str) -> None:
        """Asserts that the message with this id came down exactly once, on whatever stream."""
        seen = [
            (name, entry.seq)
            for name, entries in self.applied.items()
            for entry in entries
            if entry.key == key
        ]
        assert len(seen) == 1, f"message {key} was applied {len(seen)} times: {seen}"
