"""Checks of the project's consumer classes, and of prefixes that settings name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured

from .. import registry
from ..folding import folds
from .settings import current


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
        for a, b in registry.overlaps()
    ]


@register()
def check_states(**_: Any) -> list[CheckMessage]:
    """A stream's state comes from one hook, and can be folded by a plain function."""
    found: list[CheckMessage] = []
    for consumer_class in registry.consumers:
        try:
            folds(consumer_class)
        except ImproperlyConfigured as error:
            found.append(Error(str(error), id="reconnect_channels.E004"))
    return found


@register(deploy=True)
def check_named_prefixes(**_: Any) -> Iterator[CheckMessage]:
    """Prefixes in the settings are those of consumers. Imports all of them, so only for `--deploy`."""
    now = current()
    if now is None:
        return
    named = {f'RETENTION["{prefix}"]': prefix for prefix in now.RETENTION} | {
        f'"{prefix}" in the PREFIXES of the log {name!r}': prefix
        for name, log in now.STREAM_LOGS.items()
        for prefix in log.get("PREFIXES", ())
    }
    if not named:
        return
    registry.load()
    served = [consumer_class.stream_prefix for consumer_class in registry.consumers]
    for where, prefix in named.items():
        if not any(prefix.startswith(own) or own.startswith(prefix) for own in served):
            yield Warning(
                f"{where} is for streams that no consumer serves.",
                hint=f"Served are: {', '.join(sorted(set(served))) or 'none'}.",
                id="reconnect_channels.W018",
            )
