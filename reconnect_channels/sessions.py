"""The rows of sessions: written in batches by whoever holds the sockets; the newest wins (design 10.4)."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import DataError, connections, router, transaction
from django.db.models import QuerySet
from django.utils import timezone

from .conf import settings
from .models import ClientSession, SessionStream
from .telemetry.flight import TEXT, Noted, encode

logger = logging.getLogger(__name__)

BATCH = 1_000
State = ClientSession.State
USER_CLOSED = 1000  # the close code of a client that doesn't come back
ANOTHER_VISIT = timedelta(hours=1)  # away for longer isn't an outage


class Row(NamedTuple):
    """What a node knows of a session; `streams` is None where it knows no better than the rows."""

    key: str
    identity: str
    client_id: str
    socket: str
    node: str
    term: int
    attempt: int
    state: State
    positions: Mapping[str, tuple[str, int]]
    streams: frozenset[str] | None
    environment: str
    connects: int  # since the last write
    outage_ms: int | None  # None = see the row
    close_code: int | None
    connected: datetime
    seen: datetime
    drift: str = ""
    flight: Sequence[Noted] = ()  # since the last write


_COLUMNS = [*(name for name in Row._fields if name != "streams"), "created"]
_KEPT = {"key", "identity", "client_id", "connects", "outage_ms", "close_code", "flight", "created"}


class Return(NamedTuple):
    """A client came back after its socket had ended."""

    key: str
    outage_ms: int
    moved: bool  # to another node


@dataclass
class Written:
    """What became of a batch."""

    lost: dict[str, tuple[int, int]] = field(default_factory=dict)  # key -> (term, attempt) of the newer one
    returns: list[Return] = field(default_factory=list)


def session_key(identity: str, client_id: str) -> str:
    """The key of a session's row: identity and client_id may hold what no column takes."""
    text = f"{len(identity)}:{identity}{client_id}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def alias() -> str:
    """The database of sessions and nodes."""
    return router.db_for_write(ClientSession)


def write(rows: Sequence[Row]) -> Written:
    """Writes a batch in one transaction: one INSERT … ON CONFLICT, and what changed of who is where.

    A row isn't written where a newer live one stands, by (term, attempt, connected): its session is among
    the `lost`. What isn't live replaces only what isn't newer. A row that the database never takes is logged
    and left out; the others are written.

    :param rows: at most one a session.
    """
    try:
        return _write_together(rows)
    except DataError:
        if len(rows) == 1:
            logger.exception("The session of client %r can't be written", rows[0].client_id)
            return Written()
    middle = len(rows) // 2
    first, second = write(rows[:middle]), write(rows[middle:])
    return Written(first.lost | second.lost, first.returns + second.returns)


def _write_together(rows: Sequence[Row]) -> Written:
    using, written = alias(), Written()
    rows = sorted(rows)  # everybody locks in the same order
    with transaction.atomic(using=using):
        rows = list(_with_outages(rows, written, using))
        kept = _upsert(rows, using)
        _place({kept[row.key]: row for row in rows if row.key in kept and row.streams is not None}, using)
    lost = [row.key for row in rows if row.key not in kept]
    if lost:
        newer = ClientSession.objects.using(using).filter(key__in=lost).values_list("key", "term", "attempt")
        written.lost = {key: (term, attempt) for key, term, attempt in newer}
        written.returns = [each for each in written.returns if each.key not in written.lost]
    return written


def _with_outages(rows: Sequence[Row], written: Written, using: str) -> Iterator[Row]:
    """Fills in how long each client that came back was away, as far as the end of its socket is known."""
    new = [row.key for row in rows if row.connects and row.outage_ms is None]
    gone = ClientSession.objects.using(using).exclude(state=State.LIVE).exclude(close_code=USER_CLOSED)
    gone = gone.filter(seen__gt=timezone.now() - ANOTHER_VISIT).only("key", "node", "seen")
    before = gone.in_bulk(new, field_name="key")  # of nobody: no query
    for row in rows:
        if row.connects and row.outage_ms is None:
            known = before.get(row.key)
            away = row.connected - known.seen if known is not None else timedelta(0)
            row = row._replace(outage_ms=max(0, int(away.total_seconds() * 1000)))
            if known is not None:
                written.returns.append(Return(row.key, row.outage_ms or 0, known.node != row.node))
        elif row.connects:
            written.returns.append(Return(row.key, row.outage_ms or 0, False))
        yield row


