"""Heads of streams, read in natural batches: while one read runs, the next one's names pile up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ..log import log_for
from ..log.base import SequenceLog
from ..protocol.position import Position
from ..protocol.recovery import Head
from .breaker import Spawn

PAUSE = 0.01  # seconds from one read to the next: a herd that trickles in shares them

Observe = Callable[[str, Head, Position | None, float], Coroutine[Any, Any, Head]]


class Heads:
    """Answers who asks for a head with one that was read from the primary after the question.

    :param read: reads a log in a thread, as `breaker.Reader.read` does.
    :param position: the hub's own position of a stream, taken before each read.
    :param observe: compares it with what was read, and returns the head that counts.
    """

    def __init__(
        self,
        spawn: Spawn,
        read: Callable[..., Awaitable[Any]],
        position: Callable[[str], Position | None],
        observe: Observe,
    ) -> None:
        self._spawn = spawn
        self._read_log = read
        self._position = position
        self._observe = observe
        # Each log on its own: one that hangs delays nobody else.
        self._wanted: dict[SequenceLog, dict[str, asyncio.Future[Head]]] = {}
        self._reading: dict[SequenceLog, asyncio.Task[None]] = {}
        self._read_at: dict[SequenceLog, float] = {}

    async def read(self, name: str) -> Head:
        """The head of a stream; many callers are one query, and one caller's end is not the others'."""
        return await asyncio.shield(self.request(name))

    def request(self, name: str) -> asyncio.Future[Head]:
        """Has a head read and observed soon."""
        log = log_for(name)
        wanted = self._wanted.setdefault(log, {})
        future = wanted.get(name)
        if future is None:
            future = wanted[name] = asyncio.get_running_loop().create_future()
            if log not in self._reading:
                self._reading[log] = self._spawn(self._run(log))
        return future

    async def _run(self, log: SequenceLog) -> None:
        loop = asyncio.get_running_loop()
        try:
            while log in self._wanted:
                early = self._read_at.get(log, float("-inf")) + PAUSE - loop.time()
                if early > 0:
                    await asyncio.sleep(early)
                self._read_at[log] = loop.time()
                await self._read(log, self._wanted.pop(log))
        finally:
            del self._reading[log]

    async def _read(self, log: SequenceLog, wanted: dict[str, asyncio.Future[Head]]) -> None:
        started = asyncio.get_running_loop().time()
        before = {name: self._position(name) for name in wanted}
        try:
            heads: dict[str, Head] = await self._read_log(log, log.heads, list(wanted))
        except Exception as error:
            for future in wanted.values():
                _answer(future, error)
            return
        for name, future in wanted.items():
            self._spawn(self._settle(future, name, heads[name], before[name], started))

    async def _settle(self, future: asyncio.Future[Head], *observed: Any) -> None:
        try:
            _answer(future, await self._observe(*observed))
        except Exception as error:
            _answer(future, error)


def _answer(future: asyncio.Future[Head], result: Head | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
        future.exception()  # whoever still waits raises it; nobody waiting is no error
    else:
        future.set_result(result)
