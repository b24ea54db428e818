"""Structured logs: one line an event, `event=resumed socket=… answer=delta gap=3` (logfmt).

What clients and applications said stands quoted and escaped; payloads, tokens, addresses and identities
don't stand there at all. The fields are the record's own, too, for formatters that write JSON.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..protocol.codes import Reason
from ..protocol.position import Position
from ..protocol.traceparent import trace_id
from . import events

logger = logging.getLogger("reconnect_channels.events")

TEXT = 200  # characters of a value
CONSTANTS = frozenset(Reason)
PLAIN = re.compile(r"[A-Za-z0-9._:/+-]+")
WORDS = re.compile(r"(?<!^)(?=[A-Z])")

LEVELS: Mapping[type[Any], int] = {
    events.Welcomed: logging.INFO,
    events.Resumed: logging.INFO,
    events.CaughtUp: logging.INFO,
    events.FellBehind: logging.INFO,
    events.Resynced: logging.INFO,
    events.Drifted: logging.WARNING,
    events.DriftMoved: logging.INFO,
    events.Refused: logging.INFO,
    events.Answered: logging.DEBUG,
    events.Reported: logging.DEBUG,
    events.ReportIgnored: logging.DEBUG,
    events.Ended: logging.INFO,
    events.Published: logging.DEBUG,
    events.FannedOut: logging.DEBUG,
    events.PageRead: logging.DEBUG,
    events.Built: logging.DEBUG,
    events.HoleHealed: logging.WARNING,
    events.HistoryReplaced: logging.WARNING,
    events.BreakerMoved: logging.WARNING,
    events.Returned: logging.INFO,
    events.HandedOver: logging.INFO,
    events.CleanupFailed: logging.WARNING,
    events.Reaped: logging.INFO,
    events.LayerFailed: logging.WARNING,
    events.Draining: logging.INFO,
}
"""Of every event that is logged: `Sampled` comes every second, and says nothing that gauges don't."""


def write(event: NamedTuple) -> None:
    """A listener of `events`."""
    level = LEVELS.get(type(event))
    if level is None or not logger.isEnabledFor(level):
        return
    fields = {"event": WORDS.sub("_", type(event).__name__).lower(), **dict(_fields(event))}
    line = " ".join(f"{name}={_text(value)}" for name, value in fields.items())
    logger.log(level, "%s", line, extra=fields)


def _fields(event: NamedTuple) -> Iterator[tuple[str, Any]]:
    """By names that a log record doesn't have yet."""
    for name, value in event._asdict().items():
        match value:
            case None | "":
                continue
            case Position():
                yield "seq", value.seq
            case float():
                yield name, round(value, 6)
            case str() if isinstance(event, events.Answered) and name == "reason" and value not in CONSTANTS:
                continue  # a handler's own words may quote the payload
            case str() if name == "traceparent":
                if trace := trace_id(value):
                    yield "trace", trace
            case str():
                yield "breaker" if name == "name" else name, str(value)[:TEXT]
            case bool() | int():
                yield name, value
            case _:  # a client's measurements
                yield name, len(value)
    if isinstance(event, events.Resumed):
        yield "gap", event.gap


def _text(value: Any) -> str:
    text = str(value)
    if PLAIN.fullmatch(text):
        return text
    return json.dumps(text).replace("\x7f", "\\u007f")
