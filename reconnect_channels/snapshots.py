"""Snapshots: the state of a stream together with the position that it belongs to (design 7.7)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import msgspec
from django.db import connections, transaction

from . import folding, workers
from .conf import settings
from .log import log_for
from .protocol.codec import encode
from .protocol.position import Position

ATTEMPTS = 3


class Snapshot(NamedTuple):
    """State as JSON `text`, the position it belongs to, and whether that is exact.

    Inexact means that the state may already hold some of the entries that follow.
    """

    position: Position
    text: str
    exact: bool

    @property
    def payload(self) -> Any:
        """The decoded state."""
        return msgspec.json.decode(self.text)


@contextmanager
def read_transaction(alias: str) -> Iterator[None]:
    """One transaction that sees one state of the database from its first read to its last."""
    connection: Any = connections[alias]
    if connection.vendor == "sqlite":
        # A reader needs no write lock: IMMEDIATE would queue it behind the writers.
        mode = getattr(connection, "transaction_mode", None)
        connection.transaction_mode = "DEFERRED"
        try:
            with transaction.atomic(using=alias):
                yield
        finally:
            connection.transaction_mode = mode
        return
    with transaction.atomic(using=alias):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            if connection.vendor == "postgresql":  # nobody waits longer for it
                cursor.execute(f"SET LOCAL statement_timeout = {round(settings().SNAPSHOT_TIMEOUT * 1000)}")
        yield


def take(consumer_class: Any, stream: str) -> Snapshot:
    """Takes a snapshot with a consumer class's `def get_snapshot` or `reduce`, for views, commands, shells.

    Exact: state and position are read in one transaction, or the state is the fold of the log itself.
    Inside a transaction of the caller that one is used, and where the log is not in the database there is
    none: then the position is a lower bound (`exact` False).

    :raises TypeError: `get_snapshot` is an `async def`; use `atake`.
    :raises folding.Unfoldable: `reduce` lacks entries that were forgotten.
    """
    if folding.folds(consumer_class):
        folded = folding.fold(consumer_class, stream)
        return Snapshot(folded.position, folded.text, True)
    if inspect.iscoroutinefunction(consumer_class.get_snapshot):
        raise TypeError("get_snapshot is async: use atake()")
    log = log_for(stream)
    log.heads([stream])  # begins an unknown stream, which a read transaction couldn't
    inside = connections[log.using].in_atomic_block
    with nullcontext() if inside else read_transaction(log.using):
        position = log.heads([stream])[stream].position
        state = consumer_class.get_snapshot(stream)
    # What a transaction changed can be seen before a log elsewhere has its entry: equal positions around
    # the state would prove nothing there.
    return Snapshot(position, encode(state), exact=log.transactional and not inside)


async def atake(consumer_class: Any, stream: str) -> Snapshot:
    """`take` for async code; an `async def get_snapshot` is bracketed by two reads of the position.

    Equal positions prove that nothing came between: exact. After three tries the earlier position of
    the last one is a lower bound, as it is at once where the log is not in the database.
    """
    hook: Callable[[str], Any] = consumer_class.get_snapshot
    if folding.folds(consumer_class) or not inspect.iscoroutinefunction(hook):
        return await workers.run(take, consumer_class, stream)  # type: ignore[no-any-return]
    log = log_for(stream)
    after = (await workers.run(log.heads, [stream]))[stream].position
    for _ in range(ATTEMPTS if log.transactional else 1):
        before = after
        state = await hook(stream)
        after = (await workers.run(log.heads, [stream]))[stream].position
        if after == before and log.transactional:
            return Snapshot(before, encode(state), True)
    return Snapshot(before, encode(state), False)
