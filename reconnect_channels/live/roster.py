"""The sessions of a hub's sockets, in memory: what happens costs a dict entry, and rows are made of it later.

Nothing here waits, and nothing is asked per socket: what a connection holds is read when it is written.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from .. import news, signals
from ..conf import settings
from ..protocol.codes import Close
from ..protocol.subscription import Drift
from ..sessions import USER_CLOSED, Row, Written, session_key
from ..sessions import State as SessionState
from ..telemetry import events
from ..telemetry.flight import Flight
from .fencing import Holders, Rank, Session
from .seat import Seat, standing

if TYPE_CHECKING:
    from .connection import Connection

logger = logging.getLogger(__name__)

ENDED_KEPT = 10_000  # ends that wait for the database; beyond it, others find that nobody is there
KIND, LEFT = "session", "left"  # of news


class Roster:
    """Which sessions have a socket here, and what of it isn't written yet.

    :param holders: fences local sockets that are superseded elsewhere.
    """

    def __init__(self, holders: Holders) -> None:
        self.node = ""
        self._holders = holders
        self._seats: OrderedDict[str, Seat] = OrderedDict()  # written longest ago first
        self._dirty: dict[str, None] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._superseded = "", Flight()  # the last one
        self._drifted: dict[str, str] = {}  # whose sockets they are, of those that drift
        self.dropped = 0  # ends that weren't written, because the database was down for too long

    @property
    def live(self) -> int:
        """How many sessions have a socket here."""
        return len(self._seats) - len(self._ended)

    def enter(self, session: Session, rank: Rank, connection: Connection, now: float) -> None:
        """A socket was greeted: it is the session's from now on, here and on all nodes."""
        key = session_key(*session)
        seat = Seat(session, rank, connection, connection.session, timezone.now(), now)
        if self._superseded[0] == key:  # a moment ago, by this one
            seat.flight = self._superseded[1]
        before = self._seats.pop(key, None)
        if before is not None:
            seat.environment, seat.connects = before.environment, before.connects + 1
            seat.close_code = before.close_code
            seat.flight = before.flight
            self._drifted.pop(key, None)
            if before.ended is not None:
                seat.outage_ms = max(0, int((seat.connected - before.ended).total_seconds() * 1000))
                del self._ended[key]
        connection.flight = seat.flight
        self._seats[key] = seat
        self._dirty[key] = None
        self._tell(key, seat)

    def connection(self, key: str, greeted_before: float) -> Connection | None:
        """The socket of a session, by its row's key, if it was greeted before a moment (since 1970)."""
        seat = self._seats.get(key)
        return seat.connection if seat is not None and seat.connected.timestamp() < greeted_before else None

    def touch(self, session: Session, connection: Connection, environment: str | None = None) -> None:
        """Something changed: which streams it is on, or what is known of the client."""
        key = session_key(*session)
        seat = self._seats.get(key)
        if seat is not None and seat.connection is connection:
            if environment is not None and environment != seat.environment:
                seat.environment = environment
            elif environment is not None:
                return
            self._dirty[key] = None

    def caught_up(self, session: Session, connection: Connection) -> None:
        """It is current on all its streams."""
        seat = self._seats.get(session_key(*session))
        if seat is not None and seat.connection is connection:
            seat.current_ms = int((timezone.now() - seat.connected).total_seconds() * 1000)
            seat.hand_over()

    def drift(self, session: Session, connection: Connection, drift: Drift) -> None:
        """The client's drift changed."""
        key = session_key(*session)
        seat = self._seats.get(key)
        if seat is not None and seat.connection is connection:
            seat.drift = drift
            self._dirty[key] = None
            self._drifted.pop(key, None)
            if drift:
                self._drifted[key] = connection.crowd or session.identity

    def sample(self) -> events.Sampled:
        """How many sessions are live, and how many of them drift.

        Those of one identity count once among the drifted, and so do those of guests at one address:
        whoever claims wrong positions has any number of sockets.
        """
        drifts = [self._seats[key].drift for key in self._drifted]
        diverged = drifts.count(Drift.DIVERGED)
        identities = len(set(self._drifted.values()))
        return events.Sampled(self.live, diverged, len(drifts) - diverged, identities)

    def leave(self, session: Session, connection: Connection, code: int | None) -> None:
        """A socket ended. Synchronous: safe under cancellation.

        :param code: the close code, as far as one is known.
        """
        key = session_key(*session)
        seat = self._seats.get(key)
        if seat is None or seat.connection is not connection:
            return
        if code == Close.SUPERSEDED:  # the newer socket's node writes the row
            self._superseded = key, seat.flight
            self._forget(key)
            return
        seat.positions = standing(connection.exchange.subscriptions) or seat.positions
        seat.connection, seat.close_code, seat.ended = None, code, timezone.now()
        seat.drift = Drift.NONE  # nothing is known of it any more
        self._drifted.pop(key, None)
        self._dirty[key] = self._ended[key] = None
        if len(self._ended) > ENDED_KEPT:
            self.dropped += 1
            self._forget(next(iter(self._ended)))

    def _forget(self, key: str) -> None:
        self._seats.pop(key, None)
        self._drifted.pop(key, None)
        self._dirty.pop(key, None)
        self._ended.pop(key, None)

    # -- rows --------------------------------------------------------------------------------------

    def begin(self, node: str) -> None:
        """The node has another name from now on: all that is live is written again."""
        self.node = node
        self._dirty.update(dict.fromkeys(self._seats))

    @property
    def written(self) -> int:
        """How many live sessions have a row that says so, if nobody changed it; at least."""
        return self.live - len(self._dirty)

    @property
    def is_written(self) -> bool:
        """Whether the rows know everything."""
        return not (self._dirty or self._ended)

    def doubt(self, held: Collection[str]) -> None:
        """Has those written again whose rows, read just now, don't say that they are here."""
        for key, seat in self._seats.items():
            if seat.connection is not None and key not in held:
                self._dirty[key] = None

    def take(self, now: float, most: int) -> list[Row]:
        """Rows to be written: of sessions to which something happened, and of those not written for long."""
        for key, seat in self._seats.items():
            if seat.due > now:
                break
            self._dirty[key] = None
        at, rows = timezone.now(), []
        for key in list(self._dirty)[:most]:
            del self._dirty[key]
            rows.append(self._seats[key].row(key, self.node, at))
        return rows

    def put_back(self, rows: Sequence[Row]) -> None:
        """They couldn't be written."""
        self._dirty.update((row.key, None) for row in rows if row.key in self._seats)

    def wrote(self, rows: Sequence[Row], written: Written, now: float) -> None:
        """Takes note of what became of the rows; fences what a newer socket has superseded elsewhere."""
        sockets = {row.key: row.socket for row in rows}
        for row in rows:
            seat = self._seats.get(row.key)
            if seat is None:
                continue
            seat.flight.end(row.flight)
            if seat.socket != row.socket:
                continue
            seat.connects -= row.connects
            seat.due = now + settings().SESSION_REFRESH
            self._seats.move_to_end(row.key)
            if row.key in written.lost and seat.connection is not None:
                self._holders.fence(seat.session, Rank(*written.lost[row.key]))
            elif seat.connection is None and row.state is not SessionState.LIVE:
                self._forget(row.key)
        for back in written.returns:
            seat = self._seats.get(back.key)
            if seat is not None and seat.socket != sockets[back.key]:
                seat = None
            if seat is None or seat.moved_ms is None:  # else the other node was faster
                self._came_back(seat, events.Returned(back.outage_ms, back.moved))

    def _came_back(self, seat: Seat | None, returned: events.Returned) -> None:
        events.emit(returned)
        if signals.returned.has_listeners(type(self)):
            signals.returned.send_robust(type(self), outage_ms=returned.outage_ms, moved=returned.moved)
        if seat is None:
            return
        seat.flight.note(returned, seat.connected.timestamp())
        if returned.moved:
            seat.moved_ms = returned.outage_ms
            seat.hand_over()

    def close(self) -> list[Row]:
        """The last rows: nothing has a socket here any more."""
        now = timezone.now()
        for seat in self._seats.values():
            if seat.connection is not None:
                seat.positions = standing(seat.connection.exchange.subscriptions) or seat.positions
                seat.connection, seat.close_code, seat.ended, seat.drift = None, None, now, Drift.NONE
        rows = [seat.row(key, self.node, now) for key, seat in self._seats.items()]
        self._seats.clear()
        self._drifted.clear()
        self._dirty.clear()
        self._ended.clear()
        return rows

    # -- other nodes -------------------------------------------------------------------------------

    def _tell(self, key: str, seat: Seat) -> None:
        connected = seat.connected.timestamp()
        news.tell(KIND, key=key, term=seat.rank.term, attempt=seat.rank.attempt, at=connected, node=self.node)

    def hear(self, fields: news.Fields) -> None:
        """A socket was greeted on another node: the older one goes, here or there (design 10.4)."""
        seat = self._seats.get(fields["key"])
        if fields["node"] == self.node or seat is None:
            return
        rank = Rank(fields["term"], fields["attempt"])
        if seat.ended is not None:
            if rank >= seat.rank and seat.close_code != USER_CLOSED:  # and no row says so yet
                news.tell(LEFT, key=fields["key"], node=fields["node"], at=seat.ended.timestamp())
            return
        mine = (seat.rank, seat.connected.timestamp(), self.node)
        if mine > (rank, fields["at"], fields["node"]):
            self._tell(fields["key"], seat)
        else:
            self._holders.fence(seat.session, rank)

    def hear_left(self, fields: news.Fields) -> None:
        """A client that was greeted here had left another node, which had no time to write it down."""
        seat = self._seats.get(fields["key"])
        if fields["node"] == self.node and seat is not None and seat.ended is None and seat.moved_ms is None:
            seat.outage_ms = max(0, int((seat.connected.timestamp() - fields["at"]) * 1000))
            self._came_back(seat, events.Returned(seat.outage_ms, True))


def _heard(hub: Any, fields: news.Fields) -> None:
    hub.roster.hear(fields)


def _heard_left(hub: Any, fields: news.Fields) -> None:
    hub.roster.hear_left(fields)


news.listeners[KIND].add(_heard)
news.listeners[LEFT].add(_heard_left)
