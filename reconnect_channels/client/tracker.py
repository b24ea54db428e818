"""One stream as a client follows it: a frame is applied only if it provably continues (protocol 5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import msgspec

from reconnect_channels.protocol.position import MODULUS, Position, advance

from .errors import Refused
from .frames import Delta, Entry, State

MAX_EXPECTED = 1_000
ACK_SECONDS = 5.0  # the longest that what was applied stays unacknowledged while more comes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a stream, whatever was known before. `state` is None where the app has no snapshots."""

    stream: str
    epoch: str
    seq: int
    state: Any
    reason: str
    exact: bool
    partial: bool


@dataclass(frozen=True, slots=True)
class Entries:
    """The next entries of a stream, without a gap; `complete` = nothing newer was known."""

    stream: str
    epoch: str
    entries: list[Entry]
    complete: bool

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


@dataclass(slots=True)
class Delivery:
    """Something for the handlers; `pending` counts the subscribers that haven't finished with it."""

    item: Snapshot | Entries
    position: Position
    size: int
    pending: int = 0

    @property
    def entries(self) -> int:
        return len(self.item) if isinstance(self.item, Entries) else 0


class Not(Enum):
    """Why a frame isn't applied."""

    NEW = auto()  # a repeat
    CONTINUOUS = auto()  # a hole, another epoch, a wrong sum: ask again from the position
    WHOLE = auto()  # a part of a snapshot that continues nothing: ask again


@dataclass(slots=True)
class _Parts:
    position: Position
    parts: int
    chunks: list[str] = field(default_factory=list)


