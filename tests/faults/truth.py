"""The log itself, read behind everybody's back: what clients agree on must be what is stored."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import psycopg

from reconnect_channels.log.redis import RedisLog
from reconnect_channels.protocol.position import Position, advance
from reconnect_channels.storm.history import History

PAGE = 500


class Row(NamedTuple):
    seq: int
    id: str
    key: str | None
    checksum: int


class Stored(NamedTuple):
    """One stream of the log: where it begins, where it ends, and what it keeps between."""

    base: Position
    head: Position
    rows: dict[int, Row]

    @classmethod
    def of(cls, base: Position, head: Position, rows: Iterable[Row]) -> "Stored":
        return cls(base, head, {row.seq: row for row in rows})


def read_database(url: str) -> dict[str, Stored]:
    """Every stream of a DatabaseLog."""
    with psycopg.connect(url) as connection:
        heads = connection.execute(
            "SELECT name, id, epoch, head, checksum FROM reconnect_channels_stream"
        ).fetchall()
        stored = {}
        for name, pk, epoch, head, checksum in heads:
            rows = connection.execute(
                "SELECT seq, uid::text, key::text, checksum FROM reconnect_channels_streamentry "
                "WHERE stream_id = %s ORDER BY seq",
                [pk],
            )
            base = Position(epoch, 0, 0)
            stored[name] = Stored.of(base, Position(epoch, head, checksum), (Row(*row) for row in rows))
        return stored


def read_redis(url: str) -> dict[str, Stored]:
    """Every stream of a RedisLog."""
    log, stored = RedisLog(url), {}
    for name in log.names():
        head = log.heads([name])[name]
        base = at = Position(head.epoch, head.floor - 1, head.floor_checksum)
        rows: list[Row] = []
        while entries := log.read(name, at, PAGE).entries:
            rows += [Row(entry.seq, entry.id, entry.key, entry.checksum) for entry in entries]
            at = entries[-1].position
        stored[name] = Stored.of(base, head.position, rows)
    log.endpoint.close()
    return stored


def compare(stored: dict[str, Stored], history: History) -> Counter[str]:
    """What the log, the acks and the clients say of each other.

    `holes`, `duplicates`, `overtaken` and `diverged` must never be; `lost` are acknowledged messages that
    aren't where the ack said.
    """
    found = Counter(holes=0, lost=0, duplicates=0, overtaken=0, diverged=0)
    for name, stream in stored.items():
        _, seq, checksum = stream.base
        newest: dict[str, int] = {}
        for row in stream.rows.values():
            seq, checksum = seq + 1, advance(checksum, row.id)
            found["holes"] += (row.seq, row.checksum) != (seq, checksum)
            acked = history.acked.get(row.key or "")
            if acked is not None:
                found["overtaken"] += acked.number < newest.get(acked.producer, 0)
                newest[acked.producer] = acked.number
        found["holes"] += (seq, checksum) != stream.head[1:]
        keys = Counter(row.key for row in stream.rows.values() if row.key is not None)
        found["duplicates"] += sum(count - 1 for count in keys.values())
        found["diverged"] += len(history.positions(name) - {stream.head})
    for key, acked in history.acked.items():
        there = stored.get(acked.stream)
        entry = there.rows.get(acked.seq or 0) if there and there.head.epoch == acked.epoch else None
        found["lost"] += entry is None or entry.key != key
    return found
