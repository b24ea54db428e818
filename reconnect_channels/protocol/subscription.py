"""One stream on one connection: what was sent, what was acknowledged, what may go next (design 9.4)."""

from __future__ import annotations

from collections import deque
from enum import Enum, auto

from .position import Position

WINDOW_ENTRIES = 1_000
WINDOW_BYTES = 1 << 20
ACK_ENTRIES = 250  # applied between two ACKs: well below every bound that waits for one
ACK_BYTES = 192 * 1024
PAGE_CREDIT_ENTRIES = 500
PAGE_CREDIT_BYTES = 256 * 1024


Mark = tuple[Position, int]
"""A frame that was sent: where it leads, and its size."""


class State(Enum):
    PENDING = auto()  # named by the client, not yet allowed
    CATCHING_UP = auto()  # served page by page from the ring or the log
    LIVE = auto()  # pushed to by the hub
    ENDED = auto()


class Subscription:
    """Flow control of one stream on one connection.

    `sent` is the position after the last frame sent. Un-ACKed frames are kept as marks, so that an
    ACK frees exactly their entries and bytes, and so that its checksum can be compared.
    """

    __slots__ = (
        "_bytes",
        "_marks",
        "acked",
        "name",
        "part_acked",
        "progressed",
        "ref",
        "sent",
        "state",
        "waiting",
    )

    def __init__(self, name: str, ref: int | None, now: float) -> None:
        self.name = name
        self.ref = ref
        self.state = State.PENDING
        self.sent: Position | None = None
        self.acked = 0
        self.part_acked = 0
        self.waiting = False  # for the client to make room
        self.progressed = now  # when the client last moved, or was last not waited for
        self._marks: deque[Mark] = deque()
        self._bytes = 0

    @property
    def unacked(self) -> int:
        """Entries sent and not yet acknowledged."""
        return self.sent.seq - self.acked if self.sent is not None else 0

    @property
    def has_room(self) -> bool:
        """Whether live traffic may still be pushed without an ACK."""
        return self._bytes < WINDOW_BYTES and self.unacked < WINDOW_ENTRIES

    @property
    def has_credit(self) -> bool:
        """Whether catching up may send another page: at most two pages are un-ACKed (design 6.2)."""
        return self.unacked <= PAGE_CREDIT_ENTRIES and self._bytes <= PAGE_CREDIT_BYTES

    def start(self, position: Position, now: float) -> None:
        """The client stands at `position`: its own that was accepted, or a snapshot's."""
        self.sent = position
        self.acked = position.seq
        self.part_acked = 0
        self.progressed = now
        self._marks.clear()
        self._bytes = 0

    def took(self, to: Position, size: int) -> None:
        """A frame that leads to `to` was sent."""
        self.sent = to
        self._bytes += size
        self._marks.append((to, size))

    def offer(self, after: int, mark: Mark) -> bool:
        """Takes a live frame if it continues what was sent and there is room.

        The same mark serves all subscriptions that the frame goes to: nothing is made per recipient.
        """
        sent = self.sent
        if (
            sent is None
            or sent.seq != after
            or after - self.acked >= WINDOW_ENTRIES  # `has_room`, without its calls: this runs per recipient
            or self._bytes >= WINDOW_BYTES
        ):
            return False
        self.sent = mark[0]
        self._bytes += mark[1]
        self._marks.append(mark)
        return True

    def acknowledge(self, position: Position, now: float) -> bool:
        """Takes an ACK; False when it proves another history than the one that was sent.

        ACKs of another epoch, backwards, or beyond what was sent are late or nonsense and change
        nothing: the next resume decides.
        """
        sent = self.sent
        if sent is None or position.epoch != sent.epoch or not self.acked <= position.seq <= sent.seq:
            return True
        proven = position.seq != sent.seq or position.checksum == sent.checksum
        while self._marks and self._marks[0][0].seq <= position.seq:
            mark, size = self._marks.popleft()
            self._bytes -= size
            if mark.seq == position.seq and mark.checksum != position.checksum:
                proven = False
        if position.seq > self.acked:
            self.progressed = now
        self.acked = position.seq
        return proven
