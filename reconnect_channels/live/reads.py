"""Reads of a hub: each once for all who ask while it runs, and in the moment after it (design 9.5)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from .breaker import Spawn

KEPT = 1.0  # seconds; a herd doesn't come in one instant
MAX_BYTES = 16 << 20  # of what is kept

Key = tuple[str, str, Any]


class Kept(NamedTuple):
    until: float
    size: int
    result: Any


class Reads:
    """Single-flight, with a short memory.

    A key names the stream, the kind of read, and the position that it starts from: what was proven of that
    a moment ago holds. What may have changed since isn't kept.
    """

    def __init__(self, spawn: Spawn, loop: asyncio.AbstractEventLoop) -> None:
        self._spawn = spawn
        self._loop = loop
        self._running: dict[Key, asyncio.Task[Any]] = {}
        self._kept: dict[Key, Kept] = {}  # the oldest first
        self._groups: dict[tuple[str, str], dict[Key, None]] = {}  # of one stream and kind
        self._size = 0

    async def once(
        self, key: Key, size_of: Callable[[Any], int], read: Callable[..., Awaitable[Any]], *args: Any
    ) -> Any:
        """The result of a read; one caller's end is not the others'.

        :param size_of: the size of a result in bytes; 0 = it isn't kept.
        """
        kept = self._kept.get(key)
        if kept is not None and kept.until > self._loop.time():
            return kept.result
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = self._spawn(read(*args))
            task.add_done_callback(lambda done: self._done(key, size_of, done))
        return await asyncio.shield(task)

    def kept(self, stream: str, kind: str) -> list[Any]:
        """What reads of this kind brought in the last moment."""
        now = self._loop.time()
        found = [self._kept[key] for key in self._groups.get((stream, kind), ())]
        return [kept.result for kept in found if kept.until > now]

    def _done(self, key: Key, size_of: Callable[[Any], int], task: asyncio.Task[Any]) -> None:
        if self._running.get(key) is not task:  # forgotten meanwhile
            return
        del self._running[key]
        if task.cancelled() or task.exception() is not None:
            return
        now = self._loop.time()
        self._drop(key)
        if size := size_of(task.result()):
            self._kept[key] = Kept(now + KEPT, size, task.result())
            self._groups.setdefault(key[:2], {})[key] = None
            self._size += size
        while self._kept:
            oldest = next(iter(self._kept))
            if self._size <= MAX_BYTES and self._kept[oldest].until > now:
                break
            self._drop(oldest)

    def _drop(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._size -= kept.size
            group = self._groups[key[:2]]
            del group[key]
            if not group:
                del self._groups[key[:2]]

    def forget(self, stream: str) -> None:
        """Another history holds: what is asked for from now on is read anew."""
        for key in [key for key in self._kept if key[0] == stream]:
            self._drop(key)
        for key in [key for key in self._running if key[0] == stream]:
            del self._running[key]

    def erase(self) -> None:
        """Forgets everything."""
        for stream in {key[0] for key in (*self._kept, *self._running)}:
            self.forget(stream)