def _upsert(rows: Sequence[Row], using: str) -> dict[str, int]:
    """Returns the ids of the rows that were written, by key."""
    connection = connections[using]
    table = connection.ops.quote_name(ClientSession._meta.db_table)
    columns = ", ".join(map(connection.ops.quote_name, _COLUMNS))
    one = f"({', '.join(['%s'] * len(_COLUMNS))})"
    changes = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in _KEPT)
    rank = "({0}.term, {0}.attempt, {0}.connected)".format
    cut = "right({}, {})" if connection.vendor == "postgresql" else "substr({}, -{})"
    cut = cut.format("old.flight || excluded.flight", TEXT)
    sql = (
        f"INSERT INTO {table} AS old ({columns}) VALUES {', '.join([one] * len(rows))} "
        f"ON CONFLICT (key) DO UPDATE SET {changes}, connects = old.connects + excluded.connects, "
        "outage_ms = CASE WHEN excluded.connects > 0 THEN excluded.outage_ms ELSE old.outage_ms END, "
        "close_code = CASE WHEN excluded.state = 'live' "  # that of the last socket, while there is another
        "THEN COALESCE(excluded.close_code, old.close_code) ELSE excluded.close_code END, "
        f"flight = CASE WHEN excluded.flight = '' THEN old.flight ELSE {cut} END "
        f"WHERE {rank('excluded')} >= {rank('old')} "
        "OR (excluded.state = 'live' AND old.state <> 'live') RETURNING key, id"
    )
    adapt = connection.ops.adapt_datetimefield_value
    created, values = adapt(timezone.now()), []
    for row in rows:
        texts = {"identity": storable(row.identity), "client_id": storable(row.client_id)}
        made = {
            "state": row.state.value,
            "positions": json.dumps(row.positions),
            "outage_ms": row.outage_ms or 0,
            "flight": encode(row.flight),
        }
        times = {"created": created, "connected": adapt(row.connected), "seen": adapt(row.seen)}
        one_row = {**row._asdict(), **texts, **made, **times}
        values += [one_row[name] for name in _COLUMNS]
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return dict(cursor.fetchall())


def storable(text: str) -> str:
    """Text of a client as a column of 200 characters takes it: one oddity must not fail a whole batch."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")[:200]


def _place(rows: Mapping[int, Row], using: str) -> None:
    """Makes the rows of who is on which stream equal to what the sessions say."""
    table = SessionStream.objects.using(using)
    missing = {(pk, stream) for pk, row in rows.items() for stream in row.streams or ()}
    surplus = []
    known = table.filter(session__in=list(rows)).values_list("pk", "session_id", "stream")
    for place, session, stream in known:
        if (session, stream) in missing:
            missing.remove((session, stream))
        else:
            surplus.append(place)
    if surplus:
        table.filter(pk__in=surplus).delete()
    table.bulk_create(
        (SessionStream(session_id=pk, stream=stream) for pk, stream in sorted(missing)),
        ignore_conflicts=True,
        batch_size=BATCH,
    )


def count_held(node: str) -> int:
    """How many sessions are live on a node, as the rows say."""
    return _held(node).count()


def held(node: str) -> set[str]:
    """Their keys."""
    return set(_held(node).values_list("key", flat=True))


def _held(node: str) -> QuerySet[ClientSession]:
    return ClientSession.objects.using(alias()).filter(node=node, state=State.LIVE)


def end_absent() -> int:
    """Ends sessions whose client stayed away longer than `PRESENCE_GRACE`; returns how many."""
    using = alias()
    table, ended = ClientSession.objects.using(using), 0
    while True:
        with transaction.atomic(using=using):
            absent = table.filter(
                state=State.AWAY, seen__lt=timezone.now() - timedelta(seconds=settings().PRESENCE_GRACE)
            )
            found = list(absent.select_for_update(skip_locked=True).values_list("pk", flat=True)[:BATCH])
            if found:
                table.filter(pk__in=found).update(state=State.ENDED)
                SessionStream.objects.using(using).filter(session__in=found).delete()
        ended += len(found)
        if len(found) < BATCH:
            return ended


def forget_sessions() -> Iterator[int]:
    """Forgets sessions that nobody has seen for `SESSION_SECONDS`, in batches; yields their sizes.

    Those that live are seen every `SESSION_REFRESH`.
    """
    limit = timezone.now() - timedelta(seconds=settings().SESSION_SECONDS)
    old = ClientSession.objects.using(alias()).filter(state__in=State.values, seen__lt=limit)  # by the index
    while found := list(old.values_list("pk", flat=True)[:BATCH]):
        old.filter(pk__in=found).delete()
        yield len(found)
