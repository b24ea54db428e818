"""The RECONNECT_CHANNELS setting as a frozen dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

DATABASE_LOG = "reconnect_channels.log.database.DatabaseLog"


def _default_logs() -> dict[str, dict[str, Any]]:
    return {"default": {"BACKEND": DATABASE_LOG}}


@dataclass(frozen=True)
class Settings:
    """What can be set, with defaults; times in seconds, sizes in bytes."""

    CHANNEL_LAYER: str = "default"  # alias of the layer that wakes other processes
    STREAM_LOGS: Mapping[str, Mapping[str, Any]] = field(default_factory=_default_logs)
    ALLOWED_ORIGINS: tuple[str, ...] = ()  # beside the page's own origin: "https://app.example.com"
    MAX_DELTA: int = 5_000  # entries; a larger gap is answered with a snapshot
    MAX_SNAPSHOT: int = 4 << 20
    SNAPSHOT_REUSE: int = 500  # entries that a cached snapshot may be behind
    SNAPSHOT_BUILDS: int = 4  # at once in one process
    SNAPSHOT_EVERY: int = 1_000  # entries between two states that `reduce` made and that are stored
    RETENTION: Mapping[str, Mapping[str, float]] = field(
        default_factory=dict
    )  # by prefix, before the log's own
    DEDUP_SECONDS: int = 24 * 3600  # how long a key's answer is replayed
    PRODUCER_SECONDS: int = 30 * 24 * 3600  # how long it is known that a message is too old to be run
    DEDUP: Mapping[str, Any] = field(default_factory=dict)  # a Redis that knows answers: see dedup/answers.py
    DRIFT_SECONDS: int = 30 * 24 * 3600  # how long a drift report is kept
    CLAIM_SECONDS: float = 10.0  # lease of an `async def` handler, renewed while it lives
    SNAPSHOT_TIMEOUT: float = 30.0  # how long a client waits for a build
    READ_TIMEOUT: float = 0.5  # of one read of the log
    THREADS: int = 8  # database threads of one process
    HEAD_CHECK: float = 5.0
    RECHECK: float = 45.0  # after so long each socket's rights are looked at again
    GRACE: float = 10.0  # how long a stream without subscribers is kept
    SESSION_FLUSH: float = 1.0  # between two writes of what happened to sessions, at least
    SESSION_REFRESH: float = 60.0  # after so long a session's acknowledged positions are written again
    SESSION_SECONDS: int = 30 * 24 * 3600  # how long a session that ended is known
    PRESENCE_GRACE: float = 15.0  # how long somebody counts as present after their socket ended
    NODE_TIMEOUT: float = 30.0  # a process that is silent for so long is dead
    RATE: float = 50.0  # messages a second and session
    BURST: int = 1_000
    HEARTBEAT: float = 15.0
    DEAD_AFTER: float = 25.0
    HELLO_TIMEOUT: float = 10.0
    MAX_STREAMS: int = 100
    MAX_SOCKETS: int = 20  # of one identity, in one process
    MAX_ADDRESS_SOCKETS: int = 200  # of one public address that isn't logged in, in one process
    RESUME_RATE: float = 200.0  # sockets a second that one process greets
    RESUME_BURST: int = 500
    DRAIN_WINDOW: float = 15.0  # within which a process that ends sends its sockets away


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The current settings.

    Raises ImproperlyConfigured for an unknown key, or what isn't a dict.
    """
    given = getattr(django_settings, "RECONNECT_CHANNELS", {})
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured("RECONNECT_CHANNELS must be a dict")
    unknown = set(given) - {f.name for f in fields(Settings)}
    if unknown:
        raise ImproperlyConfigured(f"RECONNECT_CHANNELS has unknown keys: {', '.join(sorted(unknown))}")
    return Settings(**given)


def _clear(*, setting: str, **_: object) -> None:
    if setting == "RECONNECT_CHANNELS":
        settings.cache_clear()


setting_changed.connect(_clear, dispatch_uid="reconnect_channels.conf")
