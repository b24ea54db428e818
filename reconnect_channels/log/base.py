"""The interface of a sequence log: the durable truth behind the streams (design 7)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import ClassVar, NamedTuple

from ..conf import settings
from ..protocol.codes import Resync
from ..protocol.entry import Entry
from ..protocol.position import Position
from ..protocol.recovery import Head


class Draft(NamedTuple):
    """An entry before it has a place: id (UUID), its author's message id or None, payload as JSON text, and
    the identity of who wrote it, which stays on the server."""

    id: str
    key: str | None
    text: str
    author: str = ""


class Run(NamedTuple):
    """Consecutive entries after a proven position, and the head at the time of the same read."""

    entries: list[Entry]
    head: Head


class Mismatch(Exception):
    """The position that a read started from is not in this log; `reason` says how, `head` what is."""

    def __init__(self, reason: Resync, head: Head) -> None:
        super().__init__(str(reason))
        self.reason, self.head = reason, head


def judge(head: Head, after: Position, limit: int, entries: list[Entry]) -> Run:
    """What a read found, given the head and the entries from `after.seq` on as one moment saw them.

    :param entries: up to `limit + 1` of them; the one at `after.seq`, where it is kept, is the proof.
    :raises Mismatch: the position isn't in the log.
    """
    if head.epoch != after.epoch:
        raise Mismatch(Resync.EPOCH, head)
    if after.seq > head.seq:
        raise Mismatch(Resync.REWOUND, head)
    if after.seq < head.floor - 1:
        raise Mismatch(Resync.TRIMMED, head)
    if after.seq == head.floor - 1:
        # What lies below the floor may be there still, while it is being deleted.
        proof, entries = head.floor_checksum, [e for e in entries if e.seq > after.seq][:limit]
    else:
        proof = entries.pop(0).checksum if entries and entries[0].seq == after.seq else -1
    if proof != after.checksum:
        raise Mismatch(Resync.DIVERGED, head)
    return Run(entries, head)


class SequenceLog(ABC):
    """Appends to and reads from streams. All methods block: callers run them in threads."""

    retention: Mapping[str, int] = {}
    """`ENTRIES` and `SECONDS` to keep, from the log's `RETENTION`; nothing = keep all."""

    def kept(self, stream: str) -> Mapping[str, float]:
        """How much of a stream is kept: by `RETENTION` of the longest prefix of its name, else this log's."""
        by_prefix = settings().RETENTION
        prefixes = [prefix for prefix in by_prefix if stream.startswith(prefix)]
        return by_prefix[max(prefixes, key=len)] if prefixes else self.retention

    transactional: ClassVar[bool] = True
    """Whether an append joins the caller's database transaction. If not, it can't be taken back, and is
    made once that transaction is committed; a state and a position of the log have no common moment."""

    @property
    @abstractmethod
    def using(self) -> str:
        """The alias of the database whose transaction an append joins, or waits for."""

    @abstractmethod
    def append(
        self, stream: str, drafts: Sequence[Draft], clock: int, *, using: str | None = None
    ) -> list[Entry]:
        """Appends entries in order, in the caller's transaction; their clocks rise above `clock`.

        An id comes once in a stream: a log that isn't transactional answers one that it holds with the
        entry that is there, a transactional one raises.
        """

    @abstractmethod
    def existing(self, stream: str, ids: Sequence[str], *, using: str | None = None) -> dict[str, Entry]:
        """Those of `ids` that the stream holds already. A transactional log takes the stream for the
        caller's transaction, so that what isn't there now won't be when it appends."""

    @abstractmethod
    def heads(self, streams: Sequence[str]) -> dict[str, Head]:
        """The heads of many streams in one read of the primary; unknown streams are begun."""

    @abstractmethod
    def begun(self, names: Sequence[str]) -> dict[str, Head]:
        """The heads of those of many streams that are there; unknown ones stay unknown."""

    @abstractmethod
    def read(self, stream: str, after: Position, limit: int) -> Run:
        """Up to `limit` entries after a position whose checksum is verified in the same read.

        Raises Mismatch (`epoch`, `trimmed`, `diverged`; `rewound` when the position is past the head).
        """

    @abstractmethod
    def checksum_at(self, stream: str, epoch: str, seq: int) -> int | None:
        """The checksum after one kept entry, or None."""

    @abstractmethod
    def clock(self) -> int:
        """The highest Lamport time of any stream."""

    @abstractmethod
    def names(self) -> Iterator[str]:
        """The names of all streams that are kept here."""

    @abstractmethod
    def newest_before(self, stream: str, moment: datetime) -> int | None:
        """The newest kept seq that was appended before a moment, by the clocks of the appending nodes."""

    @abstractmethod
    def trim(self, stream: str, floor: int) -> int:
        """Forgets what lies below `floor`; returns how many entries went.

        The floor moves before anything goes: who reads from below it is told `trimmed`, and meets no hole.
        """

    @abstractmethod
    def written_by(self, author: str) -> Iterator[tuple[str, int, int]]:
        """The streams where an identity wrote kept entries: name, how many, the lowest seq."""

    @abstractmethod
    def blank(self, stream: str, author: str, text: str) -> None:
        """Puts a text in the place of every payload that an identity wrote on a stream, and forgets that it
        did. Nothing else of the entries changes."""

    @abstractmethod
    def new_epoch(self, stream: str, expected: str) -> Head:
        """Begins a new epoch if the current one is still `expected` (compare-and-set); returns the head."""

    @abstractmethod
    def drop(self, stream: str) -> None:
        """Removes a stream with all its entries; its next life has another epoch."""
