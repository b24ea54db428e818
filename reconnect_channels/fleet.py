"""How all nodes and their sessions are right now; the admin's overview shows it.

Three queries, by index. What would take a look at each live session stands in the rows of the nodes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Count, DurationField, ExpressionWrapper, F, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from .conf import settings
from .models import ClientSession, Node
from .sessions import alias
from .telemetry.events import drift_percentage

OVERVIEW_STREAM = "reconnect.overview"  # where the overview's samples are published
OVERVIEW_PATH = "ws/reconnect/overview/"
MOST_NODES = 100  # that are listed; all are counted
SILENT = "silent"

State = ClientSession.State


class NodeFigures(NamedTuple):
    """One node, as of its last heartbeat; rates are a second's."""

    name: str
    host: str
    pid: int
    age: float  # seconds since its heartbeat
    state: str  # up, draining, silent
    live: int
    published: float
    delivered: float
    returned: float
    outage: float
    breakers: str


class Fleet(NamedTuple):
    """All nodes together."""

    at: datetime
    live: int
    away: int
    drifted: int  # identities whose sessions diverged or lag
    returned: float  # clients a minute that came back
    outage: float  # the longest outage of those, in seconds
    published: float  # entries a second, by the processes that hold sockets
    delivered: float
    nodes: list[NodeFigures]
    unlisted: int = 0  # nodes that are counted only

    @property
    def drift(self) -> float:
        """Percent of the live sessions."""
        return drift_percentage(self.drifted, self.live)

    def wire(self) -> dict[str, Any]:
        """As JSON can hold it."""
        fields = self._asdict() | {"at": round(self.at.timestamp()), "drift": round(self.drift, 3)}
        return fields | {"nodes": [node._asdict() for node in self.nodes]}


def observe() -> Fleet:
    """Reads the rows of nodes and sessions.

    What was live on a node that fell silent is away, whatever its rows say. Nodes that are being cleared
    up after are left out.
    """
    nodes = [_figures(node) for node in _nodes()]
    counts: dict[str, int] = dict(counted().values_list("state", "sessions"))
    up = [node for node in nodes if node.state != SILENT]
    lost = sum(node.live for node in nodes if node.state == SILENT)
    live = max(0, counts.get(State.LIVE, 0) - lost) if up else 0
    return Fleet(
        at=timezone.now(),
        live=live,
        away=sum(counts.values()) - live,
        drifted=drifted().values("identity").distinct().count(),
        returned=round(60 * sum(node.returned for node in up), 1),
        outage=max((node.outage for node in up), default=0.0),
        published=round(sum(node.published for node in up), 1),
        delivered=round(sum(node.delivered for node in up), 1),
        nodes=nodes[:MOST_NODES],
        unlisted=max(0, len(nodes) - MOST_NODES),
    )


def counted() -> Any:
    """The sessions that live or are away, by state."""
    rows = ClientSession.objects.using(alias()).filter(state__in=[State.LIVE, State.AWAY])
    return rows.order_by().values("state").annotate(sessions=Count("*"))


def drifted() -> QuerySet[ClientSession]:
    """The live sessions that diverged or lag."""
    return ClientSession.objects.using(alias()).filter(state=State.LIVE, drift__gt="")


def _nodes() -> QuerySet[Any]:
    age = ExpressionWrapper(Now() - F("seen"), output_field=DurationField())
    return Node.objects.using(alias()).filter(reaped=None).annotate(age=age).order_by("started", "name")


def _figures(node: Any) -> NodeFigures:
    age = max(0.0, node.age.total_seconds())
    silent = age > settings().NODE_TIMEOUT
    return NodeFigures(
        name=node.name,
        host=node.host,
        pid=node.pid,
        age=round(age, 1),
        state=SILENT if silent else "draining" if node.draining else "up",
        live=node.live,
        published=round(node.published, 1),
        delivered=round(node.delivered, 1),
        returned=node.returned,
        outage=round(node.outage, 1),
        breakers=node.breakers,
    )
