"""How busy this process is: its sessions, what it publishes and delivers, and which breakers are open.

A node's row says so with each heartbeat, so that the fleet can be seen without a monitoring system, and
without counting the rows of all sessions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from . import events


class Load(NamedTuple):
    """What a node holds and does; rates are averages since the last heartbeat."""

    live: int = 0  # sessions
    published: float = 0.0  # entries a second
    delivered: float = 0.0  # entries a second, to live sockets
    returned: float = 0.0  # clients a second that came back
    outage: float = 0.0  # seconds; the longest of those clients
    breakers: str = ""  # the names of those that are open, with commas


IDLE = Load()
RATES = "published", "delivered", "returned"

# Threads that publish at the same time may lose a count: it is a figure to look at, no truth.
_counts: Counter[str] = Counter()
_open: Counter[str] = Counter()


def _sampled(event: events.Sampled) -> None:
    _counts["live"] = event.live


def _published(event: events.Published) -> None:
    _counts["published"] += event.entries


def _fanned_out(event: events.FannedOut) -> None:
    _counts["delivered"] += event.entries * event.sockets


def _returned(event: events.Returned) -> None:
    _counts["returned"] += 1
    _counts["outage_ms"] = max(_counts["outage_ms"], event.outage_ms)


def _breaker_moved(event: events.BreakerMoved) -> None:
    _open[event.name] += 1 if event.is_open else -1


_HEARD: dict[type, Callable[[Any], None]] = {
    events.Sampled: _sampled,
    events.Published: _published,
    events.FannedOut: _fanned_out,
    events.Returned: _returned,
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
        self._at, self._before = now, Counter(_counts)

    def read(self, now: float) -> Load:
        """The load since the last reading."""
        seconds = max(now - self._at, 1e-3)
        rates = {name: (_counts[name] - self._before[name]) / seconds for name in RATES}
        outage = _counts.pop("outage_ms", 0) / 1000
        self._at, self._before = now, Counter(_counts)
        breakers = ",".join(sorted(name for name, count in _open.items() if count > 0))
        return Load(live=_counts["live"], outage=outage, breakers=breakers, **rates)


events.listen(listen)
