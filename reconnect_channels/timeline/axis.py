"""The time axis: moments as percent of the width, with long silences cut short."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import datetime, tzinfo
from itertools import accumulate, pairwise
from math import log
from statistics import median_low
from typing import NamedTuple

MINUTE, HOUR, DAY = 60, 3600, 86400
STEPS = (
    *(1, 2, 5, 10, 20, 30),
    *(MINUTE * n for n in (1, 2, 5, 10, 20, 30)),
    *(HOUR * n for n in (1, 2, 3, 6, 12)),
    *(DAY * n for n in (1, 2, 7, 14)),
)
TICKS = 8  # at most about so many
APART = 11.0  # percent between two ticks, at least
MARGIN = 4.0  # percent at both ends where no label has room
SHORT = 1.0  # seconds; what follows sooner says nothing about the length of silences


class Tick(NamedTuple):
    """A label of the axis; `day` only where it is another one than before."""

    x: float
    time: str
    day: str


class Break(NamedTuple):
    """A silence that is drawn shorter than it was."""

    x: float  # its middle
    seconds: float

    @property
    def length(self) -> str:
        """How long it was, for people."""
        return length(self.seconds)


class Axis:
    """Maps moments to 0…100.

    :param moments: seconds since 1970 of all that happened, in any order; at least one.
    """

    def __init__(self, moments: Iterable[float]) -> None:
        self._knots = sorted(set(moments))
        if self._knots[-1] - self._knots[0] < 1:
            self._knots.append(self._knots[0] + 1)
        gaps = [after - before for before, after in pairwise(self._knots)]
        usual = median_low([gap for gap in gaps if gap >= SHORT] or [SHORT])
        self._widths = [_drawn(gap, usual) for gap in gaps]
        self._cut = [2 * width < gap for width, gap in zip(self._widths, gaps, strict=True)]
        total = sum(self._widths)
        self._places = [0.0, *(100 * width / total for width in accumulate(self._widths))]

    def place(self, moment: float) -> float:
        """Where a moment is, in percent; what lies outside is at the end."""
        if moment >= self._knots[-1]:
            return 100.0
        at = max(0, bisect_right(self._knots, moment) - 1)
        before, after = self._knots[at], self._knots[at + 1]
        part = max(0.0, (moment - before) / (after - before))
        return self._places[at] + part * (self._places[at + 1] - self._places[at])

    @property
    def breaks(self) -> list[Break]:
        """The silences that are cut short."""
        return [
            Break((self._places[i] + self._places[i + 1]) / 2, self._knots[i + 1] - self._knots[i])
            for i, cut in enumerate(self._cut)
            if cut
        ]

    def ticks(self, zone: tzinfo) -> list[Tick]:
        """Labels at round times, and where a silence ends."""
        step = next((step for step in STEPS if step * TICKS >= sum(self._widths)), STEPS[-1])
        taken: list[tuple[float, float]] = []
        for moment in [*self._restarts(), *self._round(step, zone)]:
            x = self.place(moment)
            if MARGIN <= x <= 100 - MARGIN and all(abs(x - other) >= APART for other, _ in taken):
                taken.append((x, moment))
        ticks: list[Tick] = []
        day = ""
        for x, moment in sorted(taken):
            local = datetime.fromtimestamp(moment, zone)
            time = f"{local:%H:%M}" if step % MINUTE == 0 and local.second == 0 else f"{local:%H:%M:%S}"
            today = f"{local:%d %b}".lstrip("0")
            ticks.append(Tick(x, time, "" if today == day else today))
            day = today
        return ticks

    def _restarts(self) -> list[float]:
        return [self._knots[i + 1] for i, cut in enumerate(self._cut) if cut]

    def _round(self, step: int, zone: tzinfo) -> Iterator[float]:
        for (before, after), cut in zip(pairwise(self._knots), self._cut, strict=True):
            if not cut:
                offset = datetime.fromtimestamp(before, zone).utcoffset()
                shift = offset.total_seconds() if offset else 0
                at = -(-(before + shift) // step) * step - shift
                while at <= after:
                    yield at
                    at += step


def _drawn(gap: float, usual: float) -> float:
    """The length that a gap gets: its own up to what is usual, and from there by its logarithm."""
    return gap if gap <= usual else usual * (1 + log(gap / usual))


def length(seconds: float) -> str:
    """A length of time for people: 21 ms, 4.6 s, 12 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 10:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    units = [(DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (1, "s")]
    whole = round(seconds)
    at = next(i for i, (size, _) in enumerate(units) if whole >= size)
    parts = []
    for size, name in units[at : at + 2]:
        count, whole = divmod(whole, size)
        if count:
            parts.append(f"{count} {name}")
    return " ".join(parts)
