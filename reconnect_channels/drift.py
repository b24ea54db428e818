"""Drift: clients whose history is not the server's (design 5.5).

Anybody can claim a wrong position, so what follows from one is bounded: by client and stream, by whose
sockets they are, and in the table.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from datetime import timedelta
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from .log import log_for
from .models import DriftReport
from .protocol.bucket import TokenBucket
from .protocol.position import Position
from .sessions import storable

QUIET = 60.0  # seconds in which one client's drift on one stream is reported once, and healed so often:
HEALS = 3  # a client finds it, too, by the heads of a PING, and asks again while its snapshot is on the way
REPORTS = 20  # rows that one identity, or one address of guests, may ask for at once; then as many in QUIET
REMEMBERED = 10_000  # clients, and identities or addresses
PER_IDENTITY = 100  # rows that are kept
IN_ALL = 10_000

T = TypeVar("T")


def report(
    stream: str,
    identity: str,
    client_id: str,
    position: Position,
    checksum: int | None,
    trace_id: str = "",
) -> None:
    """Notes a client's diverged position. Reports count; they don't multiply, and not within a minute.

    An identity with too many has its oldest replaced.

    :param checksum: the log's at that seq, where it is known.
    :param trace_id: of the connection where it was seen.
    """
    using = log_for(stream).using
    rows = DriftReport.objects.using(using)
    now = timezone.now()
    identity, client_id = storable(identity), storable(client_id)
    found = {
        "epoch": position.epoch,
        "seq": position.seq,
        "client_checksum": position.checksum,
        "server_checksum": checksum,
        "trace_id": trace_id,
    }
    with transaction.atomic(using=using):
        row, new = rows.get_or_create(stream=stream, identity=identity, client_id=client_id, defaults=found)
        if new:
            newest = rows.filter(identity=identity).order_by("-last_seen", "-pk").values_list("pk", flat=True)
            rows.filter(pk__in=list(newest[PER_IDENTITY : 2 * PER_IDENTITY])).delete()
            rows.filter(pk__lte=row.pk - IN_ALL).delete()
            return
        quiet_since = now - timedelta(seconds=QUIET)
        rows.filter(pk=row.pk, last_seen__lt=quiet_since).update(count=F("count") + 1, last_seen=now, **found)


class Watch:
    """What one process does about drift, in memory."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()
        self._reports: OrderedDict[str, TokenBucket] = OrderedDict()

    def times(self, client: Hashable, stream: str, now: float) -> int:
        """How often a client drifted on a stream, this time included, in the minute since it first did."""
        since, count = self._seen.pop((client, stream), (now, 0))
        if now - since >= QUIET:
            since, count = now, 0
        _remember(self._seen, (client, stream), (since, count + 1))
        return count + 1

    def may_report(self, crowd: str, now: float) -> bool:
        """Whether it is worth a row.

        :param crowd: whose sockets they are: an identity, or an address of guests.
        """
        bucket = self._reports.get(crowd)
        if bucket is None:
            bucket = TokenBucket(REPORTS / QUIET, REPORTS, now)
            _remember(self._reports, crowd, bucket)
        return not bucket.take(now)


def _remember(memory: OrderedDict[Any, T], key: Hashable, value: T) -> None:
    memory[key] = value
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)
