"""The hub: one per process, event loop and layer alias (design 9.2).

The channel layer is a wake-up with the entries inlined, never the truth: the hub takes an entry only
if its checksum continues its own, fills holes from the log once for all its sockets, and compares its
whole positions with the log's regularly. A layer that drops, repeats or reorders costs time, never
correctness.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from .. import announcement, drift, news, workers
from ..conf import settings
from ..log import all_logs, log_for
from ..log.base import Mismatch, Run
from ..protocol.codes import Resync
from ..protocol.entry import Entry
from ..protocol.position import Position
from ..protocol.recovery import Head
from ..protocol.window import PAGE_ENTRIES, Page, Slice
from ..publication import node_clock
from ..snapshots import Snapshot
from ..telemetry import events
from . import drain, orders
from .admission import Admission
from .breaker import Reader
from .builds import Builds
from .drain import Leaving, Terminations
from .feed import Feed, Tap
from .fencing import Holders, Rank, Session
from .heads import Heads
from .reads import Reads
from .registrar import Registrar
from .rights import Rights
from .roster import Roster
from .wakeups import Wakeups

if TYPE_CHECKING:
    from .connection import Connection

logger = logging.getLogger(__name__)

AFTER_BURST = 0.25  # seconds; finds the lost tail of a burst
REGROUP = 6 * 3600.0  # channels-redis forgets group members after a day
PARTING = 3.0  # seconds that leaving may take
JUMP = 2_000  # entries behind: begin the window anew instead of filling it

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
        self._alias = alias
        self._wakeups: Wakeups
        self._reader = Reader(self.spawn, self._healed)
        self._reads = Reads(self.spawn, loop)
        self._heads = Heads(self.spawn, self._reader.read, self._position, self._observe)
        self._builds = Builds(self.spawn)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._registrar: Registrar | None = None
        self._services: list[asyncio.Task[None]] = []
        self._resting: asyncio.TimerHandle | None = None
        self._suspects: set[str] = set()
        self._suspicion: asyncio.TimerHandle | None = None
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
            self._start()
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
            feed.grouped = self.spawn(self._wakeups.group(feed.name))
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
        self._rest()

    async def _ungroup(self, feed: Feed) -> None:
        if feed.grouped is not None:
            await asyncio.wait([feed.grouped])
            if feed.name not in self.feeds:
                await self._wakeups.ungroup(feed.name)

    # -- sessions ----------------------------------------------------------------------------------

    @property
    def node(self) -> str:
        """The name of this node, of its present life."""
        return self.roster.node

    def seat(self, session: Session, rank: Rank, connection: Connection) -> None:
        """A socket was greeted."""
        self._start()
        self.roster.enter(session, rank, connection, self.loop.time())

    def unseat(self, session: Session, connection: Connection, code: int | None) -> None:
        """A socket that was greeted has ended. Synchronous: safe under cancellation."""
        self.holders.leave(session, connection)
        self.roster.leave(session, connection, code)
        self._rest_soon()

    # -- services ----------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._services:
            return
        announcement.listeners.add(self._listen)
        news.receivers.add(self._listen_news)
        self._wakeups = Wakeups(
            self._alias, self._followed, self.receive, self.suspect, partial(news.hear, self)
        )
        self._registrar = Registrar(self.roster, self._wakeups, self._followed, self._drain, self._revive)
        services = self._wakeups.run(), self._check(), self._registrar.run()
        self._services = [self.spawn(service) for service in services]

    def _drain(self) -> None:
        drain.begin(self)

    def _revive(self) -> None:
        """Other nodes took this one for dead, and cleared up after it: it begins a new life."""
        logger.warning("Node %s was taken for dead by others: it is registered anew", self.node)
        old = self._wakeups
        self._stop()
        self._start()
        for name in self._followed():
            self.spawn(old.ungroup(name))
            self.feeds[name].grouped = self.spawn(self._wakeups.group(name))

    def _rest_soon(self) -> None:
        if self._services and not self.roster.live and self._resting is None:
            wait = max(settings().GRACE, settings().SESSION_FLUSH)
            self._resting = self.loop.call_later(wait, self._rested)

    def _rested(self) -> None:
        self._resting = None
        self._rest()

    def _rest(self) -> None:
        """Ends the services when there is nothing to do."""
        if self.feeds or self.roster.live:
            return
        if self._registrar is not None and self._registrar.busy:
            self._rest_soon()
        else:
            self._stop()

    def _stop(self) -> None:
        announcement.listeners.discard(self._listen)
        news.receivers.discard(self._listen_news)
        if self._registrar is not None:
            self._registrar.stop()
        services, self._services = self._services, []
        for task in services:
            task.cancel()
        for timer in (self._suspicion, self._resting):
            if timer is not None:
                timer.cancel()
        self._suspicion = self._resting = None

    async def part(self) -> None:
        """Leaves the layer and the rows at once, after the last socket: servers end without a goodbye.

        uvicorn sends itself the signal again before its loop is cleared up.
        """
        left = [feed for feed in self.feeds.values() if not feed.taps]
        for feed in left:
            if feed.expiry is not None:
                feed.expiry.cancel()
            del self.feeds[feed.name]
        services = self._services
        self._stop()
        goodbyes = [*services, *(self.spawn(self._ungroup(feed)) for feed in left)]
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
        services = self._services
        self._stop()
        await asyncio.gather(*services, return_exceptions=True)  # they say goodbye
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _followed(self) -> list[str]:
        return [feed.name for feed in self.feeds.values() if feed.grouped is not None]

    async def _check(self) -> None:
        """Compares whole positions with the log's (design 9.2), and keeps the group memberships young."""
        regrouped = self.loop.time()
        while True:
            await asyncio.sleep(settings().HEAD_CHECK)
            names = [feed.name for feed in self.feeds.values() if feed.taps and feed.window is not None]
            results = await asyncio.gather(*map(self.head, names), return_exceptions=True)
            if any(isinstance(result, Exception) for result in results):
                logger.warning("Heads of %d streams couldn't be checked", len(names))
            aged = self.loop.time() - regrouped > REGROUP
            if aged:
                regrouped = self.loop.time()
                self.spawn(self._wakeups.renew())
            for feed in self.feeds.values():
                if feed.grouped is not None and feed.grouped.done() and (aged or not feed.grouped.result()):
                    feed.grouped = self.spawn(self._wakeups.group(feed.name))

    def _healed(self) -> None:
        """The log answers again: what was missed meanwhile is read now, not at the next check."""
        for name in self.feeds:
            self.suspect(name)

    def suspect(self, name: str) -> None:
        """Has a stream's head compared soon; many suspicions are one read."""
        self._suspects.add(name)
        if self._suspicion is None and self._services:
            self._suspicion = self.loop.call_later(AFTER_BURST, self._examine)

    def _examine(self) -> None:
        self._suspicion = None
        names, self._suspects = self._suspects, set()
        for name in names:
            if name in self.feeds:
                self._heads.request(name)

    # -- write: announcements ----------------------------------------------------------------------

    def _listen(self, entries: Sequence[Entry]) -> None:
        """Called in the publisher's thread."""
        try:
            self.loop.call_soon_threadsafe(self.receive, entries[0].stream, entries)
        except RuntimeError:  # the loop was closed under us
            announcement.listeners.discard(self._listen)

    def _listen_news(self, told: list[tuple[str, news.Fields]]) -> None:
        """Called in the thread that tells."""
        try:
            self.loop.call_soon_threadsafe(news.hear, self, told)
        except RuntimeError:  # the loop was closed under us
            news.receivers.discard(self._listen_news)

    def receive(self, stream: str, entries: Sequence[Entry]) -> None:
        """Takes announced entries; without any it is a mere wake-up."""
        feed = self.feeds.get(stream)
        if feed is None or feed.window is None:
            return
        if entries:
            node_clock.observe(entries[-1].clock)
        if not entries or not feed.accept(list(entries)):
            events.emit(events.HoleHealed(stream))
            self._fill_soon(feed)

    def _fill_soon(self, feed: Feed) -> asyncio.Task[None]:
        if feed.filling is None or feed.filling.done():
            feed.filling = self.spawn(self._fill(feed))
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
        self._reads.forget(feed.name)
        events.emit(events.HistoryReplaced(feed.name, reason))
        feed.replace(position, reason)

    # -- read: heads, pages, snapshots -------------------------------------------------------------

    async def head(self, name: str) -> Head:
        """The head of a stream, read from the primary after this call; many callers are one query.

        Callers that come while a read runs wait for the next one. The hub compares its own position
        with what was read, and heals itself, before the answer comes.
        """
        return await self._heads.read(name)

    def _position(self, name: str) -> Position | None:
        feed = self.feeds.get(name)
        return feed.position if feed is not None and feed.window is not None else None

    async def _observe(self, name: str, head: Head, before: Position | None, started: float) -> Head:
        node_clock.observe(head.clock)
        feed = self.feeds.get(name)
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
            await self.fill(feed)
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
