"""Statements that end in time, in the database itself: nobody waits there for an answer that nobody wants.

PostgreSQL ends them by `statement_timeout`, SQLite by its progress handler; others run them to their end.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.db import connections, transaction
from django.db.backends.signals import connection_created

INSTRUCTIONS = 10_000  # of SQLite's machine between two looks at the clock: a fraction of a millisecond


class Bounded(threading.local):
    """The bound of the statements of this thread's own connections; None = not a thread of bounded reads."""

    seconds: float | None = None
    until = float("inf")


bounded = Bounded()


def bind(seconds: float) -> None:
    """Bounds this thread's statements from now on, by connections that it opens and keeps for itself.

    Costs one round trip a connection. `until` counts anew with each call.
    """
    if bounded.seconds not in (None, seconds):  # the setting was changed: connections know the old one
        connections.close_all()
    bounded.seconds = seconds
    bounded.until = time.monotonic() + seconds


def _created(connection: Any, **_: Any) -> None:
    if bounded.seconds is None:
        return
    if connection.vendor == "sqlite":
        connection.connection.set_progress_handler(_overdue, INSTRUCTIONS)
    elif connection.vendor == "postgresql":
        if shared(connection):
            wrapper = _Local(bounded.seconds)
            if wrapper not in connection.execute_wrappers:
                connection.execute_wrappers.append(wrapper)
        else:
            with connection.cursor() as cursor:
                cursor.execute(f"SET statement_timeout = {_ms(bounded.seconds)}")


connection_created.connect(_created, dispatch_uid="reconnect_channels.deadline")


def _overdue() -> bool:
    return time.monotonic() > bounded.until


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def shared(connection: Any) -> bool:
    """Whether others get the same session after us: Django's pool, or PgBouncer in transaction mode.

    For the latter Django's documentation asks for DISABLE_SERVER_SIDE_CURSORS.
    """
    settings = connection.settings_dict
    return bool(settings["OPTIONS"].get("pool") or settings.get("DISABLE_SERVER_SIDE_CURSORS"))


class _Local:
    """An execute wrapper: each statement in a transaction of its own, whose `statement_timeout` ends with it.

    Inside a transaction of the caller, the old value is put back behind the statement.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._within = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Local) and other._seconds == self._seconds

    __hash__ = None  # type: ignore[assignment]

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if self._within:
            return execute(sql, params, many, context)
        connection = context["connection"]
        nested = connection.in_atomic_block
        self._within = True
        try:
            with transaction.atomic(using=connection.alias):
                before = _set_local(connection, str(_ms(self._seconds)))
                result = execute(sql, params, many, context)
                if nested:
                    _set_local(connection, before)
                return result
        finally:
            self._within = False


def _set_local(connection: Any, value: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('statement_timeout'), set_config('statement_timeout', %s, true)", [value]
        )
        return str(cursor.fetchone()[0])


@contextmanager
def within(alias: str, seconds: float) -> Iterator[None]:
    """Bounds the statements of a block on a connection of the caller, and leaves it as it was."""
    connection: Any = connections[alias]
    if connection.vendor == "postgresql":
        with connection.execute_wrapper(_Local(seconds)):
            yield
    elif connection.vendor == "sqlite":
        connection.ensure_connection()
        until = time.monotonic() + seconds
        connection.connection.set_progress_handler(lambda: time.monotonic() > until, INSTRUCTIONS)
        try:
            yield
        finally:
            if connection.connection is not None:
                connection.connection.set_progress_handler(None, 0)
    else:
        yield


def sever(connection: Any) -> None:
    """Breaks the socket of another thread's connection, which then raises: its database doesn't answer.

    What the network swallowed is found by TCP after minutes only.
    """
    with (
        suppress(Exception),  # it isn't connected, or has no socket
        socket.socket(fileno=os.dup(connection.connection.fileno())) as end,
    ):
        end.shutdown(socket.SHUT_RDWR)
