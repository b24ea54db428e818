"""The hub: one per process, event loop and layer alias (design 9.2).

What sockets share: feeds of streams (`healing` keeps them equal to the log), reads, sessions, rights.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from .. import drift
from ..conf import settings
from ..log import all_logs, log_for
from ..log.base import Mismatch, Run
from ..protocol.codes import Resync
from ..protocol.position import Position
from ..protocol.recovery import Head
from ..protocol.window import PAGE_ENTRIES, Page, Slice
from ..publication import node_clock
from ..snapshots import Snapshot
from ..telemetry import events
from . import orders
from .admission import Admission
from .breaker import Reader
from .builds import Builds
from .drain import Leaving, Terminations
from .feed import Feed, Tap
from .fencing import Holders, Rank, Session
from .healing import Healing
from .reads import Reads
from .rights import Rights
from .roster import Roster
from .services import Services

if TYPE_CHECKING:
    from .connection import Connection

logger = logging.getLogger(__name__)

PARTING = 3.0  # seconds that leaving may take

_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def get_hub() -> Hub:
    """The running loop's hub, begun on first use: Channels has no start-up hook (django/channels#2018)."""
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is None:
        hub = _hubs[loop] = Hub(loop, settings().CHANNEL_LAYER)
    return hub


async def close_hub() -> None:
    """Closes the running loop's hub; nothing of it stays behind. For tests and embedders."""
    hub = _hubs.pop(asyncio.get_running_loop(), None)
    if hub is not None:
        await hub.close()


def is_draining() -> bool:
    """Whether a hub of this process sends its sockets away, or has done so: it takes no more."""
    return any(hub.draining is not None for hub in list(_hubs.values()))


