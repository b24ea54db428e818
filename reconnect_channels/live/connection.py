"""One `reconnect.v1` socket: performs what its exchange decides (design 9.1)."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple

from .. import drift, signals, workers
from ..access import Access
from ..conf import settings
from ..protocol import actions, frames
from ..protocol.codes import Close, Reason, Resync
from ..protocol.exchange import Exchange, Phase
from ..protocol.limits import Limits
from ..protocol.position import Position
from ..protocol.subscription import State, Subscription
from ..publication import node_clock
from ..telemetry import events, tracing
from ..telemetry.flight import Flight
from .breaker import retry_after_ms
from .delivery import Delivery
from .fencing import Session
from .greeting import greet
from .hub import get_hub
from .joining import DRIFTS_ON, NO_SUCH_STREAM, join
from .sending import Send, Sender
from .tap import StreamTap

logger = logging.getLogger(__name__)

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]

TICK = 5.0  # seconds between looks at the clock
FAREWELL = 10.0  # seconds that a peer has to take our close
VERIFIED = 10.0  # seconds that a compared head counts as verified


def _limits() -> Limits:
    current = settings()
    return Limits(
        max_streams=current.MAX_STREAMS,
        rate=current.RATE,
        burst=current.BURST,
        hello_timeout=current.HELLO_TIMEOUT,
        heartbeat=current.HEARTBEAT,
        dead_after=current.DEAD_AFTER,
        lag_grace=current.LAG_GRACE,
    )


class Connection:
    """Stands between the ASGI server and a consumer.

    It answers our frames itself and lets only the rest through, so that a slow handler delays no ACK.
    """

    _code: int | None = None  # with which it was closed
    _reason = ""  # that our BYE gave
    trace = ""  # the id of its HELLO's trace
    resume: tracing.Span | None = None  # from HELLO until its streams are live
    _current = False  # all its streams were live at once

    def __init__(self, consumer: Any, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        self.consumer = consumer
        self.loop = asyncio.get_running_loop()
        self.hub = get_hub()
        self.exchange = Exchange(self.loop.time(), _limits(), node_clock)
        self.sender = Sender(send, self._gone)
        self.access = Access(consumer, scope)
        self.delivery = Delivery(self)
        self.session = secrets.token_hex(8)
        self.asking = asyncio.Lock()
        self._welcomed: asyncio.Event | None = asyncio.Event()  # until it was
        self._receive = receive
        self._reader: asyncio.Task[Event | None] | None = None  # while the consumer doesn't ask
        self._receiver: asyncio.Task[Any] | None = None  # the consumer's, while it asks
        self.taps: dict[Subscription, StreamTap] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._accepted = False
        self._opened = self.loop.time()
        self.place: Session | None = None  # once it was greeted
        self.flight: Flight | None = None  # its session's, once it was seated
        self.crowd: str | None = None  # where it is counted
        self.closing = False  # BYE was said, or nobody is there to hear it
        self._timer: asyncio.TimerHandle | None = None

    # -- between server and consumer ---------------------------------------------------------------

    async def receive(self) -> Event:
        """The consumer's `receive`: answers our frames on the way to the next event that is its own."""
        self._receiver = asyncio.current_task()
        try:
            if self._reader is not None:
                reader = self._reader
                await asyncio.wait([reader])
                self._reader = None
                if not reader.cancelled() and (event := reader.result()) is not None:
                    return event
            while not self.sender.gone:
                event = await self._receive()
                if event["type"] == "websocket.connect":
                    self._reader = self.spawn(self._read())
                if not self._answers(event):
                    return event
        except asyncio.CancelledError:
            if not self.sender.gone or asyncio.current_task().uncancel() > 0:  # type: ignore[union-attr]
                raise
        finally:
            self._receiver = None
        return {"type": "websocket.disconnect", "code": 1006}

    async def _read(self) -> Event | None:
        """Answers our frames while the consumer is still at its `connect`, up to an event of its own."""
        while self._receiver is None:
            event = await self._receive()
            if not self._answers(event):
                return event
        return None

    def _answers(self, event: Event) -> bool:
        if event["type"] == "websocket.disconnect":
            self._code = event.get("code")
        if event["type"] != "websocket.receive" or not self._accepted:
            return False
        self.perform(self.exchange.receive(event.get("text"), self.loop.time()))
        return True

    async def send(self, event: Event) -> None:
        """The consumer's `send`: chooses our subprotocol, and says BYE before a close."""
        kind = event["type"]
        if kind == "websocket.accept":
            problem = self.access.refusal()
            await self._accept(event)
            if problem is not None:
                await self._refuse(*problem)
        elif kind == "websocket.close":
            if not self._accepted:  # a refused handshake is an anonymous 1006 in browsers
                await self._accept({"type": "websocket.accept"})
            code = event.get("code") or 1000
            if code == 1000 and not self.closing:
                code = Close.FORBIDDEN if self.exchange.phase is Phase.AWAITING_HELLO else Close.RESYNC
            await self._refuse(code, event.get("reason") or Reason.CLOSED)
        elif await self.sender.wait() and not self.closing:
            self.sender.push(event)
            await self.sender.drained()

    async def _accept(self, event: Event) -> None:
        self._accepted = True
        self.hub.sockets.add(self)
        self._timer = self.loop.call_later(TICK, self._tick)
        self.sender.put({**event, "subprotocol": frames.SUBPROTOCOL})
        await self.sender.drained()

    async def _refuse(self, code: int, reason: str) -> None:
        if not self.closing:
            self.exchange.close(Close.RESYNC, reason)
            self._bye(actions.Bye(code, reason))
        await self.sender.drained()

    def detach(self) -> None:
        """The end, however it came. Synchronous and in memory: `disconnect()` isn't called on half of
        the ways a socket ends (django/channels#1466)."""
        self._close()
        self.exchange.close(Close.GOING_AWAY, "gone")
        self.sender.end()

    def welcome(self) -> None:
        """It is known who asks."""
        if self._welcomed is not None:
            self._welcomed.set()
            self._welcomed = None

    async def welcomed(self) -> None:
        """Nothing is joined or delivered before it is known who asks."""
        if self._welcomed is not None:
            await self._welcomed.wait()

    def tell(self, event: NamedTuple) -> None:
        """Tells operators what happened on this socket."""
        events.emit(event)
        if self.flight is not None:
            self.flight.note(event)

    def caught_up(self) -> None:
        """One of its streams is live; the first time that all are, it has arrived here."""
        self.settled()
        if not self._current and self.place is not None and self._is_live():
            self._current = True
            self.hub.roster.caught_up(self.place, self)

    def _is_live(self) -> bool:
        return all(one.state is State.LIVE for one in self.exchange.subscriptions.values())

    def _close(self) -> None:
        if self.place is not None and not self.closing:
            lived = self.loop.time() - self._opened
            self.tell(events.Ended(self.session, self._code, self._reason, lived))
        self.closing = True
        self._resumed("closed")
        self.hub.rights.leave(self)
        if self.place is not None:
            self.hub.unseat(self.place, self, self._code)
        if self.crowd is not None:
            self.hub.admission.leave(self.crowd)
            self.crowd = None

    def settled(self) -> None:
        """Its comeback is over once no stream is on its way any more."""
        if self.resume is not None and self._is_live():
            self._resumed("live")

    def _resumed(self, outcome: str) -> None:
        span, self.resume = self.resume, None
        if span is not None:
            span.end(outcome=outcome)

    def end(self, code: Close, reason: str, retry_after_ms: tuple[int, int]) -> None:
        """Says BYE with a window to come back in, and closes."""
        if self.access.void:
            self.sender.forget()
        self.perform(self.exchange.close(code, reason, retry_after_ms))

    def granted(self) -> list[str]:
        """The streams that it may read now."""
        subscriptions = self.exchange.subscriptions.values()
        return [each.name for each in subscriptions if each.state is not State.PENDING]

    def withdraw(self, names: Iterable[str], *, again: bool = False) -> None:
        """Ends streams, also those whose right is still asked for (design 10.5).

        :param again: the client may ask for them again.
        """
        answer = (503, Reason.UNAVAILABLE, "the rights changed") if again else NO_SUCH_STREAM
        for name in names:
            if (subscription := self.exchange.subscriptions.get(name)) is not None:
                self.refuse([subscription], *answer)

    def resync(self, reason: Resync) -> None:
        """Serves every stream from a snapshot that is built anew."""
        for tap in list(self.taps.values()):
            self.hub.forget_snapshot(tap.feed)
            tap.resync(reason)

    def supersede(self, term: int) -> None:
        """Ends the socket in favour of a newer one of the same client (design 10.4).

        What handlers are working on is finished and stored; the rest is sent again on the newer socket.
        """
        self.perform(self.exchange.close(Close.SUPERSEDED, "superseded", term=term))

    def _gone(self) -> None:
        self._close()
        self.hub.sockets.discard(self)
        self.exchange.close(Close.GOING_AWAY, "gone")  # frames that still come join nothing
        if self._receiver is not None:  # not every server tells of an end that it didn't see
            self._receiver.cancel()
        self.welcome()  # nobody waits for it in vain
        if self._timer is not None:
            self._timer.cancel()
        for tap in self.taps.values():
            tap.leave()
        self.taps.clear()
        for task in self._tasks:
            task.cancel()

    def spawn(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        """A task that ends with the connection."""
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("A socket's task failed", exc_info=error)
            self.perform(self.exchange.close(Close.RESYNC, "internal error", (1_000, 5_000)))

    # -- actions -----------------------------------------------------------------------------------

    def write(self, text: str) -> None:
        """Sends a control frame now or in turn; nothing after a close."""
        if not self.closing:
            self.sender.put({"type": "websocket.send", "text": text})

    def perform(self, wanted: list[actions.Action]) -> None:
        """Does what the exchange decided, in order."""
        for action in wanted:
            match action:
                case actions.Refuse(text, stream, code, reason, retry):
                    self.write(text)
                    self.tell(events.Answered(self.session, stream, code, reason, False, 0.0, retry))
                case actions.Send(text):
                    self.write(text)
                case actions.Wake(subscription):
                    tap = self.taps.get(subscription)
                    if tap is not None:
                        tap.wake()
                case actions.Deliver(message):
                    self.delivery.take(message)
                case actions.Join():
                    self.spawn(join(self, action))
                case actions.Greet(hello, claims):
                    self.spawn(greet(self, hello, claims))
                case actions.Leave(subscriptions):
                    for subscription in subscriptions:
                        self._leave(subscription)
                    self.moved()
                case actions.Resync(subscription, position):
                    tap = self.taps.get(subscription)
                    if tap is not None:
                        sent = subscription.sent
                        known = sent.checksum if sent is not None and sent.seq == position.seq else None
                        if self.drifted(subscription.name, position, known):
                            tap.resync(Resync.DIVERGED)
                        else:
                            self.refuse([subscription], 429, Reason.RATE, DRIFTS_ON)
                case actions.Drifting(moved):
                    self.tell(events.DriftMoved(self.session, moved))
                    if self.place is not None:
                        self.hub.roster.drift(self.place, self, moved)
                case actions.Ping():
                    self._ping()
                case actions.Bye():
                    self._bye(action)
                case actions.Report():
                    self._report(action)
                case actions.Ignore():
                    events.emit(events.ReportIgnored(self.session))

    def _tick(self) -> None:
        self._timer = self.loop.call_later(TICK, self._tick)
        self.perform(self.exchange.tick(self.loop.time()))

    def _ping(self) -> None:
        now = self.loop.time()
        heads = {
            tap.subscription.name: tap.subscription.sent
            for tap in self.taps.values()
            if tap.subscription.sent is not None and now - tap.feed.verified_at < VERIFIED
        }
        self.write(frames.ping(int(now * 1000), heads))

    def _report(self, report: actions.Report) -> None:
        self.tell(events.Reported(self.session, report.metrics, report.environment, report.transitions))
        if self.place is not None and report.environment is not None:
            self.hub.roster.touch(self.place, self, report.environment)
        try:
            signals.telemetry.send_robust(
                type(self.consumer), metrics=dict(report.metrics), environment=report.environment
            )
        except Exception:  # an `async def` receiver, which can't be called in a running loop
            logger.exception("telemetry couldn't be sent to its receivers")

    def _bye(self, bye: actions.Bye) -> None:
        if self.closing:
            return
        self.write(frames.bye(bye.code, bye.reason, bye.retry_after_ms, term=bye.term))
        self._code, self._reason = bye.code, bye.reason
        self._close()
        self.sender.put({"type": "websocket.close", "code": int(bye.code), "reason": bye.reason[:100]})
        for subscription in list(self.taps):
            self._leave(subscription)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(FAREWELL, self.sender.end)

    def moved(self) -> None:
        """It is on other streams than before."""
        if self.place is not None:
            self.hub.roster.touch(self.place, self)

    def _leave(self, subscription: Subscription) -> None:
        tap = self.taps.pop(subscription, None)
        if tap is not None:
            tap.leave()

    # -- joining -----------------------------------------------------------------------------------

    def refuse(self, subscriptions: Iterable[Subscription], code: int, reason: Reason, detail: str) -> None:
        """Ends subscriptions that can't be served, and says which and why; 429, 503 = ask again later."""
        ended = [s for s in subscriptions if s.state is not State.ENDED]
        if not ended:
            return
        for subscription in ended:
            self._leave(self.exchange.end(subscription.name))
            self.tell(events.Refused(self.session, subscription.name, code, reason))
        after = {429: int(drift.QUIET * 1000), 503: retry_after_ms()}.get(code)
        names = [subscription.name for subscription in ended]
        self.write(frames.error(code, reason, detail, ref=ended[0].ref, streams=names, retry_after_ms=after))
        self.settled()

    def drifted(self, stream: str, position: Position | None, checksum: int | None) -> bool:
        """Reports it; False where the client drifts on the stream again and again."""
        if self.place is None or position is None:
            return False
        now, watch = self.loop.time(), self.hub.drifts
        times = watch.times(self.place, stream, now)
        if times == 1:
            self.tell(events.Drifted(self.session, stream, position, checksum))
            if watch.may_report(self.crowd or "", now):
                found = (stream, *self.place, position, checksum, self.trace)
                self.hub.spawn(workers.run(drift.report, *found))
        return times <= drift.HEALS


async def serve(
    consumer: Any, call: Callable[..., Awaitable[None]], scope: Any, receive: Receive, send: Send
) -> None:
    """Runs a consumer behind a Connection, and keeps the books straight however it ends."""
    connection = Connection(consumer, scope, receive, send)
    try:
        await call(scope, connection.receive, connection.send)
    finally:
        connection.detach()
