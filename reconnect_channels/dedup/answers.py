"""What Redis knows of messages whose truth is a row: it spares copies the transaction (design 8.2).

Under a message's name stands who works on it (a token, for the length of a lease), and after COMMIT what it
was answered. Redis may be slow, gone or empty: then the row is asked, which is never wrong.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from ..conf import settings
from . import base
from .base import Outcome, Transmission

logger = logging.getLogger(__name__)

PAUSE = 1.0  # seconds that a Redis that failed is left alone

LOOK = "local known = redis.call('GET', KEYS[1]) return known and cmsgpack.pack(known)"
CLAIM = """
local known = redis.call('GET', KEYS[1])
if known then return cmsgpack.pack(known) end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return cmsgpack.pack(ARGV[1])"""
KEEP = "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return 1"
RENEW = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2])"
RELEASE = "return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1])"


class Answers:
    """:param location: where they lie, `cluster`, `connections`, `options`: see `log.endpoint.Endpoint`.
    :param timeout: seconds to wait for Redis; after that it isn't asked for a second.
    :param key_prefix: begins every key.
    """

    def __init__(
        self,
        location: Any = None,
        *,
        cluster: bool = False,
        timeout: float = 0.15,
        connections: int = 32,
        options: Mapping[str, Any] | None = None,
        key_prefix: str = "reconnect:",
    ) -> None:
        from ..log.endpoint import Endpoint, Script  # needs redis-py

        self.endpoint = Endpoint(
            location, cluster=cluster, timeout=timeout, connections=connections, options=options
        )
        self._scripts = {text: Script(text) for text in (LOOK, CLAIM, KEEP, RENEW, RELEASE)}
        self._prefix = f"{key_prefix}answer:"
        self._life = int(settings().DEDUP_SECONDS * 1000)
        self._lock = threading.Lock()
        self._rests_until = 0.0

    def look(self, arrived: Transmission) -> Outcome | None:
        """What the message was answered; None where the row must be asked."""
        known = self._run(LOOK, arrived)
        return _answer(known, arrived) if known and known[0] == "[" else None

    def claim(self, arrived: Transmission, token: str, lease: float) -> Outcome | None:
        """What it was answered, or that another has it; None where the row must be asked."""
        known = self._run(CLAIM, arrived, token, int(lease * 1000))
        if known is None or known == token:
            return None
        return _answer(known, arrived) if known[0] == "[" else base.IN_PROGRESS

    def renew(self, arrived: Transmission, token: str, lease: float) -> None:
        """Extends the lease of a claim, if it is still this token's."""
        self._run(RENEW, arrived, token, int(lease * 1000))

    def release(self, arrived: Transmission, token: str) -> None:
        """Ends a claim, if it is still this token's."""
        self._run(RELEASE, arrived, token)

    def keep(self, arrived: Transmission, outcome: Outcome) -> None:
        """Stores what a message was answered. The row that was committed proves it: no token is asked."""
        kept = (arrived.payload_hash, *outcome[:5])
        self._run(KEEP, arrived, msgspec.json.encode(kept).decode(), self._life)

    def _run(self, script: str, arrived: Transmission, *args: str | int) -> Any:
        """What a script says; None while Redis is away; then one caller a second tries it."""
        from redis.exceptions import RedisError

        if self._rests_until:
            with self._lock:
                if time.monotonic() < self._rests_until:
                    return None
                self._rests_until = time.monotonic() + PAUSE
        try:
            said = self.endpoint.run(self._scripts[script], [self._prefix + arrived.name], *args)
        except (RedisError, OSError) as error:
            if not self._rests_until:
                logger.warning("Dedup goes on without Redis: %r", error)
            self._rests_until = time.monotonic() + PAUSE
            return None
        self._rests_until = 0.0
        return said


def _answer(known: str, arrived: Transmission) -> Outcome:
    digest, *kept = msgspec.json.decode(known)
    return Outcome(*kept)._replace(duplicate=True) if digest == arrived.payload_hash else base.KEY_REUSED


@lru_cache(maxsize=1)
def answers() -> Answers | None:
    """Those of the setting `DEDUP`; None without it.

    :raises ImproperlyConfigured: a location that can't be one; TypeError: an unknown key.
    """
    given = settings().DEDUP
    if not given:
        return None
    try:
        return Answers(**{key.lower(): value for key, value in given.items()})
    except ImproperlyConfigured as error:
        raise ImproperlyConfigured(str(error).replace("RedisLog", "DEDUP")) from error


def _clear(*, setting: str, **_: object) -> None:
    if setting == "RECONNECT_CHANNELS":
        answers.cache_clear()


setting_changed.connect(_clear, dispatch_uid="reconnect_channels.dedup.answers")
