"""The rows of nodes: a heartbeat each, and who clears up after those that fell silent.

Times are the database's, so that clocks of nodes that differ kill nobody.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Greatest, Now
from django.utils import timezone

from .conf import settings
from .models import ClientSession, Node, NodeStream
from .sessions import BATCH, alias
from .telemetry.load import IDLE, Load

State = ClientSession.State
RECLAIM = timedelta(seconds=60)  # after which another node tries what a reaper didn't finish
STALE = 3  # times SESSION_REFRESH: the end of a socket was lost


class Dead(NamedTuple):
    """A node that fell silent, and what it left behind in the channel layer."""

    name: str
    channel: str
    streams: list[str]


class Beat(NamedTuple):
    alive: bool  # False = others took the node for dead
    draining: bool = False


def _timeout() -> timedelta:
    return timedelta(seconds=settings().NODE_TIMEOUT)


def alive() -> list[str]:
    """The names of the nodes that were heard lately."""
    rows = Node.objects.using(alias()).filter(reaped=None, seen__gt=Now() - _timeout())
    return list(rows.values_list("name", flat=True))


def begin(name: str, channel: str) -> None:
    """Makes the row of a node that begins."""
    host = socket.gethostname()[:255]
    row = {"host": host, "pid": os.getpid(), "channel": channel, "seen": Now(), "clock": timezone.now()}
    Node.objects.using(alias()).get_or_create(name=name, defaults=row)


def beat(name: str, channel: str, load: Load = IDLE) -> Beat:
    """Says that the node lives, and how busy it is."""
    rows = Node.objects.using(alias()).filter(name=name, reaped=None)
    if not rows.update(seen=Now(), clock=timezone.now(), channel=channel, **load._asdict()):
        return Beat(alive=False)
    return Beat(alive=True, draining=bool(rows.values_list("draining", flat=True).first()))


def follow(name: str, added: Iterable[str], left: Iterable[str]) -> None:
    """Notes which streams the node's channel follows."""
    using = alias()
    node = Node.objects.using(using).filter(name=name).values_list("pk", flat=True).first()
    if node is None:
        return
    rows = NodeStream.objects.using(using)
    rows.bulk_create(
        (NodeStream(node_id=node, stream=stream) for stream in added), ignore_conflicts=True, batch_size=BATCH
    )
    gone = list(left)
    for start in range(0, len(gone), BATCH):
        rows.filter(node=node, stream__in=gone[start : start + BATCH]).delete()


def end(name: str) -> None:
    """Takes away the row of a node that ends; what was live on it is away."""
    using = alias()
    with transaction.atomic(using=using):
        ClientSession.objects.using(using).filter(node=name, state=State.LIVE).update(
            state=State.AWAY, seen=timezone.now()
        )
        Node.objects.using(using).filter(name=name, reaped=None).delete()


def _silent(using: str) -> QuerySet[Node]:
    unclaimed = Q(reaped=None) | Q(reaped__lt=Now() - RECLAIM)
    return Node.objects.using(using).filter(unclaimed, seen__lt=Now() - _timeout())


def claim_dead() -> list[Dead]:
    """Takes on the nodes that have been silent for `NODE_TIMEOUT`: each is given to one caller.

    Their sessions are away from then on. The caller clears up the channel layer, then calls `bury`.
    """
    using, dead = alias(), []
    for node in _silent(using):
        with transaction.atomic(using=using):
            if not _silent(using).filter(pk=node.pk).update(reaped=Now()):
                continue
            ClientSession.objects.using(using).filter(node=node.name, state=State.LIVE).update(
                state=State.AWAY, seen=Greatest("seen", node.seen)
            )
        streams = list(node.streams.using(using).values_list("stream", flat=True))
        dead.append(Dead(node.name, node.channel, streams))
    return dead


def bury(name: str) -> None:
    """Takes away the row of a dead node that was cleared up after."""
    Node.objects.using(alias()).filter(name=name).exclude(reaped=None).delete()


def is_settled(name: str, idle: float) -> bool:
    """Whether nothing is left to be done by a node that ends: no client is away, and all others live.

    :param idle: seconds within which others must have been heard. One that was killed just before isn't
        known to be silent yet, and who is left then may be the last that could clear up after it.
    """
    using = alias()
    unheard = Node.objects.using(using).exclude(name=name).filter(seen__lt=Now() - timedelta(seconds=idle))
    return not (unheard.exists() or ClientSession.objects.using(using).filter(state=State.AWAY).exists())


def find_lost() -> int:
    """Sessions that nobody has seen for long, on whichever node: their end was lost. Returns how many."""
    limit = timezone.now() - STALE * timedelta(seconds=settings().SESSION_REFRESH)
    rows: Any = ClientSession.objects.using(alias()).filter(state=State.LIVE, seen__lt=limit)
    return int(rows.update(state=State.AWAY))
