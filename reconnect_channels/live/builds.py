"""Snapshots of a process: each is built once for all who ask, and kept while it is fresh (design 7.7)."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from django.db import Error

from ..conf import settings
from ..protocol.breaker import Breaker
from ..protocol.recovery import Head
from ..snapshots import Snapshot, atake
from ..telemetry.events import BreakerMoved, Built, emit
from .breaker import BreakerOpen, Spawn

logger = logging.getLogger(__name__)

OUTAGE = Error, OSError  # what isn't the application's own defect; TimeoutError is an OSError

Key = tuple[Any, ...]


class Builds:
    """Single-flight, under a cap for the whole process, and behind a breaker of its own.

    Only streams that fail one after the other open it: one whose hook is broken or too slow fails alone.
    """

    def __init__(self, spawn: Spawn) -> None:
        self._spawn = spawn
        self._tasks: dict[Key, asyncio.Task[Snapshot]] = {}
        self._cap = asyncio.Semaphore(settings().SNAPSHOT_BUILDS)
        self._breaker = Breaker()
        self._failed: set[Key] = set()

    async def get(self, consumer_class: Any, stream: str, head: Head) -> Snapshot:
        """A snapshot whose delta to `head` is short, and whose position is still in the log.

        :raises TimeoutError: it isn't built within SNAPSHOT_TIMEOUT. The build goes on, for who asks again.
        :raises BreakerOpen: builds failed, stream after stream.
        """
        key = (consumer_class, getattr(consumer_class, "snapshot_version", 1), stream)
        task = self._tasks.get(key)
        if task is None or (task.done() and not _fresh(task, head)):
            if self._breaker.is_open and not self._breaker.may_probe(time.monotonic()):
                raise BreakerOpen
            task = self._tasks[key] = self._spawn(self._build(key, consumer_class, stream))
        try:
            async with asyncio.timeout(settings().SNAPSHOT_TIMEOUT):
                return await asyncio.shield(task)
        except OUTAGE as error:
            if not task.done():  # else it said so itself
                self._fail(key, error)
            raise

    def forget(self, stream: str) -> None:
        """Builds the stream's next snapshot anew."""
        for key in [key for key, task in self._tasks.items() if key[2] == stream and task.done()]:
            del self._tasks[key]

    def erase(self) -> None:
        """Builds every snapshot anew, also those that are being built: they read what is erased now."""
        self._tasks.clear()

    async def _build(self, key: Key, consumer_class: Any, stream: str) -> Snapshot:
        async with self._cap:
            began = time.monotonic()
            try:
                snapshot = await atake(consumer_class, stream)
            except Exception as error:
                emit(Built(stream, -1, time.monotonic() - began, False))
                if isinstance(error, OUTAGE):
                    self._fail(key, error)
                raise
            emit(Built(stream, len(snapshot.text), time.monotonic() - began, snapshot.exact))
        self._failed.clear()
        if self._breaker.succeeded():
            emit(BreakerMoved("snapshots", False))
            logger.warning("Snapshots are built again")
        return snapshot

    def _fail(self, key: Key, error: Exception) -> None:
        if key in self._failed:
            return
        self._failed.add(key)
        if self._breaker.failed(time.monotonic()):
            emit(BreakerMoved("snapshots", True))
            logger.error("Snapshots of many streams can't be built: breaker open", exc_info=error)


def _fresh(task: asyncio.Task[Snapshot], head: Head) -> bool:
    if task.cancelled() or task.exception() is not None:
        return False
    position = task.result().position
    behind = head.seq - position.seq
    if position.epoch != head.epoch or behind < 0 or position.seq < head.floor - 1:
        return False
    return behind <= settings().SNAPSHOT_REUSE and (behind > 0 or position.checksum == head.checksum)
