"""Snapshots of a process: each is built once for all who ask, and kept while it is fresh (design 7.7)."""

from __future__ import annotations

import asyncio
from typing import Any

from ..conf import settings
from ..protocol.recovery import Head
from ..snapshots import Snapshot, atake
from .heads import Spawn


class Builds:
    """Single-flight, under a cap for the whole process."""

    def __init__(self, spawn: Spawn) -> None:
        self._spawn = spawn
        self._tasks: dict[tuple[Any, ...], asyncio.Task[Snapshot]] = {}
        self._cap = asyncio.Semaphore(settings().SNAPSHOT_BUILDS)

    async def get(self, consumer_class: Any, stream: str, head: Head) -> Snapshot:
        """A snapshot whose delta to `head` is short, and whose position is still in the log."""
        key = (consumer_class, getattr(consumer_class, "snapshot_version", 1), stream)
        task = self._tasks.get(key)
        if task is None or (task.done() and not _fresh(task, head)):
            task = self._tasks[key] = self._spawn(self._build(consumer_class, stream))
        return await asyncio.shield(task)

    def forget(self, stream: str) -> None:
        """Builds the stream's next snapshot anew."""
        for key in [key for key, task in self._tasks.items() if key[2] == stream and task.done()]:
            del self._tasks[key]

    async def _build(self, consumer_class: Any, stream: str) -> Snapshot:
        async with self._cap:
            return await atake(consumer_class, stream)


def _fresh(task: asyncio.Task[Snapshot], head: Head) -> bool:
    if task.cancelled() or task.exception() is not None:
        return False
    position = task.result().position
    behind = head.seq - position.seq
    if position.epoch != head.epoch or behind < 0 or position.seq < head.floor - 1:
        return False
    return behind <= settings().SNAPSHOT_REUSE and (behind > 0 or position.checksum == head.checksum)
