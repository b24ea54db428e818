"""Ordinary sockets of a consumer with the mixins: served as ever, and told of entries (design 1.2)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from typing import Any

from .. import workers
from ..access import Access
from ..protocol.codes import Resync, reconnects
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
        self.access = Access(consumer, scope)
        self._send = send
        self._taps: list[PlainTap] = []
        self._entries: deque[Entry] = deque()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._calling = True  # not before the accept is out
        self._over = False

    async def send(self, event: dict[str, Any]) -> None:
        """The consumer's `send`."""
        if event["type"] != "websocket.accept":
            if not self._over:
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
        await self.access.recognise(None)
        await self.access.identify(None)
        if not self.hub.rights.enter(self):
            return
        for name in await self.access.own_streams():
            if self._over:
                return
            tap = PlainTap(self, name)
            self._taps.append(tap)
            await self.hub.follow(tap.feed)
            if tap in self._taps:  # or it was taken away
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

    def granted(self) -> list[str]:
        """The streams that it sees entries of."""
        return [tap.feed.name for tap in self._taps]

    def withdraw(self, names: Iterable[str], *, again: bool = False) -> None:
        """Ends streams; an ordinary page is told nothing."""
        gone = set(names)
        self._leave([tap for tap in self._taps if tap.feed.name in gone])

    def end(self, code: int, reason: str, retry_after_ms: tuple[int, int]) -> None:
        """Sends the socket away; an ordinary page understands the standard's code for "come back"."""
        self._end(1012 if reconnects(code) else code)

    def _end(self, code: int) -> None:
        if self._over:
            return
        self._over = True  # nothing of the consumer goes out any more
        self.hub.rights.leave(self)
        self._leave(self._taps)
        self._spawn(self._send({"type": "websocket.close", "code": int(code)}))

    def _leave(self, taps: Iterable[PlainTap]) -> None:
        for tap in list(taps):
            self._taps.remove(tap)
            self.hub.leave(tap.feed, tap)
        streams = {tap.feed.name for tap in self._taps}
        self._entries = deque(entry for entry in self._entries if entry.stream in streams)

    def detach(self) -> None:
        """Synchronous: safe under cancellation."""
        self._over = True
        self.hub.rights.leave(self)
        self._leave(self._taps)
        self.hub.sockets.discard(self)
        for task in self._tasks:
            task.cancel()
