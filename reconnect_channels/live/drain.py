"""Sending a process's sockets away before it ends, spread over a window (design 10.2)."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import threading
from collections.abc import Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

from .. import news
from ..conf import settings
from ..protocol.codes import Close
from ..telemetry import events

if TYPE_CHECKING:
    from .hub import Hub

logger = logging.getLogger(__name__)

COME_BACK_MS = (100, 2_000)  # elsewhere: the window has spread them already
TURNED_AWAY_MS = (1_000, 3_000)  # who still came here: the load balancer doesn't know yet
ENDING = 1.0  # seconds that the last closes have to reach their peers
REASON = "going away"


class Leaving(Protocol):
    """A socket that can be sent away."""

    def end(self, code: Close, reason: str, retry_after_ms: tuple[int, int]) -> None:
        """Says why and when to come back, and closes. Synchronous."""


def away(window_ms: tuple[int, int] = COME_BACK_MS) -> tuple[int, int]:
    """The retry_after_ms of one socket: from a point of its own, so that not two windows are alike."""
    low = random.randint(*window_ms)
    return low, low + window_ms[1] - window_ms[0]


async def drain(hub: Hub, window_s: float | None = None) -> int:
    """Sends every socket of the hub away, one after the other.

    What handlers are working on is finished and stored.

    :param window_s: seconds from the first BYE to the last. Default: as long as other processes take to
        greet so many at RESUME_RATE, at most DRAIN_WINDOW.
    :return: how many sockets were sent away.
    """
    leaving = list(hub.sockets)
    random.shuffle(leaving)
    if window_s is None:
        current = settings()
        window_s = min(current.DRAIN_WINDOW, len(leaving) / current.RESUME_RATE)
    events.emit(events.Draining(len(leaving), window_s))
    logger.info("Draining %d sockets within %.1f s", len(leaving), window_s)
    begun = hub.loop.time()
    for number, socket in enumerate(leaving, 1):
        socket.end(Close.GOING_AWAY, REASON, away())
        ahead = begun + window_s * number / len(leaving) - hub.loop.time()
        if ahead > 0:
            await asyncio.sleep(ahead)
    for socket in list(hub.sockets):  # who came before readiness failed
        socket.end(Close.GOING_AWAY, REASON, away())
    latest = hub.loop.time() + ENDING
    while hub.sockets and hub.loop.time() < latest:  # noqa: ASYNC110 - they end by themselves
        await asyncio.sleep(0.02)
    await hub.part()
    return len(leaving)


def begin(hub: Hub, window_s: float | None = None) -> asyncio.Task[int]:
    """Drains the hub, once; there is no way back but the process's restart."""
    if hub.draining is None:
        hub.draining = hub.spawn(drain(hub, window_s))
    return hub.draining


# -- by command ------------------------------------------------------------------------------------


def _told(hub: Any, fields: Mapping[str, Any]) -> None:
    if fields.get("node") in (None, hub.node):
        begin(hub, fields.get("window"))


news.listeners["drain"].add(_told)


# -- by signal -------------------------------------------------------------------------------------


class Terminations:
    """Puts a drain before what the server does on SIGTERM.

    uvicorn and Daphne close every socket at once on SIGTERM, before they tell the application. Their handlers
    are called once the sockets are gone; a second SIGTERM calls them at once. Works where the hub's loop runs
    in the main thread, on top of a handler in Python.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._previous: Any = None

    def watch(self) -> None:
        """Takes the signal, if a server has a handler for it."""
        if threading.current_thread() is not threading.main_thread():
            return
        previous = signal.getsignal(signal.SIGTERM)
        if callable(previous):
            self._previous = previous
            signal.signal(signal.SIGTERM, self._handle)

    def ignore(self) -> None:
        """Gives it back."""
        if self._previous is None or threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTERM) == self._handle:
            signal.signal(signal.SIGTERM, self._previous)
        self._previous = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        previous = self._previous
        if self._hub.draining is not None or self._hub.loop.is_closed():
            previous(number, frame)
            return

        def start() -> None:
            begin(self._hub).add_done_callback(lambda _: previous(number, None))

        self._hub.loop.call_soon_threadsafe(start)
