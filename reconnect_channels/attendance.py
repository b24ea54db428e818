"""Presence: who is on a stream, with blips hidden (design 10.4).

The module isn't called `presence`, as the package's function is.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import Count, Min, Q
from django.utils import timezone

from . import nodes, workers
from .conf import settings
from .models import ClientSession, SessionStream
from .sessions import alias

State = ClientSession.State


class Present(NamedTuple):
    """Somebody who is on a stream."""

    identity: str  # as `get_identity()` says it
    since: datetime
    clients: int  # browsers and programs, not tabs


def presence(stream: str) -> list[Present]:
    """Who is on a stream, longest first; knows what happened up to about a second ago.

    A client whose connection was lost counts for `PRESENCE_GRACE` seconds more, so that nobody flickers.
    Two queries, by index, whatever the number of nodes.
    """
    returning = timezone.now() - timedelta(seconds=settings().PRESENCE_GRACE)
    there = Q(session__state=State.LIVE, session__node__in=nodes.alive())
    there |= Q(session__state__in=[State.LIVE, State.AWAY], session__seen__gt=returning)
    rows = (
        SessionStream.objects.using(alias())
        .filter(there, stream=stream)
        .values("session__identity")
        .annotate(since=Min("since"), clients=Count("pk"))
        .order_by("since", "session__identity")
    )
    return [Present(row["session__identity"], row["since"], row["clients"]) for row in rows]


async def apresence(stream: str) -> list[Present]:
    """`presence` for `async def` code."""
    return await workers.run(presence, stream)  # type: ignore[no-any-return]
