"""The RECONNECT_CHANNELS setting as a frozen dataclass."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
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
    PUBLIC_URL: str = ""  # "wss://example.com/ws/…": the way that browsers take, for reconnect_doctor
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
    LAG_GRACE: float = 15.0  # a client that leaves live entries un-ACKed for longer, while it speaks, lags
    MAX_STREAMS: int = 100
    MAX_SOCKETS: int = 20  # of one identity, in one process
    MAX_ADDRESS_SOCKETS: int = 200  # of one public address that isn't logged in, in one process
    RESUME_RATE: float = 200.0  # sockets a second that one process greets
    RESUME_BURST: int = 500
    METRICS_PERMISSION: str = ""  # that reading metrics takes: "reconnect_channels.view_metrics"
    DRAIN_WINDOW: float = 15.0  # within which a process that ends sends its sockets away


MAY_BE_ZERO = frozenset({"SNAPSHOT_REUSE", "GRACE", "PRESENCE_GRACE", "SESSION_FLUSH", "DRAIN_WINDOW"})
KEPT = "ENTRIES", "SECONDS"


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The current settings.

    Raises ImproperlyConfigured with everything that is wrong with them, a line each.
    """
    given = getattr(django_settings, "RECONNECT_CHANNELS", {})
    if found := list(problems(given)):
        raise ImproperlyConfigured("\n".join(found))
    return Settings(**given | {"ALLOWED_ORIGINS": tuple(given.get("ALLOWED_ORIGINS", ()))})


def problems(given: Any) -> Iterator[str]:
    """What is wrong with a value of RECONNECT_CHANNELS, a sentence each. Secrets in it aren't repeated."""
    if not isinstance(given, Mapping):
        yield f"RECONNECT_CHANNELS must be a dict, not {_kind(given)}"
        return
    defaults = vars(Settings())
    unknown = {
        str(name): get_close_matches(str(name).upper(), defaults, 1)
        for name in given.keys() - defaults.keys()
    }
    if unknown:
        names = (f"{name} ({near[0]}?)" if near else name for name, near in sorted(unknown.items()))
        yield f"RECONNECT_CHANNELS has unknown keys: {', '.join(names)}"
    for name, default in defaults.items():
        if name in given and (wrong := _wrong(name, given[name], default)):
            yield f'RECONNECT_CHANNELS["{name}"] must be {wrong}'


def _wrong(name: str, value: Any, default: Any) -> str:
    """What a value must be, and what it is instead; empty where it fits."""
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else f"True or False, not {_kind(value)}"
    if isinstance(default, (int, float)):
        whole = isinstance(default, int) and not name.endswith("_SECONDS")
        return _wrong_number(value, whole=whole, zero=name in MAY_BE_ZERO)
    if isinstance(default, str):
        fits = isinstance(value, str) and (value or not default)
        return "" if fits else f"a {'name' if default else 'string'}, not {_kind(value)}"
    if isinstance(default, tuple):
        return _wrong_texts(value)
    if not isinstance(value, Mapping):
        return f"a dict, not {_kind(value)}"
    if name == "RETENTION":
        return next(
            (f"{wrong} at {key!r}" for key, kept in value.items() if (wrong := _wrong_kept(kept))), ""
        )
    if name == "STREAM_LOGS":
        return next((f"{wrong} at {key!r}" for key, log in value.items() if (wrong := _wrong_log(log))), "")
    return ""


def _wrong_number(value: Any, *, whole: bool = False, zero: bool = False) -> str:
    fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if fits and math.isfinite(value) and (value > 0 or (zero and value == 0)):
        return ""
    kind = "a whole number" if whole else "a number"
    return f"{kind} {'of 0 or more' if zero else 'above 0'}, not {_kind(value)}"


def _wrong_texts(value: Any) -> str:
    if isinstance(value, (list, tuple)) and all(isinstance(text, str) for text in value):
        return ""
    return f"a list of strings, not {_kind(value)}"


def _wrong_kept(kept: Any) -> str:
    if not isinstance(kept, Mapping) or kept.keys() - set(KEPT):
        return f"a dict with {' and '.join(KEPT)}, not {_kind(kept)},"
    numbers = (_wrong_number(value) for value in kept.values() if value is not None)
    return next((f"{wrong}," for wrong in numbers if wrong), "")


def _wrong_log(log: Any) -> str:
    if not isinstance(log, Mapping):
        return f"a dict, not {_kind(log)},"
    if wrong := _wrong_texts(log.get("PREFIXES", ())):
        return f"{wrong}, for the PREFIXES"
    return _wrong_kept(log.get("RETENTION", {}))


def _kind(value: Any) -> str:
    """How a message names a value: only of numbers and None what they are."""
    return repr(value) if value is None or isinstance(value, (int, float)) else f"a {type(value).__name__}"


def _clear(*, setting: str, **_: object) -> None:
    if setting == "RECONNECT_CHANNELS":
        settings.cache_clear()


setting_changed.connect(_clear, dispatch_uid="reconnect_channels.conf")
