"""The ring window: a stream's newest entries in memory, each already encoded (design 9.5)."""

from __future__ import annotations

from collections import deque
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


def cut(after: Position, slots: list[Slot], *, complete: bool) -> Page:
    """Takes as many slots as one page holds (at least one if there is any)."""
    size = 0
    wires: list[str] = []
    to = after
    for slot in slots:
        if wires and (len(wires) >= PAGE_ENTRIES or size + len(slot.wire) > PAGE_BYTES):
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

    def page_after(self, position: Position) -> Page | None:
        """The next page for a reader, or None when the window doesn't reach or the checksum doesn't fit."""
        if position.epoch != self.position.epoch or self.checksum_at(position.seq) != position.checksum:
            return None
        index = position.seq - self._start.seq
        stop = min(len(self._slots), index + PAGE_ENTRIES)
        slots = [self._slots[i] for i in range(index, stop)]
        return cut(position, slots, complete=stop == len(self._slots))
