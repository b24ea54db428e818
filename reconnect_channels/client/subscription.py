"""Hands a stream's snapshots and entries to the application, in order, one at a time."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from .errors import ClientError
from .tracker import Delivery, Entries, Snapshot, Tracker

OnSnapshot = Callable[[Snapshot], Awaitable[object] | object]
OnEntries = Callable[[Entries], Awaitable[object] | object]


class Owner(Protocol):
    """What a subscription tells its client."""

    def _finished(self, tracker: Tracker, delivery: Delivery) -> None: ...

    def _handler_failed(self, tracker: Tracker, error: Exception) -> None: ...

    def _unsubscribe(self, subscription: Subscription) -> None: ...


class Subscription:
    """One subscriber of a stream, with handlers that are `def` or `async def`."""

    def __init__(
        self,
        owner: Owner,
        stream: str,
        on_snapshot: OnSnapshot | None = None,
        on_entries: OnEntries | None = None,
    ) -> None:
        self.stream = stream
        self.on_snapshot = on_snapshot
        self.on_entries = on_entries
        self.ended: ClientError | None = None
        self._owner = owner
        self._inbox: deque[tuple[Tracker, Delivery]] = deque()
        self._task: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Follows the stream no longer; what wasn't handed over yet never will be."""
        self._owner._unsubscribe(self)
        self._drop()

    def _drop(self) -> None:
        while self._inbox:
            self._owner._finished(*self._inbox.popleft())

    def _end(self, error: ClientError | None) -> None:
        """The client or the server ends it; `error` is None when the user closed the client."""
        self.ended = error
        if error is None and self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    def _deliver(self, tracker: Tracker, delivery: Delivery) -> None:
        if self._task is not None:
            self._inbox.append((tracker, delivery))
            return
        running = self._call(tracker, delivery)
        if running is None:
            self._owner._finished(tracker, delivery)
        else:
            self._task = asyncio.get_running_loop().create_task(self._work(tracker, delivery, running))

    def _call(self, tracker: Tracker, delivery: Delivery) -> Awaitable[object] | None:
        item = delivery.item
        try:
            if isinstance(item, Snapshot):
                result = self.on_snapshot(item) if self.on_snapshot is not None else None
            else:
                result = self.on_entries(item) if self.on_entries is not None and item.entries else None
        except Exception as error:
            self._owner._handler_failed(tracker, error)
            return None
        return result if inspect.isawaitable(result) else None

    async def _work(self, tracker: Tracker, delivery: Delivery, running: Awaitable[object] | None) -> None:
        try:
            while True:
                if running is not None:
                    try:
                        await running
                    except Exception as error:
                        self._owner._handler_failed(tracker, error)
                self._owner._finished(tracker, delivery)
                if not self._inbox:
                    return
                tracker, delivery = self._inbox.popleft()
                running = self._call(tracker, delivery)
        finally:
            self._task = None


class Stream(Subscription, AsyncIterator[Snapshot | Entries]):
    """A subscription that is iterated. An item counts as applied when the next one is asked for."""

    def __init__(self, owner: Owner, stream: str) -> None:
        super().__init__(owner, stream)
        self._current: tuple[Tracker, Delivery] | None = None
        self._closed = False
        self._arrived = asyncio.Event()

    def _deliver(self, tracker: Tracker, delivery: Delivery) -> None:
        nothing_new = isinstance(delivery.item, Entries) and not delivery.item.entries
        if nothing_new and not self._inbox and self._current is None:
            self._owner._finished(tracker, delivery)
            return
        self._inbox.append((tracker, delivery))
        self._arrived.set()

    def _end(self, error: ClientError | None) -> None:
        super()._end(error)
        self._closed = True
        self._arrived.set()

    def close(self) -> None:
        self._finish_current()
        self._closed = True
        self._arrived.set()
        super().close()

    def _finish_current(self) -> None:
        if self._current is not None:
            current, self._current = self._current, None
            self._owner._finished(*current)

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Snapshot | Entries:
        self._finish_current()
        while True:
            while self._inbox:
                tracker, delivery = self._inbox.popleft()
                item = delivery.item
                if isinstance(item, Snapshot) or item.entries:
                    self._current = tracker, delivery
                    return item
                self._owner._finished(tracker, delivery)
            if self._closed:
                if self.ended is not None:
                    raise self.ended
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.close()
