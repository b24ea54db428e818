"""Announcing: telling the hubs of this process and of the others what was committed (design 7.4).

Never fails its caller and never blocks it. What gets lost here is found by the hubs' head check.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from channels.layers import InMemoryChannelLayer, get_channel_layer

from .conf import settings
from .protocol.entry import Entry
from .telemetry import events

logger = logging.getLogger(__name__)

MESSAGE_TYPE = "reconnect.entries"
INLINE_BYTES = 64 * 1024  # above it, other processes are only woken and read the log
ENTRY_BYTES = 128  # of an entry beside its payload: ids and numbers
SEND_TIMEOUT = 5.0  # a half-open Redis must not stop the announcements behind it
BACKLOG = 10_000  # announcements kept while the layer doesn't take any

Listener = Callable[[Sequence[Entry]], None]
Message = Callable[[], dict[str, Any] | None]  # None = nothing to send any more
listeners: set[Listener] = set()


def group_name(stream: str) -> str:
    """The layer's group of a stream: names may be longer and richer than groups allow."""
    return "reconnect." + hashlib.sha256(stream.encode()).hexdigest()[:40]


def layer_message(entries: Sequence[Entry]) -> dict[str, Any]:
    """The channel layer's message for consecutive entries of one stream."""
    first = entries[0]
    inline = sum(len(entry.text.encode()) + ENTRY_BYTES for entry in entries) <= INLINE_BYTES
    return {
        "type": MESSAGE_TYPE,
        "stream": first.stream,
        "entries": [list(entry[1:] if entry.trace else entry[1:-1]) for entry in entries] if inline else None,
    }


def read_message(message: dict[str, Any]) -> tuple[str, list[Entry]]:
    """The stream and the entries of a layer message; none where it only wakes."""
    stream = message["stream"]
    return stream, [Entry(stream, *fields) for fields in message.get("entries") or ()]


def announce(entries: Sequence[Entry]) -> None:
    """Announces consecutive, committed entries of one stream; callable from any thread."""
    for listener in tuple(listeners):
        try:
            listener(entries)
        except Exception:
            logger.exception("A listener failed; the others are told all the same")
    if leaves_process():
        put(group_name(entries[0].stream), partial(layer_message, entries))


def wake(stream: str) -> None:
    """Has the hubs of other processes look at a stream's log, where it changed without an entry."""
    if leaves_process():
        put(group_name(stream), partial(dict, type=MESSAGE_TYPE, stream=stream, entries=None))


def leaves_process() -> bool:
    """Whether there is a channel layer, and one that reaches other processes."""
    layer = get_channel_layer(settings().CHANNEL_LAYER)
    return layer is not None and not isinstance(layer, InMemoryChannelLayer)


def put(group: str, make: Message) -> None:
    """Has the background loop make a message and send it to a group of the layer; from any thread."""
    _announcer().put(group, make)


class Announcer:
    """One background loop per process that sends to the channel layer.

    `async_to_sync(group_send)` would build a loop and a connection for each call.
    """

    def __init__(self) -> None:
        self._backlog: deque[tuple[str, Message]] = deque(maxlen=BACKLOG)
        self._sending = False
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="reconnect-announcer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            # channels_redis closes a loop's connections with the loop; its close_pools() would tear
            # at those of all other loops too.
            self._loop.close()

    def put(self, group: str, make: Message) -> None:
        self._backlog.append((group, make))
        self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if not self._sending:
            self._sending = True
            self._task = self._loop.create_task(self._drain())

    async def _drain(self) -> None:
        try:
            while self._backlog:
                layer: Any = get_channel_layer(settings().CHANNEL_LAYER)
                group, make = self._backlog.popleft()
                try:
                    message = make()
                    if message is not None:
                        async with asyncio.timeout(SEND_TIMEOUT):
                            await layer.group_send(group, message)
                except Exception as error:
                    events.emit(events.LayerFailed(type(error).__name__))
                    logger.warning(
                        "The channel layer took no announcement; the head check heals it", exc_info=True
                    )
        finally:
            self._sending = False

    def stop(self) -> None:
        """Ends the thread after what is queued was sent."""

        async def finish() -> None:
            if self._task is not None:
                await self._task
            self._loop.stop()

        asyncio.run_coroutine_threadsafe(finish(), self._loop)
        self._thread.join(timeout=5)


_lock = threading.Lock()
_current: Announcer | None = None


def _announcer() -> Announcer:
    global _current
    with _lock:
        if _current is None:
            _current = Announcer()
        return _current


def stop() -> None:
    """Stops the background loop, if there is one; the next announcement starts another."""
    global _current
    with _lock:
        announcer, _current = _current, None
    if announcer is not None:
        announcer.stop()


def _after_fork() -> None:
    global _current, _lock
    _current, _lock = None, threading.Lock()
    listeners.clear()  # they belong to loops that the child doesn't run


os.register_at_fork(after_in_child=_after_fork)