class Hub:
    """Keeps the feeds of one event loop current and shares every read among its connections."""

    def __init__(self, loop: asyncio.AbstractEventLoop, alias: str) -> None:
        self.loop = loop
        self.feeds: dict[str, Feed] = {}
        self.sockets: set[Leaving] = set()
        self.holders = Holders()
        self.roster = Roster(self.holders)
        self.rights = Rights(self.spawn, partial(orders.obey, self))
        self.admission = Admission(loop.time())
        self.drifts = drift.Watch()
        self.draining: asyncio.Task[int] | None = None
        self._reader = Reader(self.spawn, self._healed)
        self._reads = Reads(self.spawn, loop)
        self.healing = Healing(self.feeds, self._reader, self.spawn, self._reads.forget)
        self._builds = Builds(self.spawn)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._services = Services(self, alias)
        self._terminations = Terminations(self)
        self._terminations.watch()
        self.clock_known = self.spawn(self._learn_clock())

    def spawn(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        """A task that the hub keeps until it ends, and ends with itself."""
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.debug("A task of the hub failed", exc_info=task.exception())

    async def _learn_clock(self) -> None:
        """A new process must not call the clock of a client that comes from an older one implausible."""
        for log in all_logs():
            with suppress(Exception):
                node_clock.observe(await self._reader.read(log, log.clock))

    # -- feeds -------------------------------------------------------------------------------------

    def join(self, name: str, tap: Tap) -> Feed:
        """Registers interest in a stream; entries come once the tap is in `feed.live`."""
        feed = self.feeds.get(name)
        if feed is None:
            self._services.start()
            feed = self.feeds[name] = Feed(name, self.loop)
        if feed.expiry is not None:
            feed.expiry.cancel()
            feed.expiry = None
        feed.taps.add(tap)
        return feed

    async def follow(self, feed: Feed) -> Head:
        """Has the layer tell of a stream from now on, and reads its head.

        Only for who may read it. First the layer, then the log: nothing falls between.
        """
        if feed.grouped is None:
            feed.grouped = self.spawn(self._services.wakeups.group(feed.name))
        await asyncio.shield(feed.grouped)
        return await self.head(feed.name)

    def leave(self, feed: Feed, tap: Tap) -> None:
        """Synchronous and in memory, so that it is safe under cancellation."""
        feed.live.pop(tap, None)
        feed.taps.discard(tap)
        if not feed.taps and feed.expiry is None and self.feeds.get(feed.name) is feed:
            feed.expiry = self.loop.call_later(settings().GRACE, self._expire, feed)

    def _expire(self, feed: Feed) -> None:
        feed.expiry = None
        if feed.taps or self.feeds.get(feed.name) is not feed:
            return
        del self.feeds[feed.name]
        if feed.filling is not None:
            feed.filling.cancel()
        self.forget_snapshot(feed)
        self.spawn(self._ungroup(feed))
        self._services.rest()

    async def _ungroup(self, feed: Feed) -> None:
        if feed.grouped is not None:
            await asyncio.wait([feed.grouped])
            if feed.name not in self.feeds:
                await self._services.wakeups.ungroup(feed.name)

    # -- sessions ----------------------------------------------------------------------------------

    @property
    def node(self) -> str:
        """The name of this node, of its present life."""
        return self.roster.node

    def seat(self, session: Session, rank: Rank, connection: Connection) -> None:
        """A socket was greeted."""
        self._services.start()
        self.roster.enter(session, rank, connection, self.loop.time())

    def unseat(self, session: Session, connection: Connection, code: int | None) -> None:
        """A socket that was greeted has ended. Synchronous: safe under cancellation."""
        self.holders.leave(session, connection)
        self.roster.leave(session, connection, code)
        self._services.rest_soon()

    async def part(self) -> None:
        """Leaves the layer and the rows at once, after the last socket: servers end without a goodbye.

        uvicorn sends itself the signal again before its loop is cleared up.
        """
        left = [feed for feed in self.feeds.values() if not feed.taps]
        for feed in left:
            if feed.expiry is not None:
                feed.expiry.cancel()
            del self.feeds[feed.name]
        goodbyes = [*self._services.stop(), *(self.spawn(self._ungroup(feed)) for feed in left)]
        if goodbyes:
            await asyncio.wait(goodbyes, timeout=PARTING)

    async def close(self) -> None:
        """Ends everything at once, without grace."""
        self._terminations.ignore()
        for feed in list(self.feeds.values()):
            if feed.expiry is not None:
                feed.expiry.cancel()
            feed.taps.clear()
            feed.live.clear()
        feeds = list(self.feeds.values())
        self.feeds.clear()
        for feed in feeds:
            await self._ungroup(feed)
        await asyncio.gather(*self._services.stop(), return_exceptions=True)  # they say goodbye
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def followed(self) -> list[str]:
        """The streams that the layer tells of."""
        return [feed.name for feed in self.feeds.values() if feed.grouped is not None]

    def _healed(self) -> None:
        """The log answers again: what was missed meanwhile is read now, not at the next check."""
        for name in self.feeds:
            self.healing.suspect(name)

    # -- reads: heads, pages, snapshots ------------------------------------------------------------

    async def head(self, name: str) -> Head:
        """The head of a stream, read from the primary after this call; the hub has healed itself by then."""
        return await self.healing.head(name)

    async def page(self, feed: Feed, after: Position, max_bytes: int | None = None) -> Page:
        """The next page after a position, from the ring or the log; the same page is read once.

        Raises Mismatch when the position is not in the log (any more).
        """
        assert feed.window is not None
        for source in (feed.window, *self._reads.kept(feed.name, "page")):
            ready: Page | None = source.page_after(after, max_bytes)
            if ready is not None:
                return ready
        entries: Slice = await self._reads.once(
            (feed.name, "page", after), _size, self._read_page, feed.name, after
        )
        page = entries.page_after(after, max_bytes) or Page(after, after, [], 0, True)
        if page.to.epoch == feed.position.epoch and page.to.seq > feed.position.seq:
            await self.healing.fill(feed)
        return page

    async def _read_page(self, name: str, after: Position) -> Slice:
        log, began = log_for(name), self.loop.time()
        run: Run = await self._reader.read(log, log.read, name, after, PAGE_ENTRIES)
        events.emit(events.PageRead(name, len(run.entries), self.loop.time() - began))
        if run.entries and run.entries[-1].seq - after.seq != len(run.entries):
            raise Mismatch(Resync.DIVERGED, run.head)  # entries are missing
        ends = not run.entries or run.entries[-1].seq == run.head.seq
        return Slice(after, run.entries, ends=ends)

    async def checksum_at(self, feed: Feed, position: Position) -> int | None:
        """The log's checksum at a position's seq, from the window where it reaches."""
        assert feed.window is not None
        if feed.position.epoch == position.epoch:
            known = feed.window.checksum_at(position.seq)
            if known is not None:
                return known
        log, at = log_for(feed.name), (position.epoch, position.seq)
        return await self._reads.once(  # type: ignore[no-any-return]
            (feed.name, "checksum", at), _small, self._reader.read, log, log.checksum_at, feed.name, *at
        )

    async def snapshot(self, consumer_class: Any, feed: Feed, head: Head) -> Snapshot:
        """A snapshot of the stream, built once for all who ask, within the process's cap.

        A cached one serves while its delta is short and its position is still in the log.
        """
        return await self._builds.get(consumer_class, feed.name, head)

    def forget_snapshot(self, feed: Feed) -> None:
        """A snapshot's position turned out not to be in the log: build the next one anew."""
        self._builds.forget(feed.name)

    def erase(self) -> None:
        """Payloads were blanked in the log: forgets all that are in memory, whoever's they are."""
        for feed in self.feeds.values():
            feed.forget()
            if feed.filling is not None:
                self.spawn(_forget_after(feed.filling, feed))
        self._reads.erase()
        self._builds.erase()


async def _forget_after(filling: asyncio.Task[None], feed: Feed) -> None:
    """It may bring what it read before."""
    await asyncio.wait([filling])
    feed.forget()


def _size(entries: Slice) -> int:
    """What entries take when they are kept. None aren't: there may be some by now."""
    return entries.size


def _small(_: Any) -> int:
    return 64
