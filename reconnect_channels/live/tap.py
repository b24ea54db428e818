"""A stream on a `reconnect.v1` connection: live, or catching up page by page (design 9.4, 9.5)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from ..conf import settings
from ..log.base import Mismatch
from ..protocol import frames
from ..protocol.codes import Reason, Resync
from ..protocol.entry import delta
from ..protocol.position import Position
from ..protocol.recovery import Answer, Decision, Head
from ..protocol.subscription import State, Subscription
from ..telemetry import events, tracing
from .breaker import BreakerOpen
from .feed import Batch, Feed

if TYPE_CHECKING:
    from .connection import Connection

logger = logging.getLogger(__name__)

PART = 16 * 1024  # characters of one snapshot frame: a slow reader acknowledges each
PARTS_AHEAD = 16  # that are sent before the first is acknowledged
TAIL = 100  # entries that a newcomer gets where there is no snapshot hook and the log was trimmed
ATTEMPTS = 5  # starts from a position that the log turned out not to lead on from
UNREADABLE = "the log couldn't be read"


class StreamTap:
    """Serves one subscription. Nothing is queued for it: what it can't take now it reads later."""

    __slots__ = ("_connection", "_room", "_sender", "_since", "_task", "feed", "subscription")

    def __init__(self, connection: Connection, subscription: Subscription) -> None:
        self.subscription = subscription
        self.feed: Feed = connection.hub.join(subscription.name, self)
        self._connection = connection
        self._sender = connection.sender
        self._since = connection.loop.time()
        self._task: asyncio.Task[None] | None = None
        self._room: asyncio.Future[None] | None = None  # while it waits for the client to make some

    def push(self, batch: Batch) -> None:
        """Live entries: sent at once, or the stream falls behind."""
        if self._sender.idle and self.subscription.offer(batch.mark):
            self._sender.push(batch.event)
            return
        sent = self.subscription.sent
        if sent == batch.to:  # it went live while this flush was due
            self.subscription.follow(batch.mark)
        elif sent is None or sent.seq < batch.to.seq:
            self._fall_behind()
            self._connection.tell(
                events.FellBehind(self._connection.session, self.feed.name, sent.seq if sent else 0)
            )
            self._serve(None)

    def resync(self, reason: Resync) -> None:
        """What was sent proves nothing any more: a snapshot."""
        if self.subscription.state in (State.LIVE, State.CATCHING_UP):
            self._fall_behind()
            self._connection.tell(events.Resynced(self._connection.session, self.feed.name, reason))
            self._serve(reason)

    def begin(self, decision: Decision, claim: Position | None) -> None:
        """Performs a recovery decision other than INVALID."""
        if decision.answer is Answer.DELTA and claim is not None:
            self.subscription.start(claim, self._connection.loop.time())
            self._serve(None)
        else:
            self._serve(decision.reason or Resync.NEW)

    def wake(self) -> None:
        """The client acknowledged something."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def leave(self) -> None:
        """Synchronous: safe under cancellation."""
        if self._task is not None:
            self._task.cancel()
        self._connection.hub.leave(self.feed, self)

    def _fall_behind(self) -> None:
        self.feed.live.pop(self, None)
        self._since = self._connection.loop.time()
        self.subscription.fall_behind()

    def _serve(self, reason: Resync | None) -> None:
        if self._task is not None:
            self._task.cancel()
        self._task = self._connection.spawn(self._run(reason))

    async def _run(self, reason: Resync | None) -> None:
        subscription = self.subscription
        try:
            for left in reversed(range(ATTEMPTS)):
                try:
                    if reason is not None and not await self._send_snapshot(reason):
                        return
                    await self._catch_up()
                    return
                except Mismatch as mismatch:
                    if not left:
                        raise
                    self._connection.hub.forget_snapshot(self.feed)
                    reason = mismatch.reason
                    if reason is Resync.EPOCH and subscription.sent is not None:
                        reason = self.feed.retired.get(subscription.sent.epoch, Resync.EPOCH)
        except Exception as error:
            if not isinstance(error, BreakerOpen):
                logger.warning("Stream %s couldn't be served", subscription.name, exc_info=True)
            self._connection.refuse([subscription], 503, Reason.UNAVAILABLE, UNREADABLE)
        finally:
            if self._task is asyncio.current_task():
                self._task = None

    async def _catch_up(self) -> None:
        """Pages from ring or log until the sent position is the hub's; then, without a pause, live."""
        subscription, feed, hub = self.subscription, self.feed, self._connection.hub
        complete: bool | None = None  # what the last frame said of itself
        while await self._clear():
            sent = subscription.sent
            assert sent is not None
            if sent == feed.position:
                if not complete:  # "you are current"
                    self._connection.write(delta(feed.name, sent, sent, [], True))
                subscription.state = State.LIVE
                if feed.flushed is not None and feed.flushed.position == sent:
                    subscription.follow(feed.flushed)
                feed.live[self] = None
                connection = self._connection
                taken = connection.loop.time() - self._since
                connection.tell(
                    events.CaughtUp(connection.session, feed.name, taken, sent.seq, connection.trace)
                )
                connection.caught_up()
                return
            if not subscription.has_credit:
                if complete is not False:  # no ACK is owed for what was, and may come at the next PING only
                    complete = False
                    self._connection.write(delta(feed.name, sent, sent, [], complete))
                await self._wait_for(lambda: subscription.has_credit)
                continue
            resume = self._connection.resume
            with tracing.within(resume and resume.child("delta_read", feed.name)) as span:
                page = await hub.page(feed, sent, subscription.page_bytes)
                if span is not None:
                    span.set(entries=len(page.wires))
            if not page.wires:
                if page.to != feed.position:  # the hub is behind or elsewhere: compare, then look again
                    await hub.head(feed.name)
            elif await self._clear():
                text = delta(feed.name, page.after, page.to, page.wires, page.complete)
                now = self._connection.loop.time()
                subscription.took(page.to, len(text), now)
                subscription.time_page(now)
                complete = page.complete
                self._sender.push({"type": "websocket.send", "text": text})

    async def _clear(self) -> bool:
        """Waits until the server takes frames; False when the socket is gone.

        A peer that reads nothing makes no progress either: the exchange watches this too.
        """
        self.subscription.waiting = not self._sender.idle
        try:
            return await self._sender.wait()
        finally:
            self.subscription.waiting = False

    async def _wait_for(self, enough: Callable[[], bool]) -> None:
        """Waits for the client to make room; the exchange watches that it does (4008)."""
        self.subscription.waiting = True
        try:
            while not enough():
                self._room = asyncio.get_running_loop().create_future()
                await self._room
        finally:
            self._room = None
            self.subscription.waiting = False

    async def _send_snapshot(self, reason: Resync) -> bool:
        """SYNC_SNAPSHOT, in parts where it is large; False when the stream was ended instead."""
        connection, subscription, feed = self._connection, self.subscription, self.feed
        head = await connection.hub.head(feed.name)
        partial_log = not connection.access.has_snapshot and head.floor > 1
        if connection.access.has_snapshot:
            resume = connection.resume
            with tracing.within(resume and resume.child("snapshot", feed.name, reason=str(reason))) as span:
                position, text, exact = await connection.hub.snapshot(type(connection.consumer), feed, head)
                if span is not None:
                    span.set(size=len(text), exact=exact)
        else:
            position, text, exact = await self._tail(head), "null", True
        if len(text) > settings().MAX_SNAPSHOT:
            connection.refuse([subscription], 413, Reason.SNAPSHOT_SIZE, "the snapshot is too large")
            return False
        if not await self._clear():
            return False
        subscription.start(position, connection.loop.time())
        if len(text) <= PART:
            frame = frames.snapshot(feed.name, position, reason, text, exact=exact, partial=partial_log)
            connection.write(frame)
            return True
        chunks = [text[start : start + PART] for start in range(0, len(text), PART)]
        for part, chunk in enumerate(chunks, 1):
            connection.write(
                frames.snapshot_part(feed.name, position, reason, chunk, part, len(chunks), exact=exact)
            )
            if part < len(chunks):
                await self._wait_for(partial(_arrived, subscription, part - PARTS_AHEAD + 1))
        return True

    async def _tail(self, head: Head) -> Position:
        """Where a newcomer begins without a snapshot: at the beginning, or 100 entries before the end."""
        if head.floor > 1 and head.seq - TAIL >= head.floor:
            start = Position(head.epoch, head.seq - TAIL, 0)
            checksum = await self._connection.hub.checksum_at(self.feed, start)
            if checksum is not None:
                return start._replace(checksum=checksum)
        return Position(head.epoch, head.floor - 1, head.floor_checksum)


def _arrived(subscription: Subscription, part: int) -> bool:
    return subscription.part_acked >= part
