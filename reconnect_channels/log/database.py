"""The log in Django's database: SQLite >= 3.35 and PostgreSQL (design 7.2).

A counter row per stream orders the writers: seq, checksum and clock advance in one
`UPDATE … RETURNING`, which holds the row to the end of the caller's transaction. A bare autoincrement
would lose rows for readers: ids are taken in one order and become visible in another.
"""

from __future__ import annotations

import secrets
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from django.db import connections, router, transaction
from django.db.models import Count, Min, QuerySet
from django.utils import timezone

from ..models import StoredSnapshot, Stream, StreamEntry
from ..protocol.codes import Resync
from ..protocol.entry import Entry
from ..protocol.position import MODULUS, Position, advance, batch, before
from ..protocol.recovery import Head
from .base import Draft, Mismatch, Run, SequenceLog, judge

STREAM = Stream._meta.db_table
ENTRY = StreamEntry._meta.db_table
HEAD_COLUMNS = "s.epoch, s.head, s.checksum, s.floor, s.floor_checksum, s.clock"
ENTRY_COLUMNS = "e.seq, e.uid, e.checksum, e.clock, e.key, e.text"
# Seqs have no holes, so both ends of a page are known, and no plan can read on to the head. Neither sorts:
# payloads are large.
PAGE = (
    f"SELECT {HEAD_COLUMNS}, {ENTRY_COLUMNS} FROM {STREAM} s LEFT JOIN {ENTRY} e "
    "ON e.stream_id = s.id AND e.seq >= %s AND e.seq <= %s WHERE s.name = %s"
)
# Of rows that are compared as a whole PostgreSQL expects a ninth of the table, whatever its statistics say of
# streams and seqs: the ordered index scan to the LIMIT is its plan at every size.
POSTGRESQL_PAGE = (
    f"SELECT {HEAD_COLUMNS}, {ENTRY_COLUMNS} FROM {STREAM} s LEFT JOIN LATERAL (SELECT * FROM {ENTRY} r "
    "WHERE (r.stream_id, r.seq) >= (s.id, %s) AND (r.stream_id, r.seq) <= (s.id, %s) "
    "ORDER BY r.stream_id, r.seq LIMIT %s) e ON true WHERE s.name = %s"
)
IDLE_MS = 10_000  # that a writer may hold a stream's row and stand still: all others wait for it
WORKING = "61s"  # that a handler may stand still before it publishes: copies of its message wait
IDLE_TIMEOUT = (  # to the end of the transaction, unless the application has its own
    f", CASE WHEN current_setting('idle_in_transaction_session_timeout') IN ('0', '{WORKING}') "
    "THEN set_config('idle_in_transaction_session_timeout', %s, true) END"
)
ROWS_PER_INSERT = 500  # SQLite allows 32 766 variables a statement
NAMES_PER_QUERY = 1_000
ROWS_PER_DELETE = 5_000  # in one transaction: neither long locks nor a long wait for SQLite's one writer


def sql_now(alias: str) -> Any:
    """The time as raw SQL must write it: SQLite compares the very text that the ORM would have written."""
    return connections[alias].ops.adapt_datetimefield_value(timezone.now())


