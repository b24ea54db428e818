"""Checks of the channel layer: whether it can wake the hubs of all processes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

from channels.layers import InMemoryChannelLayer, channel_layers
from django.core.checks import CheckMessage, Error, Warning, register

from .settings import current

GROUP_EXPIRY = 12 * 3600  # seconds; hubs renew their memberships every 6 hours
CAPACITY = 1_000  # messages; one channel takes all streams of a process
PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"


@register()
def check_layer(**_: Any) -> list[CheckMessage]:
    """The channel layer exists, has groups, and holds what a process is told."""
    now = current()
    if now is None:
        return []
    alias = now.CHANNEL_LAYER
    if alias not in channel_layers.configs:
        return [
            Warning(
                f"CHANNEL_LAYERS has no {alias!r}: other processes learn of entries by the head check only.",
                hint=f"Fine for one process; with several, use {PUBSUB}.",
                id="reconnect_channels.W001",
            )
        ]
    try:
        layer = channel_layers[alias]
    except Exception as error:  # a backend's constructor raises what it likes
        return [Error(f"The channel layer {alias!r} can't be made: {error}", id="reconnect_channels.E002")]
    try:
        extensions = getattr(layer, "extensions", ())
    except RuntimeError:  # channels_redis' pub/sub layer answers in an event loop only, and has groups
        return []
    if "groups" not in extensions:
        return [Error(f"The channel layer {alias!r} has no groups.", id="reconnect_channels.E002")]
    if isinstance(layer, InMemoryChannelLayer):
        return list(_in_memory(alias, _workers() > 1))
    return list(_core(alias, layer)) if _is_core(layer) else []


@register(deploy=True)
def check_deployed_layer(**_: Any) -> list[CheckMessage]:
    """A deployment has a layer that reaches other processes."""
    now = current()
    config = {} if now is None else channel_layers.configs.get(now.CHANNEL_LAYER, {})
    in_memory = config.get("BACKEND") == "channels.layers.InMemoryChannelLayer"
    # With more than one worker it is said already.
    return list(_in_memory(now.CHANNEL_LAYER, in_memory and _workers() == 1)) if now else []


def _in_memory(alias: str, wrong: bool) -> Iterator[CheckMessage]:
    if wrong:
        yield Warning(
            f"The channel layer {alias!r} is in memory: it ends at the process. Sockets of other processes "
            "get entries at the next head check, and revocations by their rows.",
            hint=f"Use {PUBSUB}, or silence this where one process serves everything, commands too.",
            id="reconnect_channels.W005",
        )


def _workers() -> int:
    """As gunicorn, uvicorn and others are told."""
    try:
        return int(os.environ.get("WEB_CONCURRENCY", 1))
    except ValueError:
        return 1


def _is_core(layer: Any) -> bool:
    try:
        from channels_redis.core import RedisChannelLayer
    except ImportError:
        return False
    return isinstance(layer, RedisChannelLayer)


def _core(alias: str, layer: Any) -> Iterator[CheckMessage]:
    """What channels_redis' core layer needs; its pub/sub layer needs none of it."""
    if layer.capacity < CAPACITY:
        yield Warning(
            f"The channel layer {alias!r} holds {layer.capacity} messages a channel, and a process has one "
            "for all its streams: a burst overflows it, and is then read from the log.",
            hint=f'CONFIG = {{"capacity": 10_000, …}} of the layer, or {PUBSUB}.',
            id="reconnect_channels.W004",
        )
    if layer.group_expiry < GROUP_EXPIRY:
        yield Warning(
            f"The channel layer {alias!r} forgets who is in a group after {layer.group_expiry} s; hubs join "
            "again every 6 hours.",
            hint='Leave "group_expiry" at a day.',
            id="reconnect_channels.W006",
        )
    if int(metadata.version("redis").partition(".")[0]) < 8:
        return
    if not all(_given(host, "socket_timeout") for host in layer.hosts):
        yield Error(
            f"redis-py 8 gives up on an idle connection after 5 s, just when the channel layer {alias!r} "
            "would ask again: consumers end with TimeoutError (channels_redis#422).",
            hint='pip install "redis<8", or hosts = [{"address": …, "socket_timeout": None}], '
            f"or {PUBSUB}.",
            id="reconnect_channels.E006",
        )
    if not all(_given(host, "max_connections") for host in layer.hosts):
        yield Warning(
            f"redis-py 8 allows the channel layer {alias!r} 100 connections: more sockets that come at once "
            "fail.",
            hint='hosts = [{"address": …, "max_connections": 1000}].',
            id="reconnect_channels.W009",
        )


def _given(host: Mapping[str, Any], option: str) -> bool:
    return option in host or f"{option}=" in str(host.get("address", ""))
