"""How all nodes and their sessions are right now, in two queries by index; the admin's overview shows it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import Count, DurationField, ExpressionWrapper, F, Max, Q
from django.db.models.functions import Now
from django.utils import timezone

from .conf import settings
from .models import ClientSession, Node
from .sessions import alias

OVERVIEW_STREAM = "reconnect.overview"  # where the overview's samples are published
OVERVIEW_PATH = "ws/reconnect/overview/"
LATELY = timedelta(minutes=1)
MOST_NODES = 100  # that are listed; all are counted

State = ClientSession.State


class NodeFigures(NamedTuple):
    """One node; rates are entries a second since its last heartbeat but one."""

    name: str
    host: str
    pid: int
    live: int
    age: float  # seconds since its heartbeat
    state: str  # up, draining, silent
    published: float
    delivered: float
    breakers: str


class Fleet(NamedTuple):
    """All nodes together."""

    at: datetime
    live: int
    away: int
    drifted: int  # identities whose sessions diverged or lag
    returned: int  # sessions that came back within the last minute
    outage: float  # the longest outage of those, in seconds
    published: float
    delivered: float
    nodes: list[NodeFigures]
    unlisted: int = 0  # nodes that are counted only

    @property
    def drift(self) -> float:
        """Percent of the live sessions; one client alone counts as none: it may claim what it likes."""
        return 100 * self.drifted / self.live if self.drifted > 1 and self.live else 0.0

    def wire(self) -> dict[str, Any]:
        """As JSON can hold it."""
        fields = self._asdict() | {"at": round(self.at.timestamp()), "drift": round(self.drift, 3)}
        return fields | {"nodes": [node._asdict() for node in self.nodes]}


def observe() -> Fleet:
    """Reads the rows of nodes and sessions.

    Sessions of a node that fell silent are away, whatever their rows say. Nodes that wait to be buried
    are left out.
    """
    now = timezone.now()
    by_node: dict[tuple[str, str], Any] = {
        (row["state"], row["node"]): row for row in _sessions(now) if row["sessions"]
    }
    nodes = [_figures(node, by_node) for node in _nodes()]
    up = {node.name for node in nodes if node.state != "silent"}
    live = [row for (state, node), row in by_node.items() if state == State.LIVE and node in up]
    total = sum(row["sessions"] for row in by_node.values())
    return Fleet(
        at=now,
        live=sum(row["sessions"] for row in live),
        away=total - sum(row["sessions"] for row in live),
        drifted=sum(row["drifted"] for row in live),
        returned=sum(row["returned"] for row in live),
        outage=max((row["outage"] or 0 for row in live), default=0) / 1000,
        published=round(sum(node.published for node in nodes if node.name in up), 1),
        delivered=round(sum(node.delivered for node in nodes if node.name in up), 1),
        nodes=nodes[:MOST_NODES],
        unlisted=max(0, len(nodes) - MOST_NODES),
    )


def _sessions(now: datetime) -> Any:
    returned = Q(connects__gt=1, connected__gt=now - LATELY)
    return (
        ClientSession.objects.using(alias())
        .filter(state__in=[State.LIVE, State.AWAY])
        .order_by()
        .values("state", "node")
        .annotate(
            sessions=Count("pk"),
            drifted=Count("identity", distinct=True, filter=~Q(drift="")),
            returned=Count("pk", filter=returned),
            outage=Max("outage_ms", filter=returned),
        )
    )


def _nodes() -> Any:
    age = ExpressionWrapper(Now() - F("seen"), output_field=DurationField())
    return Node.objects.using(alias()).filter(reaped=None).annotate(age=age).order_by("started", "name")


def _figures(node: Any, by_node: dict[tuple[str, str], Any]) -> NodeFigures:
    age = max(0.0, node.age.total_seconds())
    state = "silent" if age > settings().NODE_TIMEOUT else "draining" if node.draining else "up"
    return NodeFigures(
        node.name,
        node.host,
        node.pid,
        by_node.get((State.LIVE, node.name), {"sessions": 0})["sessions"],
        round(age, 1),
        state,
        round(node.published, 1),
        round(node.delivered, 1),
        node.breakers,
    )
