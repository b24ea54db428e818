"""Sending on one socket: eager, one at a time, without a task where the server takes it at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from typing import Any

Event = dict[str, Any]
Send = Callable[[Event], Awaitable[None]]


class _Rest:
    """What is left of a coroutine that was stepped by hand and has suspended on `waiting`."""

    def __init__(self, coroutine: Any, waiting: Any) -> None:
        self._coroutine, self._waiting = coroutine, waiting

    def __await__(self) -> Generator[Any, Any, None]:
        waiting = self._waiting
        while True:
            try:
                value = yield waiting
            except BaseException as error:
                step, argument = self._coroutine.throw, error
            else:
                step, argument = self._coroutine.send, value
            try:
                waiting = step(argument)
            except StopIteration:
                return


async def _finish(rest: _Rest) -> None:
    await rest


class Sender:
    """Sends ASGI events in order.

    A send that completes at once costs no task and no queue. While one is pending (the server pushes
    back) the sender is not `idle`: control frames wait in a short line, and streams are left to catch
    up later from the ring or the log (design 9.4).

    :param on_gone: called once when the socket takes nothing any more.
    """

    LINE = 1_000

    __slots__ = ("_line", "_on_gone", "_pending", "_send", "_waiters", "gone", "idle")

    def __init__(self, send: Send, on_gone: Callable[[], None]) -> None:
        self._send = send
        self._on_gone = on_gone
        self._pending: asyncio.Task[None] | None = None
        self._line: deque[Event] | None = None  # made where the server pushes back: on most sockets never
        self._waiters: list[asyncio.Future[None]] | None = None
        self.gone = False
        self.idle = True  # the next event would go to the server at once

    def push(self, event: Event) -> None:
        """Sends now; only while `idle`."""
        coroutine: Any = self._send(event)
        try:
            waiting = coroutine.send(None)  # cheaper than the task of eager_start, and the same on 3.11
        except StopIteration:
            return
        except Exception:  # OSError where a server says that the client left; whatever else one raises
            self.end()
            return
        self.idle = False
        self._pending = asyncio.get_running_loop().create_task(_finish(_Rest(coroutine, waiting)))
        self._pending.add_done_callback(self._done)

    def put(self, event: Event) -> None:
        """Sends now or in turn: control frames. A peer that lets the line grow is gone."""
        if self.idle and not self._line:
            self.push(event)
        elif not self.gone:
            if self._line is None:
                self._line = deque()
            self._line.append(event)
            if len(self._line) > self.LINE:
                self.end()

    def forget(self) -> None:
        """Drops what waits in line."""
        if self._line is not None:
            self._line.clear()

    async def wait(self) -> bool:
        """Waits until idle; False when the socket is gone."""
        while not self.idle and not self.gone:
            waiter = asyncio.get_running_loop().create_future()
            if self._waiters is None:
                self._waiters = []
            self._waiters.append(waiter)
            await waiter
        return not self.gone

    async def drained(self) -> None:
        """Waits until everything that was put is with the server."""
        while (self._pending is not None or self._line) and not self.gone:
            await self.wait()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._pending = None
        self.idle = not self.gone
        if task.cancelled() or task.exception() is not None:
            self.end()
            return
        while self._line and self.idle:
            self.push(self._line.popleft())
        if self.idle:
            self._release()

    def _release(self) -> None:
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def end(self) -> None:
        """Nothing more is sent. Synchronous: safe under cancellation."""
        if self.gone:
            return
        self.gone, self.idle = True, False
        self._line = None
        if self._pending is not None:
            self._pending.cancel()
        self._release()
        self._on_gone()
