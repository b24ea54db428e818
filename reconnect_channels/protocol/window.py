"""The ring window: a stream's newest entries in memory, each already encoded (design 9.5)."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from .entry import Entry
from .position import Position

PAGE_ENTRIES = 500
PAGE_BYTES = 256 * 1024


class Slot(NamedTuple):
    """An entry as the window keeps it: where it leads, its JSON, and the entry itself."""

    position: Position
    wire: str
    entry: Entry


class Page(NamedTuple):
    """Consecutive entries: `wires` lead from `after` to `to`; `complete` = to the end of what is known."""

    after: Position
    to: Position
    wires: list[str]
    size: int
    complete: bool


def cut(after: Position, slots: list[Slot], *, complete: bool, max_bytes: int | None = None) -> Page:
    """Takes as many slots as one page holds (at least one if there is any)."""
    size, most = 0, PAGE_BYTES if max_bytes is None else max_bytes
    wires: list[str] = []
    to = after
    for slot in slots:
        if wires and (len(wires) >= PAGE_ENTRIES or size + len(slot.wire) > most):
            return Page(after, to, wires, size, False)
        wires.append(slot.wire)
        size += len(slot.wire)
        to = slot.position
    return Page(after, to, wires, size, complete)


class Window:
    """A bounded run of consecutive entries that ends at `position`.

    Bounded by count and by characters; it forgets from the front. It holds only what continued its
    own checksum, so a position that fits here fits the log that the window was fed from.
    """

    def __init__(self, position: Position, max_entries: int = 1_000, max_bytes: int = 1 << 20) -> None:
        self.position = position
        self._start = position  # the position before the first slot
        self._slots: deque[Slot] = deque()
        self._size = 0
        self._max_entries = max_entries
        self._max_bytes = max_bytes

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def size(self) -> int:
        """Characters of what it holds."""
        return self._size

    def continues(self, entry: Entry) -> bool:
        """Whether the entry is the next one of this very history."""
        return entry.position == self.position.then(entry.id)

    def append(self, entry: Entry) -> Slot:
        """Adds the next entry; the caller has asked `continues`."""
        slot = Slot(entry.position, entry.wire(), entry)
        self._slots.append(slot)
        self._size += len(slot.wire)
        self.position = slot.position
        while len(self._slots) > self._max_entries or (self._size > self._max_bytes and len(self._slots) > 1):
            gone = self._slots.popleft()
            self._size -= len(gone.wire)
            self._start = gone.position
        return slot

    def forget(self) -> None:
        """Holds no entry any more, and goes on where it was."""
        self._start = self.position
        self._slots.clear()
        self._size = 0

    def checksum_at(self, seq: int) -> int | None:
        """The checksum after `seq`, or None where the window doesn't reach."""
        index = seq - self._start.seq
        if index == 0:
            return self._start.checksum
        if 0 < index <= len(self._slots):
            return self._slots[index - 1].position.checksum
        return None

    def slots_after(self, seq: int) -> list[Slot]:
        """The slots above `seq`; the caller knows that the window reaches down to it."""
        index = seq - self._start.seq
        return [self._slots[i] for i in range(index, len(self._slots))]

    def page_after(self, position: Position, max_bytes: int | None = None) -> Page | None:
        """The next page for a reader, or None when the window doesn't reach or the checksum doesn't fit."""
        if position.epoch != self.position.epoch or self.checksum_at(position.seq) != position.checksum:
            return None
        index = position.seq - self._start.seq
        stop = min(len(self._slots), index + PAGE_ENTRIES)
        slots = [self._slots[i] for i in range(index, stop)]
        return cut(position, slots, complete=stop == len(self._slots), max_bytes=max_bytes)


class Slice:
    """Consecutive entries that were just read from a log: pages for everybody who stands among them.

    :param after: the position that the read proved.
    :param ends: whether they reached to the log's head.
    """

    def __init__(self, after: Position, entries: Sequence[Entry], *, ends: bool) -> None:
        self._window = Window(after, max_entries=len(entries), max_bytes=sys.maxsize)
        for entry in entries:
            self._window.append(entry)
        self._ends = ends

    @property
    def size(self) -> int:
        """Characters of what it holds."""
        return self._window.size

    def page_after(self, position: Position, max_bytes: int | None = None) -> Page | None:
        """The next page for a reader; None where there is none in here, or the checksum doesn't fit."""
        page = self._window.page_after(position, max_bytes)
        if page is None or not page.wires:
            return None
        return page if self._ends or not page.complete else page._replace(complete=False)
