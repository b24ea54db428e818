"""The flight recorder of one session: its last events, kept in memory until they are written with its row.

Stored is one JSON array a line: milliseconds since 1970, the kind, and the values of `FIELDS`. Recording
costs a tuple; text is made of it where the row is written, in a thread. No payloads, identities or addresses
are in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from . import events

TEXT = 8_000  # characters that are kept, in memory and in the row
EVENTS = 160  # that are kept in memory: about what the text holds
SLACK = 32  # more, before the oldest are dropped
REASON = 100  # characters of what isn't a constant
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_encoder = msgspec.json.Encoder()


class Kind(StrEnum):
    """What happened to a session."""

    CONNECT = "connect"
    RESUME = "resume"
    CURRENT = "current"
    BEHIND = "behind"
    RESYNC = "resync"
    DRIFT = "drift"
    DRIFTING = "drifting"
    REFUSED = "refused"
    CLOSE = "close"
    STATE = "state"
    OUTAGE = "outage"


class FlightEvent(NamedTuple):
    """One event. Only the fields of its kind are set; `reason` may be an application's own text."""

    at: datetime
    kind: Kind
    stream: str = ""
    node: str = ""
    attempt: int | None = None
    answer: str = ""
    reason: str = ""
    code: int | None = None  # None in a CLOSE: cut off without one
    seq: int | None = None  # where the client stood; None in a RESUME: nowhere
    head: int | None = None  # None: it couldn't be read
    gap: int | None = None  # entries
    ms: int | None = None  # that it took, or that the socket lived
    before: str = ""
    after: str = ""
    moved: bool = False  # to another node
    drift: str = ""  # from now on; empty: none any more


FIELDS: Mapping[Kind, tuple[str, ...]] = {
    Kind.CONNECT: ("node", "attempt", "ms"),
    Kind.RESUME: ("stream", "answer", "reason", "seq", "head", "gap"),
    Kind.CURRENT: ("stream", "seq", "ms"),
    Kind.BEHIND: ("stream", "seq"),
    Kind.RESYNC: ("stream", "reason"),
    Kind.DRIFT: ("stream", "seq"),
    Kind.DRIFTING: ("drift",),
    Kind.REFUSED: ("stream", "code", "reason"),
    Kind.CLOSE: ("code", "reason", "ms"),
    Kind.STATE: ("before", "after"),
    Kind.OUTAGE: ("ms", "moved"),
}

Noted = tuple[float, NamedTuple]  # seconds since 1970, and an event


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _resume(event: events.Resumed) -> tuple[Any, ...]:
    seq = event.claim.seq if event.claim is not None else None
    if event.head < 0:
        return event.stream, event.answer, event.reason, seq, None, None
    return event.stream, event.answer, event.reason, seq, event.head, event.gap


def _plain(reason: str) -> str:
    """An application's own text."""
    return reason.encode("utf-8", "replace").decode()[:REASON]


RECORDED: Mapping[type[Any], tuple[Kind, Callable[[Any], tuple[Any, ...]]]] = {
    events.Welcomed: (Kind.CONNECT, lambda e: (e.node, e.attempt, _ms(e.seconds))),
    events.Resumed: (Kind.RESUME, _resume),
    events.CaughtUp: (Kind.CURRENT, lambda e: (e.stream, e.seq, _ms(e.seconds))),
    events.FellBehind: (Kind.BEHIND, lambda e: (e.stream, e.seq)),
    events.Resynced: (Kind.RESYNC, lambda e: (e.stream, e.reason)),
    events.Drifted: (Kind.DRIFT, lambda e: (e.stream, e.position.seq)),
    events.DriftMoved: (Kind.DRIFTING, lambda e: (e.drift,)),
    events.Refused: (Kind.REFUSED, lambda e: (e.stream, e.code, e.reason)),
    events.Ended: (Kind.CLOSE, lambda e: (e.code, _plain(e.reason), _ms(e.seconds))),
    events.Returned: (Kind.OUTAGE, lambda e: (e.outage_ms, e.moved)),
}

NOTED = frozenset({*RECORDED, events.Reported})


class Flight:
    """What happened to one session since it was written last; bounded."""

    __slots__ = ("_noted", "_writing")

    def __init__(self) -> None:
        self._noted: list[Noted] = []
        self._writing: list[Noted] = []

    def note(self, event: NamedTuple, at: float | None = None) -> None:
        """Keeps an event, if it is one that is recorded.

        :param at: when it happened, in seconds since 1970; default: now.
        """
        if type(event) not in NOTED:
            return
        self._noted.append((time.time() if at is None else at, event))
        if len(self._noted) > EVENTS + SLACK:
            del self._noted[:-EVENTS]

    def begin(self) -> list[Noted]:
        """What isn't written yet, for `encode`; of too much the newest."""
        if self._noted:
            self._writing = [*self._writing, *self._noted][-EVENTS:]
            self._noted = []
        return self._writing

    def end(self, written: Sequence[Noted]) -> None:
        """What `begin` returned last is in the row."""
        if self._writing is written:
            self._writing = []


def encode(noted: Sequence[Noted]) -> str:
    """The lines of a session's row; of too many the newest."""
    lines = [line for at, event in noted for line in _lines(at, event)]
    return _newest(_encoder.encode_lines(lines).decode()) if lines else ""


def _lines(at: float, event: NamedTuple) -> Iterator[list[Any]]:
    if isinstance(event, events.Reported):
        for age_ms, before, after in event.transitions:
            yield [_ms(at) - age_ms, Kind.STATE, before, after]
        return
    kind, values = RECORDED[type(event)]
    yield [_ms(at), kind, *values(event)]


def _newest(text: str) -> str:
    """The last lines that fit."""
    return text if len(text) <= TEXT else text[text.index("\n", len(text) - TEXT - 1) + 1 :]


def decode(text: str) -> list[FlightEvent]:
    """The events of a session's row, by time. Lines that were cut off or can't be read are left out."""
    return sorted(_decoded(text), key=lambda event: event.at)


def _decoded(text: str) -> Iterator[FlightEvent]:
    for line in text.split("\n"):
        try:
            ms, kind, *values = msgspec.json.decode(line)
            fields = dict(zip(FIELDS[Kind(kind)], values, strict=True))
            yield FlightEvent(EPOCH + timedelta(milliseconds=ms), Kind(kind), **fields)
        except (msgspec.DecodeError, ValueError, TypeError, OverflowError):
            continue
