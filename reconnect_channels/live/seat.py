"""What a node knows of one session, and the row that is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from ..protocol.codes import reconnects
from ..protocol.subscription import Drift, State, Subscription
from ..sessions import USER_CLOSED, Row
from ..sessions import State as SessionState
from ..telemetry import events
from ..telemetry.flight import Flight
from .fencing import Rank, Session

if TYPE_CHECKING:
    from .connection import Connection

SERVED = State.LIVE, State.CATCHING_UP


@dataclass(slots=True, eq=False)
class Seat:
    """One session on this node: the socket that it has, or the end of the one that it had."""

    session: Session
    rank: Rank
    connection: Connection | None  # None = ended
    socket: str
    connected: datetime
    due: float  # when it is written even if nothing happened; by the loop's clock
    connects: int = 1
    outage_ms: int | None = None
    ended: datetime | None = None
    close_code: int | None = None
    positions: dict[str, tuple[str, int]] = field(default_factory=dict)
    environment: str = "other"
    drift: Drift = Drift.NONE
    flight: Flight = field(default_factory=Flight)
    current_ms: int | None = None  # from `connected` until it was current on all its streams
    moved_ms: int | None = None  # from the end of its socket on another node to `connected`

    def row(self, key: str, node: str, now: datetime) -> Row:
        """What is to be written now."""
        streams: frozenset[str] | None = None
        state = SessionState.LIVE
        if self.connection is not None:
            subscriptions = self.connection.exchange.subscriptions
            self.positions = standing(subscriptions)
            streams = frozenset(name for name, one in subscriptions.items() if one.state in SERVED)
        elif self.close_code == USER_CLOSED or not reconnects(self.close_code or 0):
            state, streams = SessionState.ENDED, frozenset()
        else:
            state = SessionState.AWAY
        return Row(
            key,
            self.session.identity,
            self.session.client_id,
            self.socket,
            node,
            self.rank.term,
            self.rank.attempt,
            state,
            self.positions,
            streams,
            self.environment,
            self.connects,
            self.outage_ms,
            self.close_code,
            self.connected,
            self.ended or now,
            self.drift,
            self.flight.begin(),
        )

    def hand_over(self) -> None:
        """Tells how long it took from a socket on another node, once both parts of it are known."""
        if self.current_ms is not None and self.moved_ms is not None:
            events.emit(events.HandedOver(self.moved_ms + self.current_ms))


def standing(subscriptions: Mapping[str, Subscription]) -> dict[str, tuple[str, int]]:
    """Where a client stands on each stream that it is served."""
    return {
        name: (subscription.sent.epoch, subscription.acked)
        for name, subscription in subscriptions.items()
        if subscription.state in SERVED and subscription.sent is not None
    }
