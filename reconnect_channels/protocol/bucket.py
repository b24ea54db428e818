"""A token bucket: `rate` tokens a second, at most `burst` at once."""

from __future__ import annotations


class TokenBucket:
    """Paces what a peer may do; the caller passes the time, so that it stays pure."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self._tokens = burst
        self._at = now

    def take(self, now: float) -> float:
        """Takes one token and returns 0, or returns the seconds until there is one."""
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self.rate
        self._tokens -= 1
        return 0.0

    def reserve(self, now: float, patience: float) -> float:
        """Takes a token ahead of its time and returns the seconds until it is earned.

        Takes none where that is longer than `patience`.
        """
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        wait = max(0.0, (1 - self._tokens) / self.rate)
        if wait <= patience:
            self._tokens -= 1
        return wait
