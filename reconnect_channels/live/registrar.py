"""One life of a node: writes its row and its sessions behind, and clears up after nodes that died."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import random
import secrets
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .. import news, nodes, sessions, workers
from ..announcement import group_name
from ..conf import settings
from ..nodes import Dead
from ..telemetry import events
from ..telemetry.load import Meter
from .roster import Roster

if TYPE_CHECKING:
    from .wakeups import Wakeups

logger = logging.getLogger(__name__)

BEATS = 6  # in NODE_TIMEOUT
BACKOFF = 1.0, 30.0  # seconds, while the database is down
FAREWELL = 2.0  # seconds that the last write may take
DISCARD = 30.0  # seconds that clearing up one dead node's groups may take


_lives: set[Registrar] = set()


class Registrar:
    """Writes at most every SESSION_FLUSH seconds, and never delays a socket.

    :param followed: the streams whose groups the hub's channel belongs to.
    :param on_drain: called when the node's row says that it is draining.
    :param on_dead: called when other nodes took this one for dead: it needs a new life.
    """

    def __init__(
        self,
        roster: Roster,
        wakeups: Wakeups,
        followed: Callable[[], Iterable[str]],
        on_drain: Callable[[], None],
        on_dead: Callable[[], None],
    ) -> None:
        self.node = secrets.token_hex(6)
        self._roster = roster
        self._wakeups = wakeups
        self._followed = followed
        self._on_drain = on_drain
        self._on_dead = on_dead
        self._loop = asyncio.get_running_loop()
        self._begun = False  # there is a row
        self._over = False  # others took it for dead
        self._last: list[sessions.Row] | None = None
        self._lock = threading.RLock()
        self._ended = False
        self._channel = ""
        self._meter = Meter(self._loop.time())
        self._beat_at = 0.0
        self._sound_since: float | None = None  # heartbeats have come through since then
        self._reap_at = 0.0
        self._noted: set[str] = set()
        self._idle_since: float | None = None  # neither sessions nor followers are here
        self._settled = False  # since then, and since the last row
        roster.begin(self.node)

    @property
    def busy(self) -> bool:
        """Whether something is left to do even if no socket is here any more."""
        return not (self._settled and self._roster.is_written)

    async def run(self) -> None:
        """Until cancelled; then says what there is left to say."""
        _lives.add(self)
        delay = 0.0
        try:
            while True:
                await asyncio.sleep(settings().SESSION_FLUSH + delay * random.uniform(0.5, 1))
                try:
                    await self._turn()
                    delay = 0.0
                except Exception as error:
                    self._sound_since = None
                    delay = min(max(BACKOFF[0], delay * 2), BACKOFF[1])
                    logger.warning("Sessions couldn't be written, they are kept: %r", error)
        finally:
            _lives.discard(self)
            events.emit(events.Sampled(0, 0, 0, 0))
            await self._say_goodbye()

    async def _write(self, function: Callable[..., Any], *args: Any) -> Any:
        return await workers.write(sessions.alias(), self._alone, function, *args)

    def _alone(self, function: Callable[..., Any], *args: Any) -> Any:
        """In a thread: whoever awaited an earlier write may be cancelled, and the last must come last."""
        with self._lock:
            return None if self._ended else function(*args)

    async def _turn(self) -> None:
        events.emit(self._roster.sample())
        now, channel = self._loop.time(), self._wakeups.channel
        if self._roster.live or any(self._followed()):
            self._idle_since, self._settled = None, False
        elif self._idle_since is None:
            self._idle_since = self._reap_at = now
        beating = now >= self._beat_at or channel != self._channel
        if beating:
            self._channel = channel
            if not await self._beat(now):
                self._over = True
                self._on_dead()
                return
        await self._flush()
        if beating:
            await self._compare()
        await self._note_streams()
        if now >= self._reap_at:
            self._reap_at = now + settings().NODE_TIMEOUT * random.uniform(0.15, 0.3)
            await self._reap(now)

    async def _beat(self, now: float) -> bool:
        if not self._begun:
            await self._write(nodes.begin, self.node, self._channel)
            self._begun = True
        else:
            beat = await self._write(nodes.beat, self.node, self._channel, self._meter.read(now))
            if not beat.alive:
                return False
            if beat.draining:
                self._on_drain()
        if self._sound_since is None:
            self._sound_since = now
        self._beat_at = now + settings().NODE_TIMEOUT / BEATS
        return True

    async def _flush(self) -> None:
        now = self._loop.time()
        while rows := self._roster.take(now, sessions.BATCH):
            self._settled = False
            try:
                written = await self._write(sessions.write, rows)
            except BaseException:
                self._roster.put_back(rows)
                raise
            self._roster.wrote(rows, written, self._loop.time())

    async def _compare(self) -> None:
        """Finds sessions that another node took over, where the layer didn't tell: one count a heartbeat."""
        if await self._write(sessions.count_held, self.node) < self._roster.written:
            self._roster.doubt(await self._write(sessions.held, self.node))

    async def _note_streams(self) -> None:
        """Whoever clears up after this node must know which groups to look at."""
        followed = set(self._followed()) if self._channel else set()
        if followed != self._noted:
            await self._write(nodes.follow, self.node, followed - self._noted, self._noted - followed)
            self._noted = followed

    # -- the dead ----------------------------------------------------------------------------------

    async def _reap(self, now: float) -> None:
        """Each dead node is cleared up after by one of the others, and one that was sound itself meanwhile:

        after an outage of the database all seem dead.
        """
        sound = self._sound_since is not None and now - self._sound_since >= settings().NODE_TIMEOUT
        try:
            await self._write(nodes.find_lost)
            for dead in await self._write(nodes.claim_dead) if sound else ():
                await self._discard(dead)
                await self._write(nodes.bury, dead.name)
                events.emit(events.Reaped(dead.name))
                logger.info("Node %s was silent: its sessions are reaped", dead.name)
            await self._write(sessions.end_absent)
            if self._idle_since is not None:
                idle = self._loop.time() - self._idle_since
                self._settled = await self._write(nodes.is_settled, self.node, idle)
        except Exception as error:
            events.emit(events.CleanupFailed(type(error).__name__))
            logger.warning("What a dead node left couldn't be cleared up, it is tried again: %r", error)

    async def _discard(self, dead: Dead) -> None:
        """Takes its channel out of its groups: the layer would send to it for a day."""
        if not dead.channel:
            return
        async with asyncio.timeout(DISCARD):
            for group in (news.GROUP, *map(group_name, dead.streams)):
                await self._wakeups.discard(group, dead.channel)

    # -- the end -----------------------------------------------------------------------------------

    def stop(self) -> None:
        """What it would still have to write is what is known now; `run` is cancelled next."""
        if self._last is None and not self._over:
            self._last = self._roster.close()

    async def _say_goodbye(self) -> None:
        self.stop()
        if self._over:
            return
        try:
            async with asyncio.timeout(FAREWELL):
                await self._write(self.end)
        except Exception as error:
            logger.warning("Node %s left without a word, others will notice: %r", self.node, error)

    def end(self) -> None:
        """Writes the last rows and takes the node's away. Blocks."""
        self.stop()
        rows = self._last or []
        with self._lock:
            self._ended = True
            for start in range(0, len(rows), sessions.BATCH):
                sessions.write(rows[start : start + sessions.BATCH])
            if self._begun:
                nodes.end(self.node)


def _at_exit() -> None:
    for life in list(_lives):  # of servers that leave their loop standing
        with suppress(Exception):
            life.end()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_lives.clear)
