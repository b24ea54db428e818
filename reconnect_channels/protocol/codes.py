"""Close codes and the reasons that travel in ERROR, REJECT and BYE (design 6.1)."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Close(IntEnum):
    """Why a socket ends. 4000-4499: come back; 4500-4999: don't."""

    INVALID_SEQ = 4000
    STALLED = 4008
    RESYNC = 4010
    GOING_AWAY = 4012
    THROTTLED = 4013
    NO_HELLO = 4015
    BAD_PROTOCOL = 4500
    UNAUTHENTICATED = 4501
    FORBIDDEN = 4503
    SUPERSEDED = 4509


def reconnects(code: int) -> bool:
    """Whether a client should come back after this close code.

    Everything outside 4500-4999 is retried: servers replace codes (uvicorn shows 1006, daphne
    drops reasons), so an unknown code proves nothing.
    """
    return not 4500 <= code <= 4999


_WORDS = {
    1000: "closed by the client",
    1001: "the page was left",
    1005: "closed without a code",
    1006: "the connection was lost",
    1011: "the server failed",
    1012: "the server restarts",
    1013: "the server is too busy",
    Close.INVALID_SEQ: "an impossible position",
    Close.STALLED: "silent, or it took nothing",
    Close.RESYNC: "sent to come back",
    Close.GOING_AWAY: "the server went away",
    Close.THROTTLED: "too many at once",
    Close.NO_HELLO: "it never said HELLO",
    Close.BAD_PROTOCOL: "another protocol",
    Close.UNAUTHENTICATED: "logged in no more",
    Close.FORBIDDEN: "forbidden",
    Close.SUPERSEDED: "a newer socket of the client",
}


def in_words(code: int) -> str:
    """A close code for people: the number, and what it means where it is known."""
    return f"{code}: {_WORDS[code]}" if code in _WORDS else str(code)


class Reason(StrEnum):
    """Constants of the `reason` field; clients may compare them, people read `detail`."""

    JSON = "JSON"
    FRAME = "FRAME"
    SIZE = "SIZE"
    TYPE = "TYPE"
    HELLO = "HELLO"
    INVALID_SEQ = "INVALID_SEQ"
    FORBIDDEN = "FORBIDDEN"
    ORIGIN = "ORIGIN"
    LIMIT = "LIMIT"
    RATE = "RATE"
    CLOCK = "CLOCK"
    KEY_REUSED = "KEY_REUSED"
    IN_PROGRESS = "IN_PROGRESS"
    ORDER = "ORDER"
    EXPIRED = "EXPIRED"
    FAILED = "FAILED"
    INVALID = "INVALID"
    UNAVAILABLE = "UNAVAILABLE"
    SNAPSHOT_SIZE = "SNAPSHOT_SIZE"
    CLOSED = "CLOSED"


class Resync(StrEnum):
    """Why a stream is answered with SYNC_SNAPSHOT instead of a delta (design 5.5)."""

    NEW = "new"
    EPOCH = "epoch"
    REWOUND = "rewound"
    TRIMMED = "trimmed"
    DIVERGED = "diverged"
    GAP = "gap"
    OPERATOR = "operator"  # somebody asked for it
