"""A circuit breaker (Nygard, *Release It!*): what fails again and again is left alone for a while."""

from __future__ import annotations


class Breaker:
    """Closed until `failures` calls in a row failed; then open, with a probe now and then.

    The first success closes it. The caller passes the time, so that it stays pure.

    :param failures: in a row, that open it.
    :param probe_every: seconds between two probes while it is open.
    """

    def __init__(self, failures: int = 5, probe_every: float = 1.0) -> None:
        self._limit = failures
        self._probe_every = probe_every
        self._failures = 0
        self._next_probe: float | None = None  # None while closed

    @property
    def is_open(self) -> bool:
        return self._next_probe is not None

    def may_probe(self, now: float) -> bool:
        """Whether one call may be tried while it is open; the next one not before `probe_every`."""
        if self._next_probe is None or now < self._next_probe:
            return False
        self._next_probe = now + self._probe_every
        return True

    def failed(self, now: float) -> bool:
        """A call failed; True when that opened it."""
        self._failures += 1
        if self._failures < self._limit or self._next_probe is not None:
            return False
        self._next_probe = now + self._probe_every
        return True

    def succeeded(self) -> bool:
        """A call succeeded; True when that closed it."""
        self._failures = 0
        was_open, self._next_probe = self.is_open, None
        return was_open
