"""The asyncio client: one socket at a time, and the session that outlives them."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Origin, Subprotocol

from reconnect_channels.protocol.codes import Close
from reconnect_channels.protocol.frames import SUBPROTOCOL
from reconnect_channels.protocol.position import Position

from .errors import ClientError, Closed, HandlerError, HandshakeError, QueueOverflow
from .lifecycle import Comeback, Ending, Lifecycle, State
from .outbox import MAX_BYTES, MAX_MESSAGES, Answer, Outbox
from .session import (
    Action,
    Deliver,
    Deny,
    HangUp,
    Lost,
    Report,
    Session,
    Settle,
    Transmit,
    Welcomed,
)
from .subscription import OnEntries, OnSnapshot, Stream, Subscription
from .tracker import Delivery, Tracker

MAX_FRAME_BYTES = 4 << 20
CLOSE_TIMEOUT = 2.0
OPENS_BEFORE_COMPLAINT = 3
ABNORMAL = 1006
NO_WELCOME = "no WELCOME: is the mixin on the consumer, and does every proxy pass Sec-WebSocket-Protocol on?"

_Subscriber = TypeVar("_Subscriber", bound=Subscription)

logger = logging.getLogger(__name__)


def origin_of(url: str) -> str:
    """The Origin that a browser would send from a page of the same host."""
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    port = "" if parts.port in (None, 443 if secure else 80) else f":{parts.port}"
    return f"{'https' if secure else 'http'}://{host}{port}"


class Client:
    """A resumable connection. Use it as `async with connect(url) as client`.

    It is usable at once, connected or not: subscriptions and messages wait. Handlers are `def` or
    `async def`; those of one stream run one at a time, in order.
    """

    def __init__(
        self,
        url: str,
        *,
        origin: str | None = None,
        cookies: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        base: float = 0.5,
        maximum: float = 20.0,
        connect_timeout: float = 8.0,
        silence: float = 25.0,
        max_attempts: int | None = None,
        max_messages: int = MAX_MESSAGES,
        max_bytes: int = MAX_BYTES,
        on_state: Callable[[State], object] | None = None,
        on_error: Callable[[ClientError], object] | None = None,
        on_lost: Callable[[str, str], object] | None = None,
        **options: Any,
    ) -> None:
        if urlsplit(url).scheme not in ("ws", "wss"):
            raise ValueError(f"{url!r} is not a ws:// or wss:// URL")
        self.url = url
        self.error: Closed | None = None
        self._headers = [*(headers or {}).items()]
        if cookies:
            self._headers.append(("Cookie", "; ".join(f"{name}={value}" for name, value in cookies.items())))
        self._options: dict[str, Any] = {
            "origin": Origin(origin_of(url) if origin is None else origin),
            "additional_headers": self._headers,
            "subprotocols": [Subprotocol(SUBPROTOCOL)],
            "compression": None,
            "open_timeout": None,
            "ping_interval": None,  # the server's PING tells whether the other end lives
            "close_timeout": CLOSE_TIMEOUT,
            "max_size": MAX_FRAME_BYTES,
            **options,
        }
        self._connect_timeout = connect_timeout
        self._silence = silence
        self._on_state, self._on_error, self._on_lost = on_state, on_error, on_lost
        self._lifecycle = Lifecycle()
        self._comeback = Comeback(base, maximum, max_attempts)
        self._session = Session(Outbox(max_messages, max_bytes))
        self._subscriptions: dict[str, list[Subscription]] = {}
        self._answers: dict[str, asyncio.Future[Answer]] = {}
        self._waiters: set[asyncio.Event] = set()
        self._task: asyncio.Task[None] | None = None
        self._socket: ClientConnection | None = None
        self._outgoing: deque[str] = deque()
        self._outgoing_ready = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: asyncio.Timeout | None = None
        self._welcomed_at: float | None = None
        self._heard = 0.0
        self._hung_up = False

    # -- for the application --------------------------------------------------------------------------

    @property
    def state(self) -> State:
        return self._lifecycle.state

    @property
    def waiting(self) -> int:
        """Messages that have no answer yet."""
        return len(self._session.outbox)

    @property
    def node(self) -> str:
        """The server process of the newest connection, as it calls itself."""
        return self._session.node

    @property
    def metrics(self) -> Counter[str]:
        """Counters since the client was made."""
        return self._session.metrics + Counter(
            transitions=self._lifecycle.transitions,
            invalid_transitions=self._lifecycle.invalid_transitions,
            backoff_capped=self._comeback.capped,
        )

    def position(self, stream: str) -> Position | None:
        """What was received and verified of a stream."""
        tracker = self._session.trackers.get(stream)
        return tracker.position if tracker is not None else None

    def stale(self, stream: str) -> bool:
        """Whether what is shown may be old: not live, not verified lately, or broken by a handler."""
        tracker = self._session.trackers.get(stream)
        return tracker is None or tracker.stale

    def subscribe(
        self, stream: str, *, on_snapshot: OnSnapshot | None = None, on_entries: OnEntries | None = None
    ) -> Subscription:
        """Follows a stream: first a snapshot, then its entries without a gap, across every outage."""
        return self._subscribe(Subscription(self, stream, on_snapshot, on_entries))

    def stream(self, stream: str) -> Stream:
        """Follows a stream: `async for item in client.stream(name)` gives Snapshot and Entries."""
        return self._subscribe(Stream(self, stream))

    async def send(self, stream: str, payload: Any) -> Answer:
        """Sends a message and waits for its answer, however long the server is away.

        Raises Rejected (it took no effect), QueueOverflow, OutcomeUnknown, Closed; ValueError for what
        can't be sent at all. When cancelled, a message that wasn't transmitted yet is taken back.
        """
        if self._task is None or self.error is not None:
            raise self.error or Closed("the client is closed")
        loop = asyncio.get_running_loop()
        message, evicted, actions = self._session.send(stream, payload, loop.time())
        answer: asyncio.Future[Answer] = loop.create_future()
        self._answers[message.id] = answer
        for gone in evicted:
            self._settle(gone.id, QueueOverflow("newer messages took its place"))
        self._perform(actions)
        try:
            return await answer
        except asyncio.CancelledError:
            self._session.outbox.withdraw(message.id)
            raise
        finally:
            self._answers.pop(message.id, None)

    async def live(self, stream: str, timeout: float | None = None) -> None:
        """Waits until the stream is caught up and its handlers are through.

        Raises Refused when the server says no, Closed when the client ended, TimeoutError.
        """
        await self._until(lambda: self._is_live(stream), timeout)

    async def ready(self, timeout: float | None = None) -> None:
        """Waits until the client is connected. Raises Closed when it ended, TimeoutError."""
        await self._until(lambda: self.state is State.CONNECTED, timeout)

    async def drained(self, timeout: float | None = None) -> None:
        """Waits until every message is answered. Raises Closed when the client ended, TimeoutError."""
        await self._until(lambda: not self.waiting, timeout)

    def cut(self) -> None:
        """Aborts the TCP connection, as a network does: for tests and load."""
        if self._socket is not None:
            self._socket.transport.abort()

    def reopen(self) -> None:
        """Tries again after FAILED."""
        if self.state is State.FAILED:
            self.error = None
            self._comeback.forgive()
            self._move(State.DISCONNECTED)
            self._start()

    async def close(self) -> None:
        """Ends the client. What was sent and not answered ends with OutcomeUnknown."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self.state is not State.DISCONNECTED:
            self._move(State.DISCONNECTED)
        self._perform(self._session.give_up(Closed("the client was closed")))
        for subscription in [one for several in self._subscriptions.values() for one in several]:
            subscription._end(None)
        self._notify()

    async def __aenter__(self) -> Self:
        self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # -- connections ----------------------------------------------------------------------------------

    def _start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"reconnect {self.url}")

    async def _run(self) -> None:
        self._move(State.RECONNECTING)
        loop = asyncio.get_running_loop()
        while True:
            self._session.metrics["attempts"] += 1
            code, problem = await self._attempt()
            now = loop.time()
            uptime = self._uptime(now)
            ending = self._session.close(code, now)
            delay = self._comeback.after(ending, uptime)
            if uptime is not None:
                self._session.metrics["drops"] += 1
                self._move(State.DISCONNECTED)
                self._move(State.RECONNECTING)
            complain = self._comeback.opens_without_welcome == OPENS_BEFORE_COMPLAINT
            if complain or isinstance(problem, HandshakeError):
                self._report(HandshakeError(f"{NO_WELCOME} ({problem or ending.code})"))
            if delay is None:
                self._fail(ending, problem)
                return
            await asyncio.sleep(delay)

    def _uptime(self, now: float) -> float | None:
        return None if self._welcomed_at is None else now - self._welcomed_at

    def _fail(self, ending: Ending, problem: Exception | None) -> None:
        text = f"{ending.code} {ending.reason}".strip() if not ending.reconnect else f"gave up: {problem}"
        self.error = Closed(text, ending.code)
        self._move(State.FAILED)
        self._perform(self._session.give_up(self.error))
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                subscription._end(self.error)
        self._notify()

    async def _attempt(self) -> tuple[int, Exception | None]:
        """One socket from its opening to its end: the close code, and what went wrong."""
        loop = asyncio.get_running_loop()
        writer: asyncio.Task[None] | None = None
        self._hung_up = False
        self._welcomed_at = None
        self._outgoing.clear()
        try:
            async with asyncio.timeout(self._connect_timeout) as self._deadline:
                self._socket = socket = await open_socket(self.url, **self._options)
                if socket.subprotocol != SUBPROTOCOL:
                    raise HandshakeError("the server chose no subprotocol")
                self._heard = loop.time()
                self._outgoing.append(self._session.open(self._heard))
                self._outgoing_ready.set()
                writer = loop.create_task(self._write(socket))
                while not self._hung_up:
                    text = await socket.recv()
                    self._heard = loop.time()
                    self._perform(self._session.receive(text, self._heard))
                return Close.RESYNC, None
        except ConnectionClosed as error:
            return error.rcvd.code if error.rcvd is not None else ABNORMAL, error
        except (OSError, TimeoutError, WebSocketException, HandshakeError) as error:
            return ABNORMAL, error
        except Exception as error:
            logger.exception("a defect of this client; it reconnects")
            return ABNORMAL, error
        finally:
            self._deadline = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if writer is not None:
                writer.cancel()
            await self._tear_down()

    async def _tear_down(self) -> None:
        """The old socket is gone before a new one opens."""
        socket, self._socket = self._socket, None
        if socket is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await socket.close()
        except (TimeoutError, OSError, WebSocketException):
            pass
        finally:
            socket.transport.abort()

    async def _write(self, socket: ClientConnection) -> None:
        try:
            while True:
                await self._outgoing_ready.wait()
                self._outgoing_ready.clear()
                while self._outgoing:
                    await socket.send(self._outgoing.popleft())
        except (ConnectionClosed, OSError):
            return  # the reader sees it too

    def _perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Transmit():
                    self._outgoing.append(action.text)
                    self._outgoing_ready.set()
                case Deliver():
                    self._deliver(action.tracker, action.delivery)
                case Settle():
                    self._settle(action.message_id, action.outcome)
                case Welcomed():
                    self._welcome()
                case Deny():
                    for subscription in self._subscriptions.get(action.error.stream, ()):
                        subscription._end(action.error)
                    self._report(action.error)
                    self._notify()
                case Report():
                    self._report(action.error)
                case Lost():
                    logger.error("the server lost an acknowledged message of %s", action.stream)
                    if self._on_lost is not None:
                        self._shield(self._on_lost, action.stream, action.message_id)
                case HangUp():
                    self._hung_up = True
        self._schedule()  # even where there is nothing to do now: perhaps there is later

    def _welcome(self) -> None:
        self._welcomed_at = self._heard
        if self._deadline is not None:
            self._deadline.reschedule(None)
        self._session.metrics["connects"] += 1
        self._move(State.CONNECTED)
        self._schedule()

    # -- time -----------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        """Keeps one timer: for the next thing that the session waits for, or for silence."""
        if self._welcomed_at is None or self._socket is None:
            return
        wanted = self._session.deadline()
        at = self._heard + self._silence if wanted is None else min(wanted, self._heard + self._silence)
        if self._timer is not None:
            if self._timer.when() <= at:
                return  # it looks again when it fires
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(at, self._wake)

    def _wake(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        if now - self._heard >= self._silence:
            self._session.metrics["silent"] += 1
            self.cut()
            return
        self._perform(self._session.tick(now))
        self._schedule()

    # -- streams --------------------------------------------------------------------------------------

    def _subscribe(self, subscription: _Subscriber) -> _Subscriber:
        if self.error is not None:
            raise self.error
        actions = self._session.subscribe(subscription.stream, _now())
        self._subscriptions.setdefault(subscription.stream, []).append(subscription)
        self._perform(actions)
        return subscription

    def _unsubscribe(self, subscription: Subscription) -> None:
        others = self._subscriptions.get(subscription.stream, [])
        if subscription in others:
            others.remove(subscription)
            if not others:
                del self._subscriptions[subscription.stream]
                self._perform(self._session.unsubscribe(subscription.stream))

    def _deliver(self, tracker: Tracker, delivery: Delivery) -> None:
        subscriptions = list(self._subscriptions.get(tracker.name, ()))
        delivery.pending = max(len(subscriptions), 1)
        if not subscriptions:
            self._finished(tracker, delivery)
        for subscription in subscriptions:
            subscription._deliver(tracker, delivery)

    def _finished(self, tracker: Tracker, delivery: Delivery) -> None:
        delivery.pending -= 1
        if delivery.pending == 0:
            self._perform(self._session.finished(tracker, delivery, _now()))
            if self._waiters:
                self._notify()

    def _handler_failed(self, tracker: Tracker, error: Exception) -> None:
        report = HandlerError(tracker.name)
        report.__cause__ = error
        self._session.metrics["handler_errors"] += 1
        self._report(report)
        self._perform(self._session.failed(tracker, _now()))

    def _is_live(self, stream: str) -> bool:
        tracker = self._session.trackers.get(stream)
        if tracker is not None and tracker.refusal is not None:
            raise tracker.refusal
        return (
            tracker is not None
            and tracker.live
            and tracker.applied == tracker.position
            and self.state is State.CONNECTED
        )

    # -- telling --------------------------------------------------------------------------------------

    def _settle(self, message_id: str, outcome: Answer | ClientError) -> None:
        answer = self._answers.get(message_id)
        if answer is not None and not answer.done():
            if isinstance(outcome, Answer):
                answer.set_result(outcome)
            else:
                answer.set_exception(outcome)
        if self._waiters:
            self._notify()

    async def _until(self, reached: Callable[[], bool], timeout: float | None) -> None:
        changed = asyncio.Event()
        self._waiters.add(changed)
        try:
            async with asyncio.timeout(timeout):
                while not reached():
                    if self._task is None or self.error is not None:
                        raise self.error or Closed("the client is closed")
                    changed.clear()
                    await changed.wait()
        finally:
            self._waiters.discard(changed)

    def _notify(self) -> None:
        for changed in self._waiters:
            changed.set()

    def _move(self, state: State) -> None:
        if self._lifecycle.move(state):
            if self._on_state is not None:
                self._shield(self._on_state, state)
            self._notify()

    def _report(self, error: ClientError) -> None:
        logger.warning("%s: %r", self.url.partition("?")[0], str(error), exc_info=error.__cause__)
        if self._on_error is not None:
            self._shield(self._on_error, error)

    @staticmethod
    def _shield(callback: Callable[..., object], *arguments: object) -> None:
        """An application's callback can't break the connection."""
        try:
            callback(*arguments)
        except Exception:
            logger.exception("a callback raised")


def _now() -> float:
    return asyncio.get_running_loop().time()


def connect(url: str, **options: Any) -> Client:
    """`async with connect("wss://…/ws/board/") as client`: see Client for the options."""
    return Client(url, **options)
