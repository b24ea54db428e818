"""Which socket speaks for a client: the one of the newest (term, attempt) (design 10.4).

Fencing is hygiene: idempotency keys and `n` keep messages right even where two sockets of a client are
open. Knows the sockets of one hub; other nodes' can be fenced by `fence` alone.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Session(NamedTuple):
    """One client of one identity, so that nobody fences sockets of another's."""

    identity: str
    client_id: str


class Rank(NamedTuple):
    """The number of the leadership, and of the attempt in it: both the client's, no clock."""

    term: int
    attempt: int


class Fenced(Protocol):
    """A socket that can be told to go."""

    def supersede(self, term: int) -> None:
        """Ends the socket at once, in favour of one of this term. Synchronous."""


class Holders:
    """The socket of each session, from its greeting to its end."""

    def __init__(self) -> None:
        self._holders: dict[Session, tuple[Rank, Fenced]] = {}

    def __len__(self) -> int:
        return len(self._holders)

    def enter(self, session: Session, rank: Rank, socket: Fenced) -> Rank | None:
        """Makes the socket the session's, and ends the one before it.

        Of equals the later comes in: it is the same client, whose older socket is a ghost. Returns None,
        or the rank of the newer socket that stays.
        """
        newer = self.fence(session, rank)
        if newer is None:
            self._holders[session] = rank, socket
        return newer

    def fence(self, session: Session, rank: Rank) -> Rank | None:
        """Ends the session's socket unless it is newer than `rank`; returns the rank of one that is."""
        held = self._holders.get(session)
        if held is None:
            return None
        if held[0] > rank:
            return held[0]
        del self._holders[session]
        held[1].supersede(rank.term)
        return None

    def leave(self, session: Session, socket: Fenced) -> None:
        """Forgets a socket that ends, if it still is the session's."""
        held = self._holders.get(session)
        if held is not None and held[1] is socket:
            del self._holders[session]
