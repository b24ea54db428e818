"""One stream on one connection: what was sent, what was acknowledged, what may go next (design 9.4)."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, StrEnum, auto

from .position import Position

WINDOW_ENTRIES = 1_000
WINDOW_BYTES = 1 << 20
ACK_ENTRIES = 250  # applied between two ACKs: well below every bound that waits for one
ACK_BYTES = 192 * 1024
PAGE_CREDIT_ENTRIES = 500
PAGE_BYTES = 16 * 1024, 256 * 1024  # the first page, which takes 16 s at 1 kB/s, and the largest
QUICK, SLOW = 1.0, 5.0  # seconds from a page to its ACK that make the next one larger, or smaller


class Mark:
    """The end of a frame that was sent: where it leads, and the characters up to it since its chain began.

    The frames of a feed are one chain, which its live subscriptions share: nothing is made or counted per
    recipient.
    """

    __slots__ = ("at", "next", "position", "total")

    def __init__(self, position: Position, total: int = 0, at: float = 0.0) -> None:
        self.position = position
        self.total = total
        self.at = at  # when it was sent
        self.next: Mark | None = None

    def then(self, position: Position, size: int, at: float) -> Mark:
        """The next frame of the chain."""
        self.next = mark = Mark(position, self.total + size, at)
        return mark


class State(Enum):
    PENDING = auto()  # named by the client, not yet allowed
    CATCHING_UP = auto()  # served page by page from the ring or the log
    LIVE = auto()  # pushed to by the hub
    ENDED = auto()


class Drift(StrEnum):
    """How far a client's history is from the server's (design 12)."""

    NONE = ""
    LAGGING = "lagging"  # it speaks, but doesn't acknowledge what it was sent long before
    DIVERGED = "diverged"  # it is another one, until what follows a snapshot is acknowledged

    @staticmethod
    def worst(drifts: Iterable[Drift]) -> Drift:
        """What is said of a client with several streams."""
        found = set(drifts)
        return next((each for each in (Drift.DIVERGED, Drift.LAGGING) if each in found), Drift.NONE)


class Subscription:
    """Flow control of one stream on one connection.

    `sent` is the position after the last frame sent. Un-ACKed frames are kept as marks, so that an
    ACK frees exactly their entries and bytes, and so that its checksum can be compared.
    """

    __slots__ = (
        "_acked",
        "_healing",
        "_last",
        "_shares",
        "_timed",
        "acked",
        "drift",
        "name",
        "page_bytes",
        "part_acked",
        "progressed",
        "ref",
        "state",
        "waiting",
    )

    def __init__(self, name: str, ref: int | None, now: float) -> None:
        self.name = name
        self.ref = ref
        self.state = State.PENDING
        self.acked = 0
        self.part_acked = 0
        self.waiting = False  # for the client to make room
        self.progressed = now  # when the client last moved, or was last not waited for
        self.drift = Drift.NONE
        self.page_bytes = PAGE_BYTES[0]  # as much as the client takes in a few seconds, as far as is known
        self._timed: tuple[int, float] | None = None  # the end of a page, and when it was sent
        self._last: Mark | None = None  # sent
        self._acked: Mark | None = None  # the last frame that was acknowledged whole
        self._shares = False  # the feed's chain
        self._healing = False  # a snapshot was sent to a diverged client

    @property
    def sent(self) -> Position | None:
        """Where the frames that were sent lead."""
        return self._last.position if self._last is not None else None

    @property
    def _bytes(self) -> int:
        return self._last.total - self._acked.total if self._last and self._acked else 0

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
        return self.unacked <= PAGE_CREDIT_ENTRIES and self._bytes <= self.page_bytes

    def fall_behind(self) -> None:
        """It is served page by page from now on; how fast is found out anew."""
        self.state = State.CATCHING_UP
        self.page_bytes = PAGE_BYTES[0]
        self._timed = None

    def time_page(self, now: float) -> None:
        """Measures how long the client takes to acknowledge what was sent last (one page at a time)."""
        if self._timed is None and self._last is not None:
            self._timed = self._last.position.seq, now

    def _pace(self, now: float) -> None:
        seq, sent_at = self._timed or (self.acked + 1, now)
        if self.acked < seq:
            return
        self._timed = None
        if now - sent_at < QUICK:
            self.page_bytes = min(self.page_bytes * 2, PAGE_BYTES[1])
        elif now - sent_at > SLOW:
            self.page_bytes = max(self.page_bytes // 2, PAGE_BYTES[0] // 4)

    def start(self, position: Position, now: float) -> None:
        """The client stands at `position`: its own that was accepted, or a snapshot's."""
        self._last = self._acked = Mark(position, at=now)
        self._shares = False
        self._healing = self.drift is Drift.DIVERGED
        self.acked = position.seq
        self.part_acked = 0
        self.progressed = now

    def took(self, to: Position, size: int, now: float) -> None:
        """A frame that leads to `to` was sent."""
        self._part()
        assert self._last is not None
        self._last = self._last.then(to, size, now)

    def follow(self, mark: Mark) -> None:
        """Takes the feed's frames from now on; `mark` stands where this does."""
        self._part()
        last = self._last
        assert last is not None
        offset = mark.total - last.total
        if self._acked is last:
            self._acked = mark
        at = self._acked
        while at is not None and at is not mark:
            at.total += offset
            if at.next is last:
                at.next = mark
            at = at.next
        self._last = mark
        self._shares = True

    def _part(self) -> None:
        """Copies what isn't acknowledged yet: the feed's own chain is everybody's."""
        if not self._shares:
            return
        at = self._acked
        assert at is not None
        copy = self._acked = Mark(at.position, at.total, at.at)
        while at is not self._last:
            at = at.next
            assert at is not None
            copy = copy.then(at.position, at.total - copy.total, at.at)
        self._last = copy
        self._shares = False

    def offer(self, mark: Mark) -> bool:
        """Takes a live frame if it continues what was sent and there is room."""
        last = self._last
        if (
            last is None
            or last.next is not mark
            or last.position.seq - self.acked >= WINDOW_ENTRIES  # `has_room`, without its calls: this
            or last.total - self._acked.total >= WINDOW_BYTES  # type: ignore[union-attr] # runs per recipient
        ):
            return False
        self._last = mark
        return True

    def acknowledge(self, position: Position, now: float) -> bool:
        """Takes an ACK; False when it proves another history than the one that was sent.

        ACKs of another epoch, backwards, or beyond what was sent are late or nonsense and change
        nothing: the next resume decides.
        """
        last, mark = self._last, self._acked
        if last is None or mark is None:
            return True
        sent = last.position
        if position.epoch != sent.epoch or not self.acked <= position.seq <= sent.seq:
            return True
        while mark is not last and mark.next is not None and mark.next.position.seq <= position.seq:
            mark = mark.next
        compared = mark.position.seq == position.seq
        proven = not compared or mark.position.checksum == position.checksum
        if not proven:
            self.drift = Drift.DIVERGED
        elif compared and self._healing:
            self.drift, self._healing = Drift.NONE, False
        if position.seq > self.acked:
            self.progressed = now
        self._acked = mark
        # Where it is the mark's own number, that object is in every recipient's cache.
        self.acked = mark.position.seq if compared else position.seq
        if self._timed is not None:
            self._pace(now)
        return proven

    def spoke(self, now: float, grace: float) -> None:
        """The client told where it stands on all its streams: whether it lags is judged at no other time.

        So whoever is silent doesn't, a frozen page or a dead network: other clocks watch for those. Nor does
        who acknowledges rarely, since a PONG acknowledges all.

        :param grace: seconds that a live frame may have been on its way.
        """
        if self.drift is Drift.DIVERGED:
            return
        oldest = self._acked.next if self._acked is not None and self._acked is not self._last else None
        late = oldest is not None and self.state is State.LIVE and now - oldest.at > grace
        self.drift = Drift.LAGGING if late else Drift.NONE
