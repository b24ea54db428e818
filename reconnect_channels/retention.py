"""Retention: what may be forgotten, and when (design 7.6). Never on the publish path."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple

from django.db.models import Max, QuerySet
from django.utils import timezone

from . import folding
from .conf import settings
from .log import all_logs, log_for
from .log.base import SequenceLog
from .models import DriftReport, ProcessedMessage, Producer, StoredSnapshot
from .protocol.recovery import Head
from .registry import consumer_for

BATCH = 5_000  # rows that a transaction deletes
STEP = 50_000  # entries that a stream's floor moves at once
SPARED = timedelta(seconds=60)  # no page and no snapshot build takes longer
DEPLOY = timedelta(days=1)  # nodes of a version before may fold for so long


class Policy(NamedTuple):
    """What is kept of a stream: its newest entries, those up to an age; None = all."""

    entries: int | None
    age: timedelta | None


def policy_for(stream: str) -> Policy:
    """By `RETENTION` of the longest prefix of the stream's name, else by its log's."""
    given = log_for(stream).kept(stream)
    seconds, entries = given.get("SECONDS"), given.get("ENTRIES")
    return Policy(
        None if entries is None else int(entries), None if seconds is None else timedelta(seconds=seconds)
    )


def stream_names(prefix: str = "") -> Iterator[str]:
    """Every stream of every log whose name begins so."""
    for log in all_logs():
        for name in log.names():
            if name.startswith(prefix) and log_for(name) is log:
                yield name


def trim_stream(
    name: str,
    *,
    max_entries: int | None = None,
    max_age: timedelta | None = None,
    spared: timedelta = SPARED,
    dry_run: bool = False,
) -> int:
    """Forgets a stream's entries beyond a number or an age; returns how many went, or would go.

    What isn't given is the stream's policy. See `trimming`.
    """
    return sum(trimming(name, max_entries=max_entries, max_age=max_age, spared=spared, dry_run=dry_run))


def trimming(
    name: str,
    *,
    max_entries: int | None = None,
    max_age: timedelta | None = None,
    spared: timedelta = SPARED,
    dry_run: bool = False,
) -> Iterator[int]:
    """`trim_stream` step by step: yields how many entries went in each.

    Where the stream's state is folded from its entries, it is stored first: trimming never passes the
    newest stored state.

    :param spared: entries younger than this stay whatever the policy says. Pages and builds that run now
        begin above what goes: they come to their end, and whoever rests longer gets a snapshot.
    :raises folding.Unfoldable: what is there already doesn't lead to the stream's state.
    """
    policy = policy_for(name)
    policy = Policy(
        policy.entries if max_entries is None else max_entries, policy.age if max_age is None else max_age
    )
    if policy == Policy(None, None):
        return
    log = log_for(name)
    head = log.heads([name])[name]
    floor = _floor(log, name, head, policy, spared)
    if dry_run:
        yield floor - head.floor
        return
    if floor > head.floor or not log.transactional:  # those forget by themselves, too
        floor = _below_stored(name, head, floor)
    while (at := head.floor) < floor:
        head = head._replace(floor=min(at + STEP, floor))
        yield log.trim(name, head.floor)


def _floor(log: SequenceLog, name: str, head: Head, policy: Policy, spared: timedelta) -> int:
    floor = head.floor
    if policy.entries is not None:
        floor = max(floor, head.seq - policy.entries + 1)
    if policy.age is not None:
        floor = max(floor, _after(log, name, policy.age))
    if floor > head.floor and spared:
        floor = max(head.floor, min(floor, _after(log, name, spared)))
    return floor


def _after(log: SequenceLog, name: str, age: timedelta) -> int:
    """The seq that follows the newest entry of more than this age."""
    return (log.newest_before(name, timezone.now() - age) or 0) + 1


def _below_stored(name: str, head: Head, floor: int) -> int:
    """The floor, or where the newest stored state leads on from."""
    consumer_class = consumer_for(name)
    if consumer_class is not None and folding.folds(consumer_class):
        stored = folding.fold(consumer_class, name).stored
        if stored is None or stored + 1 < floor:
            folding.fold(consumer_class, name, every=1)
        return min(floor, folding.lowest_floor(name) or head.floor)
    return min(floor, folding.lowest_floor(name) or floor)  # perhaps its class is known elsewhere


def forget_answers() -> Iterator[int]:
    """Forgets answers that are older than `DEDUP_SECONDS`, and producers long silent, in batches.

    A later retry is answered `EXPIRED`, never run again: producers are remembered much longer, for
    `PRODUCER_SECONDS`.
    """
    using = log_for("").using
    now = timezone.now()
    answered = now - timedelta(seconds=settings().DEDUP_SECONDS)
    silent = now - timedelta(seconds=settings().PRODUCER_SECONDS)
    yield from _delete(ProcessedMessage.objects.using(using).filter(created__lt=answered), "created")
    yield from _delete(Producer.objects.using(using).filter(updated__lt=silent), "updated")


def forget_drift() -> Iterator[int]:
    """Forgets drift reports that weren't repeated for `DRIFT_SECONDS`, in batches."""
    old = timezone.now() - timedelta(seconds=settings().DRIFT_SECONDS)
    for using in _databases():
        yield from _delete(DriftReport.objects.using(using).filter(last_seen__lt=old), "last_seen")


def forget_states() -> Iterator[int]:
    """Forgets stored states that nothing folds on from: of a version before, a day after the last one."""
    for using in _databases():
        rows = StoredSnapshot.objects.using(using)
        for stream, version, newest in (
            rows.order_by().values_list("stream", "version").annotate(newest=Max("created"))
        ):
            consumer_class = consumer_for(stream)
            if consumer_class is None or newest > timezone.now() - DEPLOY:
                continue
            if folding.folds(consumer_class):
                version_now = consumer_class.snapshot_version
                if version == version_now or not rows.filter(stream=stream, version=version_now).exists():
                    continue
            yield rows.filter(stream=stream, version=version).delete()[0]


def _databases() -> list[str]:
    return sorted({log.using for log in all_logs()})


def _delete(rows: QuerySet[Any], by: str) -> Iterator[int]:
    while found := list(rows.order_by(by).values_list("pk", flat=True)[:BATCH]):
        rows.filter(pk__in=found).delete()
        yield len(found)
