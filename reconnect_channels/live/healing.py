"""Keeps the feeds of a hub equal to the log (design 9.2, 5.7).

The channel layer is a wake-up with the entries inlined, never the truth: entries are taken only if their
checksum continues the feed's own, holes are filled from the log once for all sockets, and whole positions are
compared with the log's. A layer that drops, repeats or reorders costs time, never correctness.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from .. import workers
from ..log import log_for
from ..log.base import Mismatch, Run
from ..protocol.codes import Resync
from ..protocol.entry import Entry
from ..protocol.position import Position
from ..protocol.recovery import Head
from ..protocol.window import PAGE_ENTRIES
from ..publication import node_clock
from ..telemetry import events
from .breaker import Reader, Spawn
from .feed import Feed
from .heads import Heads

logger = logging.getLogger(__name__)

AFTER_BURST = 0.25  # seconds; finds the lost tail of a burst
JUMP = 2_000  # entries behind: begin the window anew instead of filling it


class Healing:
    """Where announced entries arrive, and whatever the log knows better.

    :param feeds: of the hub, by stream.
    :param reader: reads logs behind their breakers.
    :param spawn: keeps a task until it ends, and ends it with the hub.
    :param forget: called with a stream whose history was replaced.
    """

    def __init__(
        self, feeds: Mapping[str, Feed], reader: Reader, spawn: Spawn, forget: Callable[[str], None]
    ) -> None:
        self._feeds = feeds
        self._reader = reader
        self._spawn = spawn
        self._forget = forget
        self._heads = Heads(spawn, reader.read, self._position, self._observe)
        self._suspects: set[str] = set()
        self._suspicion: asyncio.TimerHandle | None = None
        self.awake = False  # suspicions are looked into

    def receive(self, stream: str, entries: Sequence[Entry]) -> None:
        """Takes announced entries; without any it is a mere wake-up."""
        feed = self._feeds.get(stream)
        if feed is None or feed.window is None:
            return
        if entries:
            node_clock.observe(entries[-1].clock)
        if not entries or not feed.accept(list(entries)):
            events.emit(events.HoleHealed(stream))
            self._fill_soon(feed)

    def _fill_soon(self, feed: Feed) -> asyncio.Task[None]:
        if feed.filling is None or feed.filling.done():
            feed.filling = self._spawn(self._fill(feed))
        return feed.filling

    async def fill(self, feed: Feed) -> None:
        """Brings the hub up to the log's head; many callers share one read."""
        await asyncio.shield(self._fill_soon(feed))

    async def _fill(self, feed: Feed) -> None:
        log = log_for(feed.name)
        while feed.window is not None:
            position = feed.position
            try:
                run: Run = await self._reader.read(log, log.read, feed.name, position, PAGE_ENTRIES)
            except Mismatch as mismatch:
                if feed.position == position:
                    await self._mismatched(feed, position, mismatch)
                    return
                continue
            if run.head.seq - position.seq > JUMP and feed.position == position:
                feed.jump(run.head.position)  # the position was proven; who is behind reads the log
                return
            fits = feed.accept([entry for entry in run.entries if entry.seq > feed.position.seq])
            if not fits and feed.position.epoch == run.head.epoch:  # one is missing, or isn't what it was
                await self._mismatched(feed, feed.position, Mismatch(Resync.DIVERGED, run.head))
                return
            if feed.position.seq >= run.head.seq:
                return

    async def _mismatched(self, feed: Feed, position: Position, mismatch: Mismatch) -> None:
        """The hub's own position isn't in the log: proof of another history (design 5.7)."""
        head = mismatch.head
        if mismatch.reason is Resync.EPOCH:
            self._replace(feed, head.position, Resync.EPOCH)
        elif mismatch.reason is Resync.TRIMMED:
            feed.restart(head.position)
            for tap in list(feed.live):
                feed.live.pop(tap)
                tap.resync(Resync.TRIMMED)
        else:
            logger.error("The log of %s was rewritten below %d: new epoch", feed.name, position.seq)
            head = await workers.run(log_for(feed.name).new_epoch, feed.name, head.epoch)
            self._replace(feed, head.position, Resync.REWOUND)

    def _replace(self, feed: Feed, position: Position, reason: Resync) -> None:
        self._forget(feed.name)
        events.emit(events.HistoryReplaced(feed.name, reason))
        feed.replace(position, reason)

    async def head(self, name: str) -> Head:
        """The head of a stream, read from the primary after this call; many callers are one query.

        Callers that come while a read runs wait for the next one. The hub compares its own position
        with what was read, and heals itself, before the answer comes.
        """
        return await self._heads.read(name)

    def _position(self, name: str) -> Position | None:
        feed = self._feeds.get(name)
        return feed.position if feed is not None and feed.window is not None else None

    async def _observe(self, name: str, head: Head, before: Position | None, started: float) -> Head:
        node_clock.observe(head.clock)
        feed = self._feeds.get(name)
        if feed is not None:
            head = await self._compare(feed, head, before)
            feed.verified_at = max(feed.verified_at, started)
        return head

    async def _compare(self, feed: Feed, head: Head, before: Position | None) -> Head:
        if feed.window is None:
            feed.restart(head.position)
            return head
        at = feed.position
        if head.epoch != at.epoch:
            if before is None or before.epoch == at.epoch:  # else the read is older than the change
                self._replace(feed, head.position, Resync.EPOCH)
        elif before is not None and before.epoch == head.epoch and head.seq < before.seq:
            await self._mismatched(feed, before, Mismatch(Resync.REWOUND, head))
        elif head.seq > at.seq:
            while feed.position.epoch == head.epoch and feed.position.seq < head.seq:
                await self.fill(feed)
        elif feed.window.checksum_at(head.seq) not in (None, head.checksum):
            await self._mismatched(feed, at, Mismatch(Resync.DIVERGED, head))
        else:
            return head
        if feed.position.epoch != head.epoch:
            log = log_for(feed.name)
            return (await self._reader.read(log, log.heads, [feed.name]))[feed.name]  # type: ignore[no-any-return]
        return head

    # -- suspicions --------------------------------------------------------------------------------

    def suspect(self, name: str) -> None:
        """Has a stream's head compared soon; many suspicions are one read."""
        self._suspects.add(name)
        if self._suspicion is None and self.awake:
            self._suspicion = asyncio.get_running_loop().call_later(AFTER_BURST, self._examine)

    def _examine(self) -> None:
        self._suspicion = None
        names, self._suspects = self._suspects, set()
        for name in names:
            if name in self._feeds:
                self._heads.request(name)

    async def check(self, names: Iterable[str]) -> None:
        """Compares whole positions with the log's now."""
        names = list(names)
        results = await asyncio.gather(*map(self.head, names), return_exceptions=True)
        if any(isinstance(result, Exception) for result in results):
            logger.warning("Heads of %d streams couldn't be checked", len(names))

    def rest(self) -> None:
        """Looks into nothing any more."""
        self.awake = False
        if self._suspicion is not None:
            self._suspicion.cancel()
            self._suspicion = None
