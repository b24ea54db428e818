"""A flight is drawn: what lasted as bars, what happened as marks, and nothing twice."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconnect_channels.telemetry.flight import FIELDS, FlightEvent, Kind
from reconnect_channels.timeline.lanes import STREAMS, Timeline, draw
from reconnect_channels.timeline.words import Mood, mood, words

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def event(seconds: float, kind: Kind, **fields: Any) -> FlightEvent:
    return FlightEvent(NOON + timedelta(seconds=seconds), kind, **fields)


def drawn(*events: FlightEvent, end: float) -> Timeline:
    return draw(events, NOON + timedelta(seconds=end), UTC)


def titles(line: Timeline, lane: str) -> list[str]:
    return next([bar.title for bar in found.bars] for found in line.lanes if found.name == lane)


OUTAGE = (
    event(0, Kind.CONNECT, node="one", attempt=1, ms=4),
    event(0, Kind.RESUME, stream="s", answer="snapshot", reason="new", head=3, gap=3),
    event(0.01, Kind.CURRENT, stream="s", seq=3, ms=10),
    event(20, Kind.CLOSE, code=1006, ms=20_000),
    event(32, Kind.CONNECT, node="two", attempt=5, ms=4),
    event(32, Kind.OUTAGE, ms=12_000, moved=True),
    event(32, Kind.RESUME, stream="s", answer="delta", seq=3, head=9, gap=6),
    event(34, Kind.CURRENT, stream="s", seq=9, ms=2_000),
)


def test_an_outage_is_a_gap_with_its_length():
    line = drawn(*OUTAGE, end=60)
    assert titles(line, "connection") == ["connected: 20 s", "disconnected: 12 s", "connected: 28 s"]
    assert titles(line, "node") == ["one: 20 s", "two: 28 s"]
    assert titles(line, "s") == ["catching up: 10 ms", "live: 20 s", "catching up: 2 s", "live: 26 s"]
    outage = line.lanes[0].bars[1]
    assert outage.look == "disconnected"
    assert outage.label == "12 s"


def test_an_outage_that_lasts_is_drawn_up_to_now():
    assert titles(drawn(*OUTAGE[:4], end=80), "connection")[-1] == "disconnected: 1 min"


def test_the_client_s_own_account_comes_before_the_server_s():
    """A line that went dead: the server notices long after the client."""
    line = drawn(
        event(0, Kind.CONNECT, node="one"),
        event(10, Kind.STATE, before="CONNECTED", after="DISCONNECTED"),
        event(10, Kind.STATE, before="DISCONNECTED", after="RECONNECTING"),
        event(25, Kind.CLOSE, code=4008),
        event(30, Kind.STATE, before="RECONNECTING", after="FAILED"),
        end=40,
    )
    assert titles(line, "connection") == [
        "connected: 10 s",
        "disconnected: 0 ms",
        "reconnecting: 20 s",
        "failed: 10 s",
    ]


def test_things_of_one_moment_are_one_mark_and_the_worst_decides_its_look():
    line = drawn(*OUTAGE, event(34.01, Kind.DRIFT, stream="s", seq=9), end=60)
    mark = line.lanes[2].marks[-1]
    assert mark.mood is Mood.BAD
    assert "current at entry 9" in mark.title
    assert "isn't the server's" in mark.title
    numbers = [mark.number for lane in line.lanes for mark in lane.marks]
    assert len(set(numbers)) == len(numbers)


def test_endless_streams_make_no_endless_drawing():
    events = [event(n, Kind.RESUME, stream=f"s{n}", answer="delta", seq=1, head=1) for n in range(90)]
    line = drawn(*events, end=100)
    assert len(line.lanes) == 2 + STREAMS
    assert line.unlisted == 90 - STREAMS


def test_drift_of_the_session_is_healed_in_words_too():
    assert words(event(0, Kind.DRIFTING, drift="diverged")) == "the session is diverged"
    assert words(event(0, Kind.DRIFTING)) == "the drift is healed"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"seq": 3, "head": 9, "answer": "delta"}, "came with entry 3, the head was 9: got a delta"),
        (
            {"answer": "snapshot", "reason": "new", "head": 2},
            "without a position, the head was 2: got a snapshot",
        ),
        ({"seq": 3, "answer": "unavailable"}, "with entry 3: got a refusal"),
    ],
)
def test_a_resume_says_what_was_asked_and_what_was_answered(fields, says):
    assert says in words(event(0, Kind.RESUME, stream="s", **fields))


values = {
    **dict.fromkeys(("stream", "node", "answer", "reason", "before", "after"), st.text(max_size=20)),
    **dict.fromkeys(("attempt", "code", "seq", "head", "gap", "ms"), st.none() | st.integers(0, 2**53)),
    "moved": st.booleans(),
    "drift": st.sampled_from(["", "diverged", "lagging"]),
}
flights = st.lists(
    st.sampled_from(list(Kind)).flatmap(
        lambda kind: st.builds(
            event,
            st.floats(0, 1e6),
            st.just(kind),
            **{name: values[name] for name in FIELDS[kind]},
        )
    ),
    min_size=1,
    max_size=40,
).map(lambda events: sorted(events, key=lambda event: event.at))


@given(flights, st.floats(0, 2e6))
def test_whatever_was_recorded_is_drawn_within_the_frame(events, end):
    line = draw(events, NOON + timedelta(seconds=end), UTC)
    for lane in line.lanes:
        assert 0 <= lane.y <= line.bottom < line.height
        assert all(bar.x >= 0 and bar.width >= 0 and bar.x + bar.width <= 100.001 for bar in lane.bars)
        assert all(0 <= mark.x <= 100 for mark in lane.marks)
    assert all(words(event) and mood(event) in Mood for event in events)
