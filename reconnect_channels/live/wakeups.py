"""The channel layer as a hub uses it: groups, and a loop that hands on what it tells.

It is a wake-up with the entries inlined, never the truth: its errors cost time, not entries.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from channels.layers import get_channel_layer

from .. import news
from ..announcement import MESSAGE_TYPE, group_name, leaves_process, read_message
from ..protocol.entry import Entry

logger = logging.getLogger(__name__)

GROUP_WAIT = 1.0  # seconds that a resume waits for the layer at most
RETRY = 0.25, 5.0


class Wakeups:
    """One layer channel of a hub.

    :param followed: the streams whose groups it belongs to.
    :param on_entries: takes a stream and what was announced of it; nothing = read the log.
    :param on_doubt: takes a stream of which the layer may have missed something.
    :param on_news: takes what other nodes tell.
    """

    def __init__(
        self,
        alias: str,
        followed: Callable[[], Iterable[str]],
        on_entries: Callable[[str, Sequence[Entry]], None],
        on_doubt: Callable[[str], None],
        on_news: Callable[[list[tuple[str, news.Fields]]], None],
    ) -> None:
        self._layer: Any = get_channel_layer(alias)
        self._channel: str | None = None
        self._opened = asyncio.Event()
        self._followed = followed
        self._on_entries = on_entries
        self._on_doubt = on_doubt
        self._on_news = on_news

    async def group(self, stream: str) -> bool:
        """Joins the stream's group; False when the layer didn't take it in time."""
        if self._layer is None:
            return True
        try:
            async with asyncio.timeout(GROUP_WAIT):
                await self._opened.wait()
                await self._layer.group_add(group_name(stream), self._channel)
        except Exception:
            logger.warning("The channel layer took no group member; head checks go on", exc_info=True)
            return False
        finally:
            self._on_doubt(stream)  # pubsub returns before Redis has subscribed
        return True

    async def ungroup(self, stream: str) -> None:
        """Leaves the stream's group."""
        await self._leave(group_name(stream))

    async def _leave(self, group: str) -> None:
        if self._channel is not None:
            with suppress(Exception):
                await self._layer.group_discard(group, self._channel)

    @property
    def channel(self) -> str:
        """The channel's name, for who clears up after a kill; none where the layer ends at this process."""
        return self._channel or "" if leaves_process() else ""

    async def discard(self, group: str, channel: str) -> None:
        """Takes a dead node's channel out of a group."""
        if self._layer is not None:
            await self._layer.group_discard(group, channel)

    async def renew(self) -> None:
        """Joins the nodes' group again, before the layer forgets the member."""
        if self._channel is not None:
            with suppress(Exception):
                await self._layer.group_add(news.GROUP, self._channel)

    async def run(self) -> None:
        """Receives until cancelled. An error renews the groups and doubts every stream."""
        try:
            await self._receive()
        finally:
            await self._leave(news.GROUP)

    async def _receive(self) -> None:
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
                delay = min(max(RETRY[0], delay * 2), RETRY[1])
                continue
            try:
                if message.get("type") == MESSAGE_TYPE:
                    stream, entries = read_message(message)
                    self._on_entries(stream, entries)
                    self._on_doubt(stream)
                elif message.get("type") == news.MESSAGE_TYPE:
                    self._on_news(news.read_message(message))
            except Exception:  # of another version, during a deploy: the rows tell it too
                logger.warning("A message of the channel layer couldn't be read", exc_info=True)

    async def _regroup(self) -> None:
        if self._channel is None:
            self._channel = await self._layer.new_channel()
            self._opened.set()
        await self._layer.group_add(news.GROUP, self._channel)
        for stream in self._followed():
            await self._layer.group_add(group_name(stream), self._channel)
            self._on_doubt(stream)
