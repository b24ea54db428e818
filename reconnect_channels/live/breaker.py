"""The circuit breaker around the reads of a log (design 10.1).

While a log doesn't answer, whoever asks is told at once to come back later, and never given a snapshot
instead: that would move the herd to the database. Live sockets stay; their feeds heal once it is closed.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from .. import deadline, workers
from ..conf import settings
from ..log import log_for
from ..log.base import Mismatch, SequenceLog
from ..protocol.breaker import Breaker
from ..telemetry.events import BreakerMoved, emit

logger = logging.getLogger(__name__)

RETRY_MS = (500, 3_000)
PROBE_EVERY = 1.0  # seconds

Spawn = Callable[[Awaitable[Any]], asyncio.Task[Any]]
Call = tuple[Callable[..., Any], tuple[Any, ...]]


def retry_after_ms() -> int:
    """When to ask again; at random, which spreads a herd."""
    return random.randint(*RETRY_MS)


class BreakerOpen(Exception):
    """The log isn't read at the moment, since it failed several times in a row."""


class LogBreaker:
    """The state of one log in this process, for the loops of its hubs and for the threads of its views."""

    def __init__(self) -> None:
        self._breaker = Breaker(probe_every=PROBE_EVERY)
        self._lock = threading.Lock()
        self.latest: Call | None = None  # what is asked for while it is open: the next probe
        self.probing = False  # a hub does; nobody else has to wait for a probe

    @property
    def is_open(self) -> bool:
        return self._breaker.is_open

    def may_probe(self) -> bool:
        with self._lock:
            return self._breaker.may_probe(time.monotonic())

    def succeeded(self) -> bool:
        """A read came back; True when that closed the breaker."""
        with self._lock:
            closed = self._breaker.succeeded()
        if closed:
            emit(BreakerMoved("log", False))
            logger.warning("The log answers again: breaker closed")
        return closed

    def failed(self, error: Exception) -> None:
        with self._lock:
            opened = self._breaker.failed(time.monotonic())
        if opened:
            emit(BreakerMoved("log", True))
            logger.error("The log failed again and again: breaker open", exc_info=error)


_breakers: WeakKeyDictionary[SequenceLog, LogBreaker] = WeakKeyDictionary()
_making = threading.Lock()


def breaker_of(log: SequenceLog) -> LogBreaker:
    """The log's breaker in this process."""
    with _making:
        return _breakers.setdefault(log, LogBreaker())


def check(stream: str) -> None:
    """For views: raises BreakerOpen when the stream's log isn't read at the moment."""
    breaker = breaker_of(log_for(stream))
    if breaker.is_open and breaker.probing:
        raise BreakerOpen


@contextmanager
def guarded(log: SequenceLog) -> Iterator[None]:
    """For views: reads of the log on the caller's thread, bounded by READ_TIMEOUT each."""
    breaker = breaker_of(log)
    if breaker.is_open and (breaker.probing or not breaker.may_probe()):
        raise BreakerOpen
    try:
        with deadline.within(log.using, settings().READ_TIMEOUT):
            yield
    except Mismatch:
        breaker.succeeded()
        raise
    except Exception as error:
        breaker.failed(error)
        raise
    breaker.succeeded()


class Reader:
    """Reads logs for a hub.

    :param spawn: keeps a task until it ends, and ends it with the hub.
    :param healed: called when a breaker has closed.
    """

    def __init__(self, spawn: Spawn, healed: Callable[[], None]) -> None:
        self._spawn = spawn
        self._healed = healed

    async def read(self, log: SequenceLog, function: Callable[..., Any], *args: Any) -> Any:
        """Runs a blocking read of the log in a reader thread.

        :raises BreakerOpen: at once, while the breaker is open.
        :raises TimeoutError: or the database's error.
        """
        breaker = breaker_of(log)
        if breaker.is_open:
            breaker.latest = function, args
            self._probe_soon(breaker)
            raise BreakerOpen
        return await self._try(breaker, function, args, probe=False)

    async def _try(
        self, breaker: LogBreaker, function: Callable[..., Any], args: tuple[Any, ...], *, probe: bool
    ) -> Any:
        def read() -> Any:
            if breaker.is_open and not probe:  # it opened while this waited for its turn
                raise BreakerOpen
            return function(*args)

        try:
            result = await workers.read(read)
        except BreakerOpen:
            raise
        except Mismatch:
            self._succeeded(breaker)
            raise
        except Exception as error:
            breaker.latest = function, args
            breaker.failed(error)
            if breaker.is_open:
                self._probe_soon(breaker)
            raise
        self._succeeded(breaker)
        return result

    def _succeeded(self, breaker: LogBreaker) -> None:
        if breaker.succeeded():
            self._healed()

    def _probe_soon(self, breaker: LogBreaker) -> None:
        if not breaker.probing:
            breaker.probing = True
            self._spawn(self._probe(breaker))

    async def _probe(self, breaker: LogBreaker) -> None:
        """Tries what was asked for last, so that one read that can't succeed doesn't keep it open."""
        try:
            while breaker.is_open:
                await asyncio.sleep(PROBE_EVERY / 20)
                if breaker.may_probe() and breaker.latest is not None:
                    function, args = breaker.latest
                    try:
                        await self._try(breaker, function, args, probe=True)
                    except Exception:
                        logger.debug("The log still fails", exc_info=True)
        finally:
            breaker.probing = False
            breaker.latest = None
