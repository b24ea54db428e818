"""Folding: a stream's state out of its own entries, by the application's `reduce` (design 7.7).

Event sourcing with stored snapshots: the state at a position is the newest one stored before it, and the
fold of the entries between. A stored snapshot holds where the log has its checksum at its seq: then it is
of the same history, whatever the epoch is called by now.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, transaction
from django.db.models import Max, QuerySet

from .conf import settings
from .log import log_for
from .log.base import Mismatch, Run
from .models import StoredSnapshot
from .protocol.codec import encode
from .protocol.codes import Resync
from .protocol.position import Position
from .protocol.recovery import Head

logger = logging.getLogger(__name__)

PAGE = 500  # entries in memory at once
ATTEMPTS = 5  # starts, where the log is trimmed or gets another epoch meanwhile
KEPT = 2  # stored snapshots of a stream and version: the newest, and one to fall back on


class Unfoldable(Exception):
    """Entries are gone that no stored snapshot holds: what the stream's state is can't be said."""


class Fold(NamedTuple):
    """The state as JSON `text` after the entry at `position`; `stored` is the newest stored seq, or None."""

    position: Position
    text: str
    stored: int | None


class _Base(NamedTuple):
    """Where a fold may begin, if the log proves seq and checksum."""

    seq: int
    checksum: int
    text: str
    row: StoredSnapshot | None  # None: the beginning of the log
    current: bool = True  # of the version that the class has now


def folds(consumer_class: Any) -> bool:
    """Whether the class has a `reduce` of its own.

    :raises ImproperlyConfigured: it has a `get_snapshot` too, or `reduce` is an `async def`.
    """
    if not overrides(consumer_class, "reduce"):
        return False
    name = f"{consumer_class.__module__}.{consumer_class.__qualname__}"
    if overrides(consumer_class, "get_snapshot"):
        raise ImproperlyConfigured(f"{name} has both get_snapshot and reduce: only one can be the state.")
    if inspect.iscoroutinefunction(consumer_class.reduce):
        raise ImproperlyConfigured(f"{name}.reduce must be a plain def: it only computes.")
    return True


def overrides(consumer_class: Any, hook: str) -> bool:
    """Whether the class has a hook of its own."""
    found = getattr(consumer_class, hook, None)
    return found is not None and not getattr(found, "_reconnect_default", False)


def fold(
    consumer_class: Any,
    stream: str,
    *,
    every: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> Fold:
    """The state after what was the newest entry at the time of the call, or a later one.

    :param every: stores the result when it is so many entries newer than the newest stored snapshot;
        default `SNAPSHOT_EVERY`.
    :param progress: called with the number of entries folded, page by page.
    :raises Unfoldable: the log begins later than every stored snapshot of this `snapshot_version`.
    :raises TypeError: `reduce` returned what JSON doesn't give back as it was.
    """
    every = settings().SNAPSHOT_EVERY if every is None else every
    for _ in range(ATTEMPTS):
        try:
            base, start, run = _begin(consumer_class, stream)
            position, text = _go_on(consumer_class, stream, base, start, run, progress or (lambda _: None))
        except Mismatch as mismatch:
            logger.debug("The fold of %s begins anew: %s", stream, mismatch)
            continue
        stored = base.seq if base.row is not None and base.current else None
        if not base.current or position.seq - base.seq >= max(every, 1):
            stored = position.seq if _store(consumer_class, stream, position, text) else stored
        return Fold(position, text, stored)
    raise Unfoldable(f"{stream}: its log changes faster than it can be read")


def _begin(consumer_class: Any, stream: str) -> tuple[_Base, Position, Run]:
    """The newest base that the log proves, and the first page after it."""
    log = log_for(stream)
    head = log.heads([stream])[stream]
    for base in _bases(consumer_class, stream, head):
        start = Position(head.epoch, base.seq, base.checksum)
        try:
            return base, start, log.read(stream, start, PAGE)
        except Mismatch as mismatch:
            if mismatch.reason is Resync.EPOCH:
                raise
            if base.row is not None and mismatch.reason is not Resync.TRIMMED:
                logger.error("The stored snapshot of %s at %d is of another history", stream, base.seq)
                base.row.delete()
    raise Unfoldable(
        f"{stream} is kept from {head.floor} on, and no stored snapshot of version "
        f"{_version(consumer_class)} leads there"
    )


def _bases(consumer_class: Any, stream: str, head: Head) -> Iterator[_Base]:
    version = _version(consumer_class)
    rows = _rows(stream)
    for row in rows.filter(version=version).order_by("-seq"):
        yield _Base(row.seq, row.checksum, row.text, row)
    if head.floor_checksum == 0:  # nothing was trimmed: the life of this log begins here
        yield _Base(head.floor - 1, 0, encode(consumer_class.initial_state(stream)), None)
    if overrides(consumer_class, "upgrade_state"):
        for row in rows.filter(version__lt=version).order_by("-version", "-seq"):
            state = consumer_class.upgrade_state(msgspec.json.decode(row.text), row.version)
            yield _Base(row.seq, row.checksum, encode(state), row, current=False)


def _go_on(
    consumer_class: Any,
    stream: str,
    base: _Base,
    position: Position,
    run: Run,
    progress: Callable[[int], object],
) -> tuple[Position, str]:
    """Not further than what was the head of the first page: a stream that never rests converges, too."""
    target, folded = run.head.seq, 0
    if position.seq >= target:
        return position, base.text
    state = msgspec.json.decode(base.text)
    while True:
        last = run.entries[-1] if run.entries else None
        if last is None or last.seq - position.seq != len(run.entries):
            raise Unfoldable(f"{stream}: entries after {position.seq} are missing")
        for entry in run.entries:
            state = consumer_class.reduce(state, entry)
        position = last.position
        progress(folded := folded + len(run.entries))
        if position.seq >= target:
            break
        run = log_for(stream).read(stream, position, PAGE)
    text = encode(state)
    if msgspec.json.decode(text) != state:  # the next fold, from what was stored, would go another way
        raise TypeError(
            f"{consumer_class.__qualname__}.reduce must return what JSON gives back as it was: dicts whose "
            "keys are strings, lists, strings, numbers, booleans, None"
        )
    return position, text


def _version(consumer_class: Any) -> int:
    return int(consumer_class.snapshot_version)


def _rows(stream: str) -> QuerySet[StoredSnapshot]:
    return StoredSnapshot.objects.using(log_for(stream).using).filter(stream=stream)


def _store(consumer_class: Any, stream: str, position: Position, text: str) -> bool:
    """Stores a snapshot and forgets all but the newest; a failure costs the next fold time, nobody else."""
    version, using = _version(consumer_class), log_for(stream).using
    row = StoredSnapshot(
        stream=stream, version=version, seq=position.seq, checksum=position.checksum, text=text
    )
    try:
        with transaction.atomic(using=using):
            StoredSnapshot.objects.using(using).bulk_create(
                [row],
                update_conflicts=True,
                unique_fields=["stream", "version", "seq"],
                update_fields=["checksum", "text", "created"],
            )
            rows = _rows(stream).filter(version=version)
            newest = rows.order_by("-seq").values_list("seq", flat=True)[:KEPT]
            rows.filter(seq__lt=min(newest)).delete()
    except DatabaseError:
        logger.warning("The snapshot of %s at %d couldn't be stored", stream, position.seq, exc_info=True)
        return False
    return True


def lowest_floor(stream: str) -> int | None:
    """The floor that trimming must not pass: what the newest stored snapshots lead on from.

    Of each version that is stored: while a deploy rolls, nodes of the version before still fold. None:
    nothing is stored.
    """
    newest = _rows(stream).order_by().values("version").annotate(seq=Max("seq"))
    return min((row["seq"] + 1 for row in newest), default=None)
