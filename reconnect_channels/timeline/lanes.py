"""The lanes of a time line: bars for what lasted, marks for what happened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, tzinfo
from typing import NamedTuple

from ..telemetry.flight import FlightEvent, Kind
from .axis import Axis, Break, Tick, length
from .words import Mood, mood, words

LANE = 46  # pixels
TOP = 22  # above the first lane, for the lengths of silences
BOTTOM = 34  # below the last one, for the ticks
STREAMS = 20  # lanes of streams; the table has all
TOGETHER = 1.6  # percent; marks closer than this are one
ROOM = 5.0  # percent; a bar that is narrower has no label

OF_SOCKET = frozenset({Kind.CONNECT, Kind.CLOSE, Kind.STATE, Kind.OUTAGE, Kind.DRIFTING})


class Bar(NamedTuple):
    """What lasted; `look` is the name of its CSS class."""

    x: float  # percent
    width: float
    look: str
    label: str
    title: str


class Mark(NamedTuple):
    """What happened, or several things at about the same time."""

    x: float
    mood: Mood
    number: int  # of the first of its events, from 1
    title: str


class Lane(NamedTuple):
    name: str
    y: int  # pixels
    bars: list[Bar]
    marks: list[Mark]


class Timeline(NamedTuple):
    """All that is drawn; x is in percent, y in pixels."""

    lanes: list[Lane]
    ticks: list[Tick]
    breaks: list[Break]
    bottom: int  # where the lanes end
    height: int
    unlisted: int  # streams that have no lane


class _Span(NamedTuple):
    begin: float
    end: float
    what: str


def draw(events: Sequence[FlightEvent], end: datetime, zone: tzinfo) -> Timeline:
    """Draws a flight.

    :param events: by time; at least one.
    :param end: up to when what lasts is drawn: now, while the session isn't over.
    :param zone: of the ticks' times.
    """
    last = max(end.timestamp(), events[-1].at.timestamp())
    axis = Axis([*(event.at.timestamp() for event in events), last])
    numbered = list(enumerate(events, 1))
    socket = [(number, event) for number, event in numbered if event.kind in OF_SOCKET]
    lanes = [
        _lane("connection", 0, axis, _states(events), last, socket),
        _lane("node", 1, axis, _nodes(events), last, []),
    ]
    streams = list(dict.fromkeys(event.stream for event in events if event.kind not in OF_SOCKET))
    for stream in streams[:STREAMS]:
        own = [(number, event) for number, event in numbered if event.stream == stream]
        lanes.append(_lane(stream, len(lanes), axis, _service(events, stream), last, own))
    bottom = TOP + LANE * len(lanes)
    unlisted = max(0, len(streams) - STREAMS)
    return Timeline(lanes, axis.ticks(zone), axis.breaks, bottom, bottom + BOTTOM, unlisted)


def _lane(
    name: str,
    index: int,
    axis: Axis,
    changes: Iterable[tuple[float, str]],
    last: float,
    events: Sequence[tuple[int, FlightEvent]],
) -> Lane:
    bars = [bar for span in _spans(changes, last) if span.what and (bar := _bar(name, span, axis))]
    return Lane(name, TOP + LANE * index, bars, list(_marks(events, axis)))


def _spans(changes: Iterable[tuple[float, str]], last: float) -> Iterator[_Span]:
    """What lasted from when to when; repeats are one."""
    begin, what = 0.0, ""
    for at, after in changes:
        if after != what:
            yield _Span(begin, at, what)
            begin, what = at, after
    yield _Span(begin, last, what)


def _bar(lane: str, span: _Span, axis: Axis) -> Bar:
    x = axis.place(span.begin)
    width = axis.place(span.end) - x
    lasted = length(span.end - span.begin)
    name = span.what if lane == "node" else lasted if span.what != "connected" else f"connected {lasted}"
    look = "node" if lane == "node" else span.what.replace(" ", "-")
    return Bar(x, width, look, name if width >= ROOM else "", f"{span.what}: {lasted}")


def _states(events: Iterable[FlightEvent]) -> Iterator[tuple[float, str]]:
    """The connection as the client told it, and where it didn't as the server saw it."""
    state = ""
    for event in events:
        if event.kind is Kind.CONNECT:
            state = "connected"
        elif event.kind is Kind.CLOSE and state in ("", "connected"):  # else the client knew it before
            state = "disconnected"
        elif event.kind is Kind.STATE:
            state = event.after.lower()
        yield event.at.timestamp(), state


def _nodes(events: Iterable[FlightEvent]) -> Iterator[tuple[float, str]]:
    for event in events:
        if event.kind is Kind.CONNECT:
            yield event.at.timestamp(), event.node
        elif event.kind is Kind.CLOSE:
            yield event.at.timestamp(), ""


def _service(events: Iterable[FlightEvent], stream: str) -> Iterator[tuple[float, str]]:
    """How one stream was served."""
    for event in events:
        at = event.at.timestamp()
        if event.kind is Kind.CLOSE:
            yield at, ""
        elif event.stream != stream:
            continue
        elif event.kind is Kind.CURRENT:
            yield at, "live"
        elif event.kind is Kind.REFUSED or event.answer in ("invalid", "unavailable"):
            yield at, ""
        elif event.kind in (Kind.RESUME, Kind.BEHIND, Kind.RESYNC):
            yield at, "catching up"


def _marks(events: Sequence[tuple[int, FlightEvent]], axis: Axis) -> Iterator[Mark]:
    group: list[tuple[int, FlightEvent]] = []
    for number, event in events:
        if group and axis.place(event.at.timestamp()) - axis.place(group[0][1].at.timestamp()) > TOGETHER:
            yield _mark(group, axis)
            group = []
        group.append((number, event))
    if group:
        yield _mark(group, axis)


def _mark(group: Sequence[tuple[int, FlightEvent]], axis: Axis) -> Mark:
    moods = list(Mood)
    return Mark(
        axis.place(group[0][1].at.timestamp()),
        max((mood(event) for _, event in group), key=moods.index),
        group[0][0],
        "; ".join(words(event) for _, event in group),
    )
