"""The recovery decision: what a client that brings a position is answered (design 5.5)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import NamedTuple

from .codes import Resync
from .position import Position

MAX_DELTA = 5_000


class Head(NamedTuple):
    """The state of a stream's log, read from the primary.

    `floor` is the lowest kept seq (head + 1 when nothing is kept), `floor_checksum` the checksum
    before it, so that floor - 1 <= seq <= head can be verified.
    """

    epoch: str
    seq: int
    checksum: int
    floor: int
    floor_checksum: int
    clock: int

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.seq, self.checksum)


class Answer(Enum):
    INVALID = auto()
    SNAPSHOT = auto()
    DELTA = auto()


class Decision(NamedTuple):
    answer: Answer
    reason: Resync | None = None


def known_checksum(position: Position, head: Head) -> int | None:
    """The log's checksum at the position where the head alone tells it, else None: read the entry."""
    if position.seq == head.seq:
        return head.checksum
    if position.seq == head.floor - 1:
        return head.floor_checksum
    return None


def needs_checksum(position: Position | None, head: Head) -> bool:
    """Whether `decide` must be given the checksum of the entry at the position's seq."""
    return (
        position is not None
        and position.epoch == head.epoch
        and head.floor <= position.seq < head.seq
        and known_checksum(position, head) is None
    )


def decide(
    position: Position | None,
    head: Head,
    *,
    checksum: int | None = None,
    retired: Mapping[str, Resync] | None = None,
    max_delta: int = MAX_DELTA,
) -> Decision:
    """Judges a well-formed position against a head read after it arrived, in the order of design 5.5.

    `checksum` is the log's at the position's seq (None: no such entry; see `needs_checksum`),
    `retired` the epochs that this node itself ended, with the reason. Malformed positions never get
    here: `position.parse` refuses them.
    """
    if position is None:
        return Decision(Answer.SNAPSHOT, Resync.NEW)
    if position.epoch != head.epoch:
        return Decision(Answer.SNAPSHOT, (retired or {}).get(position.epoch, Resync.EPOCH))
    if position.seq > head.seq:
        return Decision(Answer.INVALID)
    if position.seq < head.floor - 1:
        return Decision(Answer.SNAPSHOT, Resync.TRIMMED)
    known = known_checksum(position, head)
    if position.checksum != (checksum if known is None else known):
        return Decision(Answer.SNAPSHOT, Resync.DIVERGED)
    if head.seq - position.seq > max_delta:
        return Decision(Answer.SNAPSHOT, Resync.GAP)
    return Decision(Answer.DELTA)
