"""The databases of streams and sessions: do they keep what was committed, and answer in time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.db import DatabaseError, Error, connections, router
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from .. import deadline, sessions
from ..log import all_logs
from ..models import Stream
from .finding import Finding, Plan, failure, ok, told, warning

APP = "reconnect_channels"
SKEW = 1.0  # seconds
BOUND = 0.3  # seconds that a statement is given
CROWDED = 0.8  # of `max_connections`
SHORT_IDLE = 60.0  # seconds
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "lustre", "afs", "9p", "fuse.sshfs"}
SETTINGS = (
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "transaction_isolation",
    "transaction_read_only",
    "idle_session_timeout",
    "idle_in_transaction_session_timeout",
    "max_connections",
)
SLOW = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1e8) SELECT count(*) FROM n"


def probe(plan: Plan) -> Iterator[Finding]:
    for alias in sorted({router.db_for_write(Stream), sessions.alias(), *(log.using for log in all_logs())}):
        try:
            yield from _database(alias)
        except Error as error:
            yield failure(
                "connection",
                f"Database {alias!r} doesn't answer, so nothing can be written: {told(error)}",
                "Start it; check host, port, name, user and password in DATABASES.",
            )


def _database(alias: str) -> Iterator[Finding]:
    connection: Any = connections[alias]
    connection.ensure_connection()
    version = ".".join(str(part) for part in connection.get_database_version())
    yield ok("connection", f"Database {alias!r}: {connection.display_name} {version}.")
    match connection.vendor:
        case "postgresql":
            yield from _postgres(connection)
        case "sqlite":
            yield from _sqlite(connection)
        case _:
            yield warning(
                "vendor",
                f"{connection.display_name} isn't a database that this app is tested with.",
                "Use PostgreSQL.",
            )
    yield from _bounded(connection)
    yield from _migrated(connection)


# -- PostgreSQL ----------------------------------------------------------------------------------------


def _postgres(connection: Any) -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [list(SETTINGS)])
        values: dict[str, str] = dict(cursor.fetchall())
        cursor.execute(
            "SELECT pg_is_in_recovery(), pg_backend_pid(), count(*) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend'"
        )
        replica, pid, connected = cursor.fetchone()
    yield from durability(values)
    yield from writable(values, replica=replica)
    yield from waits(values)
    pooled = pid != connection.connection.info.backend_pid
    yield pooling(pooled=pooled, shared=deadline.shared(connection))
    share = connected / int(values["max_connections"])
    text = f"{connected} of {values['max_connections']} connections are in use"
    if share > CROWDED:
        yield warning(
            "connections",
            f"{text}: soon others are refused.",
            "Raise max_connections, lower THREADS, or put PgBouncer before it.",
        )
    else:
        yield ok("connections", f"{text}.")
    yield _skew(connection)


def durability(values: Mapping[str, str]) -> Iterator[Finding]:
    """Whether an acknowledged commit survives a crash (P1).

    :param values: of `pg_settings`.
    """
    if values["fsync"] == "off":
        yield failure(
            "fsync",
            "fsync is off: a crash of the machine may destroy the database, with what was acknowledged.",
            "Set fsync = on in postgresql.conf.",
        )
    else:
        yield ok("fsync", "fsync is on: what is committed reaches the disk.")
    if values["synchronous_commit"] == "off":
        yield failure(
            "synchronous_commit",
            "synchronous_commit is off: a crash loses the newest commits, which clients were told are safe.",
            "Set synchronous_commit = on, at least for the role of this app.",
        )
    else:
        yield ok("synchronous_commit", f"synchronous_commit is {values['synchronous_commit']}.")
    if values["full_page_writes"] == "off":
        yield warning(
            "full_page_writes",
            "full_page_writes is off: a crash may leave torn pages.",
            "Set full_page_writes = on, unless the file system writes pages atomically (ZFS).",
        )
    else:
        yield ok("full_page_writes", "full_page_writes is on.")


def writable(values: Mapping[str, str], *, replica: bool) -> Iterator[Finding]:
    """Whether entries can be appended here.

    :param values: of `pg_settings`.
    :param replica: the server is in recovery.
    """
    if replica:
        yield failure(
            "primary",
            "This is a replica: it takes no writes, and what it shows may be old.",
            "Let DATABASES name the primary (libpq: target_session_attrs=read-write).",
        )
    elif values["transaction_read_only"] == "on":
        yield failure(
            "primary",
            "Transactions are read-only here: nothing can be published.",
            "Set default_transaction_read_only = off for this role and database.",
        )
    else:
        yield ok("primary", "It is a primary and takes writes.")
    isolation = values["transaction_isolation"]
    if isolation == "read committed":
        yield ok("isolation", "Isolation is read committed.")
    else:
        yield failure(
            "isolation",
            f"Isolation is {isolation}: of two writers of one stream, one fails with a serialization error.",
            "Use read committed: DATABASES' isolation_level, default_transaction_isolation.",
        )


def waits(values: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the server ends connections that only wait.

    :param values: of `pg_settings`, in milliseconds.
    """
    for name, what in (
        ("idle_session_timeout", "connections that wait for work"),
        ("idle_in_transaction_session_timeout", "transactions whose handler takes its time"),
    ):
        seconds = int(values.get(name, "0")) / 1000
        if 0 < seconds < SHORT_IDLE:
            yield warning(
                name,
                f"{name} is {seconds:g} s: it ends {what}.",
                f"Set it to a minute or more, or to 0: {name}.",
            )
        else:
            yield ok(name, f"{name} is {f'{seconds:g} s' if seconds else 'off'}.")


