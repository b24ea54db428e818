"""Who is let in when many come at once, and how many sockets one may have (design 10.3, 13)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from ..conf import settings
from ..protocol.bucket import TokenBucket

PATIENCE = 2.0  # seconds that an open socket waits for its WELCOME; clients give up after 8
FARTHEST = 18.0  # seconds that a client is sent away for at most: clients' own backoff ends at 20
SPREAD = 2.0  # seconds of a window
CROWDED_MS = (10_000, 30_000)  # for who has too many sockets already


class Admission:
    """One process's: a bucket of greetings, and counts of sockets."""

    def __init__(self, now: float) -> None:
        current = settings()
        self._bucket = TokenBucket(current.RESUME_RATE, current.RESUME_BURST, now)
        self._rate = current.RESUME_RATE
        self._sent_away_until = now
        self._sockets: Counter[str] = Counter()

    def turn(self, now: float) -> tuple[float, tuple[int, int] | None]:
        """The seconds until a new socket may be greeted, and a window to come back in if that is too long.

        Those who are sent away get windows one after the other: their herd comes back spread out.
        """
        wait = self._bucket.reserve(now, PATIENCE)
        if wait <= PATIENCE:
            return wait, None
        self._sent_away_until = min(
            max(self._sent_away_until, now + PATIENCE) + 1 / self._rate, now + FARTHEST
        )
        after = self._sent_away_until - now
        return wait, (round(after * 1000), round((after + SPREAD) * 1000))

    def enter(self, who: str, most: int) -> bool:
        """Counts a socket; False where there are `most` already, and it isn't counted."""
        if self._sockets[who] >= most:
            return False
        self._sockets[who] += 1
        return True

    def leave(self, who: str) -> None:
        """A socket that entered is gone."""
        self._sockets[who] -= 1
        if self._sockets[who] <= 0:
            del self._sockets[who]


def crowded() -> tuple[int, int]:
    """When to try again who has too many sockets."""
    low = random.randint(*CROWDED_MS)
    return low, low * 2


def public_address(scope: Mapping[str, Any]) -> str | None:
    """The peer's address; None for one of a private network: a proxy or a whole office may be behind it."""
    try:
        address = ip_address((scope.get("client") or ("",))[0])
    except ValueError:
        return None
    return str(address) if address.is_global else None
