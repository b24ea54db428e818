"""Lamport's logical clock (CACM 21(7), 1978), with a bound on how far a peer may push it."""

from __future__ import annotations

MAX_JUMP = 2**20


class LamportClock:
    """Orders events without wall clocks: above everything seen, rising with every tick."""

    def __init__(self, now: int = 0) -> None:
        self.now = now

    def tick(self) -> int:
        """The time of a new local event."""
        self.now += 1
        return self.now

    def observe(self, time: int) -> None:
        """Takes in the time of an event seen from elsewhere."""
        self.now = max(self.now, time)

    def plausible(self, time: int) -> bool:
        """Whether a peer's time lies within 2^20 of what is known here (design 13, `CLOCK`)."""
        return 0 <= time <= self.now + MAX_JUMP
