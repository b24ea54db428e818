"""The connection's states (design 11.1), and whether and when to come back (protocol 7)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from secrets import SystemRandom

STABLE_AFTER = 5.0
MAX_EXPONENT = 10

_random = SystemRandom()


class State(StrEnum):
    DISCONNECTED = "DISCONNECTED"
    RECONNECTING = "RECONNECTING"
    CONNECTED = "CONNECTED"
    FAILED = "FAILED"


LEGAL: dict[State, frozenset[State]] = {
    State.DISCONNECTED: frozenset({State.RECONNECTING}),
    State.RECONNECTING: frozenset({State.CONNECTED, State.FAILED, State.DISCONNECTED}),
    State.CONNECTED: frozenset({State.DISCONNECTED}),
    State.FAILED: frozenset({State.DISCONNECTED}),
}


class StateTransitionError(RuntimeError):
    """A move that the state machine doesn't have: a defect of the client."""

    def __init__(self, before: State, after: State) -> None:
        super().__init__(f"{before} to {after}")


class Lifecycle:
    """Where the connection stands. A terminal end, too, goes through RECONNECTING, without a socket."""

    def __init__(self) -> None:
        self.state = State.DISCONNECTED
        self.transitions = 0
        self.invalid_transitions = 0

    def move(self, after: State) -> bool:
        """Goes there; False if it is there already. Raises StateTransitionError for an illegal move."""
        if after is self.state:
            return False
        if after not in LEGAL[self.state]:
            self.invalid_transitions += 1
            raise StateTransitionError(self.state, after)
        self.state = after
        self.transitions += 1
        return True


def ceiling(attempt: int, base: float, maximum: float) -> float:
    """The longest delay before this attempt. Raises ValueError for bounds that aren't positive numbers."""
    if not (0 < base < math.inf and 0 < maximum < math.inf):
        raise ValueError("base and maximum are positive numbers")
    return min(base * 2.0 ** min(max(attempt, 0), MAX_EXPONENT), maximum)


def calculate_backoff(attempt: int, base: float, maximum: float) -> float:
    """Full jitter: anything between 0 and the ceiling, so that a herd doesn't come back together."""
    return _random.uniform(0, ceiling(attempt, base, maximum))


def jitter(seconds: float) -> float:
    """Up to a quarter more, and at least a little."""
    return seconds + _random.uniform(0, 0.05 + seconds / 4)


@dataclass(frozen=True)
class Ending:
    """How a connection ended: `window` is BYE's, in seconds; `promptly` = no fault of the network."""

    code: int
    reason: str = ""
    reconnect: bool = True
    window: tuple[float, float] | None = None
    promptly: bool = False


class Comeback:
    """Counts failures in a row and decides on the delay before the next attempt."""

    def __init__(self, base: float, maximum: float, max_attempts: int | None = None) -> None:
        ceiling(0, base, maximum)
        self.base, self.maximum, self.max_attempts = base, maximum, max_attempts
        self.failures = 0
        self.opens_without_welcome = 0
        self.capped = 0

    def forgive(self) -> None:
        """Starts counting anew: the user asks again."""
        self.failures = self.opens_without_welcome = 0

    def after(self, ending: Ending, uptime: float | None) -> float | None:
        """Seconds to wait, or None to give up. `uptime` counts from WELCOME; None = there was none."""
        if uptime is None:
            self.opens_without_welcome += 1
        else:
            self.opens_without_welcome = 0
            if uptime >= STABLE_AFTER:
                self.failures = 0
        if not ending.reconnect:
            return None
        if self.max_attempts is not None and self.opens_without_welcome >= self.max_attempts:
            return None
        attempt, self.failures = self.failures, self.failures + 1
        if ending.window is not None:
            return _random.uniform(*ending.window)
        if ending.promptly:
            return _random.uniform(0, self.base)
        if ceiling(attempt, self.base, self.maximum) == self.maximum:
            self.capped += 1
        return calculate_backoff(attempt, self.base, self.maximum)
