"""What an event of a flight means, for people: one sentence, and how bad it is."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from ..protocol.codes import Close, in_words
from ..telemetry.flight import FlightEvent, Kind
from .axis import length

ANSWERS = {
    "delta": "a delta",
    "snapshot": "a snapshot",
    "invalid": "a refusal: the position is none of this log",
    "unavailable": "a refusal: the log couldn't be read",
}


class Mood(StrEnum):
    """How an event is to be seen, from best to worst."""

    GOOD = "good"
    PLAIN = "plain"
    WARNING = "warning"
    BAD = "bad"


def mood(event: FlightEvent) -> Mood:
    """How bad it is."""
    match event.kind:
        case Kind.CURRENT:
            return Mood.GOOD
        case Kind.RESUME:
            return {"delta": Mood.PLAIN, "snapshot": Mood.WARNING}.get(event.answer, Mood.BAD)
        case Kind.BEHIND | Kind.RESYNC:
            return Mood.WARNING
        case Kind.DRIFT | Kind.REFUSED:
            return Mood.BAD
        case Kind.DRIFTING:
            return Mood.BAD if event.drift else Mood.GOOD
        case Kind.CLOSE:
            return Mood.PLAIN if event.code in (1000, 1001, Close.GOING_AWAY) else Mood.WARNING
        case Kind.STATE:
            return Mood.BAD if event.after.lower() == "failed" else Mood.PLAIN
    return Mood.PLAIN


def words(event: FlightEvent) -> str:
    """What happened, without when and on which stream."""
    return _WORDS[event.kind](event)


def _took(event: FlightEvent, before: str) -> str:
    return "" if event.ms is None else f"{before}{length(event.ms / 1000)}"


def _connected(event: FlightEvent) -> str:
    attempt = f", attempt {event.attempt}" if event.attempt is not None else ""
    return f"connected to node {event.node}{attempt}{_took(event, ', greeted after ')}"


def _resumed(event: FlightEvent) -> str:
    came = "without a position" if event.seq is None else f"with entry {event.seq}"
    head = "" if event.head is None else f", the head was {event.head}"
    reason = f" ({event.reason})" if event.reason else ""
    return f"came {came}{head}: got {ANSWERS.get(event.answer, event.answer)}{reason}"


def _closed(event: FlightEvent) -> str:
    code = "without a code" if event.code is None else f"with {in_words(event.code)}"
    reason = f" ({event.reason})" if event.reason else ""
    return f"socket ended {code}{reason}{_took(event, ', it lived ')}"


def _returned(event: FlightEvent) -> str:
    return f"back after an outage{_took(event, ' of ')}{', on another node' if event.moved else ''}"


_WORDS: dict[Kind, Callable[[FlightEvent], str]] = {
    Kind.CONNECT: _connected,
    Kind.RESUME: _resumed,
    Kind.CURRENT: lambda e: f"current at entry {e.seq}{_took(e, ' after ')}",
    Kind.BEHIND: lambda e: f"fell behind at entry {e.seq}: it is served page by page",
    Kind.RESYNC: lambda e: f"resynced ({e.reason}): it gets a snapshot",
    Kind.DRIFT: lambda e: f"its history at entry {e.seq} isn't the server's",
    Kind.DRIFTING: lambda e: f"the session is {e.drift}" if e.drift else "the drift is healed",
    Kind.REFUSED: lambda e: f"refused with {e.code}: {e.reason}",
    Kind.CLOSE: _closed,
    Kind.STATE: lambda e: f"the client went from {e.before.lower()} to {e.after.lower()}",
    Kind.OUTAGE: _returned,
}
