"""Checks of the databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Tags, Warning, register
from django.db import DatabaseError, connections

SQLITE = (
    'OPTIONS = {"transaction_mode": "IMMEDIATE", "timeout": 5, "init_command": "PRAGMA journal_mode=WAL;"}'
)
READ_COMMITTED = 2  # psycopg's number of it


@register(Tags.database)
def check_databases(databases: Any = None, **_: Any) -> Iterator[CheckMessage]:
    """What streams need of the databases that are to be checked."""
    for alias in databases or ():
        options = django_settings.DATABASES[alias].get("OPTIONS", {})
        if connections[alias].vendor == "sqlite":
            yield from _sqlite(alias, options)
        elif connections[alias].vendor == "postgresql":
            yield from _postgresql(alias, options)


def _sqlite(alias: str, options: Any) -> Iterator[CheckMessage]:
    if options.get("transaction_mode") != "IMMEDIATE":
        yield Warning(
            f"Database {alias!r} is SQLite without IMMEDIATE transactions: one that reads and then "
            "writes fails at once when another one writes.",
            hint=SQLITE,
            id="reconnect_channels.W002",
        )
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute("PRAGMA journal_mode")
            [mode] = cursor.fetchone()
    except DatabaseError:
        return  # others say that it can't be opened
    if mode not in ("wal", "memory"):
        yield Warning(
            f"Database {alias!r} is SQLite with a {mode} journal: whoever writes waits for all who read.",
            hint=SQLITE,
            id="reconnect_channels.W003",
        )


def _postgresql(alias: str, options: Any) -> Iterator[CheckMessage]:
    if int(options.get("isolation_level") or READ_COMMITTED) > READ_COMMITTED:
        yield Warning(
            f"Database {alias!r} isolates transactions more than READ COMMITTED: two that publish to one "
            "stream at the same time don't wait for each other, one of them fails.",
            hint="Leave isolation_level out of OPTIONS, or run again what fails.",
            id="reconnect_channels.W007",
        )
