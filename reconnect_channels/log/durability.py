"""Whether a Redis is set up to keep a log: asked only when a deployment is checked, since it connects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from django.core.checks import CheckMessage, Warning
from redis.exceptions import RedisError

from .redis import RedisLog


class Weakness(NamedTuple):
    """What would make a Redis forget more than it has to."""

    name: str
    id: str  # of the system check
    text: str
    hint: str


def check(log: RedisLog) -> Iterator[CheckMessage]:
    """What would make a log's Redis forget more than it has to."""
    try:
        nodes = dict(log.endpoint.infos())
    except RedisError as error:
        yield Warning(f"The log in Redis can't be asked: {error}", id="reconnect_channels.W010")
        return
    for name, info in nodes.items():
        for found in weaknesses(info):
            yield Warning(f"{name} {found.text}", hint=found.hint, id=found.id)


def weaknesses(info: Mapping[str, Any]) -> Iterator[Weakness]:
    """:param info: what INFO tells of one server."""
    policy = info.get("maxmemory_policy", "noeviction")
    if int(info.get("maxmemory", 0)) and policy != "noeviction":
        yield Weakness(
            "eviction",
            "reconnect_channels.W011",
            f"evicts keys when its memory is full ({policy}): streams of the log, too.",
            "maxmemory-policy noeviction, and RETENTION for the log.",
        )
    if not int(info.get("aof_enabled", 1)):
        yield Weakness(
            "persistence",
            "reconnect_channels.W012",
            "writes no append-only file: a restart forgets the log, or its newest minutes.",
            "appendonly yes, appendfsync everysec (loses at most a second) or always.",
        )
