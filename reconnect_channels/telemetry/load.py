"""How busy this process is: entries that it publishes and delivers a second, and which breakers are open.

A node's row says so with each heartbeat, so that the fleet can be seen without a monitoring system.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from . import events


class Load(NamedTuple):
    """What a node does, on average since the last heartbeat."""

    published: float = 0.0  # entries a second
    delivered: float = 0.0  # entries a second, to live sockets
    breakers: str = ""  # the names of those that are open, with commas


IDLE = Load()

# Threads that publish at the same time may lose a count: it is a figure to look at, no truth.
_totals: Counter[str] = Counter()
_open: Counter[str] = Counter()


def _published(event: events.Published) -> None:
    _totals["published"] += event.entries


def _fanned_out(event: events.FannedOut) -> None:
    _totals["delivered"] += event.entries * event.sockets


def _breaker_moved(event: events.BreakerMoved) -> None:
    _open[event.name] += 1 if event.is_open else -1


_HEARD: dict[type, Callable[[Any], None]] = {
    events.Published: _published,
    events.FannedOut: _fanned_out,
    events.BreakerMoved: _breaker_moved,
}


def listen(event: NamedTuple) -> None:
    """Counts what concerns it."""
    heard = _HEARD.get(type(event))
    if heard is not None:
        heard(event)


class Meter:
    """Reads the load now and then.

    :param now: seconds of a clock that only goes forward.
    """

    def __init__(self, now: float) -> None:
        self._at, self._totals = now, Counter(_totals)

    def read(self, now: float) -> Load:
        """The load since the last reading."""
        seconds = max(now - self._at, 1e-3)
        grown = {name: (_totals[name] - self._totals[name]) / seconds for name in ("published", "delivered")}
        self._at, self._totals = now, Counter(_totals)
        return Load(**grown, breakers=",".join(sorted(name for name, count in _open.items() if count > 0)))


events.listeners.append(listen)
