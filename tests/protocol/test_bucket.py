from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconnect_channels.protocol.bucket import TokenBucket

EPSILON = 1e-6


@given(
    st.floats(0.1, 1000),
    st.integers(1, 50),
    st.lists(st.floats(0, 5) | st.just(0.0) | st.floats(0, 0.01), max_size=100),
)
def test_never_more_than_the_burst_and_the_rate_allow_in_any_span_of_time(rate, burst, pauses):
    now = 1000.0
    bucket = TokenBucket(rate, burst, now)
    granted = []
    for pause in pauses:
        now += pause
        wait = bucket.take(now)
        assert wait >= 0
        assert wait <= 1 / rate + EPSILON
        if wait == 0:
            granted.append(now)
    for first, start in enumerate(granted):
        for count, end in enumerate(granted[first:], 1):
            assert count <= burst + rate * (end - start) + EPSILON


@given(st.floats(0.1, 1000), st.integers(1, 20), st.integers(1, 40))
def test_who_waits_as_long_as_told_is_served(rate, burst, takes):
    now = 0.0
    bucket = TokenBucket(rate, burst, now)
    for _ in range(takes):
        wait = bucket.take(now)
        if wait:
            now += wait * (1 + EPSILON)
            assert bucket.take(now) == 0


def test_the_whole_burst_at_once_and_then_the_rate():
    bucket = TokenBucket(rate=10, burst=3, now=5.0)
    assert [bucket.take(5.0) for _ in range(3)] == [0, 0, 0]
    assert bucket.take(5.0) == pytest.approx(0.1)
    assert bucket.take(5.05) == pytest.approx(0.05)
    assert bucket.take(5.1000001) == 0
    assert bucket.take(5.1000001) > 0


def test_a_long_rest_fills_no_more_than_the_burst():
    bucket = TokenBucket(rate=10, burst=3, now=0.0)
    answers = [bucket.take(1e6) for _ in range(5)]
    assert [answer == 0 for answer in answers] == [True, True, True, False, False]


def test_a_refused_take_costs_nothing():
    bucket = TokenBucket(rate=1, burst=1, now=0.0)
    bucket.take(0.0)
    waits = [bucket.take(0.5) for _ in range(10)]
    assert all(earlier == later for earlier, later in pairwise(waits))
    assert bucket.take(1.0) == 0


@given(
    st.floats(0.1, 1000),
    st.integers(1, 20),
    st.floats(0, 5),
    st.lists(st.floats(0, 2) | st.just(0.0), max_size=100),
)
def test_reservations_are_turns_in_order_at_the_rate_and_none_is_beyond_patience(
    rate, burst, patience, pauses
):
    now = 1000.0
    bucket = TokenBucket(rate, burst, now)
    turns = []
    for pause in pauses:
        now += pause
        wait = bucket.reserve(now, patience)
        assert wait >= 0
        if wait <= patience:
            turns.append(now + wait)
    assert all(earlier <= later + EPSILON for earlier, later in pairwise(turns))
    for first, start in enumerate(turns):
        for count, end in enumerate(turns[first:], 1):
            assert count <= burst + rate * (end - start) * (1 + EPSILON) + EPSILON


def test_who_would_wait_too_long_takes_nobodys_turn():
    bucket = TokenBucket(10, 1, 0.0)
    assert [round(bucket.reserve(0.0, 0.15), 3) for _ in range(4)] == [0.0, 0.1, 0.2, 0.2]
    assert round(bucket.reserve(0.1, 0.15), 3) == 0.1
