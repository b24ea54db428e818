"""Follows rows by their ids, which are taken in one order and become visible in another."""

from __future__ import annotations

from collections.abc import Iterable

KEEP = 600.0  # seconds that a transaction may take from its insert to COMMIT
MOST = 256  # ids that are waited for; those of rolled back transactions never come


class Tail:
    """Which ids come next: those above `high`, and `missed` ones below it, whose rows may yet be committed.

    :param high: the highest id that was seen.
    """

    def __init__(self, high: int = 0) -> None:
        self.high = high
        self._missed: dict[int, float] = {}  # when it was missed first

    @property
    def missed(self) -> list[int]:
        return list(self._missed)

    def take(self, ids: Iterable[int], now: float) -> set[int]:
        """Takes ids that were read; returns those that are new."""
        new: set[int] = set()
        for id_ in sorted(ids):
            if id_ > self.high:
                first = max(self.high + 1, id_ - MOST)
                self._missed.update(dict.fromkeys(range(first, id_), now))
                self.high = id_
                new.add(id_)
            elif self._missed.pop(id_, None) is not None:
                new.add(id_)
        while self._missed:
            oldest = next(iter(self._missed))
            if len(self._missed) <= MOST and now - self._missed[oldest] <= KEEP:
                break
            del self._missed[oldest]
        return new