def pooling(*, pooled: bool, shared: bool) -> Finding:
    """:param pooled: what is connected to isn't the backend itself.
    :param shared: Django was told that others get the same backend.
    """
    if pooled and not shared:
        return warning(
            "pooler",
            "A pooler (PgBouncer?) stands before PostgreSQL. In transaction mode, a statement_timeout that "
            "is set on one connection would stay behind with a backend that others use.",
            "For transaction pooling set DISABLE_SERVER_SIDE_CURSORS = True in DATABASES.",
        )
    return ok(
        "pooler", "A pooler shares the backends, and Django knows." if pooled else "No pooler before it."
    )


def _skew(connection: Any) -> Finding:
    with connection.cursor() as cursor:
        before = timezone.now()
        cursor.execute("SELECT clock_timestamp()")
        (there,) = cursor.fetchone()
        taken = timezone.now() - before
    seconds = (there - before - taken / 2).total_seconds()
    where = "ahead of" if seconds > 0 else "behind"
    text = f"The database's clock is {abs(seconds):.3f} s {where} this machine's"
    if abs(seconds) > SKEW + taken.total_seconds():
        return warning(
            "clock", f"{text}: times of sessions, answers and retention are off by that.", "Run NTP on both."
        )
    return ok("clock", f"{text} (give or take {taken.total_seconds() / 2:.3f} s).")


# -- SQLite --------------------------------------------------------------------------------------------


def _sqlite(connection: Any) -> Iterator[Finding]:
    with connection.cursor() as cursor:
        mode, level = (cursor.execute(f"PRAGMA {it}").fetchone()[0] for it in ("journal_mode", "synchronous"))
    if connection.is_in_memory_db():
        yield failure(
            "file", "The database is in memory: it ends with the process.", "Give DATABASES a file as NAME."
        )
        return
    if mode == "wal":
        yield ok("journal_mode", "journal_mode is WAL: readers don't wait for the writer.")
    else:
        yield warning(
            "journal_mode",
            f"journal_mode is {mode}: readers and the writer wait for each other.",
            'OPTIONS = {"init_command": "PRAGMA journal_mode=WAL;"}',
        )
    if level == 0:
        yield failure(
            "synchronous",
            "synchronous is OFF: a power cut may destroy the database.",
            "PRAGMA synchronous=NORMAL (with WAL), or FULL.",
        )
    elif level == 1:
        yield ok(
            "synchronous", "synchronous is NORMAL: no crash of a process loses anything; a power cut may."
        )
    else:
        yield ok("synchronous", "synchronous is FULL or more: what is committed reaches the disk.")
    kind = file_system(os.path.realpath(connection.settings_dict["NAME"]))
    if kind in NETWORK:
        yield failure(
            "file_system",
            f"The file lies on a network ({kind}): SQLite's locks don't hold there, and WAL doesn't work.",
            "Put it on a local disk; for several machines use PostgreSQL.",
        )
    elif kind:
        yield ok("file_system", f"The file lies on a local file system ({kind}).")


def file_system(path: str, mounts: str = "/proc/self/mounts") -> str:
    """The kind of file system that a file lies on; empty where it can't be told (not Linux)."""
    found = ("", "")
    with suppress(OSError):
        for line in Path(mounts).read_text().splitlines():
            _, at, kind, *_ = line.split(" ")
            at = at.replace("\\040", " ")
            if (path == at or path.startswith(at.rstrip("/") + "/")) and len(at) >= len(found[0]):
                found = (at, kind)
    return found[1]


# -- both ----------------------------------------------------------------------------------------------


def _bounded(connection: Any) -> Iterator[Finding]:
    sql = {"postgresql": "SELECT pg_sleep(5)", "sqlite": SLOW}.get(connection.vendor)
    if sql is None:
        return
    began = time.monotonic()
    try:
        with deadline.within(connection.alias, BOUND), connection.cursor() as cursor:
            cursor.execute(sql)
    except DatabaseError:
        yield ok("deadline", f"A slow statement was ended after {time.monotonic() - began:.1f} s, as told.")
    else:
        yield failure(
            "deadline",
            "The database doesn't end slow statements in time: reads of an overloaded log would pile up.",
            "Does a pooler or a proxy drop SET statement_timeout?",
        )


def _migrated(connection: Any) -> Iterator[Finding]:
    executor = MigrationExecutor(connection)
    leaves = [node for node in executor.loader.graph.leaf_nodes() if node[0] == APP]
    missing = [
        migration.name for migration, _ in executor.migration_plan(leaves) if migration.app_label == APP
    ]
    if missing:
        yield failure(
            "migrations",
            f"Tables of this version are missing in {connection.alias!r}: {', '.join(missing)}.",
            f"manage.py migrate {APP} --database {connection.alias}",
        )
    else:
        yield ok("migrations", "All migrations are applied.")
