"""The nodes that say that they live, and how far their clocks are apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from django.db.models.functions import Now

from ..conf import settings
from ..models import Node
from ..sessions import alias
from .finding import Finding, Plan, ok, warning

SKEW = 1.0  # seconds


def probe(plan: Plan) -> Iterator[Finding]:
    timeout = settings().NODE_TIMEOUT
    rows = Node.objects.using(alias()).annotate(now=Now()).order_by("name")
    silent = [node for node in rows if node.reaped or node.seen < node.now - timedelta(seconds=timeout)]
    alive = [node for node in rows if node not in silent]
    draining = [node for node in alive if node.draining]
    if alive:
        hosts = len({node.host for node in alive})
        yield ok(
            "alive", f"{len(alive)} alive on {hosts} {'host' if hosts == 1 else 'hosts'}: {_names(alive)}."
        )
    else:
        yield ok("alive", "No node is alive: no server process has had a socket lately.")
    if silent:
        yield warning(
            "silent",
            f"Silent for {timeout:g} s or more: {_names(silent)}. They were killed, or lost their database.",
            "Nodes that live clear up after them; if a process still runs, look at its log.",
        )
    if draining:
        yield warning(
            "draining",
            f"Draining, and still there: {_names(draining)}. They take no more sockets.",
            "Stop their processes.",
        )
    for node in alive:
        if node.clock is None:
            continue
        ahead = (node.clock - node.seen).total_seconds()
        where = "ahead of" if ahead > 0 else "behind"
        text = f"The clock of {node} is {abs(ahead):.2f} s {where} the database's"
        if abs(ahead) > SKEW:
            yield warning("clock", f"{text}: times and retention are off by that.", "Run NTP on its host.")
        else:
            yield ok("clock", f"{text}.")


def _names(nodes: Sequence[Node]) -> str:
    return ", ".join(str(node) for node in nodes)