class DatabaseLog(SequenceLog):
    """:param using: the database alias; by default where the router writes streams."""

    def __init__(self, using: str | None = None) -> None:
        self._using = using

    @property
    def using(self) -> str:
        """The alias that is written, and read: a replica may be behind."""
        return self._using or router.db_for_write(Stream)

    def _query(self, sql: str, params: Sequence[Any], using: str | None = None) -> list[tuple[Any, ...]]:
        with connections[using or self.using].cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.fetchall()  # type: ignore[no-any-return]

    def _begin(self, streams: Iterable[str], using: str | None = None) -> None:
        """Makes the rows of streams that have none; two beginners make one."""
        using = using or self.using
        rows = [(name, secrets.token_hex(8), sql_now(using)) for name in sorted(streams)]
        values = ", ".join(["(%s, %s, 0, 0, 1, 0, 0, %s)"] * len(rows))
        with connections[using].cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {STREAM} (name, epoch, head, checksum, floor, floor_checksum, clock, created) "
                f"VALUES {values} ON CONFLICT (name) DO NOTHING",
                [value for row in rows for value in row],
            )

    def _take(self, stream: str, using: str | None = None) -> tuple[int, int, int] | None:
        """Takes a stream's row, if there is one, to the end of the transaction: (pk, head, floor)."""
        rows = self._query(
            f"UPDATE {STREAM} SET head = head WHERE name = %s RETURNING id, head, floor", [stream], using
        )
        return rows[0] if rows else None

    def append(
        self, stream: str, drafts: Sequence[Draft], clock: int, *, using: str | None = None
    ) -> list[Entry]:
        using = using or self.using
        count = len(drafts)
        ids = [draft.id for draft in drafts]
        a, b = batch(ids)
        sql = (
            f"UPDATE {STREAM} SET head = head + %s, checksum = (checksum * %s + %s) %% {MODULUS}, "
            "clock = CASE WHEN clock > %s THEN clock ELSE %s END + %s "
            "WHERE name = %s RETURNING id, epoch, head, checksum, clock"
        )
        params: list[Any] = [count, a, b, clock, clock, count, stream]
        if connections[using].vendor == "postgresql":
            sql += IDLE_TIMEOUT
            params.append(str(IDLE_MS))
        with transaction.atomic(using=using, savepoint=False):
            rows = self._query(sql, params, using)
            if not rows:
                self._begin([stream], using)
                rows = self._query(sql, params, using)
            pk, epoch, head, checksum, last_clock, *_ = rows[0]
            entries = []
            checksum = before(checksum, ids)
            for i, draft in enumerate(drafts, 1):
                checksum = advance(checksum, draft.id)
                seq, at = head - count + i, last_clock - count + i
                entries.append(Entry(stream, epoch, seq, draft.id, checksum, at, draft.key, draft.text))
            self._insert(pk, entries, [draft.author for draft in drafts], using)
        return entries

    def _insert(self, stream_pk: int, entries: Sequence[Entry], authors: Sequence[str], using: str) -> None:
        now = sql_now(using)
        rows = list(zip(entries, authors, strict=True))
        for start in range(0, len(rows), ROWS_PER_INSERT):
            chunk = rows[start : start + ROWS_PER_INSERT]
            values = ", ".join(["(%s, %s, %s, %s, %s, %s, %s, %s, %s)"] * len(chunk))
            with connections[using].cursor() as cursor:
                cursor.execute(
                    f"INSERT INTO {ENTRY} (stream_id, seq, uid, checksum, clock, key, text, author, created) "
                    f"VALUES {values}",
                    [
                        value
                        for e, author in chunk
                        for value in (stream_pk, e.seq, e.id, e.checksum, e.clock, e.key, e.text, author, now)
                    ],
                )

    def existing(self, stream: str, ids: Sequence[str], *, using: str | None = None) -> dict[str, Entry]:
        if self._take(stream, using) is None:
            self._begin([stream], using)
            self._take(stream, using)
        marks = ", ".join(["%s"] * len(ids))
        rows = self._query(
            f"SELECT s.epoch, {ENTRY_COLUMNS} FROM {STREAM} s JOIN {ENTRY} e ON e.stream_id = s.id "
            f"WHERE s.name = %s AND e.uid IN ({marks})",
            [stream, *ids],
            using,
        )
        return {row[2]: Entry(stream, *row) for row in rows}

    def heads(self, streams: Sequence[str]) -> dict[str, Head]:
        found = self.begun(streams)
        missing = [name for name in streams if name not in found]
        if missing:
            self._begin(missing)
            found |= self.begun(missing)
        return found

    def begun(self, names: Sequence[str]) -> dict[str, Head]:
        if not names:
            return {}
        marks = ", ".join(["%s"] * len(names))
        rows = self._query(f"SELECT s.name, {HEAD_COLUMNS} FROM {STREAM} s WHERE s.name IN ({marks})", names)
        return {row[0]: Head(*row[1:]) for row in rows}

    def read(self, stream: str, after: Position, limit: int) -> Run:
        # One statement sees one state of the database: the head, the entry at the position (the
        # proof) and those after it.
        ends = [after.seq, after.seq + limit]
        if connections[self.using].vendor == "postgresql":
            rows = self._query(POSTGRESQL_PAGE, [*ends, limit + 1, stream])
        else:
            rows = self._query(PAGE, [*ends, stream])
        if not rows:
            return self._vanished(stream)
        head = Head(*rows[0][:6])
        found = [Entry(stream, head.epoch, *row[6:]) for row in rows if row[6] is not None]
        return judge(head, after, limit, sorted(found))

    def _vanished(self, stream: str) -> Run:
        raise Mismatch(Resync.EPOCH, self.heads([stream])[stream])

    def checksum_at(self, stream: str, epoch: str, seq: int) -> int | None:
        rows = self._query(
            f"SELECT e.checksum FROM {STREAM} s JOIN {ENTRY} e ON e.stream_id = s.id "
            "WHERE s.name = %s AND s.epoch = %s AND e.seq = %s",
            [stream, epoch, seq],
        )
        return rows[0][0] if rows else None

    def clock(self) -> int:
        return self._query(f"SELECT COALESCE(MAX(clock), 0) FROM {STREAM}", [])[0][0]  # type: ignore[no-any-return]

    def names(self) -> Iterator[str]:
        """In order; page by page, since an open cursor would hold a transaction."""
        rows, last = Stream.objects.using(self.using).order_by("name"), ""
        while page := list(rows.filter(name__gt=last).values_list("name", flat=True)[:NAMES_PER_QUERY]):
            yield from page
            last = page[-1]

    def newest_before(self, stream: str, moment: datetime) -> int | None:
        # Times rise with seqs, but for differences between clocks: a binary search needs no index on time.
        head = self.begun([stream]).get(stream)
        if head is None:
            return None
        entries = StreamEntry.objects.using(self.using).filter(stream__name=stream)

        def later(seq: int) -> bool:
            return entries.filter(seq=seq, created__gte=moment).exists()

        seq = head.floor - 1 + bisect_left(range(head.floor, head.seq + 1), True, key=later)
        return seq if seq >= head.floor else None

    def trim(self, stream: str, floor: int) -> int:
        # The floor first, and visible before any entry goes: a reader that is below it from then on is
        # told so, and never meets a hole. What a crash leaves below the floor goes the next time.
        self._raise_floor(stream, floor)
        rows = self._query(
            f"SELECT e.stream_id, s.floor, MIN(e.seq) FROM {STREAM} s JOIN {ENTRY} e "
            "ON e.stream_id = s.id AND e.seq < s.floor WHERE s.name = %s GROUP BY e.stream_id, s.floor",
            [stream],
        )
        gone = 0
        for pk, lowest, first in rows:
            end = min(lowest, floor)
            for start in range(first, end, ROWS_PER_DELETE):
                with connections[self.using].cursor() as cursor:
                    cursor.execute(
                        f"DELETE FROM {ENTRY} WHERE stream_id = %s AND seq >= %s AND seq < %s",
                        [pk, start, min(start + ROWS_PER_DELETE, end)],
                    )
                    gone += cursor.rowcount
        return gone

    def _raise_floor(self, stream: str, floor: int) -> None:
        """Takes the stream's row for this one statement only."""
        head = self.begun([stream]).get(stream)
        if head is None or (floor := min(floor, head.seq + 1)) <= head.floor:
            return
        self._query(
            f"UPDATE {STREAM} SET floor = %s, floor_checksum = (SELECT e.checksum FROM {ENTRY} e "
            f"WHERE e.stream_id = {STREAM}.id AND e.seq = %s) "
            "WHERE name = %s AND floor < %s AND head >= %s RETURNING id",
            [floor, floor - 1, stream, floor, floor - 1],
        )

    def written_by(self, author: str) -> Iterator[tuple[str, int, int]]:
        found = self._written_by(author).values_list("stream__name").order_by("stream__name")
        yield from found.annotate(Count("pk"), Min("seq"))

    def blank(self, stream: str, author: str, text: str) -> None:
        entries = self._written_by(author).filter(stream__name=stream).order_by("seq")
        while pks := list(entries.values_list("pk", flat=True)[:ROWS_PER_DELETE]):
            entries.filter(pk__in=pks).order_by().update(text=text, author="")

    def _written_by(self, author: str) -> QuerySet[StreamEntry]:
        # Said twice, so that the plan of a prepared statement may use the partial index, too.
        return StreamEntry.objects.using(self.using).filter(author=author).exclude(author="")

    def new_epoch(self, stream: str, expected: str) -> Head:
        Stream.objects.using(self.using).filter(name=stream, epoch=expected).update(
            epoch=secrets.token_hex(8)
        )
        return self.heads([stream])[stream]

    def drop(self, stream: str) -> None:
        with transaction.atomic(using=self.using):
            self._take(stream)  # whoever appends now would leave entries without a stream
            Stream.objects.using(self.using).filter(name=stream).delete()
            StoredSnapshot.objects.using(self.using).filter(stream=stream).delete()
