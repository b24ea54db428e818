"""The log itself, read behind everybody's back: what clients agree on must be what is stored."""

from collections import Counter
from typing import NamedTuple

import psycopg

from reconnect_channels.protocol.position import Position, advance
from reconnect_channels.storm.history import History

FAULTS = "holes", "lost", "duplicates", "diverged"


class Row(NamedTuple):
    seq: int
    id: str
    key: str | None
    checksum: int


class Stored(NamedTuple):
    """One stream of the log."""

    head: Position
    rows: dict[int, Row]


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
            stored[name] = Stored(Position(epoch, head, checksum), {row[0]: Row(*row) for row in rows})
        return stored


def compare(stored: dict[str, Stored], history: History) -> Counter[str]:
    """What the log, the acks and the clients say of each other; every count must be 0."""
    found: Counter[str] = Counter(dict.fromkeys(FAULTS, 0))
    for name, stream in stored.items():
        checksum = 0
        for seq, row in enumerate(stream.rows.values(), 1):
            checksum = advance(checksum, row.id)
            found["holes"] += (row.seq, row.checksum) != (seq, checksum)
        found["holes"] += (len(stream.rows), checksum) != stream.head[1:]
        keys = Counter(row.key for row in stream.rows.values() if row.key is not None)
        found["duplicates"] += sum(count - 1 for count in keys.values())
        found["diverged"] += len(history.positions(name) - {stream.head})
    for key, (name, epoch, seq) in history.places().items():
        place = stored.get(name)
        row = place.rows.get(seq or 0) if place and place.head.epoch == epoch else None
        found["lost"] += row is None or row.key != key
    return found
