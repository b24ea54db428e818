"""A position (epoch, seq, checksum): one number proves a whole history (design 5)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

MODULUS = 2**31 - 1
FACTOR = 31
MAX_SEQ = 2**53
MAX_EPOCH = 64


class InvalidPosition(ValueError):
    """A position that no client of ours could hold: wrong types, negative, above 2^53."""


def entry_hash(entry_id: str) -> int:
    """`h(id)` of design 5.1: the last 8 hex digits of an entry's UUID, mod 2^31 - 1."""
    return int(entry_id[-8:], 16) % MODULUS


def advance(checksum: int, entry_id: str) -> int:
    """The checksum after one more entry (a polynomial rolling hash, Rabin-Karp's, mod a Mersenne prime)."""
    return (checksum * FACTOR + entry_hash(entry_id)) % MODULUS


def fold(checksum: int, entry_ids: Iterable[str]) -> int:
    """The checksum after these entries."""
    for entry_id in entry_ids:
        checksum = advance(checksum, entry_id)
    return checksum


def batch(entry_ids: Iterable[str]) -> tuple[int, int]:
    """The closed form of a fold: (a, b) with `fold(c, ids) == (c * a + b) % MODULUS`.

    Lets one UPDATE advance a stream by a whole batch; both numbers and the product fit a bigint.
    """
    a, b = 1, 0
    for entry_id in entry_ids:
        a, b = a * FACTOR % MODULUS, (b * FACTOR + entry_hash(entry_id)) % MODULUS
    return a, b


def before(checksum: int, entry_ids: Iterable[str]) -> int:
    """The checksum from which these entries lead to `checksum`: the inverse of `fold`."""
    a, b = batch(entry_ids)
    return (checksum - b) * pow(a, -1, MODULUS) % MODULUS


class Position(NamedTuple):
    """Where a reader stands in a stream; `seq` is the last entry it has."""

    epoch: str
    seq: int
    checksum: int

    def wire(self) -> dict[str, Any]:
        """The JSON form: `{"epoch", "last_seq_id", "checksum"}`."""
        return {"epoch": self.epoch, "last_seq_id": self.seq, "checksum": self.checksum}

    def then(self, entry_id: str) -> Position:
        """The position after one more entry."""
        return Position(self.epoch, self.seq + 1, advance(self.checksum, entry_id))


def parse(raw: Any) -> Position | None:
    """Reads a position from decoded JSON; None stays None ("I have nothing").

    Raises InvalidPosition for anything else than the exact wire form.
    """
    if raw is None:
        return None
    if not isinstance(raw, dict):
        raise InvalidPosition("a position is an object or null")
    epoch, seq, checksum = raw.get("epoch"), raw.get("last_seq_id"), raw.get("checksum")
    if not isinstance(epoch, str) or not 0 < len(epoch) <= MAX_EPOCH:
        raise InvalidPosition("epoch")
    if type(seq) is not int or not 0 <= seq <= MAX_SEQ:
        raise InvalidPosition("last_seq_id")
    if type(checksum) is not int or not 0 <= checksum < MODULUS:
        raise InvalidPosition("checksum")
    return Position(epoch, seq, checksum)
