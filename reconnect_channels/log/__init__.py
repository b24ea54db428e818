"""Which log holds a stream (design 7.1)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from ..conf import settings
from .base import SequenceLog


@lru_cache(maxsize=1)
def _logs() -> tuple[list[tuple[str, SequenceLog]], SequenceLog]:
    by_prefix: list[tuple[str, SequenceLog]] = []
    default: SequenceLog | None = None
    for name, given in settings().STREAM_LOGS.items():
        options: dict[str, Any] = dict(given)
        if "BACKEND" not in options:
            raise ImproperlyConfigured(f"STREAM_LOGS: the log {name!r} has no BACKEND")
        backend = import_string(options.pop("BACKEND"))
        prefixes = options.pop("PREFIXES", ())
        retention = options.pop("RETENTION", {})
        log: SequenceLog = backend(**{key.lower(): value for key, value in options.items()})
        log.retention = retention
        by_prefix.extend((prefix, log) for prefix in prefixes)
        if name == "default":
            default = log
    if default is None:
        raise ImproperlyConfigured("STREAM_LOGS needs a log named 'default'")
    return sorted(by_prefix, key=lambda pair: -len(pair[0])), default


def log_for(stream: str) -> SequenceLog:
    """The log that holds this stream: the longest matching prefix, else `default`."""
    by_prefix, default = _logs()
    return next((log for prefix, log in by_prefix if stream.startswith(prefix)), default)


def by_log(streams: Iterable[str]) -> dict[SequenceLog, list[str]]:
    """The streams of each log, for who asks many at once."""
    found: dict[SequenceLog, list[str]] = {}
    for stream in streams:
        found.setdefault(log_for(stream), []).append(stream)
    return found


def all_logs() -> list[SequenceLog]:
    """Every configured log, once."""
    by_prefix, default = _logs()
    return list(dict.fromkeys([default, *(log for _, log in by_prefix)]))


def _clear(*, setting: str, **_: object) -> None:
    if setting in ("RECONNECT_CHANNELS", "DATABASES"):
        _logs.cache_clear()


setting_changed.connect(_clear, dispatch_uid="reconnect_channels.log")
