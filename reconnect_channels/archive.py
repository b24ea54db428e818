"""The archive: the database's copy of streams whose log is elsewhere, for the admin and for good.

It goes on from a position that the log proves. Where the log lost its tail, or wrote another one, the archive
goes back to the last entry that both have; where it lost everything, a new part begins at the log's floor,
which becomes the row's, and the entries of the lives before stay below it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models.functions import Greatest
from django.utils import timezone

from .log import all_logs, log_for
from .log.base import Mismatch, Run
from .log.database import DatabaseLog
from .models import Stream, StreamEntry
from .protocol.codes import Resync
from .protocol.position import Position
from .protocol.recovery import Head

if TYPE_CHECKING:
    from .log.redis import Origin, RedisLog

NAMES = 500  # streams that are looked at together
BATCH = 500  # entries that a transaction copies
BATCHES = 20  # of one stream, before the others have their turn


def fast_logs() -> list[RedisLog]:
    """The logs that are not in the database."""
    return [log for log in all_logs() if not log.transactional]  # type: ignore[misc]


def archive(log: RedisLog) -> Iterator[tuple[str, int]]:
    """Copies what is new in every stream of a log; yields (stream, entries copied) for each batch.

    It may be stopped at any time, and several may run at once: a batch and the row that says how far the
    archive goes are one transaction, which only goes on from where it began.
    """
    names: list[str] = []
    for name in log.names():
        if log_for(name) is log:
            names.append(name)
        if len(names) == NAMES:
            yield from _archive(log, names)
            names = []
    yield from _archive(log, names)


def _archive(log: RedisLog, names: list[str]) -> Iterator[tuple[str, int]]:
    rows = Stream.objects.using(log.using).filter(name__in=names)
    known = {row.name: Position(row.epoch, row.head, row.checksum) for row in rows}
    for name, head in log.begun(names).items():
        if known.get(name) == head.position or (name not in known and head.seq < head.floor):
            continue
        for count in _catch_up(log, name, head):
            yield name, count


def _catch_up(log: RedisLog, name: str, head: Head) -> Iterator[int]:
    for _ in range(BATCHES):
        row = _row(log, name, head)
        start = Position(head.epoch, row.head, row.checksum)
        try:
            run, origins = log.read_origins(name, start, BATCH)
        except Mismatch as mismatch:
            head = mismatch.head
            if mismatch.reason is not Resync.EPOCH:
                _rejoin(log, row, head)
            continue
        if _copy(log, row, run, origins):
            yield len(run.entries)
        if len(run.entries) < BATCH:
            return


def _row(log: RedisLog, name: str, head: Head) -> Stream:
    row, _ = Stream.objects.using(log.using).get_or_create(
        name=name,
        defaults={
            "epoch": head.epoch,
            "head": head.floor - 1,
            "checksum": head.floor_checksum,
            "floor": head.floor,
            "floor_checksum": head.floor_checksum,
        },
    )
    return row


def _advance(log: RedisLog, row: Stream, **changed: Any) -> bool:
    """Takes the row, if it still says what was read, to the end of the transaction."""
    there = Stream.objects.using(log.using).filter(
        pk=row.pk, epoch=row.epoch, head=row.head, checksum=row.checksum
    )
    return bool(there.update(**changed))


def _copy(log: RedisLog, row: Stream, run: Run, origins: dict[int, Origin]) -> bool:
    last = run.entries[-1] if run.entries else None
    with transaction.atomic(using=log.using):
        moved = (
            {"head": last.seq, "checksum": last.checksum, "clock": Greatest("clock", last.clock)}
            if last
            else {}
        )
        if not _advance(log, row, epoch=run.head.epoch, **moved):
            return False
        entries = StreamEntry.objects.using(log.using)
        # A message that ran again in another life has the same entries.
        entries.filter(stream=row, uid__in=[entry.id for entry in run.entries]).delete()
        entries.bulk_create(
            StreamEntry(
                stream=row,
                seq=entry.seq,
                uid=entry.id,
                checksum=entry.checksum,
                clock=entry.clock,
                key=entry.key,
                text=entry.text,
                author=origins[entry.seq].author,
                created=origins[entry.seq].moment,
            )
            for entry in run.entries
        )
    return True


def _rejoin(log: RedisLog, row: Stream, head: Head) -> None:
    """Takes the archive back to the newest entry that the log has too, else to before the log's floor."""
    entries = StreamEntry.objects.using(log.using).filter(stream=row)

    def archived(seq: int) -> int | None:
        if seq == row.head:
            return row.checksum
        if seq == row.floor - 1:
            return row.floor_checksum
        return entries.filter(seq=seq).values_list("checksum", flat=True).first()

    def logged(seq: int) -> int | None:
        if seq == head.seq:
            return head.checksum
        if seq == head.floor - 1:
            return head.floor_checksum
        return log.checksum_at(row.name, head.epoch, seq)

    def parted(seq: int) -> bool:
        known = archived(seq)
        return known is None or known != logged(seq)

    common = range(max(row.floor, head.floor) - 1, min(row.head, head.seq) + 1)
    if common and not parted(common[0]):
        seq = common[bisect_left(common, True, key=parted) - 1]  # a checksum proves all before it
        changed = {"head": seq, "checksum": archived(seq)}
    else:
        seq = head.floor - 1
        changed = {
            "head": seq,
            "checksum": head.floor_checksum,
            "floor": head.floor,
            "floor_checksum": head.floor_checksum,
        }
    with transaction.atomic(using=log.using):
        if _advance(log, row, **changed):
            entries.filter(seq__gt=seq).delete()


def forget(log: RedisLog, age: timedelta) -> Iterator[tuple[str, int]]:
    """Forgets archived entries of more than an age; yields (stream, entries) for each stream."""
    database = DatabaseLog(log.using)
    for name in database.names():
        if log_for(name) is log:
            newest = database.newest_before(name, timezone.now() - age)
            if newest is not None:
                yield name, database.trim(name, newest + 1)
