"""Fills the tables of operators with as many rows as a busy site has, in seconds."""

from typing import Any

from django.db import connection, models

from reconnect_channels.models import (
    ClientSession,
    DriftReport,
    ProcessedMessage,
    Producer,
    Revocation,
    SessionStream,
    StoredSnapshot,
    Stream,
    StreamEntry,
)

STREAMS = 1_000  # entries are spread over them evenly, but for the first, which has half of all


def fill(entries: int, others: int) -> None:
    """Rows of every model but nodes; the newest is of now, the one before a second older.

    :param others: rows of every other table.
    """
    postgres = connection.vendor == "postgresql"

    def insert(model: type[models.Model], count: int, given: dict[str, str]) -> None:
        defaults = {"created": ago, "seen": ago, "connected": ago, "since": ago, "first_seen": ago}
        columns = {}
        for field in model._meta.concrete_fields:
            if field.primary_key:
                continue
            default: Any = field.get_default() if field.has_default() else ""
            value = given.get(field.column, defaults.get(field.column))
            if value is None:
                value = "NULL" if field.null else f"'{default}'" if isinstance(default, str) else str(default)
            columns[field.column] = "'{}'" if isinstance(field, models.JSONField) else value
        series = (
            f"generate_series(1, {count}) AS n"
            if postgres
            else f"(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count}) "
            "SELECT n FROM s)"
        )
        table = model._meta.db_table
        sql = f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(columns.values())} FROM {series}"
        with connection.cursor() as cursor:
            cursor.execute(sql.replace("{total}", str(count)))
            if postgres:  # which does it by itself
                cursor.execute(f"ANALYZE {table}")

    if postgres:
        ago = "now() - ({total} - n) * interval '1 second'"
    else:
        ago = "strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || ({total} - n) || ' seconds')"
    text = "lpad(n::text, 32, '0')" if postgres else "printf('%032d', n)"
    user = "'user:' || (n % 5000)"
    stream = "'board:' || (n % 1000)"
    half = entries // 2
    head = str(half + half // STREAMS)
    insert(Stream, STREAMS, {"name": "'board:' || (n - 1)", "epoch": "'e'", "head": head})
    first = Stream.objects.order_by("pk").values_list("pk", flat=True)[0]
    insert(
        StreamEntry,
        entries,
        {
            "stream_id": f"CASE WHEN n <= {half} THEN {first} ELSE {first} + (n % {STREAMS}) END",
            "seq": f"CASE WHEN n <= {half} THEN n ELSE {half} + (n - {half}) / {STREAMS} + 1 END",
            "uid": text,
            "checksum": "0",
            "clock": "n",
            "text": "'{\"n\":1}'",
        },
    )
    who = {"identity": user, "stream": stream, "key": text, "producer": text, "client_id": text}
    insert(ProcessedMessage, others, {**who, "payload_hash": "'h'", "status": "'acked'"})
    insert(Producer, others, {**who, "updated": ago})
    insert(DriftReport, others, {**who, "epoch": "'e'", "seq": "n", "client_checksum": "1", "last_seen": ago})
    state = "CASE n % 10 WHEN 0 THEN 'live' WHEN 1 THEN 'away' ELSE 'ended' END"
    node = "'node' || (n % 7)"
    insert(ClientSession, others, {**who, "socket": "'s' || n", "node": node, "state": state})
    session = ClientSession.objects.order_by("pk").values_list("pk", flat=True)[0]
    insert(SessionStream, others, {**who, "session_id": f"{session} + n - 1"})
    insert(Revocation, others, {**who, "cause": "'check'"})
    insert(StoredSnapshot, others, {**who, "seq": "n", "checksum": "1", "text": "'{}'"})
