"""The hub: one per process, event loop and layer alias (design 9.2).

The channel layer is a wake-up with the entries inlined, never the truth: the hub takes an entry only
if its checksum continues its own, fills holes from the log once for all its sockets, and compares its
whole positions with the log's regularly. A layer that drops, repeats or reorders costs time, never
correctness.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from channels.layers import get_channel_layer

from .. import announcement, snapshots, workers
from ..conf import settings
from ..log import all_logs, log_for
from ..log.base import Mismatch, Run
from ..protocol.codes import Resync
from ..protocol.entry import Entry
from ..protocol.position import Position
from ..protocol.recovery import Head
from ..protocol.window import PAGE_ENTRIES, Page, Slot, cut
from ..publication import node_clock
from ..snapshots import Snapshot
from .feed import Feed, Tap

logger = logging.getLogger(__name__)

NODE = secrets.token_hex(6)
AFTER_BURST = 0.25  # seconds; finds the lost tail of a burst
REGROUP = 6 * 3600.0  # channels-redis forgets group members after a day
GROUP_WAIT = 1.0
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


class Hub:
    """Keeps the feeds of one event loop current and shares every read among its connections."""

    def __init__(self, loop: asyncio.AbstractEventLoop, alias: str) -> None:
        self.loop = loop
        self.feeds: dict[str, Feed] = {}
        self.holes = 0  # healed from the log
        self._layer: Any = get_channel_layer(alias)
        self._channel: str | None = None
        self._opened = asyncio.Event()
        self._wanted: dict[str, asyncio.Future[Head]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._snapshots: dict[tuple[Any, ...], asyncio.Task[Snapshot]] = {}
        self._building = asyncio.Semaphore(settings().SNAPSHOT_BUILDS)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._services: list[asyncio.Task[None]] = []
        self._suspects: set[str] = set()
        self._suspicion: asyncio.TimerHandle | None = None
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
                node_clock.observe(await workers.read(log.clock))

    # -- feeds -------------------------------------------------------------------------------------

    def join(self, name: str, tap: Tap) -> Feed:
        """Registers interest in a stream; entries come once the tap is in `feed.live`."""
        feed = self.feeds.get(name)
        if feed is None:
            if not self.feeds:
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
            feed.grouped = self.spawn(self._group(feed.name))
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
        self.spawn(self._ungroup(feed, self._channel))
        if not self.feeds:
            self._stop()

    async def _group(self, name: str) -> bool:
        """Joins the stream's group. Resumes wait for it, but not long: head checks find what it brings."""
        if self._layer is None:
            return True
        try:
            async with asyncio.timeout(GROUP_WAIT):
                await self._opened.wait()
                await self._layer.group_add(announcement.group_name(name), self._channel)
        except Exception:
            logger.warning("The channel layer took no group member; head checks go on", exc_info=True)
            return False
        finally:
            self.suspect(name)  # pubsub returns before Redis has subscribed
        return True

    async def _ungroup(self, feed: Feed, channel: str | None) -> None:
        if feed.grouped is None:
            return
        with suppress(Exception):
            await feed.grouped
        if channel is not None and feed.name not in self.feeds:
            with suppress(Exception):
                await self._layer.group_discard(announcement.group_name(feed.name), channel)

    # -- services ----------------------------------------------------------------------------------

    def _start(self) -> None:
        announcement.listeners.add(self._listen)
        self._services = [self.loop.create_task(self._receive()), self.loop.create_task(self._check())]

    def _stop(self) -> None:
        announcement.listeners.discard(self._listen)
        self._channel = None  # receive() forgets it when it is cancelled
        self._opened.clear()
        services, self._services = self._services, []
        for task in services:
            task.cancel()
        if self._suspicion is not None:
            self._suspicion.cancel()
            self._suspicion = None

    async def close(self) -> None:
        """Ends everything at once, without grace."""
        for feed in list(self.feeds.values()):
            if feed.expiry is not None:
                feed.expiry.cancel()
            feed.taps.clear()
            feed.live.clear()
        feeds = list(self.feeds.values())
        self.feeds.clear()
        for feed in feeds:
            await self._ungroup(feed, self._channel)
        services = self._services
        self._stop()
        tasks = [*services, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _receive(self) -> None:
        """The layer's loop; an error renews the groups and compares every head, and drops no socket."""
        delay = 0.0
        while self._layer is not None:
            try:
                if self._channel is None or delay:
                    await asyncio.sleep(delay)
                    await self._regroup()
                message = await self._layer.receive(self._channel)
                delay = 0.0
            except Exception:
                logger.warning("The channel layer failed; the log goes on", exc_info=True)
                delay = min(max(0.25, delay * 2), 5.0)
                continue
            if message.get("type") == announcement.MESSAGE_TYPE:
                try:
                    stream, entries = announcement.read_message(message)
                    self.receive(stream, entries)
                    self.suspect(stream)
                except Exception:  # of another version, during a deploy: head checks find what it told
                    logger.warning("An announcement couldn't be read", exc_info=True)

    async def _regroup(self) -> None:
        if self._channel is None:
            self._channel = await self._layer.new_channel()
            self._opened.set()
        for name in self._followed():
            await self._layer.group_add(announcement.group_name(name), self._channel)
            self.suspect(name)

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
            for feed in self.feeds.values():
                if feed.grouped is not None and feed.grouped.done() and not feed.grouped.result():
                    feed.grouped = self.spawn(self._group(feed.name))
            if (
                self.loop.time() - regrouped > REGROUP
                and self._layer is not None
                and self._channel is not None
            ):
                regrouped = self.loop.time()
                for name in self._followed():
                    with suppress(Exception):
                        await self._layer.group_add(announcement.group_name(name), self._channel)

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
                self._next_head(name)

    # -- write: announcements ----------------------------------------------------------------------

    def _listen(self, entries: Sequence[Entry]) -> None:
        """Called in the publisher's thread."""
        try:
            self.loop.call_soon_threadsafe(self.receive, entries[0].stream, entries)
        except RuntimeError:  # the loop was closed under us
            announcement.listeners.discard(self._listen)

    def receive(self, stream: str, entries: Sequence[Entry]) -> None:
        """Takes announced entries; without any it is a mere wake-up."""
        feed = self.feeds.get(stream)
        if feed is None or feed.window is None:
            return
        if entries:
            node_clock.observe(entries[-1].clock)
        if not entries or not feed.accept(list(entries)):
            self.holes += 1
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
                run: Run = await workers.read(log.read, feed.name, position, PAGE_ENTRIES)
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
            feed.replace(head.position, Resync.EPOCH)
        elif mismatch.reason is Resync.TRIMMED:
            feed.restart(head.position)
            for tap in list(feed.live):
                feed.live.pop(tap)
                tap.resync(Resync.TRIMMED)
        else:
            logger.error("The log of %s was rewritten below %d: new epoch", feed.name, position.seq)
            head = await workers.run(log_for(feed.name).new_epoch, feed.name, head.epoch)
            feed.replace(head.position, Resync.REWOUND)

    # -- read: heads, pages, snapshots -------------------------------------------------------------

    async def head(self, name: str) -> Head:
        """The head of a stream, read from the primary after this call; many callers are one query.

        Callers that come while a read runs wait for the next one. The hub compares its own position
        with what was read, and heals itself, before the answer comes.
        """
        return await asyncio.shield(self._next_head(name))  # one caller's end is not the others'

    def _next_head(self, name: str) -> asyncio.Future[Head]:
        future = self._wanted.get(name)
        if future is None:
            future = self._wanted[name] = self.loop.create_future()
            if self._reading is None:
                self._reading = self.spawn(self._read_heads())
        return future

    async def _read_heads(self) -> None:
        try:
            while self._wanted:
                wanted, self._wanted = self._wanted, {}
                await self._read_some(wanted)
        finally:
            self._reading = None

    async def _read_some(self, wanted: dict[str, asyncio.Future[Head]]) -> None:
        by_log: dict[Any, list[str]] = {}
        for name in wanted:
            by_log.setdefault(log_for(name), []).append(name)
        for log, names in by_log.items():
            started = self.loop.time()
            feeds = [feed for n in names if (feed := self.feeds.get(n)) is not None]
            before = {feed.name: feed.position for feed in feeds if feed.window is not None}
            try:
                heads: dict[str, Head] = await workers.read(log.heads, names)
            except Exception as error:
                for name in names:
                    _answer(wanted[name], error)
                continue
            for name in names:
                self.spawn(self._observe(name, heads[name], before.get(name), started, wanted[name]))

    async def _observe(
        self, name: str, head: Head, before: Position | None, started: float, answer: asyncio.Future[Head]
    ) -> None:
        node_clock.observe(head.clock)
        feed = self.feeds.get(name)
        try:
            if feed is not None:
                head = await self._compare(feed, head, before)
                feed.verified_at = max(feed.verified_at, started)
        except Exception as error:
            _answer(answer, error)
        else:
            _answer(answer, head)

    async def _compare(self, feed: Feed, head: Head, before: Position | None) -> Head:
        if feed.window is None:
            feed.restart(head.position)
            return head
        at = feed.position
        if head.epoch != at.epoch:
            if before is None or before.epoch == at.epoch:  # else the read is older than the change
                feed.replace(head.position, Resync.EPOCH)
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
            return (await workers.read(log_for(feed.name).heads, [feed.name]))[feed.name]  # type: ignore[no-any-return]
        return head

    async def page(self, feed: Feed, after: Position) -> Page:
        """The next page after a position, from the ring or the log; the same page is read once.

        Raises Mismatch when the position is not in the log (any more).
        """
        assert feed.window is not None
        ready = feed.window.page_after(after)
        if ready is not None:
            return ready
        page: Page = await self._once(feed, ("page", after), self._read_page, feed.name, after)
        if page.to.epoch == feed.position.epoch and page.to.seq > feed.position.seq:
            await self.fill(feed)
        return page

    async def _once(
        self, feed: Feed, key: tuple[Any, ...], read: Callable[..., Awaitable[Any]], *args: Any
    ) -> Any:
        """Reads once for all who ask while the read runs."""
        task = feed.reads.get(key)
        if task is None:
            task = feed.reads[key] = self.spawn(read(*args))
            task.add_done_callback(lambda _: feed.reads.pop(key, None))
        return await asyncio.shield(task)

    async def _read_page(self, name: str, after: Position) -> Page:
        run: Run = await workers.read(log_for(name).read, name, after, PAGE_ENTRIES)
        if run.entries and run.entries[-1].seq - after.seq != len(run.entries):
            raise Mismatch(Resync.DIVERGED, run.head)  # entries are missing
        slots = [Slot(entry.position, entry.wire(), entry) for entry in run.entries]
        return cut(after, slots, complete=not slots or slots[-1].position.seq == run.head.seq)

    async def checksum_at(self, feed: Feed, position: Position) -> int | None:
        """The log's checksum at a position's seq, from the window where it reaches."""
        assert feed.window is not None
        if feed.position.epoch == position.epoch:
            known = feed.window.checksum_at(position.seq)
            if known is not None:
                return known
        read = log_for(feed.name).checksum_at
        key = ("checksum", position.epoch, position.seq)
        return await self._once(feed, key, workers.read, read, feed.name, *key[1:])  # type: ignore[no-any-return]

    async def snapshot(self, consumer_class: Any, feed: Feed, head: Head) -> Snapshot:
        """A snapshot of the stream, built once for all who ask, within the process's cap.

        A cached one serves while its delta is short and its position is still in the log.
        """
        key = (consumer_class, getattr(consumer_class, "snapshot_version", 1), feed.name)
        task = self._snapshots.get(key)
        if task is not None and task.done() and not self._fresh(task, head):
            task = None
        if task is None:
            task = self._snapshots[key] = self.spawn(self._build(consumer_class, feed.name))
        return await asyncio.shield(task)

    def forget_snapshot(self, feed: Feed) -> None:
        """A snapshot's position turned out not to be in the log: build the next one anew."""
        for key in [key for key in self._snapshots if key[2] == feed.name and self._snapshots[key].done()]:
            del self._snapshots[key]

    @staticmethod
    def _fresh(task: asyncio.Task[Snapshot], head: Head) -> bool:
        if task.cancelled() or task.exception() is not None:
            return False
        position = task.result().position
        behind = head.seq - position.seq
        if position.epoch != head.epoch or behind < 0 or position.seq < head.floor - 1:
            return False
        return behind <= settings().SNAPSHOT_REUSE and (behind > 0 or position.checksum == head.checksum)

    async def _build(self, consumer_class: Any, stream: str) -> Snapshot:
        async with self._building:
            return await snapshots.atake(consumer_class, stream)


def _answer(future: asyncio.Future[Head], result: Head | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
        future.exception()  # whoever still waits raises it; nobody waiting is no error
    else:
        future.set_result(result)
