"""What happens in a process, as facts; metrics, logs and flight recorders are listeners (design 12).

Emitting costs a call per listener: nothing here happens once per recipient of an entry.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..protocol.position import Position
from ..protocol.telemetry import Transition

logger = logging.getLogger(__name__)


# -- one socket ------------------------------------------------------------------------------------
# `socket` is the `session` of its WELCOME.


class Welcomed(NamedTuple):
    """A socket was greeted."""

    socket: str
    node: str
    term: int
    attempt: int
    seconds: float  # since its HELLO
    traceparent: str | None


class Resumed(NamedTuple):
    """A client's position was judged (design 5.5)."""

    socket: str
    stream: str
    answer: str  # delta, snapshot, invalid, unavailable
    reason: str  # of a snapshot: new, epoch, trimmed, …
    claim: Position | None
    head: int  # -1 where it couldn't be read
    trace: str = ""  # the id of the HELLO's trace

    @property
    def gap(self) -> int:
        """Entries between the client and the head."""
        return max(0, self.head - self.claim.seq) if self.claim is not None else max(0, self.head)


class CaughtUp(NamedTuple):
    """A stream is live on a socket."""

    socket: str
    stream: str
    seconds: float  # since it was asked for, or fell behind
    seq: int
    trace: str = ""  # the id of the HELLO's trace


class FellBehind(NamedTuple):
    """A client doesn't take what comes: it is served page by page."""

    socket: str
    stream: str
    seq: int


class Resynced(NamedTuple):
    """What was sent proves nothing any more: the stream is served from a snapshot."""

    socket: str
    stream: str
    reason: str


class Drifted(NamedTuple):
    """A client's history isn't the server's."""

    socket: str
    stream: str
    position: Position
    checksum: int | None  # the log's, where it is known


class DriftMoved(NamedTuple):
    """A client's drift, over all its streams, is another one from now on."""

    socket: str
    drift: str  # diverged, lagging; empty: none any more


class Refused(NamedTuple):
    """A stream was refused, or ended by the server."""

    socket: str
    stream: str
    code: int
    reason: str


class Answered(NamedTuple):
    """A message has its answer."""

    socket: str
    stream: str
    code: int  # 0 = acked
    reason: str
    duplicate: bool
    seconds: float  # from its turn; 0: it had none
    retry: bool = False  # it is to be sent again


class Reported(NamedTuple):
    """A client told its own measurements, as `protocol.telemetry` lets them through."""

    socket: str
    metrics: Mapping[str, float]
    environment: str | None
    transitions: tuple[Transition, ...]  # the oldest first


class ReportIgnored(NamedTuple):
    """A client reports too often, or nothing that is known."""

    socket: str


class Ended(NamedTuple):
    """A socket that was greeted is gone."""

    socket: str
    code: int | None  # None = without a close
    reason: str  # of our BYE
    seconds: float  # that it lived


# -- the process -----------------------------------------------------------------------------------


class Published(NamedTuple):
    """Entries of one stream were committed."""

    stream: str
    entries: int
    held: float  # seconds that the stream's row was held; 0 where the log has no rows


class FannedOut(NamedTuple):
    """One frame went to all live sockets of a stream."""

    stream: str
    entries: int
    sockets: int


class PageRead(NamedTuple):
    """A page was read from the log, once for all who asked."""

    stream: str
    entries: int
    seconds: float


class Built(NamedTuple):
    """A snapshot was built, or it failed."""

    stream: str
    size: int  # characters; -1 = failed
    seconds: float
    exact: bool


class HoleHealed(NamedTuple):
    """The layer's traffic had a hole; it is filled from the log."""

    stream: str


class HistoryReplaced(NamedTuple):
    """A stream goes on in another epoch."""

    stream: str
    reason: str


class BreakerMoved(NamedTuple):
    """A circuit breaker opened or closed."""

    name: str  # log, snapshots
    is_open: bool


class Returned(NamedTuple):
    """A client's row says that it came back."""

    outage_ms: int
    moved: bool  # to another node


class HandedOver(NamedTuple):
    """A client that came from another node is current on all its streams."""

    ms: float  # since its socket there ended


class Sampled(NamedTuple):
    """How the sessions of this process are; told every second or so, and zeros when nobody is left."""

    live: int
    diverged: int
    lagging: int
    drifted: int  # distinct identities among the diverged and lagging


class CleanupFailed(NamedTuple):
    """What a dead node left behind couldn't be cleared up; it is tried again."""

    error: str


class Reaped(NamedTuple):
    """What a dead node left behind was cleared up."""

    node: str


class LayerFailed(NamedTuple):
    """The channel layer took no announcement."""

    error: str


class Draining(NamedTuple):
    """A process begins to send its sockets away."""

    sockets: int
    seconds: float


def drift_percentage(drifted: int, live: int) -> float:
    """`state_drift_percentage`: one identity alone counts as none, since a client can claim what it likes.

    :param drifted: distinct identities whose sessions diverged or lag.
    :param live: sessions that have a socket.
    """
    return 100 * drifted / live if drifted > 1 and live else 0.0


Listener = Callable[[NamedTuple], None]

listeners: list[Listener] = []
"""Called in the thread where it happens: they must not block."""


def listen(listener: Listener) -> None:
    """Adds a listener, unless it is one: apps are made ready again where settings change."""
    if listener not in listeners:
        listeners.append(listener)


def emit(event: NamedTuple) -> None:
    """Tells all listeners; what they raise is logged."""
    for listener in listeners:
        try:
            listener(event)
        except Exception:
            logger.exception("%s wasn't taken by a listener", type(event).__name__)
