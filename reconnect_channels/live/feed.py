"""One stream in a hub: its ring window, and the connections that are live on it."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple, Protocol

from ..protocol.codes import Resync
from ..protocol.entry import Entry, delta
from ..protocol.position import Position
from ..protocol.subscription import Mark
from ..protocol.window import Slot, Window, cut
from ..telemetry import events, tracing


class Batch(NamedTuple):
    """Entries that are pushed together, made once: `event` is the ASGI message that every socket gets."""

    after: Position
    to: Position
    slots: list[Slot]
    event: dict[str, Any]
    mark: Mark


class Tap(Protocol):
    """Where a feed's entries come out: a stream on one connection."""

    def push(self, batch: Batch) -> None:
        """Takes live entries, or falls behind; never blocks, never raises."""

    def resync(self, reason: Resync) -> None:
        """The history was replaced: what was sent before proves nothing any more."""


class Feed:
    """A stream's live state. `window` is None until its head was read for the first time.

    `flushed` marks the position up to which live taps were served; what lies between it and the window's
    end goes out with the next flush (natural batching, design 9.3).
    """

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self.name = name
        self.window: Window | None = None
        self.flushed: Mark | None = None
        self.verified_at = float("-inf")
        self.taps: set[Tap] = set()
        self.live: dict[Tap, None] = {}  # a dict keeps the order in which they came: nobody is always last
        self.retired: dict[str, Resync] = {}
        self.filling: asyncio.Task[None] | None = None
        self.grouped: asyncio.Task[bool] | None = None  # None until somebody who may read it follows it
        self.expiry: asyncio.TimerHandle | None = None
        self._loop = loop
        self._flushing = False
        self._fan_outs: dict[str, tracing.Span] = {}  # of what goes out with the next flush, by their parents

    @property
    def position(self) -> Position:
        """The hub's own position; only after the first head."""
        assert self.window is not None
        return self.window.position

    def restart(self, position: Position) -> None:
        """Begins the window anew at a position that the log has proven; nobody is live on it yet."""
        self.window = Window(position)
        self.flushed = Mark(position)

    def accept(self, entries: list[Entry]) -> bool:
        """Takes entries that continue the window's own checksum; False when one doesn't (a hole)."""
        window = self.window
        if window is None:
            return False
        for entry in entries:
            if entry.seq <= window.position.seq and entry.epoch == window.position.epoch:
                if window.checksum_at(entry.seq) not in (None, entry.checksum):
                    return False
                continue
            if not window.continues(entry):
                return False
            if entry.trace is not None and self.live:
                entry = entry._replace(trace=self._fan_out(entry.trace))
            window.append(entry)
            if not self._flushing:
                self._flushing = True
                self._loop.call_soon(self._flush)
        return True

    def _fan_out(self, trace: str) -> str:
        """Goes on with an entry's trace until the next flush; returns what its readers go on with."""
        span = self._fan_outs.get(trace) or tracing.start("fan_out", trace, stream=self.name)
        if span is None:
            return trace
        self._fan_outs[trace] = span
        return str(span.context)

    def _flush(self) -> None:
        self._flushing = False
        self._push()
        if self._fan_outs:
            for span in self._fan_outs.values():
                span.end(sockets=len(self.live))
            self._fan_outs.clear()

    def _push(self) -> None:
        window, mark = self.window, self.flushed
        if window is None or mark is None:
            return
        after = mark.position
        if after == window.position:
            return
        if not self.live:
            self.flushed = Mark(window.position)
            return
        if window.checksum_at(after.seq) != after.checksum:  # more came than the window holds
            self.jump(window.position)
            return
        slots = window.slots_after(after.seq)
        while slots:
            page = cut(after, slots, complete=True)
            taken, slots = slots[: len(page.wires)], slots[len(page.wires) :]
            text = delta(self.name, after, page.to, page.wires, True)
            self.flushed = mark = mark.then(page.to, len(text), self._loop.time())
            batch = Batch(after, page.to, taken, {"type": "websocket.send", "text": text}, mark)
            taps = list(self.live)
            for tap in taps:
                tap.push(batch)
            events.emit(events.FannedOut(self.name, len(taken), len(taps)))
            after = page.to

    def jump(self, position: Position) -> None:
        """Goes on from a later position of the same history; live taps fall behind and read the log."""
        if self.window is None or self.window.position != position:
            self.restart(position)
        self.flushed = mark = Mark(position)
        for tap in list(self.live):
            tap.push(Batch(position, position, [], {}, mark))

    def forget(self) -> None:
        """Keeps no payload; its position stays. Who is behind reads the log."""
        self._flush()
        if self.window is not None:
            self.window.forget()

    def replace(self, position: Position, reason: Resync) -> None:
        """Another history holds from now on: every tap resyncs."""
        if self.window is not None and self.window.position.epoch != position.epoch:
            self.retired[self.window.position.epoch] = reason
        self.restart(position)
        self.live.clear()
        for tap in list(self.taps):
            tap.resync(reason)
