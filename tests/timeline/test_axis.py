"""Moments keep their order on the axis, and a long silence doesn't crush what happened around it."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconnect_channels.timeline.axis import APART, MARGIN, Axis, length

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
DAY = 86400

moments = st.lists(st.floats(0, 400 * DAY).map(lambda s: NOON + s), min_size=1, max_size=200)


@given(moments, st.floats(-DAY, 401 * DAY))
def test_places_lie_on_the_axis_in_the_order_of_their_moments(some, offset):
    axis = Axis(some)
    places = [axis.place(moment) for moment in sorted(some)]
    assert places == sorted(places)
    assert all(0 <= place <= 100 for place in [*places, axis.place(NOON + offset)])
    assert axis.place(min(some)) == 0
    assert len(set(some)) == 1 or max(some) - min(some) < 1 or axis.place(max(some)) == 100


@given(moments)
def test_labels_never_touch_and_stay_inside(some):
    ticks = Axis(some).ticks(timezone(timedelta(hours=5, minutes=45)))
    places = [tick.x for tick in ticks]
    assert places == sorted(places)
    assert all(after - before >= APART for before, after in pairwise(places))
    assert all(MARGIN <= place <= 100 - MARGIN for place in places)


def test_a_silence_of_hours_leaves_room_for_the_seconds_around_it():
    axis = Axis([NOON, NOON + 2, NOON + 4, NOON + 4 + 3 * 3600, NOON + 6 + 3 * 3600])
    assert [silence.length for silence in axis.breaks] == ["3 h"]
    assert axis.place(NOON + 4) > 10
    assert axis.place(NOON + 4 + 3 * 3600) < 95


def test_events_at_even_times_are_drawn_true_to_scale():
    axis = Axis([NOON + 60 * minute for minute in range(11)])
    assert axis.breaks == []
    assert [round(axis.place(NOON + 60 * minute)) for minute in range(11)] == list(range(0, 101, 10))


def test_labels_are_round_times_of_the_zone_and_name_each_day_once():
    late = datetime(2026, 3, 1, 23, 58, tzinfo=UTC).timestamp()
    ticks = Axis([late + 20 * n for n in range(13)]).ticks(UTC)
    assert [(tick.time, tick.day) for tick in ticks][:1] == [("23:58:30", "1 Mar")]
    assert ("00:00:00", "2 Mar") in [(tick.time, tick.day) for tick in ticks]
    assert [tick.day for tick in ticks if tick.day] == ["1 Mar", "2 Mar"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0214, "21 ms"),
        (1, "1 s"),
        (4.64, "4.6 s"),
        (9.99, "10 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (DAY * 3 + 4 * 3600 + 5, "3 d 4 h"),
    ],
)
def test_lengths_are_said_as_people_say_them(seconds, text):
    assert length(seconds) == text
