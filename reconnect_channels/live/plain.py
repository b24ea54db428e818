"""Ordinary sockets of a consumer with the mixins: served as ever, and told of entries (design 1.2)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

from .. import workers
from ..access import Access
from ..protocol.codes import Resync
from ..protocol.entry import Entry
from .feed import Batch, Feed
from .hub import Hub, get_hub
from .sending import Send

logger = logging.getLogger(__name__)

QUEUE = 1_000  # entries that wait for `entry_published`; ordinary sockets have nothing to catch up with
JOIN_FIRST = 1.0  # seconds that an accept waits for the log at most


class PlainTap:
    """One stream of an ordinary socket."""

    def __init__(self, socket: PlainSocket, name: str) -> None:
        self._socket = socket
        self.feed: Feed = socket.hub.join(name, self)

    def push(self, batch: Batch) -> None:
        self._socket.queue([slot.entry for slot in batch.slots])

    def resync(self, reason: Resync) -> None:
        self.feed.live[self] = None  # goes on with the new history: an ordinary page has no state to mend


class PlainSocket:
    """Joins the consumer's own streams when it accepts, and calls `entry_published` in order."""

    def __init__(self, consumer: Any, scope: Any, send: Send) -> None:
        self.hub: Hub = get_hub()
        self._consumer = consumer
        self._access = Access(consumer, scope)
        self._send = send
        self._taps: list[PlainTap] = []
        self._entries: deque[Entry] = deque()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._calling = True  # not before the accept is out

    async def send(self, event: dict[str, Any]) -> None:
        """The consumer's `send`."""
        if event["type"] != "websocket.accept":
            await self._send(event)
            return
        # First, as `group_add` stands before `accept`: who speaks as soon as the socket is open hears itself.
        await asyncio.wait([self._spawn(self._join())], timeout=JOIN_FIRST)
        await self._send(event)
        self.hub.sockets.add(self)
        self._calling = False
        self.queue([])

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("An ordinary socket missed entries", exc_info=error)

    async def _join(self) -> None:
        for name in await self._access.own_streams():
            tap = PlainTap(self, name)
            self._taps.append(tap)
            await self.hub.follow(tap.feed)
            tap.feed.live[tap] = None

    def queue(self, entries: list[Entry]) -> None:
        self._entries.extend(entries)
        if len(self._entries) > QUEUE:
            logger.warning("An ordinary socket is too slow: closed")
            self._end(1013)
        elif self._entries and not self._calling:
            self._calling = True
            self._spawn(self._call())

    async def _call(self) -> None:
        try:
            while self._entries:
                entry = self._entries.popleft()
                try:
                    await workers.call(self._consumer.entry_published, entry)
                except Exception:
                    logger.exception("entry_published failed")
        finally:
            self._calling = False

    def end(self, code: int, reason: str, retry_after_ms: tuple[int, int]) -> None:
        """Sends the socket away; an ordinary page understands the standard's code."""
        self._end(1012)

    def _end(self, code: int) -> None:
        self._leave()
        self._spawn(self._send({"type": "websocket.close", "code": code}))

    def _leave(self) -> None:
        for tap in self._taps:
            self.hub.leave(tap.feed, tap)
        self._entries.clear()

    def detach(self) -> None:
        """Synchronous: safe under cancellation."""
        self._leave()
        self.hub.sockets.discard(self)
        for task in self._tasks:
            task.cancel()
