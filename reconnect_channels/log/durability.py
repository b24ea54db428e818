"""Whether a Redis is set up to keep a log: asked only when a deployment is checked, since it connects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.core.checks import CheckMessage, Warning
from redis.exceptions import RedisError

from .redis import RedisLog


def check(log: RedisLog) -> Iterator[CheckMessage]:
    """What would make a log's Redis forget more than it has to."""
    try:
        nodes = dict(log.endpoint.infos())
    except RedisError as error:
        yield Warning(f"The log in Redis can't be asked: {error}", id="reconnect_channels.W010")
        return
    for name, info in nodes.items():
        yield from _node(name, info)


def _node(name: str, info: Mapping[str, Any]) -> Iterator[CheckMessage]:
    policy = info.get("maxmemory_policy", "noeviction")
    if int(info.get("maxmemory", 0)) and policy != "noeviction":
        yield Warning(
            f"{name} evicts keys when its memory is full ({policy}): streams of the log, too.",
            hint="maxmemory-policy noeviction, and RETENTION for the log.",
            id="reconnect_channels.W011",
        )
    if not int(info.get("aof_enabled", 1)):
        yield Warning(
            f"{name} writes no append-only file: a restart forgets the log, or its newest minutes.",
            hint="appendonly yes, appendfsync everysec (loses at most a second) or always.",
            id="reconnect_channels.W012",
        )
