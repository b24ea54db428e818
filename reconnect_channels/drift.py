"""Drift: clients whose history is not the server's (design 5.5)."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import F
from django.utils import timezone

from .log import log_for
from .models import DriftReport
from .protocol.position import Position

QUIET = timedelta(minutes=1)


def report(stream: str, identity: str, client_id: str, position: Position, checksum: int | None) -> None:
    """Notes a client's diverged position. Reports count; they don't multiply, and not within a minute.

    :param checksum: the log's at that seq, where it is known.
    """
    rows = DriftReport.objects.using(log_for(stream).using)
    now = timezone.now()
    row, new = rows.get_or_create(
        stream=stream,
        identity=identity,
        client_id=client_id,
        defaults={
            "epoch": position.epoch,
            "seq": position.seq,
            "client_checksum": position.checksum,
            "server_checksum": checksum,
        },
    )
    if not new:
        rows.filter(pk=row.pk, last_seen__lt=now - QUIET).update(
            count=F("count") + 1,
            epoch=position.epoch,
            seq=position.seq,
            client_checksum=position.checksum,
            server_checksum=checksum,
            last_seen=now,
        )
