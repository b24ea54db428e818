"""What a hub runs while it has something to do: the layer's loop, comparisons, and its life as a node."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from .. import announcement, news
from ..conf import settings
from ..protocol.entry import Entry
from . import drain
from .registrar import Registrar
from .wakeups import Wakeups

if TYPE_CHECKING:
    from .hub import Hub

logger = logging.getLogger(__name__)

REGROUP = 6 * 3600.0  # channels-redis forgets group members after a day


class Services:
    """Begun with the first stream or socket, ended when the last is gone and everything is written.

    :param alias: of the channel layer.
    """

    wakeups: Wakeups  # once they were begun

    def __init__(self, hub: Hub, alias: str) -> None:
        self._hub = hub
        self._alias = alias
        self._registrar: Registrar | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._resting: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begins them, if they don't run."""
        if self._tasks:
            return
        hub = self._hub
        announcement.listeners.add(self._listen)
        news.receivers.add(self._listen_news)
        hub.healing.awake = True
        self.wakeups = Wakeups(
            self._alias, hub.followed, hub.healing.receive, hub.healing.suspect, partial(news.hear, hub)
        )
        self._registrar = Registrar(hub.roster, self.wakeups, hub.followed, self._drain, self._revive)
        running = self.wakeups.run(), self._check(), self._registrar.run()
        self._tasks = [hub.spawn(service) for service in running]

    def _drain(self) -> None:
        drain.begin(self._hub)

    def _revive(self) -> None:
        """Other nodes took this one for dead, and cleared up after it: it begins a new life."""
        hub, old = self._hub, self.wakeups
        logger.warning("Node %s was taken for dead by others: it is registered anew", hub.node)
        self.stop()
        self.start()
        for name in hub.followed():
            hub.spawn(old.ungroup(name))
            hub.feeds[name].grouped = hub.spawn(self.wakeups.group(name))

    def rest_soon(self) -> None:
        """Ends them in a moment, if there is nothing to do then."""
        if self._tasks and not self._hub.roster.live and self._resting is None:
            wait = max(settings().GRACE, settings().SESSION_FLUSH)
            self._resting = self._hub.loop.call_later(wait, self._rested)

    def _rested(self) -> None:
        self._resting = None
        self.rest()

    def rest(self) -> None:
        """Ends them when there is nothing to do."""
        if self._hub.feeds or self._hub.roster.live:
            return
        if self._registrar is not None and self._registrar.busy:
            self.rest_soon()
        else:
            self.stop()

    def stop(self) -> list[asyncio.Task[None]]:
        """Ends them; returns what still says goodbye."""
        announcement.listeners.discard(self._listen)
        news.receivers.discard(self._listen_news)
        if self._registrar is not None:
            self._registrar.stop()
        ending, self._tasks = self._tasks, []
        for task in ending:
            task.cancel()
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        self._hub.healing.rest()
        return ending

    async def _check(self) -> None:
        """Compares whole positions with the log's (design 9.2), and keeps the group memberships young."""
        hub = self._hub
        regrouped = hub.loop.time()
        while True:
            await asyncio.sleep(settings().HEAD_CHECK)
            feeds = [feed for feed in hub.feeds.values() if feed.taps and feed.window is not None]
            await hub.healing.check(feed.name for feed in feeds)
            aged = hub.loop.time() - regrouped > REGROUP
            if aged:
                regrouped = hub.loop.time()
                hub.spawn(self.wakeups.renew())
            for feed in hub.feeds.values():
                if feed.grouped is not None and feed.grouped.done() and (aged or not feed.grouped.result()):
                    feed.grouped = hub.spawn(self.wakeups.group(feed.name))

    # -- what this process announces itself --------------------------------------------------------

    def _listen(self, entries: Sequence[Entry]) -> None:
        """Called in the publisher's thread."""
        try:
            self._hub.loop.call_soon_threadsafe(self._hub.healing.receive, entries[0].stream, entries)
        except RuntimeError:  # the loop was closed under us
            announcement.listeners.discard(self._listen)

    def _listen_news(self, told: list[tuple[str, news.Fields]]) -> None:
        """Called in the thread that tells."""
        try:
            self._hub.loop.call_soon_threadsafe(news.hear, self._hub, told)
        except RuntimeError:  # the loop was closed under us
            news.receivers.discard(self._listen_news)