class Tracker:
    """Position, flow control and freshness of one stream.

    `position` is what was received and verified, `applied` what the handlers have finished with;
    a resume starts at the one, an ACK names the other. That keeps the server's window in force for
    slow handlers.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.position: Position | None = None
        self.applied: Position | None = None
        self.awaiting = False  # an answer: until then sync frames belong to an older subscription
        self.ref: int | None = None  # of the newest SUBSCRIBE; None = HELLO
        self.live = False
        self.live_since = 0.0
        self.behind_since = 0.0
        self.unverified = False  # the server couldn't compare its head with the log's lately
        self.broken = False  # a handler raised; a snapshot mends it
        self.refusal: Refused | None = None
        self.retry_at: float | None = None
        self.held = False  # left out of HELLO: the handlers are too far behind
        self.heals = 0  # in a row, without progress
        self.mended = False  # a snapshot was asked for a broken handler
        self.outstanding_entries = 0
        self.outstanding_bytes = 0
        self._unacked_entries = 0
        self._unacked_bytes = 0
        self._unacked_since = 0.0
        self._parts: _Parts | None = None
        self._expected: dict[int, tuple[str, str]] = {}

    @property
    def stale(self) -> bool:
        """Whether what the application shows may be old or wrong."""
        return self.broken or self.unverified or not self.live

    @property
    def collecting(self) -> bool:
        """Whether a snapshot is arriving in parts."""
        return self._parts is not None

    def ask(self, ref: int | None, now: float) -> None:
        """HELLO or SUBSCRIBE names the stream: nothing counts until its answer."""
        self.ref = ref
        self.awaiting = True
        self.retry_at = None
        self.held = False
        self.refusal = None
        self.disconnect(now)

    def disconnect(self, now: float) -> None:
        """Nothing arrives any more; the position stays."""
        if self.live:
            self.behind_since = now
        self.live = False
        self._parts = None
        self._unacked_entries = self._unacked_bytes = 0

    def forget(self) -> None:
        """Start from nothing at the next SUBSCRIBE or HELLO."""
        self.position = self.applied = None
        self._expected.clear()

    def delta(self, frame: Delta, size: int, now: float) -> Delivery | Not:
        """Takes a SYNC_DELTA; what it returns is applied, in order."""
        here = self.position
        if here is None or frame.epoch != here.epoch or frame.after > here.seq:
            return Not.CONTINUOUS
        if frame.to <= here.seq and frame.after < here.seq:
            return Not.NEW
        fresh = frame.payload[here.seq - frame.after :]
        if len(frame.payload) != frame.to - frame.after:
            return Not.CONTINUOUS
        seq, checksum = here.seq, here.checksum
        for entry in fresh:
            seq += 1
            if entry.seq != seq:
                return Not.CONTINUOUS
            try:
                checksum = advance(checksum, entry.id)
            except ValueError:
                return Not.CONTINUOUS
        if checksum != frame.checksum:
            return Not.CONTINUOUS
        if frame.complete and not self.live:
            self.live = True
            self.live_since = now
        if fresh:
            self.heals = 0
        self.unverified = False
        self.position = Position(here.epoch, seq, checksum)
        return self._hand_over(Entries(self.name, here.epoch, fresh, frame.complete), size)

    def snapshot(self, frame: State, size: int) -> Delivery | int | Not:
        """Takes a SYNC_SNAPSHOT; a number is the part to acknowledge."""
        if frame.seq < 0 or not 0 <= frame.checksum < MODULUS:
            return Not.CONTINUOUS
        position = Position(frame.epoch, frame.seq, frame.checksum)
        state = frame.payload
        if frame.part is None or frame.parts is None:
            self._parts = None
        else:
            if frame.part == 1:
                self._parts = _Parts(position, frame.parts)
            collected = self._parts
            if collected is None or (collected.position, collected.parts, len(collected.chunks) + 1) != (
                position,
                frame.parts,
                frame.part,
            ):
                self._parts = None
                return Not.WHOLE
            collected.chunks.append(frame.chunk)
            if frame.part < frame.parts:
                return frame.part
            self._parts = None
            try:
                state = msgspec.json.decode("".join(collected.chunks))
            except (msgspec.MsgspecError, UnicodeError):
                return Not.WHOLE
        self.position = position
        self.heals = 0
        self.broken = False
        self._expected = {
            seq: known
            for seq, known in self._expected.items()
            if known[0] == position.epoch and seq > position.seq
        }
        item = Snapshot(self.name, frame.epoch, frame.seq, state, frame.reason, frame.exact, frame.partial)
        return self._hand_over(item, size)

    def _hand_over(self, item: Snapshot | Entries, size: int) -> Delivery:
        assert self.position is not None
        delivery = Delivery(item, self.position, size)
        self.outstanding_entries += delivery.entries
        self.outstanding_bytes += size
        return delivery

    def finish(self, delivery: Delivery, ack_entries: int, ack_bytes: int, now: float) -> Position | None:
        """The handlers are through with a delivery; returns the position to acknowledge, if it is time."""
        self.outstanding_entries -= delivery.entries
        self.outstanding_bytes -= delivery.size
        if self.position is None:
            return None  # forgotten meanwhile
        self.applied = delivery.position
        if not self._unacked_entries:
            self._unacked_since = now
        self._unacked_entries += delivery.entries
        self._unacked_bytes += delivery.size
        item = delivery.item
        if (
            isinstance(item, Snapshot)
            or not item.complete  # a server with small pages may wait for this one
            or self._unacked_entries >= ack_entries
            or self._unacked_bytes >= ack_bytes
            or now - self._unacked_since >= ACK_SECONDS
        ):
            self._unacked_entries = self._unacked_bytes = 0
            return self.applied
        return None

    def misses(self, head: Position) -> bool:
        """Whether what the server says to have sent isn't here."""
        here = self.position
        if self.awaiting or self.collecting:
            return False
        return (
            here is None
            or here.epoch != head.epoch
            or here.seq < head.seq
            or (here.seq == head.seq and here.checksum != head.checksum)
        )

    def expect(self, message_id: str, epoch: str, seq: int) -> None:
        """An acknowledged message of ours will pass at (epoch, seq)."""
        here = self.position
        if here is not None and here.epoch == epoch and here.seq >= seq:
            return
        self._expected[seq] = (epoch, message_id)
        if len(self._expected) > MAX_EXPECTED:
            del self._expected[next(iter(self._expected))]

    def lost(self, entries: Entries) -> list[str]:
        """The acknowledged messages of ours in whose place another entry came."""
        if not self._expected:
            return []
        gone = []
        for entry in entries:
            known = self._expected.pop(entry.seq, None)
            if known is not None and known[0] == entries.epoch and known[1] != entry.key:
                gone.append(known[1])
        return gone
