"""Retention: what may be forgotten, and when (design 7.6). Never on the publish path."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.db.models import Max, Min
from django.utils import timezone

from .conf import settings
from .log import log_for
from .models import ProcessedMessage, Producer, Stream, StreamEntry

BATCH = 1_000


def trim_stream(name: str, *, max_entries: int | None = None, max_age: timedelta | None = None) -> int:
    """Forgets a stream's entries beyond a number or an age; returns how many went.

    What isn't given is taken from the log's `RETENTION` (`ENTRIES`, `SECONDS`); without either, all is kept.
    """
    log = log_for(name)
    if max_entries is None:
        max_entries = log.retention.get("ENTRIES")
    if max_age is None and "SECONDS" in log.retention:
        max_age = timedelta(seconds=log.retention["SECONDS"])
    head = log.heads([name])[name]
    floor = head.floor
    if max_entries is not None:
        floor = max(floor, head.seq - max_entries + 1)
    if max_age is not None:
        old = StreamEntry.objects.using(log.using).filter(
            stream__name=name, created__lt=timezone.now() - max_age
        )
        newest = old.aggregate(seq=Max("seq"))["seq"]
        floor = max(floor, newest + 1 if newest is not None else 0)
    return log.trim(name, floor) if floor > head.floor else 0


def stream_names() -> list[str]:
    """Every stream of the default log, in order."""
    return list(Stream.objects.using(log_for("").using).order_by("name").values_list("name", flat=True))


def forget_answers() -> Iterator[int]:
    """Forgets answers that are older than `DEDUP_SECONDS`, and producers long silent, in batches.

    A later retry is answered `EXPIRED`, never run again: producers are remembered much longer, for
    `PRODUCER_SECONDS`.
    """
    using = log_for("").using
    now = timezone.now()
    answered = now - timedelta(seconds=settings().DEDUP_SECONDS)
    silent = now - timedelta(seconds=settings().PRODUCER_SECONDS)
    for rows in (
        ProcessedMessage.objects.using(using).filter(created__lt=answered),
        Producer.objects.using(using).filter(updated__lt=silent),
    ):
        while first := rows.aggregate(pk=Min("pk"))["pk"]:
            gone, _ = rows.filter(pk__lt=first + BATCH).delete()
            yield gone
