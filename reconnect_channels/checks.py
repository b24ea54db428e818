"""System checks: what would lose messages or fail later, said at start."""

from __future__ import annotations

from typing import Any

from channels.layers import channel_layers
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from .conf import settings
from .dedup.answers import answers
from .folding import folds
from .log import all_logs, log_for
from .registry import consumers, overlaps


@register()
def check_settings(**_: Any) -> list[CheckMessage]:
    """RECONNECT_CHANNELS can be read and its logs exist."""
    try:
        settings()
        log_for("check")
        answers()
    except (ImproperlyConfigured, ImportError, TypeError) as error:
        return [Error(str(error), id="reconnect_channels.E001")]
    return []


@register()
def check_layer(**_: Any) -> list[CheckMessage]:
    """The channel layer exists and has groups."""
    try:
        alias = settings().CHANNEL_LAYER
    except ImproperlyConfigured:
        return []
    if alias not in channel_layers.configs:
        return [
            Warning(
                f"CHANNEL_LAYERS has no {alias!r}: other processes learn of entries by the head check only.",
                hint="Fine for one process; with several, use channels_redis.pubsub.RedisPubSubChannelLayer.",
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
    return []


@register()
def check_prefixes(**_: Any) -> list[CheckMessage]:
    """No two consumer classes claim the same streams."""
    return [
        Error(
            f"{a.__module__}.{a.__qualname__} ({a.stream_prefix!r}) and "
            f"{b.__module__}.{b.__qualname__} ({b.stream_prefix!r}) overlap.",
            hint="Give each consumer class a stream_prefix of its own.",
            id="reconnect_channels.E003",
        )
        for a, b in overlaps()
    ]


@register()
def check_states(**_: Any) -> list[CheckMessage]:
    """A stream's state comes from one hook, and can be folded by a plain function."""
    found: list[CheckMessage] = []
    for consumer_class in consumers:
        try:
            folds(consumer_class)
        except ImproperlyConfigured as error:
            found.append(Error(str(error), id="reconnect_channels.E004"))
    return found


@register(Tags.database)
def check_sqlite(databases: Any = None, **_: Any) -> list[CheckMessage]:
    """SQLite waits for its write lock instead of failing at once."""
    found: list[CheckMessage] = []
    for alias in databases or ():
        options = django_settings.DATABASES[alias].get("OPTIONS", {})
        if connections[alias].vendor == "sqlite" and options.get("transaction_mode") != "IMMEDIATE":
            found.append(
                Warning(
                    f"Database {alias!r} is SQLite without IMMEDIATE transactions: one that reads and then "
                    "writes fails at once when another one writes.",
                    hint='OPTIONS = {"transaction_mode": "IMMEDIATE", "timeout": 5, '
                    '"init_command": "PRAGMA journal_mode=WAL;"}',
                    id="reconnect_channels.W002",
                )
            )
    return found


@register(deploy=True)
def check_fast_logs(**_: Any) -> list[CheckMessage]:
    """The Redis of a log evicts nothing, and writes what it was told. It is asked, so only for `--deploy`."""
    try:
        fast: list[Any] = [log for log in all_logs() if not log.transactional]
    except (ImproperlyConfigured, ImportError, TypeError):
        return []  # E001
    if not fast:
        return []
    from .log.durability import check  # needs redis-py

    return [message for log in fast for message in check(log)]
